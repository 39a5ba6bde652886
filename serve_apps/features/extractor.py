"""Takes frames from the log and appends deltas to it, each row once.

Batches and how far the frames are read are one commit of one committer. So nothing is remembered beside it: who is
killed anywhere begins again behind what was committed, and a second one fences the first.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from serve_apps.features.extract import TOPICS, batches, rows_of
from serve_apps.features.ports import UndecodableError
from serve_apps.plumbing.stream.log import DELTAS, DELTAS_KEY
from serve_apps.plumbing.stream.ports import Consumers, Message, OutOfRangeError, Place, Reader, Stored, Writer
from tidegate.clock import Clock
from tidegate.deltas import ROW, ROWS_MAX, Rows
from tidegate.limits import (
    ARCHIVE_READ_BYTES,
    ARCHIVE_READ_MESSAGES,
    DELTA_BATCH_AGE_US,
    DELTA_COMMIT_BATCHES,
)

NAME: Final = "features"
"""What the log knows this committer and this consumer by."""
_LOG: Final = logging.getLogger(__name__)


def cursor_of(place: Place) -> str:
    """Return what a partition's position is called among the committer's cursors."""
    return f"{place[0]}/{place[1]}"


class Extractor:
    """The reader of all partitions of `TOPICS`, and the writer of the log of deltas; one thread's.

    After UnknownOutcomeError or FencedError of `step` it is over: open another one.
    """

    def __init__(self, *, reader: Reader, consumers: Consumers, writer: Writer, clock: Clock) -> None:
        self._reader, self._consumers, self._writer, self._clock = reader, consumers, writer, clock
        consumers.register(NAME, TOPICS)
        self._places = [(topic, number) for topic in TOPICS for number in range(reader.partitions(topic))]
        self._halted: dict[Place, str] = {}
        self._next: dict[Place, int] = {}
        self.rows = 0
        """Appended since it began."""
        self.odd = 0
        """Left out since it began, because no gate could count them."""
        self._forget()

    @property
    def halted(self) -> Mapping[Place, str]:
        """Partitions that were stopped, and why: each is an alarm."""
        return self._halted

    @property
    def idle(self) -> bool:
        """Whether all that the last step found is in the log of deltas; nothing is ever idle that was stopped."""
        return self._since_us is None and not self._halted

    def step(self) -> int:
        """Read what is there and append what is enough or has waited long enough; return how many messages were read.

        Raises:
            TemporaryError: the log can't be asked; the next step begins again behind what was committed.
            UnknownOutcomeError, FencedError: as the writer says.
        """
        try:
            taken = sum(map(self._take, self._places))
            if self._due():
                self._commit()
        except BaseException:
            self._forget()
            raise
        return taken

    def _forget(self) -> None:
        self._rows: list[Rows] = []
        self._count = self._odd = 0
        self._ends: dict[Place, int] = {}
        self._since_us: int | None = None
        self._next.clear()

    @property
    def _full(self) -> bool:
        return self._count >= DELTA_COMMIT_BATCHES * ROWS_MAX

    def _due(self) -> bool:
        if self._since_us is None:
            return False
        # A clock that was set back must not keep rows waiting.
        return self._full or not 0 <= self._clock.now_us() - self._since_us < DELTA_BATCH_AGE_US

    def _commit(self) -> None:
        rows = np.concatenate([np.zeros(0, ROW), *self._rows])
        messages = [Message(DELTAS, DELTAS_KEY, batch.to_bytes()) for batch in batches(rows)]
        self._writer.commit(messages, {cursor_of(place): b"%d" % end for place, end in self._ends.items()})
        self.rows, self.odd = self.rows + len(rows), self.odd + self._odd
        ends, began = self._ends, self._next.copy()
        self._forget()
        self._next = began
        self._consumers.store(NAME, ends)

    def _take(self, place: Place) -> int:
        if place in self._halted or self._full:
            return 0
        if place not in self._next:
            noted = self._writer.cursors().get(cursor_of(place))
            self._next[place] = self._reader.begin(*place) if noted is None else int(noted)
        taken = 0
        for stored in self._read(place):
            if self._full or not self._add(place, stored):
                break
            taken += 1
        return taken

    def _read(self, place: Place) -> Sequence[Stored]:
        most, bytes_max = ARCHIVE_READ_MESSAGES, ARCHIVE_READ_BYTES
        try:
            return self._reader.read(*place, self._next[place], messages_max=most, bytes_max=bytes_max)
        except OutOfRangeError as error:
            self._halt(place, error.message)
            return ()

    def _add(self, place: Place, stored: Stored) -> bool:
        try:
            found = rows_of(stored.value, place[0], stored.time_us)
        except UndecodableError as error:
            self._halt(place, f"offset {stored.offset}: {error.message}")
            return False
        if len(found.rows):
            self._rows.append(found.rows)
        self._count, self._odd = self._count + len(found.rows), self._odd + found.odd
        self._ends[place] = self._next[place] = stored.offset + 1
        if self._since_us is None:
            self._since_us = self._clock.now_us()
        return True

    def _halt(self, place: Place, why: str) -> None:
        self._halted[place] = why
        _LOG.error("features: %s stopped: %s", cursor_of(place), why)
