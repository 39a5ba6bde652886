"""Reads what was committed; fetches ahead of who reads."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka import Message as Received

from serve_apps.plumbing.stream import log
from serve_apps.plumbing.stream.kafka.cluster import NO_TOPIC, Cluster, asking
from serve_apps.plumbing.stream.ports import Place, Stored, UnavailableError
from tidegate.limits import LOG_AHEAD_BYTES, LOG_ASK_S_MAX

_EOF: Final = KafkaError._PARTITION_EOF  # noqa: SLF001 - their name
_OUT_OF_RANGE: Final = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE})  # noqa: SLF001 - same


@dataclass(slots=True)
class _Ahead:
    """What was fetched of one partition and not asked for yet."""

    position: int
    """The offset that was asked for last."""
    seen: int
    """Below it everything is fetched."""
    held: bool = True
    """Whether the client fetches more."""
    size: int = 0
    messages: deque[Stored] = field(default_factory=deque)

    def add(self, stored: Stored) -> None:
        if stored.offset >= self.seen:
            self.messages.append(stored)
            self.size += len(stored.key) + len(stored.value)
            self.seen = stored.offset + 1

    def drop(self, offset: int) -> None:
        """Forget what lies before an offset that is asked for."""
        while self.messages and self.messages[0].offset < offset:
            self._pop()
        self.position = offset

    def take(self, messages_max: int, bytes_max: int) -> list[Stored]:
        found: list[Stored] = []
        while self.messages and len(found) < messages_max:
            bytes_max -= len(self.messages[0].key) + len(self.messages[0].value)
            if found and bytes_max < 0:
                break
            found.append(self._pop())
        if found:
            self.position = found[-1].offset + 1
        return found

    def _pop(self) -> Stored:
        stored = self.messages.popleft()
        self.size -= len(stored.key) + len(stored.value)
        return stored


def _stored(received: Received) -> Stored:
    milliseconds = received.timestamp()[1]
    return Stored(_offset(received), received.key() or b"", received.value() or b"", milliseconds * 1_000)


def _offset(received: Received) -> int:
    offset = received.offset()
    if offset is None:
        raise AssertionError("a fetched message has an offset")
    return offset


def written(cluster: Cluster, topic: str, partition: int) -> int:
    """Return the offset behind all that was written, be it committed or not.

    It is asked by a client of its own: the cluster's is refused for good after a broker was back (FENCED_LEADER_EPOCH).
    """
    consumer = Consumer({**cluster.options, "group.id": "tidegate", "isolation.level": "read_uncommitted"})
    try:
        return _watermarks(consumer, (topic, partition))[1]
    finally:
        consumer.close()


def _watermarks(consumer: Consumer, place: Place) -> tuple[int, int]:
    name = f"{place[0]}/{place[1]}"
    with asking(name):
        found = consumer.get_watermark_offsets(TopicPartition(*place), timeout=LOG_ASK_S_MAX)
    if found is None:
        raise UnavailableError(f"{name}: Kafka doesn't say where it begins and ends; try again")
    return found


class KafkaReader:
    """Reads committed messages; the client fetches ahead in all partitions that were read, within a bound for each."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._ahead: dict[Place, _Ahead] = {}
        self._consumer = Consumer({
            **cluster.options,
            "group.id": "tidegate",  # asked for, and used for nothing
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "auto.offset.reset": "error",
            "queued.max.messages.kbytes": LOG_AHEAD_BYTES // 1024,
            "fetch.wait.max.ms": 50,  # a partition that is read for the first time waits so long for the others' fetch
            "fetch.queue.backoff.ms": 5,  # a second, untold: nothing would be fetched for so long after a full queue
            "fetch.error.backoff.ms": 50,
        })  # fmt: skip

    def partitions(self, topic: str) -> int:
        """Return how many there are."""
        return self._cluster.count(topic)

    def begin(self, topic: str, partition: int) -> int:
        """Return the lowest offset."""
        return self._range((topic, partition))[0]

    def end(self, topic: str, partition: int) -> int:
        """Return the last stable offset, which is behind the marks of transactions."""
        return self._range((topic, partition))[1]

    def read(
        self, topic: str, partition: int, offset: int, *, messages_max: int, bytes_max: int, wait_s: float = 0.0
    ) -> list[Stored]:
        """Return what is there, or becomes so while waiting."""
        place = topic, partition
        ahead = self._at(place, offset)
        self._fetch(place, lambda: bool(ahead.messages), wait_s)
        if not ahead.messages:
            self._see_the_end(place, ahead, offset)
        self._fetch(place, lambda: len(ahead.messages) >= messages_max or ahead.size >= bytes_max, 0.0)
        return ahead.take(messages_max, bytes_max)

    def close(self) -> None:
        """Close the client."""
        self._consumer.close()

    def _range(self, place: Place) -> tuple[int, int]:
        self._cluster.check(*place)
        return _watermarks(self._consumer, place)

    def _at(self, place: Place, offset: int) -> _Ahead:
        """Have the client fetch a partition from an offset on, unless it does."""
        ahead = self._ahead.get(place)
        if ahead is None or not ahead.position <= offset <= ahead.seen:
            log.check_range(place, offset, *self._range(place))
            self._let_go(place)
            ahead = self._ahead[place] = _Ahead(offset, offset, held=False)
        ahead.drop(offset)
        if not ahead.held and not ahead.messages:
            self._consumer.incremental_assign([TopicPartition(*place, ahead.seen)])
            ahead.held = True
        return ahead

    def _see_the_end(self, place: Place, ahead: _Ahead, offset: int) -> None:
        """See that nothing is there, rather than not fetched yet."""
        end = self._range(place)[1]
        self._fetch(place, lambda: bool(ahead.messages) or ahead.seen >= end, LOG_ASK_S_MAX)
        if ahead.messages or ahead.seen >= end:
            return
        log.check_range(place, offset, *self._range(place))  # trimmed, perhaps, since it was asked for
        raise UnavailableError(f"{place[0]}/{place[1]}: Kafka gives nothing up to {end}; see that its brokers run")

    def _let_go(self, place: Place) -> None:
        ahead = self._ahead.pop(place, None)
        if ahead is not None and ahead.held:
            self._consumer.incremental_unassign([TopicPartition(*place)])

    def _fetch(self, place: Place, done: Callable[[], bool], wait_s: float) -> None:
        """Put aside what the client has, of all partitions, until it is enough or nothing is left to wait for."""
        deadline = time.monotonic() + wait_s
        while not done() and place in self._ahead:
            left_s = deadline - time.monotonic()
            received = self._consumer.poll(max(0.0, left_s))
            if received is not None:
                self._shelve(received, place)
            elif left_s <= 0:
                return

    def _shelve(self, received: Received, reading: Place) -> None:
        """Put a message aside, and let a partition go that is far ahead of who reads it."""
        place = received.topic() or "", received.partition() or 0
        error, ahead = received.error(), self._ahead.get(place)
        if ahead is None:
            return
        if error is None:
            ahead.add(_stored(received))
        elif error.code() == _EOF:
            ahead.seen = max(ahead.seen, _offset(received))
        elif error.code() in _OUT_OF_RANGE | NO_TOPIC:
            self._let_go(place)
        if ahead.size > LOG_AHEAD_BYTES and ahead.held and place != reading:
            self._consumer.incremental_unassign([TopicPartition(*place)])
            ahead.held = False
