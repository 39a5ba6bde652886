"""What Prometheus reads of the archive: how far it is behind, what stands still, and why."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from serve_apps.archive.archive import TOPICS
from serve_apps.archive.checked import Result
from serve_apps.archive.service import Standing
from tidegate.limits import SECOND_US


class _Collector:
    """Reads a standing when it is asked."""

    def __init__(self, standing: Standing, now_us: int, result: Result | None) -> None:
        self._standing, self._now_us, self._result = standing, now_us, result

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
        yield from self._recomputed()

    def _recomputed(self) -> Iterator[Metric]:
        """Yield what came of computing features again; nothing where nobody has."""
        if self._result is None:
            return
        told, name = self._result.told, "tidegate_archive_recomputed"
        compared = GaugeMetricFamily(name, "Vectors computed again the last time", labels=["how"])
        compared.add_metric(["whole"], told.compared)
        compared.add_metric(["partly"], told.partly)
        yield compared
        differing = float(told.differing)
        yield GaugeMetricFamily(f"{name}_differing", "Of these, that came out otherwise: an alarm", value=differing)
        age_s = (self._now_us - self._result.at_us) / SECOND_US
        yield GaugeMetricFamily(f"{name}_age_seconds", "Since then", value=age_s)


def behind_of(standing: Standing, topic: str) -> int:
    """Return about how many of a topic's messages aren't archived yet."""
    return sum(position.behind for place, position in standing.positions.items() if place[0] == topic)


def exposition(standing: Standing, now_us: int, result: Result | None = None) -> bytes:
    """Return the text format of Prometheus."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(standing, now_us, result))
    return bytes(generate_latest(registry))
