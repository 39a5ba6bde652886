"""Whatever bytes come as a part of a text: taken as they were signed, or refused with a reason, and nothing else."""

import contextlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from serve_apps.ingest.staging import Staging
from tidegate.artifacts import Part, Whole
from tidegate.frames import FrameError, Signer, key_id, verify
from tidegate.frames.envelope import Envelope
from tidegate.ids import SiteId

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SIGNER = Signer(key_id(KEY.public_key()), KEY.sign)
GOOD = Whole("lists", b"list,entity,value,expires_at,rule\n" * 20).part(1, SiteId("s1"), SIGNER).data


@given(st.binary(max_size=200))
@effort(max_examples=60)
def test_any_bytes_are_a_part_or_refused(data: bytes) -> None:
    for each in (data, b"TGA1" + data, GOOD[:4] + data + GOOD[len(data) :]):
        with contextlib.suppress(FrameError):
            Part.parse(each)


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
@effort(max_examples=60)
def test_no_changed_byte_passes_for_signed(at: int, by: int) -> None:
    data = bytearray(GOOD)
    data[at] ^= by

    try:
        verify(Part.parse(bytes(data)), KEY.public_key())
    except FrameError:
        return
    raise AssertionError(at)


@given(st.binary(max_size=300), st.dictionaries(st.sampled_from(["part", "parts", "size"]), st.integers(0, 4)))
@effort(max_examples=60)
def test_what_a_site_signs_wrongly_is_refused_or_waits_for_more(payload: bytes, said: dict[str, int]) -> None:
    header = Part.parse(GOOD).header.model_copy(update=said)
    data = Envelope.seal(b"TGA1", header.canonical(), payload, KEY.sign).data

    with contextlib.suppress(FrameError):
        assert isinstance(Staging().take(Part.parse(data)), int)
