"""The archive's tables and its log held in memory, for tests and simulations; crashes where they are told to."""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from serve_apps.archive.archive import rows_of_artifact
from serve_apps.archive.ports import Partition, Piece, Stored
from tidegate.archived import KEPT, Artifact, Kept, Pin, schema_of


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

    def keep(self, artifact: Artifact) -> bool:
        """Keep a text once; see the port."""
        rows = rows_of_artifact(artifact)
        return [self.append(table, [Piece(artifact.sha256, 0, batch)]) for table, batch in rows.items()][-1] > 0

    def pin(self) -> Pin:
        """Return the version of each table; see the port."""
        return Pin(**self._versions)

    def read(self, table: Kept) -> pa.Table:
        """Return all rows of a table."""
        return pa.Table.from_batches(self._batches[table], schema_of(table))


class MemorySource:
    """A log whose partitions are lists of messages."""

    def __init__(self, partitions: Sequence[Partition]) -> None:
        self.acknowledged: dict[Partition, int] = {}
        self._messages: dict[Partition, list[Stored]] = {partition: [] for partition in partitions}
        self._begins: dict[Partition, int] = dict.fromkeys(partitions, 0)
        self._ends: dict[Partition, int] = dict.fromkeys(partitions, 0)

    def append(self, partition: Partition, value: bytes, *, skipped: int = 0) -> int:
        """Add a message, `skipped` offsets behind the one before, and return its offset."""
        offset = self._ends[partition] + skipped
        self._messages[partition].append(Stored(offset, value))
        self._ends[partition] = offset + 1
        return offset

    def trim(self, partition: Partition, before: int) -> None:
        """Forget messages before an offset."""
        self._begins[partition] = before
        self._messages[partition] = [each for each in self._messages[partition] if each.offset >= before]

    def partitions(self) -> Sequence[Partition]:
        """Return all partitions; see the port."""
        return list(self._messages)

    def begin(self, partition: Partition) -> int:
        """Return the first offset kept; see the port."""
        return self._begins[partition]

    def read(self, partition: Partition, offset: int, *, messages_max: int, bytes_max: int) -> Sequence[Stored]:
        """Return messages from an offset on; see the port."""
        found: list[Stored] = []
        room = bytes_max
        for stored in self._messages[partition]:
            if stored.offset >= offset and len(found) < messages_max and (room >= len(stored.value) or not found):
                found.append(stored)
                room -= len(stored.value)
            elif found:
                break
        return found

    def acknowledge(self, offsets: Mapping[Partition, int]) -> None:
        """Remember what was acknowledged; see the port."""
        self.acknowledged |= offsets
