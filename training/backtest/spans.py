"""Spans of time of a history, and how they are cut into parts of about equal size."""

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from tidegate.history import TIMES, Table


class Span(NamedTuple):
    """Decisions made from `from_us` on and before `to_us`."""

    from_us: int
    to_us: int


class Group(NamedTuple):
    """Rows that lie beside each other, and the times of the first and the last of them."""

    rows: int
    first_us: int
    last_us: int

    def meets(self, span: Span) -> bool:
        """Tell whether some of the rows may lie in a span."""
        return self.rows > 0 and self.first_us < span.to_us and self.last_us >= span.from_us


def cut(groups: Iterable[Group], span: Span, parts: int) -> tuple[Span, ...]:
    """Return a span cut into up to `parts` that meet, each of about as many rows.

    Within a group rows are taken to come evenly over its time.
    """
    met = sorted((group for group in groups if group.meets(span)), key=lambda group: group.first_us)
    whole = sum(group.rows for group in met)
    cuts = {_time_of(met, whole * part // parts) for part in range(1, parts)} if met else set()
    edges = [span.from_us, *sorted(at for at in cuts if span.from_us < at < span.to_us), span.to_us]
    return tuple(Span(*pair) for pair in itertools.pairwise(edges))


def _time_of(groups: Sequence[Group], row: int) -> int:
    """Return about when a row was made, counted over groups in the order of their times."""
    for group in groups:
        if row < group.rows:
            return group.first_us + (group.last_us + 1 - group.first_us) * row // group.rows
        row -= group.rows
    return groups[-1].last_us


def within(batch: pa.RecordBatch, table: Table, span: Span) -> pa.RecordBatch:
    """Return a batch's rows that lie in a span, in their order; of the small tables all."""
    if table not in TIMES:
        return batch
    times = np.asarray(batch.column(TIMES[table]))
    inside = (times >= span.from_us) & (times < span.to_us)
    return batch if inside.all() else batch.filter(pa.array(inside))


def with_time(table: Table, columns: Sequence[str]) -> list[str]:
    """Return the columns to read, the one of time among them."""
    time = TIMES.get(table)
    return [*columns] if time is None or time in columns else [*columns, time]
