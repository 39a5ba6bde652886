"""Runs: contiguous records of one lane into a frame, and out of it whole and proven."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol, Self

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import ValidationError

from tidegate.frames.envelope import Envelope, Sign, key_id
from tidegate.frames.headers import Coding, Head, Header, Said
from tidegate.frames.layouts import KNOWN, Decisions, Layout, Rows
from tidegate.frames.payload import compressed, read
from tidegate.frames.refusal import FrameError
from tidegate.ids import EpochId, GateId, SiteId
from tidegate.limits import FRAME_RECORDS_MAX
from tidegate.records import HEAD_BYTES, chained

FRAME_MAGIC: Final = b"TGF1"
HEAD_MAGIC: Final = b"TGH1"
SMALL_FRAME_RECORDS: Final = 1_024
"""Frames of fewer records leave the schema out: it takes about 1 KiB, here 1 % of the frame."""


class Origin(NamedTuple):
    """Whose journal it is."""

    site: SiteId
    gate: GateId
    epoch: EpochId


class Signer(NamedTuple):
    """What signs, and the id of its key, see `key_id`."""

    key: str
    sign: Sign


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame whose header was read; signature and records are proven by `verify` and `records`."""

    header: Header
    envelope: Envelope

    @property
    def data(self) -> bytes:
        """The frame as it goes over the wire."""
        return self.envelope.data


@dataclass(frozen=True, slots=True)
class SignedHead:
    """A head that was read; its signature is proven by `verify`."""

    header: Head
    envelope: Envelope

    @property
    def data(self) -> bytes:
        """The head as it goes over the wire."""
        return self.envelope.data

    @classmethod
    def seal(cls, head: Head, sign: Sign) -> Self:
        """Return a head, signed.

        Raises:
            FrameError: oversized.
        """
        return cls(head, Envelope.seal(HEAD_MAGIC, head.canonical(), b"", sign))

    @classmethod
    def parse(cls, data: bytes | memoryview) -> Self:
        """Return the head that bytes hold.

        Raises:
            FrameError: malformed, or oversized.
        """
        envelope = Envelope.open(HEAD_MAGIC, data)
        if envelope.payload:
            raise FrameError("malformed", f"{len(envelope.payload)} bytes follow the head")
        return cls(Head.of(envelope.header), envelope)


@dataclass(frozen=True, slots=True)
class Run:
    """The records of a frame, proven: canonical bytes, and where in them each record ends."""

    header: Header
    layout: Layout
    canonical: bytes
    ends: Sequence[int]

    def each(self) -> Iterator[bytes]:
        """Yield each record's canonical bytes, in order of seq."""
        at = 0
        for end in self.ends:
            yield self.canonical[at:end]
            at = end

    def heads(self) -> Rows:
        """Return the records' heads, dtype of `tidegate.records.HEAD_FIELDS`."""
        return self.layout.heads(memoryview(self.canonical), self.ends)

    def decisions(self) -> Rows:
        """Return decisions as rows of today's `tidegate.records.DECISION`; fields that their site lacked are zero.

        Raises:
            ValueError: the lane is another one.
        """
        if not isinstance(self.layout, Decisions):
            raise ValueError(f"lane {self.header.lane} has no decisions: read the records one by one")  # noqa: TRY004
        return self.layout.rows(self.canonical)


def encode(
    origin: Origin, canonical: bytes, before: bytes, signer: Signer, *, layout: Layout, coding: Coding | None = None
) -> Frame:
    """Return a run of canonical records of one lane as a signed frame.

    `before` is the lane's chain before the first of them, empty where it can't be known any more. Small frames leave
    their schema out.

    Raises:
        FrameError: oversized: send fewer records at a time; contiguity or malformed: they are no run.
    """
    view = memoryview(canonical)
    ends = layout.ends(view)
    heads = layout.heads(view, ends)
    header = _header(origin, heads, signer, layout, canonical=canonical)
    said = {
        "coding": coding or ("batch" if len(ends) < SMALL_FRAME_RECORDS else "arrow"),
        "before": before.hex(),
        "after": chained(before, view, ends).hex() if before else "",
    }
    header = header.model_copy(update=said)
    _prove_heads(header, heads, ends)
    payload = compressed(layout.columns(view, ends), header.coding)
    return Frame(header, Envelope.seal(FRAME_MAGIC, header.canonical(), payload, signer.sign))


