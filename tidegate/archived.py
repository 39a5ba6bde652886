"""Archived: how the past is stored for good, in types that every reader of Parquet knows, and back to the bit.

The tables of `tidegate.history` as an archive keeps them. Whoever writes them and whoever reads them meet here; each is
appended to only, so that what a table doesn't know yet is joined to it when it comes, never written into it.

    decisions  source, day, and every field of `records.DECISION`; texts as text, unsigned integers as signed ones
    events     source, day, and every record of the events lane as it came; what the other tables were made of
    labels     as in `tidegate.history`, with the day on which the gate received them
    lists      each set of lists that became active at a source; its text is an artifact
    policies   each policy that became active at a source, with its terms
    bundles    each model whose manifest came, and when it was trained
    artifacts  the parts of texts that records name by digest: `l-` or `b-` and the first 12 digits of the SHA-256

`day` is the UTC day of the record's own time at its site, never that of its arrival: what comes a week late lies in
the day in which it happened. Nor is it the day that a request claims, which a device's wrong clock may put anywhere.
A site's clock may be wrong, too: days before 2020 and behind the day after the record's arrival lie at these ends, so
that folders stay few, whatever clocks say. So whoever looks for a time asks for it, not for a day.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, Self, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tidegate.history import schema_of as history_schema
from tidegate.limits import ARCHIVE_DAY_MAX, ARCHIVE_DAY_MIN, ARCHIVE_DAYS_AHEAD, DAY_US
from tidegate.records import DECISION, FEATURE_SLOTS, REASON_SLOTS, SCHEMAS, Lane

Rows = np.ndarray[Any, Any]
Kept = Literal["decisions", "events", "labels", "lists", "policies", "bundles", "artifacts"]
KEPT: Final[tuple[Kept, ...]] = get_args(Kept)
BY_DAY: Final[dict[Kept, str]] = {"decisions": "time_us", "events": "time_us", "labels": "received_us"}
"""Tables partitioned by day, and the column of time that the day is of."""
LAYOUT: Final = 1
"""Grows when a table's columns change otherwise than by new ones."""
GROWN: Final = "tidegate.grown"
"""In the metadata of a column that came to a table later: rows of before have no value in it."""
_LISTS: Final = {"features": (pa.float32(), FEATURE_SLOTS), "reasons": (pa.int32(), REASON_SLOTS)}
_BYTES: Final = frozenset({"request_hash"})
_SIGNED: Final = {"u1": pa.int16(), "u2": pa.int32(), "u4": pa.int64(), "u8": pa.int64()}
_ASCII_MAX: Final = 127
_LATEST_US: Final = ARCHIVE_DAY_MAX * DAY_US


def _type_of(name: str) -> pa.DataType:
    dtype = DECISION[name]
    if name in _LISTS:
        return pa.list_(pa.field("element", _LISTS[name][0]))
    if dtype.kind == "S":
        return pa.binary() if name in _BYTES else pa.string()
    return _SIGNED.get(dtype.str[1:]) or pa.from_numpy_dtype(dtype)


_WHERE: Final = [("source", pa.string()), ("day", pa.date32())]
_SCHEMAS: Final[dict[Kept, pa.Schema]] = {
    "decisions": pa.schema([*_WHERE, *((name, _type_of(name)) for name in DECISION.names or ())]),
    "events": pa.schema(
        [
            *_WHERE,
            ("seq", pa.int64()),
            ("pos", pa.int64()),
            ("time_us", pa.int64()),
            ("kind", pa.int16()),
            ("body", pa.binary()),
        ]
    ),
    "labels": pa.schema(
        [
            *_WHERE,
            ("received_us", pa.int64()),
            *((name, pa.string()) for name in ("merchant", "transaction_id", "label_id", "verdict")),
            ("known_us", pa.int64()),
        ]
    ),
    "lists": pa.schema(
        [
            ("source", pa.string()),
            ("version", pa.int64()),
            ("from_us", pa.int64()),
            ("as_of_us", pa.int64()),
            ("lists", pa.string()),
        ]
    ),
    "policies": pa.schema(
        [("source", pa.string()), ("policy", pa.string()), ("from_us", pa.int64()), ("terms", pa.string())]
    ),
    "bundles": pa.schema([("bundle", pa.string()), ("trained_at_us", pa.int64())]),
    "artifacts": pa.schema(
        [
            ("sha256", pa.string()),
            ("kind", pa.string()),
            ("part", pa.int32()),
            ("parts", pa.int32()),
            ("text", pa.string()),
        ]
    ),
}


def schema_of(table: Kept) -> pa.Schema:
    """Return a table's schema."""
    return _SCHEMAS[table]


