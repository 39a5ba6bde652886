"""How good scores are: ranking, calibration and money, with intervals that know that frauds come in bursts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score, roc_curve

from tidegate.trees import Floats
from training.dataset import Ints, Slots

Targets: TypeAlias = NDArray[np.uint8]
Doubles: TypeAlias = NDArray[np.float64]

FALSE_POSITIVE_RATE: Final = 0.001
CARDS_A_DAY: Final = 100
"""How many cards people look at a day: the published protocol's."""
DRAWS: Final = 300
"""Of the bootstrap: the ends of an interval move by less than a tenth of its length."""
INTERVAL: Final = (2.5, 97.5)
NAMES: Final = ("auc", "average_precision", "card_precision_100", "recall_at_fpr_0.001", "brier", "cost_minor")
"""Area under ROC; average precision; compromised cards among the 100 most suspect of a day; recall at 0.1 % false
positives; mean square of what probabilities lack; cost of a payment by the policy's outcomes, in minor units."""
SMALLER_IS_BETTER: Final = frozenset({"brier", "cost_minor"})


@dataclass(frozen=True, slots=True)
class Scored:
    """The payments of one test week, n rows in time order, with what a model said of them.

    `index` is the row in `Events`, `day` counts from 0, `cost_minor` is what the policy's outcome cost, as it turned
    out, and `outcomes_minor`, [4, n], what each outcome would have; `card` and `terminal` are slots.
    """

    start_us: int
    index: Ints
    target: Targets
    margin: Floats
    probability: Doubles
    cost_minor: Doubles
    outcomes_minor: Doubles
    day: Ints
    card: Slots
    terminal: Slots


class Estimate(NamedTuple):
    """A value and the ends of its interval of 95 %."""

    value: float
    low: float
    high: float


Measures: TypeAlias = dict[str, float]
Estimates: TypeAlias = dict[str, Estimate]


def measure(week: Scored) -> Measures:
    """Return the metrics of one week, by the names of `NAMES`."""
    rates = roc_curve(week.target, week.margin, drop_intermediate=False)
    values = (
        roc_auc_score(week.target, week.margin),
        average_precision_score(week.target, week.margin),
        card_precisions(week).mean(),
        rates[1][rates[0] <= FALSE_POSITIVE_RATE].max(),
        brier_score_loss(week.target, week.probability),
        week.cost_minor.mean(),
    )
    return dict(zip(NAMES, map(float, values), strict=True))


def mean(weeks: Sequence[Measures]) -> Measures:
    """Return the means over weeks."""
    return {name: float(np.mean([week[name] for week in weeks])) for name in weeks[0]}


def card_precisions(week: Scored, top: int = CARDS_A_DAY) -> Doubles:
    """Return of each day the compromised ones among its `top` most suspect cards, as a share of `top`.

    A card is as suspect as its most suspect payment of the day; one that was found out on a day before is gone.
    """
    days = int(week.day.max()) + 1
    caught, precisions = np.zeros(0, week.card.dtype), np.zeros(days)
    for day in range(days):
        rows = np.flatnonzero((week.day == day) & ~np.isin(week.card, caught))
        order = rows[np.argsort(-week.margin[rows], kind="stable")]
        _, first = np.unique(week.card[order], return_index=True)
        suspects = week.card[order[np.sort(first)[:top]]]
        found = suspects[np.isin(suspects, week.card[rows[week.target[rows] == 1]])]
        precisions[day] = len(found) / top
        caught = np.concatenate([caught, found])
    return precisions


class _Ranked:
    """A week in the order of suspicion, ready to be measured under many weights."""

    def __init__(self, week: Scored) -> None:
        order = np.argsort(-week.margin, kind="stable")
        self._fraud = week.target[order].astype(np.float64)
        self._ends = np.append(np.flatnonzero(np.diff(week.margin[order])), len(order) - 1)
        self._card, self._terminal = week.card[order], week.terminal[order]
        errors = (week.probability - week.target)[order]
        self._square, self._cost = errors * errors, week.cost_minor[order]
        self._precisions = card_precisions(week)

    def measure(self, cards: Doubles, terminals: Doubles, days: Doubles) -> Doubles:
        """Return the metrics where a payment weighs as its card times its terminal, and a day's list as its day."""
        weight = cards[self._card] * terminals[self._terminal]
        caught = np.cumsum(weight * self._fraud)[self._ends]
        both = np.cumsum(weight)[self._ends]
        recall, alarms = caught / caught[-1], (both - caught) / (both[-1] - caught[-1])
        total = both[-1]
        return np.array(
            [
                np.trapezoid(np.append(0, recall), np.append(0, alarms)),
                np.sum(np.diff(recall, prepend=0) * caught / both),
                np.average(self._precisions, weights=days[: len(self._precisions)]),
                np.append(0, recall)[np.searchsorted(alarms, FALSE_POSITIVE_RATE, side="right")],
                weight @ self._square / total,
                weight @ self._cost / total,
            ]
        )


def bootstrap(models: Sequence[Sequence[Scored]], seed: int, draws: int = DRAWS) -> Doubles:
    """Return metrics [draws, models, NAMES] of several models on the same weeks, each a mean over weeks.

    Rows aren't independent: frauds come in bursts of a card and in episodes of a terminal. So weights are drawn for
    cards and for terminals, exponential with mean 1, and a payment weighs as the product of its own (Owen and Eckles,
    "Bootstrapping data arrays of arbitrary order", 2012: on the careful side). The daily lists of cards share no row:
    their days are drawn. All models get the same draws, so that differences are paired.
    """
    rng = np.random.default_rng(seed)
    ranked = [[_Ranked(week) for week in weeks] for weeks in models]
    cards, terminals = (1 + max(int(getattr(w, of).max()) for w in models[0]) for of in ("card", "terminal"))
    drawn = np.empty((draws, len(models), len(NAMES)))
    for draw in range(draws):
        weights = rng.exponential(size=cards), rng.exponential(size=terminals)
        days = rng.exponential(size=(len(models[0]), 1 + max(int(week.day.max()) for week in models[0])))
        for model, weeks in enumerate(ranked):
            drawn[draw, model] = np.mean([w.measure(*weights, days[n]) for n, w in enumerate(weeks)], axis=0)
    return drawn


def estimates(values: Measures, drawn: Doubles) -> Estimates:
    """Return values with their intervals; `drawn` is [draws, NAMES]."""
    low, high = np.percentile(drawn, INTERVAL, axis=0)
    return {name: Estimate(values[name], float(low[n]), float(high[n])) for n, name in enumerate(NAMES)}


def differences(ours: Measures, theirs: Measures, drawn: Doubles) -> Estimates:
    """Return ours less theirs with the intervals of the paired differences; `drawn` is [draws, 2, NAMES]."""
    return estimates({name: ours[name] - theirs[name] for name in NAMES}, drawn[:, 0] - drawn[:, 1])
