"""A history held in memory, for tests and for a bench of the work itself."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from tidegate.history import TIMES, Table
from training.backtest.ports import BacktestError
from training.backtest.spans import Group, Span, cut, within


class MemoryArchive:
    """Tables as batches."""

    def __init__(self, tables: Mapping[Table, Sequence[pa.RecordBatch]]) -> None:
        self._tables = tables

    def read(self, table: Table, span: Span, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a span; see the port."""
        for batch in self._tables.get(table, ()):
            missing = set(columns) - set(batch.schema.names)
            if missing:
                raise BacktestError(f"{table}: has no {', '.join(sorted(missing))}; another schema wrote it")
            inside = within(batch, table, span)
            if inside.num_rows:
                yield inside.select([*columns])

    def split(self, span: Span, parts: int) -> tuple[Span, ...]:
        """Return the span in parts; see the port."""
        return cut(map(_group, self._tables.get("decisions", ())), span, parts)


def _group(batch: pa.RecordBatch) -> Group:
    times = np.asarray(batch.column(TIMES["decisions"]))
    return Group(len(times), int(times.min()), int(times.max())) if len(times) else Group(0, 0, 0)
