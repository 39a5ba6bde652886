"""What a backtest needs from outside: the past, by table and time. A site's extract is one, an archive another."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import pyarrow as pa

from tidegate.errors import PermanentError
from tidegate.history import Table
from training.backtest.spans import Span


class BacktestError(PermanentError):
    """A backtest that can't be made of this history; the message says what to change."""

    code = "BACKTEST_REFUSED"


class Archive(Protocol):
    """The tables of `tidegate.history`. Travels to Ray's tasks by pickle: it holds where data is, not the data."""

    def read(self, table: Table, span: Span, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield a table's rows of a span in batches of `BACKTEST_BATCH_ROWS` at the most.

        Decisions of one source come in the order of `pos`. The tables without a time are read whole.

        Raises:
            BacktestError: the table isn't there, lacks a column, or has another schema.
        """

    def split(self, span: Span, parts: int) -> tuple[Span, ...]:
        """Return the span cut into up to `parts`, each of about as many decisions."""
