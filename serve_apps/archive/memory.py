"""The archive's tables held in memory, for tests and simulations."""

from collections.abc import Sequence

import pyarrow as pa

from serve_apps.archive.ports import Piece
from tidegate.archived import KEPT, Kept, Pin, schema_of


class MemoryStore:
    """Tables as lists of batches, with the offsets that came with them."""

    def __init__(self) -> None:
        self._batches: dict[Kept, list[pa.RecordBatch]] = {table: [] for table in KEPT}
        self._offsets: dict[tuple[Kept, str], int] = {}
        self._versions: dict[Kept, int] = dict.fromkeys(KEPT, 0)

    def offset(self, table: Kept, app: str) -> int:
        """Return up to which offset a partition is in a table; see the port."""
        return self._offsets.get((table, app), -1)

    def append(self, table: Kept, pieces: Sequence[Piece]) -> int:
        """Put rows into a table with their offsets; see the port."""
        fresh = [piece for piece in pieces if piece.offset > self.offset(table, piece.app)]
        self._batches[table] += [piece.batch for piece in fresh]
        self._versions[table] += bool(fresh)
        for piece in fresh:
            self._offsets[table, piece.app] = max(piece.offset, self.offset(table, piece.app))
        return sum(piece.batch.num_rows for piece in fresh)

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
