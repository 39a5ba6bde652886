"""A compacted topic as a dictionary: what committers and consumers note."""

import threading
import time
from typing import Final

from serve_apps.plumbing.stream import log
from serve_apps.plumbing.stream.kafka.cluster import TABLE, Cluster
from serve_apps.plumbing.stream.kafka.reader import KafkaReader, written
from serve_apps.plumbing.stream.ports import UnavailableError
from tidegate.limits import LOG_AHEAD_BYTES, LOG_ASK_S_MAX, LOG_COMMIT_MESSAGES_MAX, LOG_POLL_S

THERE: Final = b"="
"""Stands before each value, so that an empty one isn't one that is gone."""


class Table:
    """A compacted topic of one partition as a dictionary: the last value under each key, read to the end when asked."""

    def __init__(self, cluster: Cluster, topic: str) -> None:
        self.topic = topic
        self._rows: dict[str, bytes] = {}
        self._offset = 0
        self._cluster = cluster
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

    def settle(self) -> None:
        """Return once no transaction is under way in a table that nobody writes to now.

        Brokers end a transaction before another opening of its name is answered, except those of KAFKA-20734, which may
        forget to: what it holds would be read as not there, and be committed by whatever comes next under its name.

        Raises:
            UnavailableError: one is under way still; the message has its place and what to do.
        """
        deadline = time.monotonic() + LOG_ASK_S_MAX
        while (end := self._reader.end(self.topic, 0)) < (behind := written(self._cluster, self.topic, 0)):
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"{self.topic}: a transaction from offset {end} on (of {behind}) that no broker ends hides what was"
                    " committed (KAFKA-20734); see docs/operating.md, A transaction that no broker ends"
                )
            threading.Event().wait(LOG_POLL_S)

    def close(self) -> None:
        """Close the client."""
        self._reader.close()
