"""Layouts: how the records of a schema become columns and, to the byte, records again.

Decisions have one width, so a run of them is a matrix of bytes, a record a row. Turned over, each byte of the record is
a plane: the first byte of all amounts, the second, and so on. A column holds the planes of its field, one behind the
other: what changes slowly then stands together, and zstd needs a quarter less than for columns of whole values. Parquet
calls it BYTE_STREAM_SPLIT. Events are columns as they are: head and body.
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa

from tidegate.frames.refusal import FrameError
from tidegate.records import DECISION, HEAD_BYTES, HEAD_FIELDS, SCHEMAS, Kind, Lane, fingerprint
from tidegate.wire import EVENT_ARROW

Rows = np.ndarray[Any, np.dtype[np.void]]
Bytes = np.ndarray[Any, np.dtype[np.uint8]]

HEAD: Final = np.dtype(HEAD_FIELDS)
_HEAD: Final = struct.Struct("<QQqBBHI")
_TURNED: Final = 256
"""Rows that are turned over at a time: they stay in the cache, where planes of 4,096 bytes push each other out."""


class Layout(Protocol):
    """The records of one schema."""

    @property
    def fingerprint(self) -> str:
        """What names the schema."""
        ...

    @property
    def lane(self) -> Lane:
        """The lane that they are in."""
        ...

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema of their columns."""
        ...

    def ends(self, canonical: memoryview) -> Sequence[int]:
        """Return where each record of a run ends.

        Raises:
            FrameError: malformed: the bytes aren't whole records.
        """
        ...

    def heads(self, canonical: memoryview, ends: Sequence[int]) -> Rows:
        """Return the heads of a run's records, dtype `HEAD`."""
        ...

    def fits(self, count: int, size: int) -> bool:
        """Tell whether so many records may have so many bytes."""
        ...

    def columns(self, canonical: memoryview, ends: Sequence[int]) -> pa.RecordBatch:
        """Return a run as a record batch."""
        ...

    def canonical(self, batch: pa.RecordBatch) -> bytes:
        """Return the run that a valid record batch of `schema` was made of.

        Raises:
            FrameError: malformed: a value is missing, or is none that a record can have.
        """
        ...


class Planes:
    """Rows of one width as planes, and back; `dtype` is packed."""

    def __init__(self, dtype: "np.dtype[np.void]") -> None:
        self.dtype = dtype
        self.fingerprint = fingerprint(repr(dtype.descr))
        self.schema = pa.schema(
            [
                pa.field(name, pa.binary(dtype[name].itemsize), metadata={"type": _told(dtype[name])})
                for name in dtype.names or ()
            ],
            metadata={"schema": self.fingerprint, "layout": "planes"},
        )

    def columns(self, canonical: memoryview, ends: Sequence[int]) -> pa.RecordBatch:
        """Return the planes as columns: each a view of the matrix of bytes turned over."""
        rows = np.frombuffer(canonical, np.uint8).reshape(len(ends), self.dtype.itemsize)
        planes, arrays = np.ascontiguousarray(rows.T), []
        start = 0
        for kind in self.schema.types:
            data = pa.py_buffer(planes[start : start + kind.byte_width])
            arrays.append(pa.FixedSizeBinaryArray.from_buffers(kind, len(ends), [None, data]))
            start += kind.byte_width
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def canonical(self, batch: pa.RecordBatch) -> bytes:
        """Return the matrix of bytes, turned over again."""
        count = batch.num_rows
        planes = [_planes(column, count) for column in batch.columns]
        rows = np.empty((count, self.dtype.itemsize), np.uint8)
        for start in range(0, count, _TURNED):
            rows[start : start + _TURNED] = np.concatenate([some[:, start : start + _TURNED] for some in planes]).T
        return rows.tobytes()


