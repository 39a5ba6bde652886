"""The log as a whole: makes topics, and opens who writes, reads and keeps the book."""

from serve_apps.plumbing.stream import log
from serve_apps.plumbing.stream.kafka.cluster import KEPT, TOPIC, Cluster, Options
from serve_apps.plumbing.stream.kafka.consumers import KafkaConsumers
from serve_apps.plumbing.stream.kafka.reader import KafkaReader
from serve_apps.plumbing.stream.kafka.writer import KafkaWriter
from serve_apps.plumbing.stream.ports import MismatchError
from tidegate.clock import Clock


class KafkaStream:
    """A log kept by the brokers at `servers` (host:port, with commas between).

    `prefix` is put before what the log keeps for itself, `replicas` is how many brokers hold each message, and `client`
    what else the clients need to know (`security.protocol`, `sasl.*`).
    """

    def __init__(
        self, servers: str, clock: Clock, *, prefix: str = "tidegate", replicas: int = 3, client: Options | None = None
    ) -> None:
        log.check_name("prefix", prefix)
        self._clock = clock
        self._prefix = prefix
        self._cluster = Cluster({**(client or {}), "bootstrap.servers": servers}, replicas)

    def create(self, topic: str, partitions: int) -> None:
        """Make a topic, or see that it is there and kept until it is trimmed."""
        log.check_topic(topic, partitions)
        self._cluster.make(topic, partitions, TOPIC)
        found = self._cluster.count(topic)
        if found != partitions:
            raise MismatchError(f"{topic} has {found} partitions, not {partitions}: their number never changes")
        if not self._cluster.kept(topic):
            wanted = ", ".join(f"{name}={value}" for name, value in KEPT.items())
            raise MismatchError(f"{topic} forgets by itself: give it {wanted}")

    def writer(self, committer: str) -> KafkaWriter:
        """Open the writer of a committer."""
        log.check_name("committer", committer)
        name = f"{self._prefix}.{committer}"
        return KafkaWriter(self._cluster, self._clock, name, f"{self._prefix}.cursors.{committer}")

    def reader(self) -> KafkaReader:
        """Open a reader."""
        return KafkaReader(self._cluster)

    def consumers(self) -> KafkaConsumers:
        """Open the book of consumers."""
        return KafkaConsumers(self._cluster, f"{self._prefix}.consumers")

    def close(self) -> None:
        """Nothing is held open but the client that makes topics, which goes with the stream."""
