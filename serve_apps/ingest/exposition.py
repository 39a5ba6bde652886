"""What Prometheus reads of ingest: what came of frames, and how far each site is behind."""

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from serve_apps.ingest.ingest import Meter


class _Collector:
    """Reads the counters when it is asked."""

    def __init__(self, meter: Meter, cases: Mapping[str, int], rows: list[dict[str, Any]]) -> None:
        self._meter, self._cases, self._rows = meter, cases, rows

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        frames = CounterMetricFamily(
            "tidegate_ingest_frames", "Frames, by what came of them", labels=["status", "reason"]
        )
        for became, count in sorted(self._meter.results.items()):
            frames.add_metric(became, count)
        yield frames
        yield CounterMetricFamily("tidegate_ingest_records", "Records committed", value=self._meter.records)
        yield CounterMetricFamily("tidegate_ingest_bytes", "Bytes of frames committed", value=self._meter.bytes)
        strange = CounterMetricFamily("tidegate_ingest_strange_times", "Frames with times of no clock", labels=["when"])
        for when, count in self._meter.strange_times.items():
            strange.add_metric([when], count)
        yield strange
        keys = CounterMetricFamily("tidegate_enrolments", "What sites asked about their keys", labels=["became"])
        for word, count in sorted(self._meter.enrolments.items()):
            keys.add_metric([word], count)
        yield keys
        texts = CounterMetricFamily("tidegate_ingest_texts", "Texts, by what came of them", labels=["became"])
        for word, count in sorted(self._meter.texts.items()):
            texts.add_metric([word], count)
        yield texts
        cases = CounterMetricFamily("tidegate_quarantine_cases", "Frames kept aside, by reason", labels=["reason"])
        for reason, count in sorted(self._cases.items()):
            cases.add_metric([reason], count)
        yield cases
        yield from self._sites()

    def _sites(self) -> Iterator[Metric]:
        behind = GaugeMetricFamily("tidegate_site_behind", "Records claimed and not here", labels=["site", "lane"])
        gaps = GaugeMetricFamily("tidegate_site_gaps", "Ranges missing for too long", labels=["site"])
        clock = GaugeMetricFamily("tidegate_site_clock_ahead_seconds", "As its last head said", labels=["site"])
        forked = GaugeMetricFamily("tidegate_site_forked", "1: another history was told in its name", labels=["site"])
        rivals = GaugeMetricFamily(
            "tidegate_site_rivals",
            "Epochs that went on beside a later one: two machines, one identity",
            labels=["site"],
        )
        for row in self._rows:
            for lane, count in row["behind"].items():
                behind.add_metric([row["site"], lane], count)
            gaps.add_metric([row["site"]], row["gaps"])
            clock.add_metric([row["site"]], row["clock_ahead_s"])
            forked.add_metric([row["site"]], float(row["forked"]))
            rivals.add_metric([row["site"]], row["rivals"])
        yield from (behind, gaps, clock, forked, rivals)


def exposition(meter: Meter, cases: Mapping[str, int], rows: list[dict[str, Any]]) -> bytes:
    """Return the text format of Prometheus; `rows` are those of `views.sites_view`."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(meter, cases, rows))
    return bytes(generate_latest(registry))
