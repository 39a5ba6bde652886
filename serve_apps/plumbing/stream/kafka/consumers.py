"""The book of consumers, and trimming behind them."""

import json
from collections.abc import Collection, Mapping

from confluent_kafka import Producer

from serve_apps.plumbing.stream import log
from serve_apps.plumbing.stream.kafka.cluster import Cluster, asking
from serve_apps.plumbing.stream.kafka.delivery import Delivery
from serve_apps.plumbing.stream.kafka.reader import KafkaReader
from serve_apps.plumbing.stream.kafka.table import THERE, Table
from serve_apps.plumbing.stream.ports import Place
from tidegate.limits import LOG_ASK_S_MAX


class KafkaConsumers:
    """The book of consumers: one row a consumer, of which each is written by that consumer alone."""

    def __init__(self, cluster: Cluster, topic: str) -> None:
        self._cluster = cluster
        self._table = Table(cluster, topic)
        self._reader = KafkaReader(cluster)
        self._producer = Producer({**cluster.options, "acks": "all", "linger.ms": 0})

    def register(self, name: str, topics: Collection[str]) -> None:
        """Keep what `name` reads."""
        log.check_name("consumer", name)
        held = self._book().get(name, {})
        self._write(name, {
            (topic, number): held.get((topic, number), 0)
            for topic in topics
            for number in range(self._cluster.count(topic))
        })  # fmt: skip

    def store(self, name: str, offsets: Mapping[Place, int]) -> None:
        """Note how far `name` is."""
        held = self._book().get(name, {})
        log.check_stored(name, {topic for topic, _ in held}, offsets)
        self._write(name, {**held, **offsets})

    def registered(self) -> dict[str, dict[Place, int]]:
        """Return everybody's offsets."""
        return self._book()

    def forget(self, name: str) -> None:
        """Keep nothing for `name`."""
        self._write(name, None)

    def trim(self) -> dict[Place, int]:
        """Have the brokers drop what nobody needs; they give the disk back a segment at a time."""
        begins: dict[Place, int] = {}
        ahead: dict[Place, int] = {}
        for place, offset in log.trimmable(self._book().values()).items():
            begin, end = self._reader.begin(*place), self._reader.end(*place)
            begins[place] = max(begin, min(offset, end))
            if begins[place] > begin:
                ahead[place] = begins[place]
        self._cluster.trim(ahead)
        return begins

    def close(self) -> None:
        """Close the clients."""
        self._table.close()
        self._reader.close()
        del self._producer

    def _book(self) -> dict[str, dict[Place, int]]:
        return {
            name: {(topic, number): offset for topic, number, offset in json.loads(row)}
            for name, row in self._table.rows().items()
        }

    def _write(self, name: str, offsets: Mapping[Place, int] | None) -> None:
        rows = None if offsets is None else [[topic, number, offset] for (topic, number), offset in offsets.items()]
        value = None if rows is None else THERE + json.dumps(rows).encode()
        delivery = Delivery()
        with asking(name):
            self._producer.produce(self._table.topic, value, name.encode(), 0, on_delivery=delivery)
            delivery.of(self._producer, LOG_ASK_S_MAX)
