"""The meter: what a site counts, for Prometheus and for the live page."""

from collections import deque
from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from actors.gate.gate import Decision, Gate
from tidegate.decision import OUTCOME_WORDS
from tidegate.limits import LIVE_RECENT_ITEMS
from tidegate.metrics import LATENCY_BUCKETS_S, MEANINGS, STAGES, MetricName

_LATENCIES_KEPT = 2_048  # the live page's percentiles speak of about the last second of a busy site


def _meaning(name: MetricName) -> tuple[str, str]:
    return name, MEANINGS[name]


class Meter:
    """Counters and histograms of one gate in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        seconds = Histogram(
            *_meaning("tidegate_decision_seconds"), ["stage"], registry=self.registry, buckets=LATENCY_BUCKETS_S
        )
        self.stage: dict[str, Callable[[float], None]] = {stage: seconds.labels(stage).observe for stage in STAGES}
        flush = Histogram(*_meaning("tidegate_flush_seconds"), registry=self.registry, buckets=LATENCY_BUCKETS_S)
        self.flush = flush.observe
        decisions = Counter(*_meaning("tidegate_decisions_total"), ["outcome"], registry=self.registry)
        self._outcomes = [decisions.labels(word).inc for word in OUTCOME_WORDS]
        self._refused = Counter(*_meaning("tidegate_refused_total"), ["code"], registry=self.registry)
        self._latencies: deque[float] = deque(maxlen=_LATENCIES_KEPT)
        self.recent: deque[Decision] = deque(maxlen=LIVE_RECENT_ITEMS)
        self.counts = [0, 0, 0, 0]

    def decided(self, decision: Decision, seconds: float) -> None:
        """Count a decision that was answered."""
        self._latencies.append(seconds)
        self.stage["total"](seconds)
        if not decision.replayed:
            self._outcomes[decision.decided.outcome]()
            self.counts[decision.decided.outcome] += 1
            self.recent.append(decision)

    def refused(self, code: str) -> None:
        """Count a request that was refused."""
        self._refused.labels(code).inc()

    def watch(self, gate: Gate) -> None:
        """Expose what the gate itself knows, read when somebody asks."""
        tally = gate.tally
        readings: dict[MetricName, Callable[[], float]] = {
            "tidegate_cards": lambda: len(gate.window.cards),
            "tidegate_replayed_total": lambda: tally.replayed,
            "tidegate_evictions_total": lambda: tally.evictions,
            "tidegate_late_events_total": lambda: tally.late,
            "tidegate_labels_total": lambda: tally.labels,
            "tidegate_clock_behind_seconds": lambda: gate.behind_us / 1e6,
        }
        for name, read in readings.items():
            Gauge(*_meaning(name), registry=self.registry).set_function(read)

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
