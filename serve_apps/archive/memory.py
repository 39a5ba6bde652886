"""The archive's tables held in memory, for tests and simulations."""

from collections.abc import Sequence

import pyarrow as pa

from serve_apps.archive.known import unknown
from serve_apps.archive.ports import Piece
from tidegate.archived import KEPT, Kept, Pin, schema_of


class MemoryStore:
    """Tables as lists of batches, with the offsets that came with them."""

    def __init__(self) -> None:
        self._batches: dict[Kept, list[pa.RecordBatch]] = {table: [] for table in KEPT}
        self._offsets: dict[tuple[Kept, str], int] = {}
        self._marks: dict[tuple[Kept, str], int] = {}
        self._rejoined: set[tuple[Kept, str]] = set()
        self._versions: dict[Kept, int] = dict.fromkeys(KEPT, 0)

    def offset(self, table: Kept, app: str) -> int:
        """Return up to which offset a partition is in a table; see the port."""
        return self._offsets.get((table, app), -1)

    def mark(self, table: Kept, app: str) -> int:
        """Return the mark of the message at the offset; see the port."""
        return self._marks.get((table, app), 0)

    def rejoined(self, table: Kept, app: str) -> bool:
        """Tell whether a partition was rejoined; see the port."""
        return (table, app) in self._rejoined

    def rejoin(self, table: Kept, app: str) -> None:
        """Forget an offset, and look at rows from now on; see the port."""
        self._offsets[table, app], self._marks[table, app] = -1, 0
        self._rejoined.add((table, app))

    def append(self, table: Kept, pieces: Sequence[Piece]) -> int:
        """Put rows into a table with their offsets; see the port."""
        fresh = [piece for piece in pieces if piece.offset > self.offset(table, piece.app)]
        left = unknown(table, fresh, {app for kept, app in self._rejoined if kept == table}, lambda _: self.read(table))
        self._batches[table] += left
        self._versions[table] += bool(fresh)
        for piece in sorted(fresh, key=lambda piece: piece.offset):
            self._offsets[table, piece.app] = piece.offset
            self._marks[table, piece.app] = piece.mark
        return sum(batch.num_rows for batch in left)

    def tend(self) -> None:
        """Nothing grows small here."""

    def tidy(self) -> None:
        """Nothing outlives anything here."""

    def pin(self) -> Pin:
        """Return the version of each table; see the port."""
        return Pin(**self._versions)

    def read(self, table: Kept) -> pa.Table:
        """Return all rows of a table."""
        return pa.Table.from_batches(self._batches[table], schema_of(table))
