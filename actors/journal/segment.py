"""Reads the bytes of one segment: appends that verify, the gaps between them, and records as objects or columns."""

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from crc32c import crc32c

from actors.journal.layout import APPEND_BYTES, APPEND_MAGIC, HEADER_BYTES, LANES, Append, parse_append
from tidegate.errors import JournalFormatError
from tidegate.records import DECISION, HEAD_BYTES, HEAD_FIELDS, Kind, Lane, Record

_CODES: Final = {"<u8": "Q", "<i8": "q", "u1": "B", "<u2": "H", "<u4": "I"}
_HEAD: Final = struct.Struct("<" + "".join(_CODES[code] for _, code in HEAD_FIELDS))
_LANES: Final = {int(lane): lane for lane in Lane}
_KINDS: Final = {int(kind): kind for kind in Kind}


class Gap(NamedTuple):
    """Bytes of a segment that are no append: damage, a torn write, or what was never written."""

    start: int
    stop: int


class Columns(NamedTuple):
    """A run of decisions: `rows` of dtype DECISION and, for each, its locator (int64)."""

    locators: npt.NDArray[np.int64]
    rows: npt.NDArray[np.void]


def used_bytes(raw: bytes) -> int:
    """Return how many bytes there are up to the last that is not zero."""
    return len(raw.rstrip(b"\0"))


def record_bytes(data: bytes | bytearray, at: int = 0) -> int:
    """Return how long the record at `at` says it is, head included."""
    return HEAD_BYTES + int.from_bytes(data[at + HEAD_BYTES - 4 : at + HEAD_BYTES], "little")


def pieces(raw: bytes, seed: int) -> Iterator[Append | Gap]:
    """Yield what stands behind the header, in order and without a hole: appends that verify, and gaps."""
    view = memoryview(raw)
    at = HEADER_BYTES
    while at < len(raw):
        append = parse_append(view, at, seed)
        if append is None:
            stop = _next_append(raw, view, at + 1, seed)
            yield Gap(at, stop)
            at = stop
        else:
            yield append
            at = append.stop


RecordHead = tuple[int, int, Lane, Kind, int, int, int]
"""Start and stop of a record, its lane, kind, seq, pos and time_us."""


def heads(raw: bytes, append: Append, file: str) -> Iterator[RecordHead]:
    """Yield the heads of the records of an append that verified.

    Raises:
        JournalFormatError: one is of a kind or lane that this program doesn't know.
    """
    at = append.start + APPEND_BYTES
    while at < append.stop:
        seq, pos, time_us, lane, kind, _flags, size = _HEAD.unpack_from(raw, at)
        body = at + HEAD_BYTES
        if kind not in _KINDS or lane not in _LANES:
            raise JournalFormatError(
                f"{file}: record {pos} at byte {at} is of lane {lane}, kind {kind}, which this program doesn't know; "
                "start the program that wrote it",
            )
        yield at, body + size, _LANES[lane], _KINDS[kind], seq, pos, time_us
        at = body + size


def records(raw: bytes, append: Append, file: str) -> Iterator[tuple[int, Record]]:
    """Yield the records of an append that verified, each with its offset.

    Raises:
        JournalFormatError: as `heads`.
    """
    for start, stop, lane, kind, seq, pos, time_us in heads(raw, append, file):
        yield start, Record(lane, kind, seq, pos, time_us, raw[start + HEAD_BYTES : stop])


def entries(raw: bytes, seed: int, base: int, file: str) -> Iterator[tuple[int, Record]]:
    """Yield the segment's records that verify, with their locators; `base` is the locator of its first byte.

    Raises:
        JournalFormatError: as `heads`.
    """
    for piece in pieces(raw, seed):
        if isinstance(piece, Append):
            for offset, record in records(raw, piece, file):
                yield base + offset, record