def told_of(table: Kept) -> str:
    """Return what a table says of itself: another text means other columns."""
    lane = Lane.DECISIONS if table == "decisions" else Lane.EVENTS
    return f"tidegate {table}, layout {LAYOUT}, records {SCHEMAS[lane]}"


def lacking(table: Kept, told: str | None, found: pa.Schema) -> list[pa.Field]:
    """Return the columns that a table lacks since an older tidegate made it; `told` is what it says of itself.

    Columns are only ever added: rows of before have no value there, and read as zero, as fields of older records do.

    Raises:
        ValueError: it is none of ours, or a newer tidegate's; the message says what to do.
    """
    ours = schema_of(table)
    if not (told or "").startswith(f"tidegate {table}, layout {LAYOUT},"):
        raise ValueError(f"is {told or 'no table of tidegate'}, this program has {told_of(table)}")
    if strange := [name for name in found.names if name not in ours.names]:
        raise ValueError(f"a newer tidegate keeps {', '.join(strange)} in it: upgrade this program")
    if changed := [field.name for field in found if field.type != ours.field(field.name).type]:
        raise ValueError(f"{', '.join(changed)} is of another type: restore the archive from its copy")
    return [field for field in ours if field.name not in found.names]


class Pin(NamedTuple):
    """One version of the whole archive: a version of each table, written `41.40.7.1.1.1.2`."""

    decisions: int
    events: int
    labels: int
    lists: int
    policies: int
    bundles: int
    artifacts: int

    def __str__(self) -> str:
        return ".".join(map(str, self))

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the versions that `text` writes, or None where it writes none."""
        parts = text.split(".")
        if len(parts) != len(cls._fields) or not all(part.isascii() and part.isdigit() for part in parts):
            return None
        return cls(*map(int, parts))


def days_of(times_us: Rows, latest_us: int = _LATEST_US) -> np.ndarray[Any, np.dtype[np.int32]]:
    """Return the days of times, counted from 1970, those out of bounds at their ends; `latest_us`: when they came."""
    last = min(latest_us // DAY_US + ARCHIVE_DAYS_AHEAD, ARCHIVE_DAY_MAX)
    days: np.ndarray[Any, np.dtype[np.int32]] = np.clip(times_us // DAY_US, ARCHIVE_DAY_MIN, last).astype(np.int32)
    return days


def _days(times_us: Rows, latest_us: int) -> pa.Array:
    return pa.array(days_of(times_us, latest_us)).cast(pa.date32())


def _repeated(text: str, count: int) -> pa.Array:
    return pa.repeat(pa.scalar(text, pa.string()), count)


def decisions(source: str, rows: Rows, latest_us: int = _LATEST_US) -> pa.RecordBatch:
    """Return a run of decisions of one source, dtype `records.DECISION`, as they are stored."""
    columns = [_repeated(source, len(rows)), _days(rows["time_us"], latest_us)]
    columns += [_column(rows[name], name) for name in DECISION.names or ()]
    return pa.RecordBatch.from_arrays(columns, schema=schema_of("decisions"))


def events(source: str, heads: Rows, bodies: Sequence[bytes], latest_us: int = _LATEST_US) -> pa.RecordBatch:
    """Return a run of records of the events lane of one source as they are stored; `heads` as in `HEAD_FIELDS`."""
    columns = [_repeated(source, len(heads)), _days(heads["time_us"], latest_us)]
    columns += [pa.array(heads[name].astype(np.int64)) for name in ("seq", "pos", "time_us")]
    columns += [pa.array(heads["kind"].astype(np.int16)), pa.array(bodies, pa.binary())]
    return pa.RecordBatch.from_arrays(columns, schema=schema_of("events"))


def batch_of(table: Kept, rows: Iterable[Mapping[str, Any]], latest_us: int = _LATEST_US) -> pa.RecordBatch:
    """Return rows of one of the smaller tables as they are stored.

    Raises:
        ValueError: a row lacks a field, or has one of another type.
    """
    schema, told = schema_of(table), list(rows)
    if table in BY_DAY:
        days = days_of(np.array([row[BY_DAY[table]] for row in told], np.int64), latest_us).tolist()
        told = [{**row, "day": day} for row, day in zip(told, days, strict=True)]
    for row in told:
        if missing := [name for name in schema.names if row.get(name) is None]:
            raise ValueError(f"{table}: a row has no {', '.join(missing)}")
    columns = {field.name: [row[field.name] for row in told] for field in schema}
    try:
        arrays = [
            pa.array(columns[field.name], pa.int32()).cast(field.type)
            if pa.types.is_date32(field.type)
            else pa.array(columns[field.name], field.type)
            for field in schema
        ]
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise ValueError(f"{table}: {error}") from error
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def restored(batch: pa.RecordBatch, columns: Sequence[str], grown: Collection[str] = frozenset()) -> pa.RecordBatch:
    """Return stored decisions as a batch of `tidegate.history`, to the bit; what is missing in `grown` columns is zero.

    Raises:
        ValueError: a value is missing, or wider than its field.
    """
    schema = history_schema("decisions", columns)
    batch = _filled(batch, [name for name in grown if name in columns])
    arrays = [
        batch.column(name).cast(pa.string()).dictionary_encode() if name == "source" else _restored(batch, name)
        for name in columns
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _filled(batch: pa.RecordBatch, names: Iterable[str]) -> pa.RecordBatch:
    """Return a batch with zeros where columns have no value."""
    for name in names:
        zero = _column(np.zeros(1, DECISION)[name], name)[0]
        at = batch.schema.get_field_index(name)
        whole = pc.if_else(pc.is_null(batch.column(name)), zero, batch.column(name))
        batch = batch.set_column(at, batch.schema.field(at), whole)
    return batch


def _column(values: Rows, name: str) -> pa.Array:
    kind = _type_of(name)
    values = np.ascontiguousarray(values)
    if name in _LISTS:
        item, width = _LISTS[name]
        offsets = np.arange(len(values) + 1, dtype=np.int32) * width
        flat = values.reshape(-1).astype(item.to_pandas_dtype(), copy=False)
        return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat), type=kind)
    if name in _BYTES:
        width = values.dtype.itemsize
        return pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(width), len(values), [None, pa.py_buffer(values.tobytes())]
        ).cast(kind)
    if values.dtype.kind == "S":
        return _texts(values)
    return pa.array(values.astype(kind.to_pandas_dtype(), copy=False))


def _texts(values: Rows) -> pa.Array:
    """Return texts of fixed width, ended by zeros, as text; Latin-1 where it isn't ASCII, which loses nothing."""
    width = values.dtype.itemsize
    cells = values.view(np.uint8).reshape(len(values), width)
    if cells.max(initial=0) > _ASCII_MAX:
        return pa.array([text.decode("latin-1") for text in values.tolist()], pa.string())
    filled = cells != 0
    lengths = np.where(filled.any(axis=1), width - np.argmax(filled[:, ::-1], axis=1), 0)
    offsets = np.zeros(len(values) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    data = cells[np.arange(width) < lengths[:, None]]
    return pa.StringArray.from_buffers(len(values), pa.py_buffer(offsets), pa.py_buffer(data))


def _restored(batch: pa.RecordBatch, name: str) -> pa.Array:
    column, dtype, kind = batch.column(name), DECISION[name], history_schema("decisions", (name,)).field(name).type
    if column.null_count:
        raise ValueError(f"decisions: {name}: a value is missing, which no record leaves out; the table is damaged")
    if name in _LISTS:
        flat = column.flatten()
        width = _LISTS[name][1]
        if len(flat) != batch.num_rows * width or flat.null_count:
            raise ValueError(f"decisions: {name}: {len(flat)} values in {batch.num_rows} rows, expected {width} each")
        values = np.asarray(flat).astype(kind.value_type.to_pandas_dtype(), copy=False)
        return pa.FixedSizeListArray.from_arrays(pa.array(values), type=kind)
    if dtype.kind == "S":
        return pa.FixedSizeBinaryArray.from_buffers(kind, batch.num_rows, [None, pa.py_buffer(_fixed(column, name))])
    return pa.array(np.asarray(column).astype(dtype, copy=False))


def _fixed(column: pa.Array, name: str) -> bytes:
    """Return a column of texts or bytes as fields of fixed width, ended by zeros."""
    width = DECISION[name].itemsize
    offsets = np.frombuffer(column.buffers()[1], np.int32)[column.offset :][: len(column) + 1]
    data = np.frombuffer(column.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]]
    if name not in _BYTES and data.max(initial=0) > _ASCII_MAX:
        return _latin(column, name, width)
    lengths = np.diff(offsets)
    if lengths.max(initial=0) > width:
        raise ValueError(f"decisions: {name}: a value is longer than {width} bytes; another program wrote it")
    cells = np.zeros((len(column), width), np.uint8)
    cells[np.arange(width) < lengths[:, None]] = data
    return cells.tobytes()


def _latin(column: pa.Array, name: str, width: int) -> bytes:
    texts = [text.encode("latin-1") for text in column.to_pylist()]
    if max(map(len, texts)) > width:
        raise ValueError(f"decisions: {name}: a value is longer than {width} bytes; another program wrote it")
    return b"".join(text.ljust(width, b"\0") for text in texts)
