"""Takes committed frames from the log, in order, and puts them into the tables, each row once.

Where a partition goes on is said by the table that has a row of each of its records, in the commit that made those
rows. Nothing else is remembered: a consumer that is killed anywhere begins again from there, and tables that were
written before it leave out what they have. The log is told afterwards, and only so that it may be trimmed.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from serve_apps.archive.archive import CURSORS, Rows, rows_of
from serve_apps.archive.ports import Partition, Piece, Run, Source, Store, Stored, UndecodableError
from tidegate.archived import KEPT, Kept
from tidegate.clock import Clock
from tidegate.errors import TidegateError
from tidegate.limits import ARCHIVE_BATCH_AGE_US, ARCHIVE_BATCH_ROWS, ARCHIVE_READ_BYTES, ARCHIVE_READ_MESSAGES
from tidegate.records import Lane

_LOG: Final = logging.getLogger(__name__)
_ORDER: Final = sorted(KEPT, key=lambda table: table in CURSORS.values())
"""Tables in the order in which a batch is written: those that say where to go on are last."""


class Step(NamedTuple):
    """What one step did: messages taken from the log, and rows made durable."""

    messages: int
    rows: int


@dataclass(slots=True)
class _Batch:
    """What was read and isn't written yet."""

    pieces: dict[Kept, list[Piece]] = field(default_factory=dict)
    last: dict[Partition, int] = field(default_factory=dict)
    rows: int = 0
    since_us: int | None = None


class Consumer:
    """One reader of all partitions; `decode` says which records a message holds."""

    def __init__(
        self,
        *,
        source: Source,
        store: Store,
        decode: Callable[[Partition, bytes], Run],
        lanes: Mapping[str, Lane],
        clock: Clock,
        rows_max: int = ARCHIVE_BATCH_ROWS,
        age_us_max: int = ARCHIVE_BATCH_AGE_US,
    ) -> None:
        self._source = source
        self._store = store
        self._decode = decode
        self._lanes = lanes
        self._clock = clock
        self._bounds = rows_max, age_us_max
        self._next: dict[Partition, int] = {}
        self._halted: dict[Partition, str] = {}
        self._batch = _Batch()

    @property
    def halted(self) -> Mapping[Partition, str]:
        """Partitions that were stopped, and why: each is an alarm, and none goes on before somebody has mended it."""
        return self._halted

    def step(self) -> Step:
        """Read what is there, and write what is enough or has waited long enough.

        Raises:
            UnavailableError: a commit didn't come through; the next step begins again from what is durable.
        """
        try:
            taken = sum(map(self._take, self._source.partitions()))
            return Step(taken, self.flush() if self._due() else 0)
        except TidegateError:
            self._next.clear()
            self._batch = _Batch()
            raise

    def flush(self) -> int:
        """Write all that was read, then tell the log; return how many rows were new.

        Raises:
            UnavailableError: a commit didn't come through.
        """
        batch, self._batch = self._batch, _Batch()
        new = sum(self._store.append(table, batch.pieces[table]) for table in _ORDER if table in batch.pieces)
        if batch.last:
            self._source.acknowledge(batch.last)
        return new

    def _due(self) -> bool:
        rows_max, age_us_max = self._bounds
        since_us = self._batch.since_us
        if since_us is None:
            return False
        # A clock that was set back must not keep rows waiting.
        return self._batch.rows >= rows_max or not 0 <= self._clock.now_us() - since_us < age_us_max

    def _take(self, partition: Partition) -> int:
        """Read one partition's next messages into the batch, where there is room; return how many."""
        if partition in self._halted or self._batch.rows >= self._bounds[0]:
            return 0
        if partition not in self._next and not self._begin(partition):
            return 0
        limits = {"messages_max": ARCHIVE_READ_MESSAGES, "bytes_max": ARCHIVE_READ_BYTES}
        messages = self._source.read(partition, self._next[partition], **limits)
        taken = 0
        for stored in messages:
            if self._batch.rows >= self._bounds[0] or not self._add(partition, stored):
                break
            taken += 1
        return taken

    def _begin(self, partition: Partition) -> bool:
        """Find where a partition goes on; halt it where the log no longer has that."""
        done = self._store.offset(CURSORS[self._lanes[partition.topic]], partition.app)
        first = self._source.begin(partition)
        if first > done + 1:
            self._halt(partition, f"the log begins at {first}, the archive needs {done + 1}: what is between is lost")
            return False
        self._next[partition] = done + 1
        return True

    def _add(self, partition: Partition, stored: Stored) -> bool:
        """Add one message's rows to the batch, or halt the partition; tell which."""
        try:
            rows = self._rows(partition, stored.value)
        except UndecodableError as error:
            self._halt(partition, f"offset {stored.offset}: {error.message}")
            return False
        for table, batch in rows.items():
            self._batch.pieces.setdefault(table, []).append(Piece(partition.app, stored.offset, batch))
        self._batch.rows += rows[CURSORS[self._lanes[partition.topic]]].num_rows
        self._batch.last[partition] = stored.offset
        self._next[partition] = stored.offset + 1
        if self._batch.since_us is None:
            self._batch.since_us = self._clock.now_us()
        return True

    def _rows(self, partition: Partition, value: bytes) -> Rows:
        run = self._decode(partition, value)
        if run.lane is not self._lanes[partition.topic]:
            raise UndecodableError(f"{run.source}: lane {run.lane.name} in topic {partition.topic}")
        return rows_of(run)

    def _halt(self, partition: Partition, why: str) -> None:
        self._halted[partition] = why
        _LOG.error("archive: %s stopped: %s", partition.app, why)
