"""The meter: what a site counts, for Prometheus and for the live page."""

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from actors.gate.gate import Decision, Gate
from actors.gate.reasons import Reasons
from tidegate.decision import OUTCOME_WORDS, Mark
from tidegate.limits import LIVE_RECENT_ITEMS, SECOND_US
from tidegate.metrics import LATENCY_BUCKETS_S, MEANINGS, STAGES, MetricName

_ROWS_MAX = 1_024  # counting them takes a tenth of a millisecond
_LATENCIES_KEPT = 2_048  # the live page's percentiles speak of about the last second of a busy site


def _meaning(name: MetricName) -> tuple[str, str]:
    return name, MEANINGS[name]


class Latencies:
    """Histograms of seconds that are read together, a row a decision.

    Rows are kept as they come and counted by the thousand: on a path where each decision fills four histograms, the
    library's cost more than the features.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self._rows: list[tuple[float, ...]] = []
        self._counts = np.zeros((len(names), len(LATENCY_BUCKETS_S) + 1), np.int64)
        self._sums_s = np.zeros(len(names))
        self._latest_s = np.empty((0, len(names)))

    def add(self, row: tuple[float, ...]) -> None:
        """Take one reading a histogram."""
        self._rows.append(row)
        if len(self._rows) >= _ROWS_MAX:
            self._count()

    def _count(self) -> None:
        if not self._rows:
            return
        rows, self._rows = np.array(self._rows), []
        for column, places in enumerate(np.searchsorted(LATENCY_BUCKETS_S, rows).T):
            self._counts[column] += np.bincount(places, minlength=self._counts.shape[1])
        self._sums_s += rows.sum(axis=0)
        self._latest_s = np.concatenate((self._latest_s, rows))[-_LATENCIES_KEPT:]

    def latest_s(self, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return the latest readings of one histogram, in seconds."""
        self._count()
        return self._latest_s[:, self.names.index(name)]

    def buckets(self) -> Iterator[tuple[str, list[tuple[str, float]], float]]:
        """Yield of each histogram its name, (upper bound, readings up to it) of each bucket, the sum of all."""
        self._count()
        bounds = [*map(floatToGoString, LATENCY_BUCKETS_S), "+Inf"]
        for name, counts, sum_s in zip(self.names, self._counts, self._sums_s.tolist(), strict=True):
            yield name, list(zip(bounds, np.cumsum(counts).astype(float).tolist(), strict=True)), sum_s


class _Latencies(Collector):
    def __init__(self, stages: Sequence[Latencies], flushes: Latencies) -> None:
        self._stages = stages
        self._flushes = flushes

    def collect(self) -> Iterator[Metric]:
        """Yield the histograms of this moment."""
        family = HistogramMetricFamily(*_meaning("tidegate_decision_seconds"), labels=["stage"])
        for stage, buckets, sum_s in chain.from_iterable(map(Latencies.buckets, self._stages)):
            family.add_metric([stage], buckets, sum_s)
        yield family
        family = HistogramMetricFamily(*_meaning("tidegate_flush_seconds"))
        for _, buckets, sum_s in self._flushes.buckets():
            family.add_metric([], buckets, sum_s)
        yield family


class Meter:
    """Counters and histograms of one gate in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._stages = Latencies(STAGES)
        self._batch = Latencies(("batch",))
        self._flushes = Latencies(("flush",))
        self.registry.register(_Latencies((self._stages, self._batch), self._flushes))
        self._refused = Counter(*_meaning("tidegate_refused_total"), ["code"], registry=self.registry)
        self.took = self._stages.add
        """Takes the seconds of a decision that was asked for alone, one for each of `STAGES`."""
        self.took_in_batch = self._batch.add
        """Takes the seconds from a batch's arrival to its answer, once for each decision."""
        self.recent: deque[Decision] = deque(maxlen=LIVE_RECENT_ITEMS)
        self.counts = [0] * len(OUTCOME_WORDS)
        self.registry.register(_Outcomes(self.counts))
        self.refusals = 0

    def flush(self, seconds: float) -> None:
        """Take the time of one flush."""
        self._flushes.add((seconds,))

    def decided(self, decision: Decision) -> None:
        """Count a decision that was answered."""
        if decision.replayed:
            return
        self.recent.append(decision)
        if not decision.decided.marks & Mark.SANDBOX:
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
        latest_s = self._stages.latest_s("total")
        if not len(latest_s):
            return {"p50_ms": None, "p99_ms": None}
        return {f"p{p}_ms": round(float(np.percentile(latest_s, p)) * 1e3, 3) for p in (50, 99)}


class _Outcomes(Collector):
    def __init__(self, counts: list[int]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """Yield how many decisions came out how."""
        family = CounterMetricFamily(*_meaning("tidegate_decisions_total"), labels=["outcome"])
        for word, count in zip(OUTCOME_WORDS, self._counts, strict=True):
            family.add_metric([word], count)
        yield family


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
        reached = gate.window.overlay.reached
        yield _counter("tidegate_deltas_total", tally.deltas)
        yield GaugeMetricFamily(*_meaning("tidegate_overlay_version"), reached.version)
        age = GaugeMetricFamily(*_meaning("tidegate_overlay_age_seconds"))
        if reached.version:
            age.add_metric([], (gate.now_us() - reached.as_of_us) / SECOND_US)
        yield age
        yield GaugeMetricFamily(*_meaning("tidegate_journal_used_ratio"), gate.journal.used_ratio)
        epoch = GaugeMetricFamily(*_meaning("tidegate_epoch"), labels=["reason"])
        epoch.add_metric([gate.state.epoch_began], gate.journal.epoch_index)
        yield epoch
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