# --- Columns. Most appends are one decision: equally wide, so that a stretch of them is a table. ---
_SINGLE: Final = np.dtype(
    [
        ("magic", "<u4"),
        ("checksum", "<u4"),
        ("size", "<u4"),
        ("count", "<u4"),
        ("offset", "<u4"),
        ("pad", "<u4"),
        ("durable_pos", "<u8"),
        ("first_pos", "<u8"),
        ("next_seqs", "<u8", (LANES,)),
        ("row", DECISION),
    ]
)
_MAGIC: Final = int.from_bytes(APPEND_MAGIC, "little")
_UNCHECKED_BYTES: Final = 8
_LOOK_AHEAD: Final = 1_024
"""Rows looked at at once: enough to pay for numpy, few enough to waste little where appends are mixed."""


class Stretch(NamedTuple):
    """Appends that verify, bytes [`start`, `stop`): decisions, each `width` bytes behind the other, or one append."""

    start: int
    stop: int
    rows: npt.NDArray[np.void] | None
    width: int
    append: Append | None

    def offsets(self) -> npt.NDArray[np.int64]:
        """Return where the decisions begin."""
        count = 0 if self.rows is None else len(self.rows)
        return np.arange(count, dtype=np.int64) * self.width + (self.start + APPEND_BYTES)


def stretches(raw: bytes, seed: int, *, start: int = HEADER_BYTES, origin: int = 0) -> Iterator[Stretch]:
    """Yield the appends that verify from `start` on, in order; those of one decision each, many at a time.

    `origin` is the offset of the first byte of `raw` in its segment.
    """
    view = memoryview(raw)
    at = start
    while at < len(raw):
        table = _singles(raw, view, at, seed, origin)
        if len(table):
            stop = at + len(table) * _SINGLE.itemsize
            yield Stretch(at, stop, table["row"], _SINGLE.itemsize, None)
            at = stop
            continue
        append = parse_append(view, at, seed, origin)
        if append is None:
            at = _next_append(raw, view, at + 1, seed, origin)
            continue
        yield Stretch(at, append.stop, _all_decisions(raw, append), DECISION.itemsize, append)
        at = append.stop


def columns(raw: bytes, seed: int, base: int, file: str) -> Iterator[Columns | tuple[int, Record]]:
    """Yield the segment's records in order: runs of decisions as columns, the others with their locators.

    `base` is the locator of the segment's first byte.

    Raises:
        JournalFormatError: a record is of a kind that this program doesn't know.
    """
    for stretch in stretches(raw, seed):
        if stretch.rows is not None:
            yield Columns(base + stretch.offsets(), stretch.rows)
        elif stretch.append is not None:
            yield from ((base + offset, record) for offset, record in records(raw, stretch.append, file))


def _singles(raw: bytes, view: memoryview, at: int, seed: int, origin: int) -> npt.NDArray[np.void]:
    """Return the appends of one decision each that follow each other from `at`, and verify."""
    width = _SINGLE.itemsize
    count = min(_LOOK_AHEAD, (len(raw) - at) // width)
    table = np.frombuffer(raw, _SINGLE, count, at) if count else np.empty(0, _SINGLE)
    alike = (table["magic"] == _MAGIC) & (table["size"] == width) & (table["count"] == 1)
    alike &= table["offset"] == origin + at + np.arange(count) * width
    alike &= table["row"]["lane"] == int(Lane.DECISIONS)
    count = count if alike.all() else int(alike.argmin())
    for index, checksum in enumerate(table["checksum"][:count].tolist()):
        start = at + index * width
        if crc32c(view[start + _UNCHECKED_BYTES : start + width], seed) != checksum:
            return table[:index]
    return table[:count]


def _all_decisions(raw: bytes, append: Append) -> npt.NDArray[np.void] | None:
    """Return the rows of an append that holds nothing but decisions."""
    if append.stop - append.start != APPEND_BYTES + append.records * DECISION.itemsize:
        return None
    rows: npt.NDArray[np.void] = np.frombuffer(raw, DECISION, append.records, append.start + APPEND_BYTES)
    return rows if (rows["lane"] == int(Lane.DECISIONS)).all() else None


def _next_append(raw: bytes, view: memoryview, at: int, seed: int, origin: int = 0) -> int:
    """Return where the next append that verifies begins, from `at` on; the segment's end where there is none."""
    while (at := raw.find(APPEND_MAGIC, at)) >= 0:
        if parse_append(view, at, seed, origin) is not None:
            return at
        at += 1
    return len(raw)
