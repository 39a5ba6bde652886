"""Evaluation: a model for each test week, scored on it beside a champion, measured whole and by segment."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score

from tidegate.bundle import Calibration
from tidegate.decision import Outcome
from tidegate.limits import DAY_US
from tidegate.payment import CHANNELS, ENTRY_MODES
from tidegate.policy.active import bearers
from tidegate.policy.costs import MILLION, Liability, expected_costs
from tidegate.policy.terms import BearerCosts, Policy
from tidegate.trees import Floats
from training.calibrate import probabilities
from training.dataset import Events, Flags, Ints, Words
from training.fit import refit
from training.metrics import (
    FALSE_POSITIVE_RATE,
    Doubles,
    Estimates,
    Scored,
    bootstrap,
    estimates,
    mean,
    measure,
)
from training.options import FitSettings
from training.walk import Week

Numbers: TypeAlias = np.ndarray[tuple[int], np.dtype[np.uint8]]
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
    """Test weeks, and how the model of each scored, oldest first."""

    weeks: tuple[Week, ...]
    scored: tuple[Scored, ...]


def walk(
    events: Events,
    features: Floats,
    weeks: Sequence[Week],
    settings: FitSettings,
    *,
    policy: Policy | None = None,
    heard: Heard = lambda _done: None,
) -> Walk:
    """Fit one model a week, and score each on its week.

    Raises:
        DatasetError: a model ranks no fraud above a good payment.
    """
    made = []
    for done, week in enumerate(weeks, start=1):
        one = refit(features, week, settings)
        made.append(scored(events, features, week, one.margins, one.calibration, policy or Policy()))
        heard(done)
    return Walk(tuple(weeks), tuple(made))


def scored(
    events: Events, features: Floats, week: Week, margins: Margins, calibration: Calibration, policy: Policy
) -> Scored:
    """Return the payments of a test week with what a model says of them, and what a policy makes of that."""
    index, target = week.test.index, week.test.target
    margin = margins(features[index])
    probability = probabilities(margin, calibration)
    amount, bearers = events.amount_minor[index], bearers_of(events, index, policy)
    turned_out = priced(target.astype(np.int64) * MILLION, amount, bearers, policy.costs)
    said = priced(np.rint(probability * MILLION).astype(np.int64), amount, bearers, policy.costs)
    return Scored(
        start_us=week.start_us,
        index=index,
        target=target,
        margin=margin,
        probability=probability,
        cost_minor=chosen(said, turned_out),
        outcomes_minor=turned_out / MILLION,
        day=(events.occurred_us[index] - week.start_us) // DAY_US,
        card=events.card_slot[index],
        terminal=events.terminal_slot[index],
    )


def bearers_of(events: Events, index: np.ndarray, policy: Policy) -> Numbers:
    """Return who bears the loss of each of some payments."""
    channels, entries = _numbers(events, "channel", index, CHANNELS), _numbers(events, "entry_mode", index, ENTRY_MODES)
    found = np.zeros(len(index), np.uint8)
    for (channel, entry), bearer in bearers(policy).items():
        found[(channels == channel) & (entries == entry)] = bearer
    return found


def _numbers(events: Events, name: str, index: np.ndarray, known: Mapping[Any, int]) -> Numbers:
    """Return the numbers by which words of a field are stored; 0 where nothing is said."""
    words = events.texts.get(name)
    if words is None:
        return np.zeros(len(index), np.uint8)
    table = np.array([*(known[word] for word in words.vocabulary), 0], np.uint8)  # slot -1 is the last
    found: Numbers = table[words.slots[index]]
    return found


def priced(probability_ppm: Ints, amount_minor: Ints, bearing: Numbers, costs: BearerCosts) -> Ints:
    """Return what each outcome is expected to cost each payment, int64 [4, n], in millionths of a minor unit."""
    made = np.zeros((len(Outcome), len(bearing)), np.int64)
    for bearer in Liability:
        own = bearing == bearer
        made[:, own] = np.stack(expected_costs(probability_ppm[own], amount_minor[own], costs.of(bearer)))
    return made


def chosen(said: Ints, turned_out: Ints) -> Doubles:
    """Return what the outcome of lowest expected cost cost as each payment turned out, in minor units.

    Of equals it is the mildest, as at a gate.
    """
    return np.asarray(turned_out[np.argmin(said, axis=0), np.arange(said.shape[1])] / MILLION)


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
