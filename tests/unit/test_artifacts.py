"""Texts in parts: cut within no letter, signed, bounded, and told why where they can't be."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from tidegate.artifacts import OFFER, Artifact, Kind, Part, Whole, artifact_name, trained_at_us
from tidegate.frames import FrameError, Signer, key_id, verify
from tidegate.frames.envelope import Envelope
from tidegate.ids import SiteId
from tidegate.limits import ARTIFACT_MANIFEST_BYTES_MAX, ARTIFACT_PART_BYTES, FRAME_BYTES_MAX

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SIGNER = Signer(key_id(KEY.public_key()), KEY.sign)
SITE = SiteId("site-1")


def sealed(said: dict[str, Any], payload: bytes) -> bytes:
    whole = Whole("lists", b"x")
    header = whole.part(1, SITE, SIGNER).header.model_copy(update=said)
    return Envelope.seal(b"TGA1", header.canonical(), payload, KEY.sign).data


@given(st.text("aé€𐍈", min_size=1, max_size=40), st.integers(0, 3))
@effort(max_examples=20)
def test_the_parts_of_a_text_are_texts_and_together_the_whole(piece: str, before: int) -> None:
    text = ("a" * before + piece * (1 + 2 * ARTIFACT_PART_BYTES // len(piece.encode()))).encode()
    whole = Whole("lists", text)

    parts = [Part.parse(whole.part(number, SITE, SIGNER).data) for number in range(1, whole.parts + 1)]

    assert b"".join(part.text() for part in parts) == text
    assert all(len(part.text()) <= ARTIFACT_PART_BYTES for part in parts)
    assert {part.header.sha256 for part in parts} == {Artifact("lists", text.decode()).sha256}


def test_an_offer_says_all_but_the_text() -> None:
    offer = Part.parse(Whole("bundle", b"{}").part(OFFER, SITE, SIGNER).data)

    verify(offer, KEY.public_key())
    assert (offer.header.kind, offer.header.parts, offer.header.size) == ("bundle", 1, 2)
    assert offer.header.name == artifact_name("bundle", offer.header.sha256) == Artifact("bundle", "{}").name


def test_a_part_that_was_changed_on_the_way_isnt_signed_any_more() -> None:
    data = bytearray(Whole("lists", b"a" * 1_000).part(1, SITE, SIGNER).data)
    data[-3] ^= 1

    with pytest.raises(FrameError, match="isn't signed"):
        verify(Part.parse(bytes(data)), KEY.public_key())


@pytest.mark.parametrize(
    ("kind", "size"), [("lists", 0), ("bundle", ARTIFACT_MANIFEST_BYTES_MAX + 1), ("lists", (64 << 20) + 1)]
)
def test_a_text_that_is_empty_or_too_large_is_told_before_anything_is_sent(kind: Kind, size: int) -> None:
    with pytest.raises(FrameError, match="can't be sent"):
        Whole(kind, b"a" * size).part(OFFER, SITE, SIGNER)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"TGF1", "malformed"),
        (b"TGA1" + bytes(4), "malformed"),
        (sealed({}, b""), "malformed"),
        (sealed({"part": 0}, b"x"), "malformed"),
        (sealed({"part": 2}, b"x"), "malformed"),
        (sealed({"kind": "bundle", "parts": 2}, b"x"), "malformed"),
        (sealed({"kind": "photo"}, b"x"), "malformed"),
        (sealed({"site": "A"}, b"x"), "malformed"),
        (b"TGA1" + (1 << 20).to_bytes(4, "little") + bytes(FRAME_BYTES_MAX), "oversized"),
    ],
)
def test_what_is_no_part_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(FrameError) as refused:
        Part.parse(data)

    assert refused.value.reason == reason


@pytest.mark.parametrize("payload", [b"x", bytes(range(64))])
def test_a_payload_that_is_no_text_is_refused(payload: bytes) -> None:
    with pytest.raises(FrameError, match="payload"):
        Part.parse(sealed({}, payload)).text()


def test_a_payload_is_bounded_before_it_is_decompressed() -> None:
    bomb = Whole("bundle", b"a" * ARTIFACT_MANIFEST_BYTES_MAX).part(1, SITE, SIGNER).envelope.payload

    with pytest.raises(FrameError, match="at most 1 here"):
        Part.parse(sealed({}, bytes(bomb))).text()


@pytest.mark.parametrize("manifest", ["", "[]", '{"trained_at_us":true}', '{"trained_at_us":9223372036854775808}'])
def test_what_is_no_manifest_is_told(manifest: str) -> None:
    with pytest.raises(ValueError, match="no manifest"):
        trained_at_us(manifest)
