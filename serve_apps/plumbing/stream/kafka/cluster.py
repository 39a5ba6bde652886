"""The brokers as a whole: which topics there are, and how they keep what they hold."""

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from serve_apps.plumbing.stream.ports import Place, UnavailableError, UnknownTopicError
from tidegate.errors import SettingsError
from tidegate.limits import LOG_ASK_S_MAX, LOG_SEGMENT_BYTES, LOG_TABLE_SEGMENT_BYTES

_LARGEST: Final = str(2**63 - 1)
KEPT: Final = {
    "cleanup.policy": "delete",
    "retention.ms": "-1",  # trimmed behind its consumers, not by age
    "retention.bytes": "-1",  # nor by size
}
"""How a topic of messages must be kept."""
TOPIC: Final = KEPT | {
    "segment.bytes": str(LOG_SEGMENT_BYTES),
    "message.timestamp.after.max.ms": _LARGEST,  # a committer's clock that is ahead must not stop the tide
}
TABLE: Final = {
    "cleanup.policy": "compact",
    "segment.bytes": str(LOG_TABLE_SEGMENT_BYTES),
    "min.cleanable.dirty.ratio": "0.2",
    "message.timestamp.after.max.ms": _LARGEST,
}
NO_TOPIC: Final = frozenset({
    KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001 - theirs
})  # fmt: skip

Options = Mapping[str, str | int | float | bool]
"""As librdkafka's documentation lists them."""


def cause(error: KafkaException) -> KafkaError:
    """Return what a client's exception is about."""
    found: KafkaError = error.args[0]
    return found


@contextmanager
def asking(what: str) -> Iterator[None]:
    """Say of whatever goes wrong in the block that the log can't be asked."""
    try:
        yield
    except (KafkaException, TimeoutError) as error:
        raise UnavailableError(
            f"{what}: Kafka can't be asked ({error}); see that its brokers run, and try again"
        ) from error


class Cluster:
    """What is known of topics, and makes those that are missing."""

    def __init__(self, options: Options, replicas: int) -> None:
        self.options = {**options, "log.connection.close": False}
        try:
            self._admin = AdminClient(self.options)
        except KafkaException as error:
            raise SettingsError(f"log.client: {cause(error).str()}") from error
        self._replicas = replicas
        self._counts: dict[str, int] = {}

    def count(self, topic: str) -> int:
        """Return how many partitions a topic has, which never changes, so that it is asked once."""
        if topic not in self._counts:
            self._counts[topic] = self._asked(topic)
        return self._counts[topic]

    def check(self, topic: str, partition: int) -> None:
        """Refuse what isn't there, before a client waits for it."""
        count = self.count(topic)
        if not 0 <= partition < count:
            raise UnknownTopicError(f"{topic}/{partition}: the topic has {count} partitions, counted from 0")

    def make(self, topic: str, partitions: int, config: Mapping[str, str]) -> None:
        """Make a topic unless it is there."""
        try:
            self.count(topic)
        except UnknownTopicError:
            self._make(topic, partitions, config)
            self._settle(topic)

    def _make(self, topic: str, partitions: int, config: Mapping[str, str]) -> None:
        config = dict(config, **{"min.insync.replicas": str(max(1, self._replicas - 1))})
        wanted = NewTopic(topic, partitions, self._replicas, config=config)
        with asking(topic):
            made = self._admin.create_topics([wanted], request_timeout=LOG_ASK_S_MAX)
            try:
                self._result(made[topic])
            except KafkaException as error:
                if cause(error).code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise

    def kept(self, topic: str) -> bool:
        """Tell whether a topic keeps everything until it is trimmed."""
        resource = ConfigResource(ResourceType.TOPIC, topic)
        with asking(topic):
            found = self._result(self._admin.describe_configs([resource], request_timeout=LOG_ASK_S_MAX)[resource])
        return all(found[name].value == value for name, value in KEPT.items())

    def trim(self, places: Mapping[Place, int]) -> None:
        """Drop what lies before these offsets."""
        asked = [TopicPartition(*place, offset) for place, offset in places.items()]
        if asked:
            with asking("trimming"):
                for future in self._admin.delete_records(asked, request_timeout=LOG_ASK_S_MAX).values():
                    self._result(future)

    def _settle(self, topic: str) -> None:
        """Wait until brokers know of a topic that was just made."""
        deadline = time.monotonic() + LOG_ASK_S_MAX
        while True:
            try:
                self.count(topic)
            except (UnknownTopicError, UnavailableError) as error:
                if time.monotonic() > deadline:
                    raise UnavailableError(f"{topic}: made, but no broker serves it yet; try again") from error
            else:
                return

    def _asked(self, topic: str) -> int:
        with asking(topic):
            found = self._admin.describe_topics(TopicCollection([topic]), request_timeout=LOG_ASK_S_MAX)[topic]
            try:
                partitions = self._result(found).partitions
            except KafkaException as error:
                if cause(error).code() in NO_TOPIC:
                    raise UnknownTopicError(f"{topic}: no such topic; create it first") from error
                raise
        if any(partition.leader is None for partition in partitions):
            raise UnavailableError(f"{topic}: a partition has no leader; see that its brokers run, and try again")
        return len(partitions)

    @staticmethod
    def _result(future: "Future[Any]") -> Any:  # noqa: ANN401 - of whatever was asked
        return future.result(2 * LOG_ASK_S_MAX)  # the request itself is given up before