class Decisions(Planes):
    """Records of one width, as planes; `dtype` is packed, its first fields are the head's."""

    lane = Lane.DECISIONS

    def ends(self, canonical: memoryview) -> Sequence[int]:
        """Return where each record ends: after so many bytes each."""
        width = self.dtype.itemsize
        if not len(canonical) or len(canonical) % width:
            raise FrameError("malformed", f"{len(canonical)} bytes are no whole number of records of {width}")
        return range(width, len(canonical) + 1, width)

    def heads(self, canonical: memoryview, ends: Sequence[int]) -> Rows:  # noqa: ARG002 - the width says it
        """Return the heads: the first fields."""
        heads: Rows = np.frombuffer(canonical, self.dtype)[list(HEAD.names or ())]
        if (heads["kind"] != Kind.DECISION).any():
            raise FrameError("malformed", "a record that is no decision is among decisions")
        return heads

    def fits(self, count: int, size: int) -> bool:
        """Tell whether the bytes are those of so many decisions."""
        return size == count * self.dtype.itemsize

    def rows(self, canonical: bytes) -> Rows:
        """Return a run as rows of today's `records.DECISION`: fields that the schema doesn't have yet are zero."""
        rows: Rows = np.frombuffer(canonical, self.dtype)
        if self.dtype == DECISION:
            return rows
        names = list(self.dtype.names or ())
        today = np.zeros(len(rows), DECISION)
        today[names] = rows
        return today


class Events:
    """Records with bodies of any width, as head and body; a kind that this program doesn't know is kept, too."""

    lane = Lane.EVENTS
    fingerprint = SCHEMAS[Lane.EVENTS]
    schema = EVENT_ARROW

    def ends(self, canonical: memoryview) -> Sequence[int]:
        """Return where each record ends, as its head says."""
        ends, at = [], 0
        while at < len(canonical):
            if len(canonical) - at < HEAD_BYTES:
                raise FrameError("malformed", f"the record at byte {at} is cut short")
            at += HEAD_BYTES + int(_HEAD.unpack_from(canonical, at)[-1])
            ends.append(at)
        if not ends or ends[-1] != len(canonical):
            raise FrameError("malformed", f"{len(canonical)} bytes are no whole number of records")
        return ends

    def heads(self, canonical: memoryview, ends: Sequence[int]) -> Rows:
        """Return the heads, gathered."""
        starts = (0, *ends[:-1])
        return np.frombuffer(b"".join(canonical[at : at + HEAD_BYTES] for at in starts), HEAD)

    def fits(self, count: int, size: int) -> bool:
        """Tell whether there are bytes for so many heads."""
        return size >= count * HEAD_BYTES

    def columns(self, canonical: memoryview, ends: Sequence[int]) -> pa.RecordBatch:
        """Return the fields of the heads, and the bodies."""
        heads = self.heads(canonical, ends)
        starts = (0, *ends[:-1])
        bodies = [bytes(canonical[start + HEAD_BYTES : end]) for start, end in zip(starts, ends, strict=True)]
        arrays = [pa.array(np.ascontiguousarray(heads[name])) for name in EVENT_ARROW.names[:-1]]
        return pa.RecordBatch.from_arrays([*arrays, pa.array(bodies, pa.binary())], schema=EVENT_ARROW)

    def canonical(self, batch: pa.RecordBatch) -> bytes:
        """Return heads and bodies, each body behind its head."""
        for column in batch.columns:
            _complete(column)
        *fields, bodies = (column.to_pylist() for column in batch.columns)
        parts: list[bytes] = []
        for seq, pos, time_us, lane, kind, body in zip(*fields, bodies, strict=True):
            parts += (_HEAD.pack(seq, pos, time_us, lane, kind, 0, len(body)), body)
        return b"".join(parts)


def _told(dtype: "np.dtype[Any]") -> str:
    """Return a field's type as numpy writes it: `<i8`, `|S64`, `<f4[40]`."""
    return f"{dtype.base.str}[{dtype.shape[0]}]" if dtype.shape else dtype.str


def _complete(column: pa.Array) -> None:
    if column.null_count:
        raise FrameError("malformed", "a value is missing, which no record leaves out")


def _planes(column: pa.Array, count: int) -> Bytes:
    _complete(column)
    width = column.type.byte_width
    planes: Bytes = np.frombuffer(column.buffers()[1], np.uint8, count * width)
    return planes.reshape(width, count)


KNOWN: Final[Mapping[str, Layout]] = {layout.fingerprint: layout for layout in (Decisions(DECISION), Events())}
"""The layouts that can be read, by fingerprint. One that was in use stays for ever: sites hand in what is weeks old."""

OF_LANE: Final[Mapping[Lane, Layout]] = {lane: KNOWN[name] for lane, name in SCHEMAS.items()}
"""Today's layout of each lane in use."""
