"""Which rows a table has already, by what they are rather than by where they came from: for a log that was put back.

Sites send again what such a log lost, in frames that may be cut otherwise, at once or weeks later. So a partition that
was rejoined to its log has each of its rows looked up, for good; of new ones no file can have the numbers, so that the
tables' own statistics answer for nearly all.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from serve_apps.archive.ports import Piece
from tidegate.archived import Kept, schema_of

_IDS: Final[Mapping[Kept, tuple[str, ...]]] = {
    "decisions": ("source", "seq"),
    "events": ("source", "seq"),
    "labels": tuple(name for name in schema_of("labels").names if name != "day"),
    "lists": tuple(schema_of("lists").names),
    "policies": tuple(schema_of("policies").names),
    "bundles": tuple(schema_of("bundles").names),
    "artifacts": ("sha256", "kind", "part", "parts"),
}
"""What tells a row from all others; a label's `day` may depend on when it came."""
_SPANS: Final[Mapping[Kept, str]] = {"decisions": "seq", "events": "seq", "labels": "received_us"}
"""By which numbers a table's files can be told apart, within a source."""


class Asked(NamedTuple):
    """Which rows of a table to look at, and which columns."""

    columns: tuple[str, ...]
    where: pc.Expression


def unknown(
    table: Kept, pieces: Sequence[Piece], apps: Collection[str], found: Callable[[Asked], pa.Table]
) -> list[pa.RecordBatch]:
    """Return the pieces' rows without those of `apps` that the table has; `found` reads it."""
    looked = [piece.batch for piece in pieces if piece.app in apps]
    others = [piece.batch for piece in pieces if piece.app not in apps]
    if not looked:
        return others
    offered = pa.Table.from_batches(looked)
    columns = _IDS[table]
    there = set(_ids(found(Asked(columns, _where(table, offered))), columns))
    wanted = []
    for row in _ids(offered, columns):
        wanted.append(row not in there)
        there.add(row)
    return [*others, *offered.filter(pa.array(wanted, pa.bool_())).to_batches()]


def _ids(rows: pa.Table, columns: Sequence[str]) -> list[tuple[object, ...]]:
    return list(zip(*(rows[name].to_pylist() for name in columns), strict=True))


def _where(table: Kept, offered: pa.Table) -> pc.Expression:
    """Return a condition that all rows like those offered meet, and few others."""
    first = _IDS[table][0]
    where = pc.field(first).isin(pc.unique(offered[first]))
    if table not in _SPANS:
        return where
    spans = offered.group_by(first).aggregate([(_SPANS[table], "min"), (_SPANS[table], "max")]).to_pylist()
    number = pc.field(_SPANS[table])
    for at, span in enumerate(spans):
        least, most = span[f"{_SPANS[table]}_min"], span[f"{_SPANS[table]}_max"]
        one = (pc.field(first) == span[first]) & (number >= least) & (number <= most)
        where = one if not at else where | one
    return where
