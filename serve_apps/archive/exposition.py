"""What Prometheus reads of the archive: how far it is behind, what stands still, and why."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from serve_apps.archive.archive import TOPICS
from serve_apps.archive.service import Standing
from tidegate.limits import SECOND_US


class _Collector:
    """Reads a standing when it is asked."""

    def __init__(self, standing: Standing, now_us: int) -> None:
        self._standing, self._now_us = standing, now_us

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        said = self._standing
        yield CounterMetricFamily("tidegate_archive_messages", "Frames taken from the log", value=said.messages)
        yield CounterMetricFamily("tidegate_archive_rows", "Rows made durable", value=said.rows)
        silent_s = (self._now_us - said.looked_us) / SECOND_US
        yield GaugeMetricFamily("tidegate_archive_silent_seconds", "Since the last step ended", value=silent_s)
        troubled = float(bool(said.trouble))
        yield GaugeMetricFamily("tidegate_archive_troubled", "1: nothing is archived for now", value=troubled)
        behind = GaugeMetricFamily("tidegate_archive_behind", "Frames not archived yet", labels=["topic"])
        halted = GaugeMetricFamily("tidegate_archive_halted", "Partitions that were stopped", labels=["topic"])
        for topic in TOPICS:
            behind.add_metric([topic], behind_of(said, topic))
            halted.add_metric([topic], sum(place[0] == topic for place in said.halted))
        yield from (behind, halted)


def behind_of(standing: Standing, topic: str) -> int:
    """Return about how many of a topic's messages aren't archived yet."""
    return sum(position.behind for place, position in standing.positions.items() if place[0] == topic)


def exposition(standing: Standing, now_us: int) -> bytes:
    """Return the text format of Prometheus."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(standing, now_us))
    return bytes(generate_latest(registry))
