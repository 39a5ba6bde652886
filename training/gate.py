"""The gate: whether a model may decide, by a minimum for every model and by a champion where there is one.

It looks at intervals, not at values: a challenger passes where the payments rule out that it is worse by more than is
tolerated. Too few payments rule nothing out, and then a person has to answer for it.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from tidegate.bundle import GateVerdict
from training.champion import Champion
from training.labels import DELAY_US
from training.metrics import Estimates, Scored, bootstrap, differences, mean, measure
from training.options import SYNTH
from training.walk import Week

AUC_MIN: Final = 0.7
"""Below it the ranking is of no use; models of recorded payments reach 0.87 and more."""
PRECISION_TIMES_MIN: Final = 5.0
"""Average precision over the share of frauds, which is what a model reaches that knows nothing."""
AVERAGE_PRECISION_LOSS_MAX: Final = 0.02
"""Tolerated: weeks of one model differ by more."""
COST_LOSS_MAX: Final = 0.05
"""Tolerated, as a share of what the champion costs."""


class Check(NamedTuple):
    """One thing that was looked at, in words."""

    passed: bool
    said: str


def judge(
    found: Estimates, weeks: Sequence[Scored], rival: tuple[Champion, Sequence[Scored]] | None, seed: int
) -> GateVerdict:
    """Return the verdict on a model by its test weeks; `rival` is the champion with its own scores of the same weeks.

    A champion that can't score is named, and the model judged by the minimum alone.
    """
    checks = minimum(found, weeks)
    if rival is not None:
        champion, theirs = rival
        checks += against(champion, weeks, theirs, seed)
    bad = tuple(check.said for check in checks if not check.passed)
    good = tuple(check.said for check in checks if check.passed)
    return GateVerdict(passed=not bad, against=rival[0].id if rival else None, reasons=bad or good)


def minimum(found: Estimates, weeks: Sequence[Scored]) -> list[Check]:
    """Return what every model has to reach: better than chance by far, and cheaper than no model."""
    share = float(np.mean([week.target.mean() for week in weeks]))
    ranked, precise = found["auc"], found["average_precision"]
    bare = share * PRECISION_TIMES_MIN
    blind, said_brier = cheapest_blind(weeks), found["brier"].value
    return [
        Check(ranked.low >= AUC_MIN, f"auc {ranked.value:.3f}, at worst {ranked.low:.3f}, needs {AUC_MIN:.3f}"),
        Check(
            precise.low >= bare,
            f"average precision {precise.value:.3f}, at worst {precise.low:.3f}, needs {bare:.3f}"
            f" ({PRECISION_TIMES_MIN:.0f} times the share of frauds)",
        ),
        Check(
            said_brier < share * (1 - share),
            f"Brier {said_brier:.5f}, needs less than {share * (1 - share):.5f} (the share of frauds said of each)",
        ),
        Check(
            found["cost_minor"].value < blind,
            f"cost {found['cost_minor'].value:.2f} a payment, needs less than {blind:.2f} (one outcome for all)",
        ),
    ]


def cheapest_blind(weeks: Sequence[Scored]) -> float:
    """Return what a payment costs by the best outcome that is the same for all, in minor units, a mean over weeks."""
    return float(np.mean([week.outcomes_minor.mean(axis=1) for week in weeks], axis=0).min())


def comparable(champion: Champion, source: str, weeks: Sequence[Week]) -> list[int]:
    """Return which weeks a champion knows nothing of: those that begin when it was made, or later.

    It was made when the last payment that it learnt from had settled; till then it heard how earlier ones turned out.

    Recorded payments are new to a champion that was trained on generated ones.
    """
    if champion.bundle is None:
        return []
    data = champion.bundle.manifest.data
    foreign = data.source.startswith(f"{SYNTH} ") and not source.startswith(f"{SYNTH} ")
    return [at for at, week in enumerate(weeks) if foreign or week.start_us >= data.cut_us + DELAY_US]


def against(champion: Champion, ours: Sequence[Scored], theirs: Sequence[Scored], seed: int) -> list[Check]:
    """Return how a challenger does beside the champion, on the weeks that `theirs` has."""
    if champion.bundle is None:
        return [Check(True, f"{champion.id} can't be measured: {champion.said}; judged as a first model")]
    starts = {week.start_us for week in theirs}
    mine = [week for week in ours if week.start_us in starts]
    if not mine:
        return [
            Check(False, f"{champion.id} knows of all test weeks: give newer payments, of two weeks since it was made")
        ]
    own, other = (mean([measure(week) for week in weeks]) for weeks in (mine, theirs))
    gained = differences(own, other, bootstrap([mine, theirs], seed))
    precise, cost = gained["average_precision"], gained["cost_minor"]
    allowed = COST_LOSS_MAX * other["cost_minor"]
    than = f"than {champion.id}'s {other['average_precision']:.3f} on weeks both are new to ({len(mine)})"
    return [
        Check(
            precise.low >= -AVERAGE_PRECISION_LOSS_MAX,
            f"average precision {precise.value:+.3f} ({precise.low:+.3f} to {precise.high:+.3f}) {than},"
            f" tolerated {-AVERAGE_PRECISION_LOSS_MAX:+.3f}",
        ),
        Check(
            cost.high <= allowed,
            f"cost {cost.value:+.2f} a payment ({cost.low:+.2f} to {cost.high:+.2f}) than {champion.id}'s"
            f" {other['cost_minor']:.2f}, tolerated {allowed:+.2f}",
        ),
    ]
