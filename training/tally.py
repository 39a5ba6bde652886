"""Counts what a stream of payments came to: outcomes, errors, latency, and what the truth says about them."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import log
from typing import Any, Final

from training.client import Answer

_STEP: Final = log(1.02)
"""Latencies are kept in bins 2 % apart, so that a stream without end needs no more memory than a short one."""


class Latencies:
    """A histogram of microseconds with bins 2 % apart."""

    def __init__(self) -> None:
        self._bins: Counter[int] = Counter()

    def add(self, took_us: int) -> None:
        """Count one latency."""
        self._bins[int(log(max(took_us, 1)) / _STEP)] += 1

    def quantile_ms(self, part: float) -> float | None:
        """Return the quantile in milliseconds, at most 2 % too high; None where nothing was added."""
        wanted, seen = part * self._bins.total(), 0
        for at in sorted(self._bins):
            seen += self._bins[at]
            if seen >= wanted:
                return float(round(1.02 ** (at + 1) / 1000, 3))
        return None


@dataclass(slots=True)
class Tally:
    """The counts of a stream, or of one second of it. `caught` are frauds that weren't simply approved."""

    sent: int = 0
    labels: int = 0
    frauds: int = 0
    stopped: int = 0
    caught: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    latencies: Latencies = field(default_factory=Latencies)

    def decided(self, answer: Answer, *, fraud: bool) -> None:
        """Count the answer to one payment."""
        self.sent += 1
        if answer.error is not None:
            self.errors[answer.error] += 1
            return
        outcome = str(answer.body.get("outcome"))
        self.outcomes[outcome] += 1
        self.latencies.add(answer.took_us)
        self.frauds += fraud
        self.stopped += outcome != "approve"
        self.caught += fraud and outcome != "approve"

    def told(self, answer: Answer) -> None:
        """Count the answer to one label."""
        self.labels += 1
        if answer.error is not None:
            self.errors[f"label {answer.error}"] += 1

    def numbers(self) -> dict[str, Any]:
        """Return what a line of `--stats json` says."""
        return {
            "sent": self.sent,
            "outcomes": dict(self.outcomes),
            "errors": dict(self.errors),
            "labels": self.labels,
            "p50_ms": self.latencies.quantile_ms(0.5),
            "p99_ms": self.latencies.quantile_ms(0.99),
        }

    def report(self, elapsed_s: float, labels_not_due: int = 0) -> dict[str, Any]:
        """Return the numbers with the rate, and recall and precision where there was fraud to find."""
        told = self.numbers() | {"labels_not_due": labels_not_due}
        told |= {"seconds": round(elapsed_s, 3), "decisions_per_s": round(self.sent / elapsed_s, 1)}
        if self.frauds:
            told |= {"frauds": self.frauds, "caught": self.caught, "recall": round(self.caught / self.frauds, 4)}
        if self.frauds and self.stopped:
            told |= {"precision": round(self.caught / self.stopped, 4)}
        return told


def refusals(report: Mapping[str, Any]) -> str:
    """Return in words what of a report came to an error, by its code; nothing where all was answered."""
    return ", ".join(f"{code} {count:,}" for code, count in sorted(report["errors"].items()))


def _latency(report: Mapping[str, Any]) -> str:
    if report["p50_ms"] is None:
        return "nothing was decided"
    return f"p50 {report['p50_ms']} ms, p99 {report['p99_ms']} ms, as the caller sees it"


def lines(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return a report as (what, how much) for a person to read."""
    decided = sum(report["outcomes"].values())
    shown = [
        ("payments sent", f"{report['sent']:,} in {report['seconds']:,.1f} s"),
        ("decisions a second", f"{report['decisions_per_s']:,.0f}"),
        ("latency", _latency(report)),
    ]
    shown += [(f"outcome {name}", f"{n:,} ({n / decided:.1%})") for name, n in sorted(report["outcomes"].items())]
    shown.append(("labels", f"{report['labels']:,} told, {report['labels_not_due']:,} not due yet"))
    if "frauds" in report:
        shown.append(("frauds caught", f"{report['caught']:,} of {report['frauds']:,} ({report['recall']:.1%})"))
    if "precision" in report:
        shown.append(("stopped and fraud", f"{report['precision']:.1%} of what wasn't simply approved"))
    return [*shown, ("errors", refusals(report) or "none")]
