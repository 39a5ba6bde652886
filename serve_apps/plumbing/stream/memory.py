"""The log's twin in memory, for tests and simulation: keeps every promise of the port, and fails when it is told to.

Like Kafka, it leaves an offset out behind each commit, so that nobody comes to rely on offsets without gaps.
"""

import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial

from serve_apps.plumbing.stream import log
from serve_apps.plumbing.stream.ports import (
    FencedError,
    Message,
    MismatchError,
    Place,
    Stored,
    UnavailableError,
    UnknownOutcomeError,
    UnknownTopicError,
)
from tidegate.clock import Clock


class Fault(Enum):
    """How a commit goes wrong, and what is then true of it."""

    REFUSED = "nothing is committed, and the writer is told so"
    LOST = "nothing is committed, and nobody knows"
    COMMITTED = "it is committed, and nobody knows"
    LATE = "nobody knows, and it is committed when the next writer of this committer is opened"


Fate = Callable[[str], Fault | None]
"""Asked at each commit with the committer's name: how it goes wrong, or None."""


@dataclass(slots=True)
class _Partition:
    begin: int = 0
    end: int = 0
    messages: list[Stored] = field(default_factory=list)

    def trim(self, offset: int) -> int:
        self.begin = max(self.begin, min(offset, self.end))
        del self.messages[: self._at(self.begin)]
        return self.begin

    def read(self, offset: int, messages_max: int, bytes_max: int) -> list[Stored]:
        found: list[Stored] = []
        for stored in self.messages[self._at(offset) :][:messages_max]:
            bytes_max -= len(stored.key) + len(stored.value)
            if found and bytes_max < 0:
                break
            found.append(stored)
        return found

    def _at(self, offset: int) -> int:
        return bisect_left(self.messages, offset, key=lambda stored: stored.offset)


@dataclass(slots=True)
class _Committer:
    token: int = 0
    cursors: dict[str, bytes] = field(default_factory=dict)
    late: list[Callable[[], None]] = field(default_factory=list)


def _well(_committer: str) -> None:
    """Let every commit go well."""


class MemoryStream:
    """A whole log, shared by whoever is handed it; `down` makes everything unavailable for as long as it is True."""

    def __init__(self, clock: Clock, fate: Fate = _well) -> None:
        self.clock = clock
        self.fate = fate
        self.down = False
        self.changed = threading.Condition()
        self.committers: dict[str, _Committer] = {}
        self.consuming: dict[str, dict[str, dict[int, int]]] = {}
        self._topics: dict[str, list[_Partition]] = {}

    def create(self, topic: str, partitions: int) -> None:
        """Make a topic, or see that it is there."""
        log.check_topic(topic, partitions)
        self.reach()
        there = self._topics.setdefault(topic, [_Partition() for _ in range(partitions)])
        if len(there) != partitions:
            raise MismatchError(f"{topic} has {len(there)} partitions, not {partitions}: their number never changes")

    def writer(self, committer: str) -> "MemoryWriter":
        """Open the writer of a committer."""
        log.check_name("committer", committer)
        self.reach()
        with self.changed:
            state = self.committers.setdefault(committer, _Committer())
            state.token += 1
            for settle in state.late:
                settle()
            state.late.clear()
            return MemoryWriter(self, committer, state.token)

    def reader(self) -> "MemoryReader":
        """Open a reader."""
        return MemoryReader(self)

    def consumers(self) -> "MemoryConsumers":
        """Open the book of consumers."""
        return MemoryConsumers(self)

    def close(self) -> None:
        """Nothing to let go of."""

    def reach(self) -> None:
        """Raise UnavailableError where the log is down."""
        if self.down:
            raise UnavailableError("the simulated log is down; try again")

    def topic(self, topic: str) -> list[_Partition]:
        """Return the partitions of a topic."""
        self.reach()
        if topic not in self._topics:
            raise UnknownTopicError(f"{topic}: no such topic; create it first")
        return self._topics[topic]

    def place(self, topic: str, partition: int) -> _Partition:
        """Return one partition."""
        partitions = self.topic(topic)
        if not 0 <= partition < len(partitions):
            raise UnknownTopicError(f"{topic}/{partition}: the topic has {len(partitions)} partitions, counted from 0")
        return partitions[partition]

    def append(self, committer: str, messages: Sequence[Message], cursors: Mapping[str, bytes | None]) -> None:
        """Do what a commit does; the lock is held."""
        time_us = log.stamp_us(self.clock)
        touched: dict[int, _Partition] = {}
        for message in messages:
            partitions = self._topics[message.topic]
            there = partitions[log.partition(message.key, len(partitions))]
            there.messages.append(Stored(there.end, message.key, message.value, time_us))
            there.end += 1
            touched[id(there)] = there
        for there in touched.values():
            there.end += 1
        log.noted(self.committers[committer].cursors, cursors)
        self.changed.notify_all()


