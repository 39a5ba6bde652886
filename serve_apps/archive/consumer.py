"""Takes what was committed from the log, in order, and puts them into the tables, each row once.

Where a partition goes on is said by the table that has a row of each of its records, in the commit that made those
rows. Nothing else is remembered: a consumer that is killed anywhere begins again from there, and tables that were
written before it leave out what they have. The log is told afterwards, and only so that it may be trimmed.
"""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from serve_apps.archive.archive import TOPICS, rows_of
from serve_apps.archive.ports import Piece, Store, UndecodableError
from serve_apps.plumbing.stream.ports import Consumers, OutOfRangeError, Place, Reader, Stored
from tidegate.archived import KEPT, Kept
from tidegate.clock import Clock
from tidegate.limits import (
    ARCHIVE_BATCH_AGE_US,
    ARCHIVE_BATCH_BYTES,
    ARCHIVE_BATCH_ROWS,
    ARCHIVE_READ_BYTES,
    ARCHIVE_READ_MESSAGES,
)

NAME: Final = "archive"
"""What the log knows this consumer by."""
_BACK: Final = (
    "it was lost, or put back from a copy. Put the newer log back where there is one. Where there is none, stop the "
    "archive, run `tidegate archive rejoin` for this partition, and start it: the log is read from its beginning then, "
    "and records that are archived are left out"
)
_LOG: Final = logging.getLogger(__name__)
ORDER: Final = sorted(KEPT, key=lambda table: table in TOPICS.values())
"""Tables in the order in which a batch is written: those that say where to go on are last."""


def app_of(place: Place) -> str:
    """Return what a partition's position is called in a table's log."""
    return f"{place[0]}/{place[1]}"


def mark_of(stored: Stored) -> int:
    """Return the number from 1 to 2^63 - 1 that tells a message from any other that could take its offset.

    The time of its commit is in it: the same frame, committed again into a log that was put back, is another message.
    """
    digest = hashlib.sha256(b"%d,%d," % (stored.time_us, len(stored.key)) + stored.key)
    digest.update(stored.value)
    return int.from_bytes(digest.digest()[:8], "big") >> 1 or 1


class Step(NamedTuple):
    """What one step did: messages taken from the log, and rows made durable."""

    messages: int
    rows: int


class Position(NamedTuple):
    """Where a partition goes on behind what is durable, and how many messages of it aren't, or about so many."""

    offset: int
    behind: int


@dataclass(slots=True)
class _Batch:
    """What was read and isn't written yet; `ends` are where its partitions go on behind it."""

    pieces: dict[Kept, list[Piece]] = field(default_factory=dict)
    ends: dict[Place, int] = field(default_factory=dict)
    rows: int = 0
    size: int = 0
    since_us: int | None = None


