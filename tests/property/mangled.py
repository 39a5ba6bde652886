"""Frames as nobody should send them: changed on the way, or made up by an enrolled site with a true key.

A case is a number: it gives the same bytes each time. `python -m tests.bench.fuzz_frames` tries millions of them.
"""

import random
import struct
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import numpy as np
import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tidegate.frames import OF_LANE, Coding, Frame, FrameError, Origin, Signer, encode, key_id, parse, records, verify
from tidegate.frames.envelope import Envelope
from tidegate.ids import EpochId, GateId, SiteId
from tidegate.records import (
    CHAIN_START,
    DECISION,
    DECISION_BODY_BYTES,
    SCHEMAS,
    Kind,
    Lane,
    Record,
    event_body,
)

KEY: Final = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC: Final = KEY.public_key()
_SIGNER: Final = Signer(key_id(PUBLIC), KEY.sign)
_ORIGIN: Final = Origin(SiteId("site-1"), GateId("g0"), EpochId("0123456789abcdef"))
_WORDS: Final = (0, 1, 2, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 62, (1 << 63) - 1, (1 << 64) - 1)
_METADATA_BYTES: Final = 8_000  # about so many bytes of a stream say where the others are


def decisions(count: int) -> bytes:
    """Return decisions that compress about as real ones do."""
    rng, rows = np.random.default_rng(count), np.zeros(count, DECISION)
    rows["seq"] = 1 + np.arange(count)
    rows["pos"] = 3 + 2 * np.arange(count)
    rows["lane"], rows["kind"], rows["size"] = Lane.DECISIONS, Kind.DECISION, DECISION_BODY_BYTES
    rows["transaction_id"] = [rng.bytes(16).hex().encode() for _ in range(count)]
    rows["features"] = rng.lognormal(0, 1, rows["features"].shape)
    return rows.tobytes()


def events(count: int) -> bytes:
    """Return events of growing length."""
    return b"".join(
        Record(Lane.EVENTS, Kind.LABEL_RECEIVED, n, n, n, event_body({"n": "x" * (n % 50)})).to_bytes()
        for n in range(1, count + 1)
    )


@cache
def examples() -> tuple[tuple[Frame, bytes], ...]:
    """Return true frames of both lanes and codings, with what is in them."""
    made: list[tuple[Frame, bytes]] = []
    codings: tuple[Coding, ...] = ("arrow", "batch")
    for lane, make in ((Lane.DECISIONS, decisions), (Lane.EVENTS, events)):
        for coding in codings:
            for count in (1, 3, 300):
                run = make(count)
                made.append((encode(_ORIGIN, run, CHAIN_START, _SIGNER, layout=OF_LANE[lane], coding=coding), run))
    return tuple(made)


def _flip(rng: random.Random, data: bytes, within: int) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        at = rng.randrange(min(within, len(data)))
        changed[at] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _overwrite(rng: random.Random, data: bytes, within: int) -> bytes:
    """Put numbers that programs stumble over where numbers stand."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        size, kind = rng.choice(((2, "<H"), (4, "<I"), (8, "<Q")))
        at = rng.randrange(max(min(within, len(data)) // 2 - 4, 1)) * 2
        struct.pack_into(kind, changed, at, rng.choice(_WORDS) & ((1 << 8 * size) - 1))
    return bytes(changed)


def _splice(rng: random.Random, data: bytes, within: int) -> bytes:
    """Leave a piece out, say one twice, or put zeros between."""
    start, stop = sorted(rng.randrange(min(within, len(data))) for _ in range(2))
    piece = rng.choice((b"", data[start:stop] * 2, bytes(stop - start + 8)))
    return data[:start] + piece + data[stop:]


_HOW: Final = (_flip, _overwrite, _splice)


def _sealed(header: bytes, payload: bytes) -> bytes:
    return Envelope.seal(b"TGF1", header, payload, KEY.sign).data


def on_the_way(rng: random.Random, frame: Frame) -> bytes:
    """Return a frame of which the network changed something."""
    data = frame.data
    how = rng.choice((_flip, _splice, lambda *_: data[: rng.randrange(len(data))], lambda *_: data + b"\0"))
    return how(rng, data, len(data))


def _other_header(rng: random.Random, frame: Frame) -> dict[str, Any]:
    header = frame.header
    near = rng.choice((-1, 1, 1 << 20, 1 << 62))
    some = rng.choice(examples())[0].header
    changes: tuple[dict[str, Any], ...] = (
        {"first": max(header.first + near, 1), "last": max(header.last + near, 1)},
        {"last": header.last + abs(near)},
        {"pos": abs(header.pos + near)},
        {"size": max(header.size + near, 32)},
        {"sha256": rng.randbytes(32).hex()},
        {"before": rng.randbytes(32).hex()},
        {"after": rng.randbytes(32).hex()},
        {"lane": rng.randrange(4), "fingerprint": rng.choice([*SCHEMAS.values(), "0" * 16])},
        {"coding": some.coding},
        {"first": some.first, "last": some.last, "size": some.size},
    )
    return rng.choice(changes)


def of_another_header(rng: random.Random, frame: Frame) -> bytes:
    """Return a frame whose header says something else, signed by the true key."""
    header = frame.header.model_copy(update=_other_header(rng, frame)).canonical()
    if rng.random() < 0.2:
        header = rng.choice(_HOW)(rng, header, len(header))
    return _sealed(header, bytes(frame.envelope.payload))


def of_another_payload(rng: random.Random, frame: Frame) -> bytes:
    """Return a frame with other compressed bytes, or another frame's, signed by the true key."""
    payload = bytes(frame.envelope.payload)
    if rng.random() < 0.2:
        return _sealed(frame.envelope.header, bytes(rng.choice(examples())[0].envelope.payload))
    return _sealed(frame.envelope.header, rng.choice(_HOW)(rng, payload, rng.choice((20, len(payload)))))


def of_other_columns(rng: random.Random, frame: Frame) -> bytes:
    """Return a frame whose Arrow bytes were changed within the compression, signed by the true key."""
    inside = zstandard.decompress(frame.envelope.payload)
    changed = rng.choice(_HOW)(rng, inside, rng.choice((400, _METADATA_BYTES, len(inside))))
    return _sealed(frame.envelope.header, zstandard.compress(changed, 1))


WAYS: Final[tuple[Callable[[random.Random, Frame], bytes], ...]] = (
    on_the_way,
    of_another_header,
    of_another_payload,
    of_other_columns,
)


def tried(case: int) -> str:
    """Read one mangled frame and return the reason why it was refused, or `same` where what counts is unchanged.

    Raises:
        AssertionError: it was taken though it isn't what the site journaled.
        Exception: anything else than `FrameError` is a fault of the decoder.
    """
    rng = random.Random(case)
    frame, run = rng.choice(examples())
    way = rng.choice(WAYS)
    try:
        data = way(rng, frame)
    except FrameError as error:  # larger than a frame may be: it can't even be made
        return error.reason
    try:
        read = parse(data)
        verify(read, PUBLIC)
        out = records(read)
    except FrameError as error:
        return error.reason
    if data != frame.data and (way is on_the_way or out.canonical != run):
        raise AssertionError(f"case {case}: taken though {way.__name__} changed it")
    return "same"