class MemoryWriter:
    """One opening of a committer's writer."""

    def __init__(self, stream: MemoryStream, committer: str, token: int) -> None:
        self._stream = stream
        self._committer = committer
        self._token = token
        self._cursors = dict(stream.committers[committer].cursors)
        self._over: str | None = None

    def cursors(self) -> dict[str, bytes]:
        """Return what was noted."""
        return dict(self._cursors)

    def commit(self, messages: Sequence[Message], cursors: Mapping[str, bytes | None]) -> None:
        """Append and note, or go wrong as fate has it."""
        self._check(messages, cursors)
        with self._stream.changed:
            self._settle(partial(self._stream.append, self._committer, tuple(messages), dict(cursors)))
        log.noted(self._cursors, cursors)

    def close(self) -> None:
        """Nothing to let go of."""

    def _check(self, messages: Sequence[Message], cursors: Mapping[str, bytes | None]) -> None:
        log.check_commit(messages, cursors, self._cursors)
        if self._over is not None:
            raise UnknownOutcomeError(self._over)
        self._stream.reach()
        if self._stream.committers[self._committer].token != self._token:
            raise FencedError(f"another writer of {self._committer} was opened: this one is over")
        for topic in {message.topic for message in messages}:
            self._stream.topic(topic)

    def _settle(self, append: Callable[[], None]) -> None:
        fault = self._stream.fate(self._committer)
        if fault is Fault.REFUSED:
            raise UnavailableError("the simulated log refused the commit; try again")
        if fault in {None, Fault.COMMITTED}:
            append()
        if fault is Fault.LATE:
            self._stream.committers[self._committer].late.append(append)
        if fault is not None:
            self._over = "the simulated log was lost sight of: open another writer and look at its cursors"
            raise UnknownOutcomeError(self._over)


class MemoryReader:
    """Reads the twin; waits on the machine's clock, so a simulation passes no `wait_s`."""

    def __init__(self, stream: MemoryStream) -> None:
        self._stream = stream

    def partitions(self, topic: str) -> int:
        """Return how many there are."""
        return len(self._stream.topic(topic))

    def begin(self, topic: str, partition: int) -> int:
        """Return the lowest offset."""
        return self._stream.place(topic, partition).begin

    def end(self, topic: str, partition: int) -> int:
        """Return the next offset."""
        return self._stream.place(topic, partition).end

    def read(
        self, topic: str, partition: int, offset: int, *, messages_max: int, bytes_max: int, wait_s: float = 0.0
    ) -> list[Stored]:
        """Return what is there, or becomes so while waiting."""
        deadline = time.monotonic() + wait_s
        with self._stream.changed:
            while True:
                there = self._stream.place(topic, partition)
                log.check_range((topic, partition), offset, there.begin, there.end)
                found = there.read(offset, messages_max, bytes_max)
                left_s = deadline - time.monotonic() if wait_s else 0.0
                if found or left_s <= 0:
                    return found
                self._stream.changed.wait(left_s)

    def close(self) -> None:
        """Nothing to let go of."""


class MemoryConsumers:
    """The twin's book of consumers."""

    def __init__(self, stream: MemoryStream) -> None:
        self._stream = stream

    def register(self, name: str, topics: Collection[str]) -> None:
        """Keep what `name` reads."""
        log.check_name("consumer", name)
        for topic in topics:
            self._stream.topic(topic)
        held = self._stream.consuming.get(name, {})
        self._stream.consuming[name] = {topic: held.get(topic, {}) for topic in topics}

    def store(self, name: str, offsets: Mapping[Place, int]) -> None:
        """Note how far `name` is."""
        self._stream.reach()
        held = self._stream.consuming.get(name, {})
        log.check_stored(name, held, offsets)
        for (topic, partition), offset in offsets.items():
            held[topic][partition] = offset

    def registered(self) -> dict[str, dict[Place, int]]:
        """Return everybody's offsets."""
        return {
            name: {
                (topic, number): offsets.get(number, 0)
                for topic, offsets in topics.items()
                for number in range(len(self._stream.topic(topic)))
            }
            for name, topics in self._stream.consuming.items()
        }

    def forget(self, name: str) -> None:
        """Keep nothing for `name`."""
        self._stream.reach()
        self._stream.consuming.pop(name, None)

    def trim(self) -> dict[Place, int]:
        """Drop what nobody needs."""
        self._stream.reach()
        lowest = log.trimmable(self.registered().values())
        return {place: self._stream.place(*place).trim(offset) for place, offset in lowest.items()}

    def close(self) -> None:
        """Nothing to let go of."""
