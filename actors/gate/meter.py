"""The meter: what a site counts, for Prometheus and for the live page."""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from actors.gate.gate import Decision, Gate
from actors.gate.reasons import Reasons
from tidegate.decision import OUTCOME_WORDS, Mark
from tidegate.limits import LIVE_RECENT_ITEMS, SECOND_US
from tidegate.metrics import LATENCY_BUCKETS_S, MEANINGS, STAGES, MetricName

_LATENCIES_KEPT = 2_048  # the live page's percentiles speak of about the last second of a busy site


def _meaning(name: MetricName) -> tuple[str, str]:
    return name, MEANINGS[name]


class Latency:
    """One histogram of seconds: a third of what the library's costs, on a path where each decision fills four."""

    def __init__(self) -> None:
        self._counts = [0] * (len(LATENCY_BUCKETS_S) + 1)
        self._sum_s = 0.0

    def add(self, seconds: float) -> None:
        """Count one reading."""
        self._counts[bisect_left(LATENCY_BUCKETS_S, seconds)] += 1
        self._sum_s += seconds

    def buckets(self) -> tuple[list[tuple[str, float]], float]:
        """Return (upper bound, readings up to it) for each bucket, and the sum of all readings."""
        bounds = [*map(floatToGoString, LATENCY_BUCKETS_S), "+Inf"]
        return list(zip(bounds, map(float, accumulate(self._counts)), strict=True)), self._sum_s


class _StageReadings(Collector):
    def __init__(self, stages: Mapping[str, Latency]) -> None:
        self._stages = stages

    def collect(self) -> Iterator[Metric]:
        """Yield the histograms of this moment."""
        family = HistogramMetricFamily(*_meaning("tidegate_decision_seconds"), labels=["stage"])
        for stage, latency in self._stages.items():
            buckets, sum_s = latency.buckets()
            family.add_metric([stage], buckets, sum_s)
        yield family


class Meter:
    """Counters and histograms of one gate in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._stages = {stage: Latency() for stage in STAGES}
        self.registry.register(_StageReadings(self._stages))
        self.stage: dict[str, Callable[[float], None]] = {stage: one.add for stage, one in self._stages.items()}
        flush = Histogram(*_meaning("tidegate_flush_seconds"), registry=self.registry, buckets=LATENCY_BUCKETS_S)
        self.flush = flush.observe
        decisions = Counter(*_meaning("tidegate_decisions_total"), ["outcome"], registry=self.registry)
        self._outcomes = [decisions.labels(word).inc for word in OUTCOME_WORDS]
        self._refused = Counter(*_meaning("tidegate_refused_total"), ["code"], registry=self.registry)
        self._latencies: deque[float] = deque(maxlen=_LATENCIES_KEPT)
        self.recent: deque[Decision] = deque(maxlen=LIVE_RECENT_ITEMS)
        self.counts = [0, 0, 0, 0]
        self.refusals = 0

    def decided(self, decision: Decision, seconds: float) -> None:
        """Count a decision that was answered."""
        self._latencies.append(seconds)
        self.stage["total"](seconds)
        if decision.replayed:
            return
        self.recent.append(decision)
        if not decision.decided.marks & Mark.SANDBOX:
            self._outcomes[decision.decided.outcome]()
            self.counts[decision.decided.outcome] += 1

    def refused(self, code: str) -> None:
        """Count a request that was refused."""
        self._refused.labels(code).inc()
        self.refusals += 1

    def watch(self, gate: Gate, reasons: Reasons) -> None:
        """Expose what the gate and its reasons know, read when somebody asks."""
        self.registry.register(_GateReadings(gate))
        self.registry.register(_ReasonReadings(reasons))

    def text(self) -> bytes:
        """Return the Prometheus text format, version 0.0.4."""
        return generate_latest(self.registry)

    def percentiles(self) -> dict[str, Any]:
        """Return p50 and p99 of the latest decisions in milliseconds; None where there was none."""
        ordered = sorted(self._latencies)
        if not ordered:
            return {"p50_ms": None, "p99_ms": None}
        last = len(ordered) - 1
        return {f"p{p}_ms": round(ordered[last * p // 100] * 1e3, 3) for p in (50, 99)}


class _GateReadings(Collector):
    """What a gate counts and holds, as Prometheus has it."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def collect(self) -> Iterator[Metric]:
        """Yield the readings of this moment."""
        gate, tally = self._gate, self._gate.tally
        yield _counter("tidegate_replayed_total", tally.replayed)
        yield _counter("tidegate_evictions_total", tally.evictions)
        yield _counter("tidegate_sandbox_total", tally.sandbox)
        yield _counter("tidegate_late_events_total", tally.late)
        labels = CounterMetricFamily(*_meaning("tidegate_labels_total"), labels=["verdict"])
        labels.add_metric(["fraud"], tally.fraud_labels)
        labels.add_metric(["legit"], tally.legit_labels)
        yield labels
        yield GaugeMetricFamily(*_meaning("tidegate_cards"), len(gate.window.cards))
        yield GaugeMetricFamily(*_meaning("tidegate_journal_used_ratio"), gate.journal.used_ratio)
        yield GaugeMetricFamily(*_meaning("tidegate_clock_behind_seconds"), gate.behind_us / SECOND_US)
        yield GaugeMetricFamily(*_meaning("tidegate_mode"), tally.mode)


class _ReasonReadings(Collector):
    """What was explained at once, as Prometheus has it."""

    def __init__(self, reasons: Reasons) -> None:
        self._reasons = reasons

    def collect(self) -> Iterator[Metric]:
        """Yield the readings of this moment."""
        led = CounterMetricFamily(*_meaning("tidegate_explained_total"), labels=["feature"])
        for feature, count in self._reasons.led.items():
            led.add_metric([feature], count)
        yield led
        yield _counter("tidegate_explanations_dropped_total", self._reasons.dropped)
        yield CounterMetricFamily(*_meaning("tidegate_explaining_seconds_total"), self._reasons.spent_s)


def _counter(name: MetricName, value: int) -> Metric:
    return CounterMetricFamily(*_meaning(name), value)
