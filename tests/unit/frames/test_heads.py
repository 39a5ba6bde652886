"""Heads, the body of a request, and the envelope around all."""

import struct
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate import limits
from tidegate.frames import REASONS, FrameError, Head, LaneHead, SignedHead, Signer, packed, parse, unpacked, verify
from tidegate.frames.envelope import ENVELOPE_BYTES_MIN

CHAIN = "ab" * 32


def head(signer: Signer, **other: Any) -> Head:
    fields: dict[str, Any] = {
        "site": "site-1",
        "gate": "g0",
        "epoch": "0123456789abcdef",
        "key": signer.key,
        "heads": {1: LaneHead(seq=42, chain=CHAIN), 2: LaneHead(seq=0, chain="0" * 64)},
        "durable_pos": 45,
        "time_us": 1_795_500_000_000_000,
        "versions": {"bundle": "b-1", "policy": "p-1"},
    }
    return Head(**fields | other)


def test_a_head_is_what_was_signed(signer: Signer, private: Ed25519PrivateKey) -> None:
    said = head(signer)
    read = SignedHead.parse(SignedHead.seal(said, private.sign).data)

    verify(read, private.public_key())
    assert read.header == said
    assert read.header.heads[1].seq == 42
    assert read.envelope.header == (
        b'{"durable_pos":45,"epoch":"0123456789abcdef","gate":"g0","heads":{"1":{"chain":"' + CHAIN.encode() + b'",'
        b'"seq":42},"2":{"chain":"' + b"0" * 64 + b'","seq":0}},"key":"' + signer.key.encode() + b'","site":"site-1",'
        b'"time_us":1795500000000000,"versions":{"bundle":"b-1","policy":"p-1"}}'
    )


def test_a_head_with_all_fields_at_their_longest_fits(private: Ed25519PrivateKey) -> None:
    longest = (1 << 64) - 1
    name = "n" * limits.NAME_BYTES_MAX
    versions = {f"{n:x}" * 32: "v" * limits.HEAD_VERSION_CHARS_MAX for n in range(limits.HEAD_VERSIONS_MAX)}
    said = head(
        Signer("f" * 16, private.sign),
        site=name,
        gate=name,
        heads={lane: LaneHead(seq=longest, chain=CHAIN) for lane in range(4)},
        durable_pos=longest,
        versions=versions,
    )

    assert SignedHead.parse(SignedHead.seal(said, private.sign).data).header == said


@pytest.mark.parametrize("other", [{"heads": {4: {"seq": 1, "chain": CHAIN}}}, {"versions": {"a": "b c"}}, {"x": 1}])
def test_a_head_out_of_bounds_is_refused(signer: Signer, private: Ed25519PrivateKey, other: dict[str, Any]) -> None:
    from tidegate.frames.envelope import Envelope  # noqa: PLC0415 - to seal what the API doesn't let one make
    from tidegate.records import event_body  # noqa: PLC0415

    data = Envelope.seal(b"TGH1", event_body(head(signer).model_dump() | other), b"", private.sign).data

    with pytest.raises(FrameError, match=r"^malformed: header: "):
        SignedHead.parse(data)


def test_a_head_is_no_frame_and_has_nothing_behind_it(signer: Signer, private: Ed25519PrivateKey) -> None:
    data = SignedHead.seal(head(signer), private.sign).data

    with pytest.raises(FrameError, match="begin with TGF1"):
        parse(data)
    with pytest.raises(FrameError, match="1 bytes follow the head"):
        SignedHead.parse(data + b"\0")


@given(st.data())
@settings(max_examples=20)
def test_what_is_cut_short_is_refused(signer: Signer, private: Ed25519PrivateKey, data: st.DataObject) -> None:
    whole = SignedHead.seal(head(signer), private.sign).data
    cut = data.draw(st.integers(0, len(whole) - 1))

    with pytest.raises(FrameError, match=r"^malformed: "):
        SignedHead.parse(whole[:cut])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"TGF1" + struct.pack("<I", limits.FRAME_HEADER_BYTES_MAX + 1) + bytes(9_000), "oversized"),
        (b"TGF1" + struct.pack("<I", 2) + b"{}" + bytes(limits.FRAME_BYTES_MAX), "oversized"),
        (b"TGF1" + struct.pack("<I", 2) + b"{}" + bytes(64), "malformed"),
        (b"TGF2" + struct.pack("<I", 2) + b"{}" + bytes(64), "malformed"),
    ],
)
def test_the_envelope_is_bounded_before_it_is_read(data: bytes, reason: str) -> None:
    with pytest.raises(FrameError) as refused:
        parse(data)
    assert refused.value.reason == reason
    assert refused.value.reason in REASONS


@given(st.lists(st.binary(min_size=ENVELOPE_BYTES_MIN, max_size=90), max_size=6))
@settings(max_examples=20)
def test_a_body_gives_back_its_frames(frames: list[bytes]) -> None:
    assert [bytes(one) for one in unpacked(packed(frames))] == frames


@given(st.lists(st.binary(min_size=ENVELOPE_BYTES_MIN, max_size=90), min_size=1, max_size=3), st.data())
@settings(max_examples=20)
def test_a_body_cut_short_yields_what_is_whole_and_is_refused(frames: list[bytes], data: st.DataObject) -> None:
    body = packed(frames)
    cut = data.draw(st.integers(1, 3 + len(frames[-1])))
    got: list[bytes] = []

    with pytest.raises(FrameError, match=r"^malformed: the body ends within"):
        got.extend(bytes(one) for one in unpacked(body[:-cut]))

    assert got == frames[:-1]


def test_a_body_is_bounded() -> None:
    frames = [bytes(limits.FRAME_BYTES_MAX)] * 5

    with pytest.raises(FrameError, match=r"^oversized: "):
        packed(frames)
    with pytest.raises(FrameError, match=r"^oversized: "):
        unpacked(bytes(limits.FRAMES_BODY_BYTES_MAX + 1))


def test_the_frames_of_a_body_are_counted_before_any_is_looked_at() -> None:
    frame = bytes(ENVELOPE_BYTES_MIN)
    most = [frame] * limits.FRAMES_BODY_FRAMES_MAX
    assert len(list(unpacked(packed(most)))) == limits.FRAMES_BODY_FRAMES_MAX

    with pytest.raises(FrameError, match=r"^oversized: more than 256 frames"):
        packed([*most, frame])
    with pytest.raises(FrameError, match=r"^oversized: more than 256 frames"):
        unpacked(bytes(limits.FRAMES_BODY_BYTES_MAX))


def test_what_is_shorter_than_any_frame_ends_a_body() -> None:
    with pytest.raises(FrameError, match=r"^malformed: 71 bytes at byte 4 are shorter"):
        list(unpacked(packed([bytes(ENVELOPE_BYTES_MIN - 1)])))
