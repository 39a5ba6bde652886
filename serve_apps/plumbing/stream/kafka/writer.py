"""A committer as a transactional producer."""

from collections.abc import Mapping, Sequence
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Producer

from serve_apps.plumbing.stream import log
from serve_apps.plumbing.stream.kafka.cluster import Cluster, asking, cause
from serve_apps.plumbing.stream.kafka.delivery import Delivery
from serve_apps.plumbing.stream.kafka.table import THERE, Table
from serve_apps.plumbing.stream.ports import FencedError, Message, UnknownOutcomeError
from tidegate.clock import Clock
from tidegate.errors import TidegateError
from tidegate.limits import LOG_COMMIT_S_MAX, LOG_OPEN_S_MAX, LOG_TRANSACTION_S_MAX

_FENCED: Final = frozenset({
    KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH,  # noqa: SLF001 - theirs
})  # fmt: skip


class KafkaWriter:
    """One opening of a committer's transactional producer."""

    def __init__(self, cluster: Cluster, clock: Clock, name: str, table: str) -> None:
        self._cluster = cluster
        self._clock = clock
        self._name = name
        self._table = table
        self._over: TidegateError | None = None
        self._producer = Producer({
            **cluster.options,
            "transactional.id": name,
            "transaction.timeout.ms": int(LOG_TRANSACTION_S_MAX * 1_000),
            "message.timeout.ms": int(LOG_TRANSACTION_S_MAX * 1_000),
            "linger.ms": 0,
            "max.in.flight.requests.per.connection": 1,  # see the package's docstring
        })  # fmt: skip
        self._cursors = self._opened()

    def _opened(self) -> dict[str, bytes]:
        """Fence whoever was before, have what it left undone ended, and only then read how far it was."""
        table = Table(self._cluster, self._table)
        try:
            with asking(self._name):
                self._producer.init_transactions(LOG_OPEN_S_MAX)
            table.settle()
            return table.rows()
        finally:
            table.close()

    def cursors(self) -> dict[str, bytes]:
        """Return what was noted."""
        return dict(self._cursors)

    def commit(self, messages: Sequence[Message], cursors: Mapping[str, bytes | None]) -> None:
        """Append and note in one transaction."""
        if self._over is not None:
            raise self._over
        log.check_commit(messages, cursors, self._cursors)
        counts = {topic: self._cluster.count(topic) for topic in {message.topic for message in messages}}
        if not messages and not cursors:
            return
        try:
            self._send(messages, cursors, counts)
            self._producer.commit_transaction(LOG_COMMIT_S_MAX)
        except KafkaException as error:
            raise self._ended(error) from error
        log.noted(self._cursors, cursors)

    def close(self) -> None:
        """Let go of the client; a transaction under way is ended by the next opening, or by its timeout."""
        self._over = self._over or UnknownOutcomeError(f"{self._name}: this writer was closed; open another one")
        del self._producer

    def _send(
        self, messages: Sequence[Message], cursors: Mapping[str, bytes | None], counts: Mapping[str, int]
    ) -> None:
        """Have every message written by the brokers, as a part of a transaction that isn't over yet."""
        delivery = Delivery()
        stamp_ms = log.stamp_us(self._clock) // 1_000
        self._producer.begin_transaction()
        for message in messages:
            partition = log.partition(message.key, counts[message.topic])
            self._producer.produce(
                message.topic, message.value, message.key, partition, on_delivery=delivery, timestamp=stamp_ms
            )
        for name, value in cursors.items():
            noted = None if value is None else THERE + value
            self._producer.produce(self._table, noted, name.encode(), 0, on_delivery=delivery, timestamp=stamp_ms)
        delivery.of(self._producer, LOG_COMMIT_S_MAX)

    def _ended(self, error: KafkaException) -> TidegateError:
        """Return what ends this writer, which says the same from now on.

        Also where nothing was asked to be committed yet: a broker may still take what a failed transaction has on its
        way, and count it to the next one of this opening. Another opening is another epoch, which it doesn't belong to.
        """
        self._producer.purge()
        if cause(error).code() in _FENCED:
            why = "another writer was opened, or this one was silent for longer than a transaction may last"
            self._over = FencedError(f"{self._name}: {why}; this writer is over")
        else:
            self._over = UnknownOutcomeError(f"{self._name}: {error}; open another writer and look at its cursors")
        return self._over
