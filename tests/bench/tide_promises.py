"""What the tide promises, and whether what was measured keeps it; see `tests.bench.tide`."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

Numbers = Mapping[str, Mapping[str, float]]
"""What was measured, by part of the bench and name."""


class Promise(NamedTuple):
    """A number that has to be reached, or not to be passed."""

    what: str
    part: str
    name: str
    bound: float
    at_least: bool = False


class Judged(NamedTuple):
    """A promise and what was measured; None: it wasn't."""

    promise: Promise
    measured: float | None

    @property
    def kept(self) -> bool | None:
        """Whether it is; None: it wasn't measured."""
        if self.measured is None:
            return None
        bound = self.promise.bound
        return self.measured >= bound if self.promise.at_least else self.measured <= bound


LOGS: Final = ("sqlite", "kafka")
_OF_A_LOG: Final = (
    ("decisions a second, from the journal into the log", "records_per_s", 40_000, True),
    ("records that ingest takes in a CPU-second", "ingest_records_per_cpu_s", 150_000, True),
    ("seconds to a lone live decision's commit, 99 of 100", "lone_p99_s", 0.25, False),
    ("seconds to a live one's beside the backlog, 99 of 100", "live_p99_s", 2.0, False),
)
PROMISES: Final = (
    *(Promise(f"{log}: {what}", log, name, bound, least) for log in LOGS for what, name, bound, least in _OF_A_LOG),
    Promise("bytes a decision in frames of 1,024", "frames", "bytes_of_1024", 120),
    Promise("bytes of a frame of one decision, the largest", "frames", "bytes_of_1_max", 1_536),
    Promise("gate: median beside the tide, times that without", "gate", "p50_ratio", 1.2),
)


def judged(told: Numbers) -> list[Judged]:
    """Return each promise with what was measured."""
    return [Judged(each, told.get(each.part, {}).get(each.name)) for each in PROMISES]


def lines(found: list[Judged]) -> Iterator[str]:
    """Yield a table of them: what was measured, what was promised, and whether that is kept."""
    for promise, measured in found:
        kept = {True: "kept", False: "NOT KEPT", None: "not measured"}[Judged(promise, measured).kept]
        value = "" if measured is None else f"{measured:,.2f}"
        bound = f"{'≥' if promise.at_least else '≤'} {promise.bound:,g}"
        yield f"{promise.what:<64} {value:>12} {bound:>10}  {kept}"


def as_json(found: list[Judged]) -> list[dict[str, Any]]:
    """Return them for programs."""
    return [
        {"what": each.promise.what, "bound": each.promise.bound, "measured": each.measured, "kept": each.kept}
        for each in found
    ]
