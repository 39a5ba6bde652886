"""A history in a folder of Parquet files, one a table: what `tidegate backtest` makes of a site's journal."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tidegate.history import TIMES, Table
from tidegate.limits import BACKTEST_BATCH_ROWS
from tidegate.records import SCHEMAS, Lane
from training.backtest.ports import BacktestError
from training.backtest.spans import Group, Span, cut, with_time, within


@dataclass(frozen=True, slots=True)
class ParquetArchive:
    """The files of a folder; row groups out of a span are never read."""

    folder: Path

    def read(self, table: Table, span: Span, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a span; see the port."""
        with self._open(table) as file:
            missing = set(columns) - set(file.schema_arrow.names)
            if missing:
                raise BacktestError(f"{self.folder}/{table}.parquet: has no {', '.join(sorted(missing))}; make it anew")
            chosen = [at for at, group in enumerate(_groups(file, table)) if group.meets(span)]
            names = with_time(table, columns)
            for group in chosen:  # one by one: a group of `lists` is one set, and two of them are too much at once
                for batch in file.iter_batches(BACKTEST_BATCH_ROWS, row_groups=[group], columns=names):
                    inside = within(batch, table, span)
                    if inside.num_rows:
                        yield inside.select([*columns])

    def split(self, span: Span, parts: int) -> tuple[Span, ...]:
        """Return the span in parts; see the port."""
        with self._open("decisions") as file:
            return cut(_groups(file, "decisions"), span, parts)

    def _open(self, table: Table) -> pq.ParquetFile:
        path = self.folder / f"{table}.parquet"
        try:
            file = pq.ParquetFile(path, pre_buffer=False)
        except (OSError, pa.ArrowInvalid) as error:
            raise BacktestError(f"{path}: can't be read ({error}); make the extract anew") from error
        written = (file.schema_arrow.metadata or {}).get(b"schema", b"").decode()
        if written != SCHEMAS[Lane.DECISIONS]:
            file.close()
            known = SCHEMAS[Lane.DECISIONS]
            raise BacktestError(f"{path}: schema {written or 'unnamed'}, this program reads {known}; make it anew")
        return file


def _groups(file: pq.ParquetFile, table: Table) -> list[Group]:
    """Return what the file says of its row groups; of a table without a time, groups that meet every span."""
    metadata = file.metadata
    groups = [metadata.row_group(at) for at in range(metadata.num_row_groups)]
    if table not in TIMES:
        return [Group(group.num_rows, -(1 << 63), (1 << 63) - 1) for group in groups]
    at = file.schema_arrow.names.index(TIMES[table])
    column = next(
        n for n in range(metadata.num_columns) if metadata.schema.column(n).path == file.schema_arrow.names[at]
    )
    found = []
    for group in groups:
        told = group.column(column).statistics
        found.append(Group(group.num_rows, told.min, told.max) if group.num_rows else Group(0, 0, 0))
    return found
