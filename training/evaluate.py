"""Evaluation: a model for each test week, scored on it beside a champion, measured whole and by segment."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score

from tidegate.bundle import Calibration
from tidegate.limits import DAY_US
from tidegate.policy.costs import MILLION, Costs, expected_costs
from tidegate.trees import Floats
from training.calibrate import probabilities
from training.dataset import Events, Flags, Ints, Words
from training.fit import Fitted, Train, boost, fit
from training.metrics import (
    FALSE_POSITIVE_RATE,
    Doubles,
    Estimates,
    Scored,
    Targets,
    bootstrap,
    estimates,
    mean,
    measure,
)
from training.options import FitSettings
from training.walk import Week

Margins: TypeAlias = Callable[[Floats], Floats]
"""A model: rows float32 [n, features] in, margins float32 [n] out."""
Heard: TypeAlias = Callable[[int], None]
"""Hears how many weeks are done."""

_SEGMENT_TEXTS: Final = ("channel", "entry_mode", "country", "site", "currency", "mcc")
_SEGMENT_WORDS_MAX: Final = 12  # a field of more words is an identity, not a segment
_SEGMENT_FRAUDS_MIN: Final = 10  # fewer say nothing of a segment
_AMOUNT_EDGES: Final = (1_000, 5_000, 10_000, 20_000)
_RELIABILITY_BINS: Final = 10


class Reliability(NamedTuple):
    """Tenths of the payments by probability: what was said and what came, mean probability and share of frauds."""

    said: Doubles
    came: Doubles


class Segment(NamedTuple):
    """A part of the payments, measured at the threshold that lets 0.1 % of all good payments be stopped."""

    name: str
    rows: int
    frauds: int
    average_precision: float
    recall: float
    false_positives: float
    said_over_came: float


@dataclass(frozen=True, slots=True)
class Walk:
    """Test weeks, the model of each, and how they scored, oldest first; the last model is the newest."""

    weeks: tuple[Week, ...]
    fitted: tuple[Fitted, ...]
    scored: tuple[Scored, ...]


def walk(
    events: Events,
    features: Floats,
    weeks: Sequence[Week],
    settings: FitSettings,
    *,
    train: Train = boost,
    costs: Costs | None = None,
    heard: Heard = lambda _done: None,
) -> Walk:
    """Fit one model a week, and score each on its week. `train` is used for the last alone: it is the one that stays.

    Raises:
        DatasetError: a model ranks no fraud above a good payment.
    """
    fitted, made = [], []
    for done, week in enumerate(weeks, start=1):
        one = fit(features, week, settings, train if done == len(weeks) else boost)
        fitted.append(one)
        made.append(scored(events, features, week, one.margins, one.calibration, costs or Costs()))
        heard(done)
    return Walk(tuple(weeks), tuple(fitted), tuple(made))


def scored(
    events: Events, features: Floats, week: Week, margins: Margins, calibration: Calibration, costs: Costs
) -> Scored:
    """Return the payments of a test week with what a model says of them."""
    index, target = week.test.index, week.test.target
    margin = margins(features[index])
    probability = probabilities(margin, calibration)
    amount = events.amount_minor[index]
    return Scored(
        start_us=week.start_us,
        index=index,
        target=target,
        margin=margin,
        probability=probability,
        cost_minor=realized(probability, amount, target, costs),
        amount_minor=amount,
        day=(events.occurred_us[index] - week.start_us) // DAY_US,
        card=events.card_slot[index],
        terminal=events.terminal_slot[index],
    )


def realized(probability: Doubles, amount_minor: Ints, target: Targets, costs: Costs) -> Doubles:
    """Return what the outcome of lowest expected cost cost, as each payment turned out, in minor units."""
    said = np.rint(probability * MILLION).astype(np.int64)
    cheapest = np.argmin(expected_costs(said, amount_minor, costs), axis=0)  # of equals the mildest, as at a gate
    turned_out = np.stack(expected_costs(target.astype(np.int64) * MILLION, amount_minor, costs))
    return np.asarray(turned_out[cheapest, np.arange(len(target))] / MILLION)


def measured(weeks: Sequence[Scored], seed: int) -> Estimates:
    """Return the means of a model's metrics over weeks, with their intervals."""
    return estimates(mean([measure(week) for week in weeks]), bootstrap([weeks], seed)[:, 0])


def reliability(target: np.ndarray, probability: Doubles) -> Reliability:
    """Return how far probabilities can be believed."""
    came, said = calibration_curve(target, probability, n_bins=_RELIABILITY_BINS, strategy="quantile")
    return Reliability(said, came)


def gap(target: np.ndarray, probability: Doubles) -> float:
    """Return the mean distance between what was said and what came, over tenths of the payments (Naeini, 2015)."""
    made = reliability(target, probability)
    return float(np.abs(made.said - made.came).mean())


def by_segment(events: Events, weeks: Sequence[Scored]) -> tuple[Segment, ...]:
    """Return the payments of some weeks by what the file tells of them, segments with too few frauds left out."""
    index = np.concatenate([week.index for week in weeks])
    target = np.concatenate([week.target for week in weeks])
    probability = np.concatenate([week.probability for week in weeks])
    alarm = probability > np.quantile(probability[target == 0], 1 - FALSE_POSITIVE_RATE, method="higher")
    return tuple(
        _segment(name, target[part], probability[part], alarm[part])
        for name, part in _parts(events, index)
        if target[part].sum() >= _SEGMENT_FRAUDS_MIN and not target[part].all()
    )


def _segment(name: str, target: np.ndarray, probability: Doubles, alarm: Flags) -> Segment:
    return Segment(
        name=name,
        rows=len(target),
        frauds=int(target.sum()),
        average_precision=float(average_precision_score(target, probability)),
        recall=float(alarm[target == 1].mean()),
        false_positives=float(alarm[target == 0].mean()),
        said_over_came=float(probability.sum() / target.sum()),
    )


def _parts(events: Events, index: np.ndarray) -> Iterator[tuple[str, Flags]]:
    """Yield each segment's name, and which of the payments are in it."""
    band = np.searchsorted(_AMOUNT_EDGES, events.amount_minor[index], side="right")
    edges = (0, *_AMOUNT_EDGES)
    for at, low in enumerate(edges):
        high = f" to {edges[at + 1] / 100:.2f}" if at + 1 < len(edges) else " and more"
        yield f"amount {low / 100:.2f}{high}", band == at
    none = Words(np.zeros(0, np.int32), ())
    for field in _SEGMENT_TEXTS:
        words = events.texts.get(field, none)
        if 1 < len(words.vocabulary) <= _SEGMENT_WORDS_MAX:
            slots = words.slots[index]
            yield from ((f"{field} {word}", slots == slot) for slot, word in enumerate(words.vocabulary))
