"""Arrow views of records: what passes between the tiers. A view is lossless: its columns give the bytes back."""

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import pyarrow as pa

from tidegate.records import DECISION, FEATURE_SLOTS, REASON_SLOTS, SCHEMAS, Lane, Record

Columns = np.ndarray[Any, Any]

_LISTS: Final[dict[str, tuple[np.dtype[Any], int]]] = {
    "features": (np.dtype("<f4"), FEATURE_SLOTS),
    "reasons": (np.dtype("<u2"), REASON_SLOTS),
}


def _arrow_type(name: str) -> pa.DataType:
    dtype = DECISION[name]
    if name in _LISTS:
        item, width = _LISTS[name]
        return pa.list_(pa.from_numpy_dtype(item), width)
    if dtype.kind == "S":
        return pa.binary(dtype.itemsize)
    return pa.from_numpy_dtype(dtype)


def decision_schema() -> pa.Schema:
    """Return the Arrow schema of decisions: a column a field of `records.DECISION`, fixed widths kept."""
    names = DECISION.names or ()
    return pa.schema([(name, _arrow_type(name)) for name in names], metadata={"schema": SCHEMAS[Lane.DECISIONS]})


def _column(records: Columns, name: str) -> pa.Array:
    kind = _arrow_type(name)
    values = np.ascontiguousarray(records[name])
    if name in _LISTS:
        return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), type=kind)
    if values.dtype.kind == "S":
        return pa.FixedSizeBinaryArray.from_buffers(kind, len(values), [None, pa.py_buffer(values.tobytes())])
    return pa.array(values)


def decision_columns(records: Columns, names: Iterable[str]) -> list[pa.Array]:
    """Return fields of rows of dtype `records.DECISION` as columns."""
    return [_column(records, name) for name in names]


def decisions_to_arrow(canonical: bytes | memoryview) -> pa.RecordBatch:
    """Return a run of canonical decision records (n times `DECISION.itemsize` bytes) as columns.

    Raises:
        ValueError: the run isn't a whole number of records.
    """
    records = np.frombuffer(canonical, DECISION)
    schema = decision_schema()
    return pa.RecordBatch.from_arrays(decision_columns(records, schema.names), schema=schema)


def _items_null(column: pa.Array) -> bool:
    return bool(pa.types.is_fixed_size_list(column.type)) and int(column.flatten().null_count) > 0


def _values(column: pa.Array, name: str, rows: int) -> Columns:
    dtype = DECISION[name]
    if name in _LISTS:
        item, width = _LISTS[name]
        return np.asarray(column.flatten()).astype(item, copy=False).reshape(rows, width)
    if dtype.kind == "S":
        start = column.offset * dtype.itemsize
        data = memoryview(column.buffers()[1])[start : start + rows * dtype.itemsize]
        return np.frombuffer(data, dtype, rows)
    return np.asarray(column)


def arrow_to_decisions(batch: pa.RecordBatch) -> bytes:
    """Return the canonical bytes that `decisions_to_arrow` made `batch` of.

    Raises:
        ValueError: the batch has another schema, or a value is missing.
    """
    if not batch.schema.equals(decision_schema(), check_metadata=True):
        raise ValueError(f"decisions: the batch's schema is not {SCHEMAS[Lane.DECISIONS]}; upgrade the reader")
    records = np.zeros(batch.num_rows, DECISION)
    fill(records, batch, batch.schema.names)
    return records.tobytes()


def fill(records: Columns, batch: pa.RecordBatch, names: Iterable[str]) -> None:
    """Set fields of rows of dtype `records.DECISION` from a batch's columns of the same names.

    Raises:
        ValueError: a value is missing, or of another type.
    """
    for name in names:
        column = batch.column(name)
        if column.type != _arrow_type(name):
            raise ValueError(f"decisions: {name} is {column.type}, expected {_arrow_type(name)}; upgrade the reader")
        if column.null_count or _items_null(column):
            raise ValueError("decisions: a value is missing, which no record leaves out; the batch is damaged")
        records[name] = _values(column, name, batch.num_rows)


EVENT_ARROW: Final = pa.schema(
    [
        ("seq", pa.uint64()),
        ("pos", pa.uint64()),
        ("time_us", pa.int64()),
        ("lane", pa.uint8()),
        ("kind", pa.uint8()),
        ("body", pa.binary()),
    ],
    metadata={"schema": SCHEMAS[Lane.EVENTS]},
)


def events_to_arrow(records: list[Record]) -> pa.RecordBatch:
    """Return records with bodies of any width as columns; the body stays as it is."""
    rows = [
        {"seq": r.seq, "pos": r.pos, "time_us": r.time_us, "lane": int(r.lane), "kind": int(r.kind), "body": r.body}
        for r in records
    ]
    return pa.RecordBatch.from_pylist(rows, schema=EVENT_ARROW)


def write_stream(batch: pa.RecordBatch) -> bytes:
    """Return a batch as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def read_stream(data: bytes) -> pa.RecordBatch:
    """Return the one batch of an Arrow IPC stream.

    Raises:
        ValueError: it is no such stream, or holds another number of batches.
    """
    batches = list(pa.ipc.open_stream(data))
    if len(batches) != 1:
        raise ValueError(f"expected one batch in the stream, found {len(batches)}")
    return batches[0]
