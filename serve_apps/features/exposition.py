"""What Prometheus reads of features: how far they are, what stands still, and who waits."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from serve_apps.features.service import Standing
from tidegate.limits import SECOND_US


class _Collector:
    """Reads a standing when it is asked."""

    def __init__(self, standing: Standing, waiting: int, now_us: int) -> None:
        self._standing, self._waiting, self._now_us = standing, waiting, now_us

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        said = self._standing
        yield CounterMetricFamily("tidegate_features_rows", "Deltas appended to their log", value=said.rows)
        yield CounterMetricFamily("tidegate_features_odd", "Rows that no gate could count, left out", value=said.odd)
        yield CounterMetricFamily("tidegate_features_batches", "Batches folded into states", value=said.batches)
        silent_s = (self._now_us - said.looked_us) / SECOND_US
        yield GaugeMetricFamily("tidegate_features_silent_seconds", "Since the last step ended", value=silent_s)
        troubled = float(bool(said.trouble))
        yield GaugeMetricFamily("tidegate_features_troubled", "1: nothing goes on for now", value=troubled)
        yield GaugeMetricFamily("tidegate_features_next", "All versions below are in the states", value=said.next)
        yield GaugeMetricFamily("tidegate_features_waiting", "Readers of deltas that wait", value=self._waiting)
        halted = float(len(said.halted))
        yield GaugeMetricFamily("tidegate_features_halted", "What was stopped: each is an alarm", value=halted)


def exposition(standing: Standing, waiting: int, now_us: int) -> bytes:
    """Return the text format of Prometheus."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(standing, waiting, now_us))
    return bytes(generate_latest(registry))