class Consumer:
    """The reader of all partitions of the archive's topics; one thread's. It registers itself with the log."""

    def __init__(
        self,
        *,
        reader: Reader,
        consumers: Consumers,
        store: Store,
        clock: Clock,
        rows_max: int = ARCHIVE_BATCH_ROWS,
        bytes_max: int = ARCHIVE_BATCH_BYTES,
    ) -> None:
        self._reader = reader
        self._consumers = consumers
        self._store = store
        self._clock = clock
        self._bounds = rows_max, bytes_max
        self._next: dict[Place, int] = {}
        self._durable: dict[Place, int] = {}
        self._ends: dict[Place, int] = {}
        self._halted: dict[Place, str] = {}
        self._batch = _Batch()
        consumers.register(NAME, TOPICS)
        self._places = [(topic, number) for topic in TOPICS for number in range(reader.partitions(topic))]

    @property
    def halted(self) -> Mapping[Place, str]:
        """Partitions that were stopped, and why: each is an alarm, and none goes on before somebody has mended it."""
        return self._halted

    def positions(self) -> dict[Place, Position]:
        """Return how far each partition is that was looked at."""
        return {
            place: Position(offset, max(0, self._ends.get(place, offset) - offset))
            for place, offset in self._durable.items()
        }

    def step(self) -> Step:
        """Read what is there, and write what is enough or has waited long enough.

        Raises:
            TemporaryError: the log can't be asked, or a commit didn't come through; the next step begins again from
                what is durable.
        """
        try:
            return Step(sum(map(self._take, self._places)), self._write() if self._due() else 0)
        except BaseException:
            self._forget()
            raise

    def flush(self) -> int:
        """Write all that was read, then tell the log; return how many rows were new.

        Raises:
            TemporaryError: as `step`.
        """
        try:
            return self._write()
        except BaseException:
            self._forget()
            raise

    def _forget(self) -> None:
        self._next.clear()
        self._batch = _Batch()

    def _write(self) -> int:
        batch, self._batch = self._batch, _Batch()
        new = sum(self._store.append(table, batch.pieces[table]) for table in ORDER if table in batch.pieces)
        self._durable |= batch.ends
        if batch.ends:
            self._consumers.store(NAME, batch.ends)
        return new

    @property
    def _full(self) -> bool:
        rows_max, bytes_max = self._bounds
        return self._batch.rows >= rows_max or self._batch.size >= bytes_max

    def _due(self) -> bool:
        since_us = self._batch.since_us
        if since_us is None:
            return False
        # A clock that was set back must not keep rows waiting.
        return self._full or not 0 <= self._clock.now_us() - since_us < ARCHIVE_BATCH_AGE_US

    def _take(self, place: Place) -> int:
        """Read one partition's next messages into the batch, where there is room; return how many."""
        if place in self._halted:
            self._ends[place] = self._reader.end(*place)
        if place in self._halted or self._full:
            return 0
        if place not in self._next and not self._begin(place):
            return 0
        taken = 0
        for stored in (found := self._read(place)):
            if self._full or not self._add(place, stored):
                break
            taken += 1
        # A log may count marks of its own: who has read everything is told so by an empty answer, not by its end.
        self._ends[place] = self._reader.end(*place) if found else self._next[place]
        return taken

    def _begin(self, place: Place) -> bool:
        """Find where a partition goes on, or halt it where its log isn't the one it came from; tell which."""
        table, app = TOPICS[place[0]], app_of(place)
        offset, mark = self._store.offset(table, app), self._store.mark(table, app)
        self._durable[place] = offset + 1
        if offset < 0 and self._store.rejoined(table, app):
            self._durable[place] = self._reader.begin(*place)
        if offset >= 0 and mark and not self._has(place, offset, mark):
            self._ends[place] = self._reader.end(*place)
            self._halt(place, f"offset {offset}: the log has another message there than was archived from it; {_BACK}")
            return False
        self._next[place] = self._durable[place]
        return True

    def _has(self, place: Place, offset: int, mark: int) -> bool:
        """Tell whether the log still has what was archived last from it, as far as it can be told.

        A log that was put back begins at or before what its consumers had stored by then. So where it begins behind
        this message it was trimmed, or nothing was archived since the copy was made: both are right.
        """
        try:
            found = self._reader.read(*place, offset, messages_max=1, bytes_max=1)
        except OutOfRangeError as error:
            return offset < error.begin
        return bool(found) and found[0].offset == offset and mark_of(found[0]) == mark

    def _read(self, place: Place) -> list[Stored]:
        """Return a partition's next messages; halt it where the log doesn't hold them."""
        most, bytes_max = ARCHIVE_READ_MESSAGES, ARCHIVE_READ_BYTES
        try:
            return self._reader.read(*place, self._next[place], messages_max=most, bytes_max=bytes_max)
        except OutOfRangeError as error:
            self._halt(place, f"{error.message}; {_BACK}" if error.end < self._next[place] else error.message)
            return []

    def _add(self, place: Place, stored: Stored) -> bool:
        """Add one message's rows to the batch, or halt the partition; tell which."""
        try:
            rows = rows_of(stored.value, place[0], stored.time_us)
        except UndecodableError as error:
            self._halt(place, f"offset {stored.offset}: {error.message}")
            return False
        mark = mark_of(stored)
        for table, batch in rows.items():
            self._batch.pieces.setdefault(table, []).append(Piece(app_of(place), stored.offset, batch, mark))
        self._batch.size += sum(batch.nbytes for batch in rows.values())
        self._batch.rows += rows[TOPICS[place[0]]].num_rows
        self._batch.ends[place] = self._next[place] = stored.offset + 1
        if self._batch.since_us is None:
            self._batch.since_us = self._clock.now_us()
        return True

    def _halt(self, place: Place, why: str) -> None:
        self._halted[place] = why
        _LOG.error("archive: %s stopped: %s", app_of(place), why)
