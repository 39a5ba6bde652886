"""A compacted topic as a dictionary: what committers and consumers note."""

from typing import Final

from serve_apps.plumbing.stream import log
from serve_apps.plumbing.stream.kafka.cluster import TABLE, Cluster
from serve_apps.plumbing.stream.kafka.reader import KafkaReader
from tidegate.limits import LOG_AHEAD_BYTES, LOG_COMMIT_MESSAGES_MAX

THERE: Final = b"="
"""Stands before each value, so that an empty one isn't one that is gone."""


class Table:
    """A compacted topic of one partition as a dictionary: the last value under each key, read to the end when asked."""

    def __init__(self, cluster: Cluster, topic: str) -> None:
        self.topic = topic
        self._rows: dict[str, bytes] = {}
        self._offset = 0
        cluster.make(topic, 1, TABLE)
        self._reader = KafkaReader(cluster)

    def rows(self) -> dict[str, bytes]:
        """Return the dictionary as of now."""
        self._offset = max(self._offset, self._reader.begin(self.topic, 0))
        while found := self._reader.read(
            self.topic, 0, self._offset, messages_max=LOG_COMMIT_MESSAGES_MAX, bytes_max=LOG_AHEAD_BYTES
        ):
            for row in found:
                log.noted(self._rows, {row.key.decode(): row.value.removeprefix(THERE) if row.value else None})
            self._offset = found[-1].offset + 1
        return dict(self._rows)

    def close(self) -> None:
        """Close the client."""
        self._reader.close()