def encode_all(origin: Origin, canonical: bytes, before: bytes, signer: Signer, *, layout: Layout) -> Iterator[Frame]:
    """Yield a run of any length as frames, each as large as may be.

    Raises:
        FrameError: as `encode`; oversized only where a single record is too large.
    """
    ends = layout.ends(memoryview(canonical))
    done, at, most = 0, 0, FRAME_RECORDS_MAX
    while done < len(ends):
        stop = min(done + most, len(ends))
        try:
            frame = encode(origin, canonical[at : ends[stop - 1]], before, signer, layout=layout)
        except FrameError as error:
            if error.reason != "oversized" or stop == done + 1:
                raise
            most = (stop - done) // 2
            continue
        yield frame
        done, at, before = stop, ends[stop - 1], bytes.fromhex(frame.header.after)


def parse(data: bytes | memoryview) -> Frame:
    """Return the frame that bytes hold; nothing of its payload is read yet.

    Raises:
        FrameError: malformed, or oversized.
    """
    envelope = Envelope.open(FRAME_MAGIC, data)
    return Frame(Header.of(envelope.header).bounded(), envelope)


class Sealed(Protocol):
    """Whatever is signed: a frame, a head, a part of an artifact."""

    @property
    def header(self) -> Said:
        """Names the key."""

    @property
    def envelope(self) -> Envelope:
        """Holds the signature, and what it is of."""


def verify(one: Sealed, public: Ed25519PublicKey) -> None:
    """Refuse what this key, which the header names, hasn't signed.

    Raises:
        FrameError: signature.
    """
    if one.header.key != key_id(public):
        raise FrameError("signature", f"the header names the key {one.header.key}, not {key_id(public)}")
    one.envelope.verify(public)


def records(frame: Frame, known: Mapping[str, Layout] = KNOWN) -> Run:
    """Return a frame's records, each of them as its header promises.

    Raises:
        FrameError: schema, malformed, oversized, count, contiguity, sha256, or chain.
    """
    header = frame.header
    layout = _layout(header, known)
    batch = read(frame.envelope.payload, header.coding, layout.schema, header.size)
    if batch.num_rows != header.count:
        raise FrameError("count", f"{batch.num_rows} records, the header says {header.count}")
    canonical = layout.canonical(batch)
    if len(canonical) != header.size:
        raise FrameError("count", f"{len(canonical)} bytes of records, the header says {header.size}")
    view = memoryview(canonical)
    ends = layout.ends(view)
    _prove_heads(header, layout.heads(view, ends), ends)
    _prove_hashes(header, view, ends)
    return Run(header, layout, canonical, ends)


def _header(origin: Origin, heads: Rows, signer: Signer, layout: Layout, *, canonical: bytes) -> Header:
    nothing = "0" * 64
    fields: dict[str, Any] = {"lane": int(layout.lane), "schema": layout.fingerprint, "bytes": len(canonical)}
    fields |= {"first": int(heads["seq"][0]), "last": int(heads["seq"][-1]), "pos": int(heads["pos"][0])}
    fields |= {"sha256": hashlib.sha256(canonical).hexdigest(), "coding": "batch", "key": signer.key}
    try:
        return Header(**origin._asdict(), **fields, before=nothing, after=nothing).bounded()
    except ValidationError as error:
        raise FrameError("malformed", f"these records make no header: {error.errors()[0]['msg']}") from None


def _layout(header: Header, known: Mapping[str, Layout]) -> Layout:
    layout = known.get(header.fingerprint)
    if layout is None or layout.lane != header.lane:
        told = f"{header.fingerprint} is no schema of lane {header.lane} that this program knows: upgrade it"
        raise FrameError("schema", told)
    if not layout.fits(header.count, header.size):
        raise FrameError("count", f"{header.count} records of this schema don't have {header.size} bytes")
    return layout


def _prove_heads(header: Header, heads: Rows, ends: Sequence[int]) -> None:
    sizes = np.diff(np.asarray(ends), prepend=0) - HEAD_BYTES
    if (heads["lane"] != header.lane).any() or heads["flags"].any() or (heads["size"] != sizes).any():
        raise FrameError("malformed", "the heads of the records name another lane or size, or flags")
    seq, pos = heads["seq"], heads["pos"]
    if len(heads) != header.count:
        raise FrameError("count", f"{len(heads)} records, the header says {header.count}")
    if int(seq[0]) != header.first or (seq[1:] - seq[:-1] != 1).any():
        raise FrameError("contiguity", f"seq doesn't go from {header.first} to {header.last} without a gap")
    if int(pos[0]) != header.pos or (pos[1:] <= pos[:-1]).any():
        raise FrameError("contiguity", f"pos doesn't rise from {header.pos}")


def _prove_hashes(header: Header, canonical: memoryview, ends: Sequence[int]) -> None:
    if hashlib.sha256(canonical).hexdigest() != header.sha256:
        raise FrameError("sha256", "the records aren't those that were signed")
    if header.before and chained(bytes.fromhex(header.before), canonical, ends).hex() != header.after:
        raise FrameError("chain", f"the chain doesn't lead from {header.before[:8]}… to {header.after[:8]}…")
