"""Calibration: the table from margin to probability, of the simplest kind that the payments don't speak against."""

from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np
from sklearn.isotonic import isotonic_regression
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from tidegate.bundle import CALIBRATION_POINTS_MAX, Calibration
from tidegate.trees import Floats
from training.mapping import DatasetError
from training.metrics import Doubles, Targets

_FOLDS: Final = 5  # in time order, so that each is a span that the others say nothing of
_FLOOR: Final = 1e-7  # no finite sample makes a payment certain
_LOG_ODDS_MAX: Final = 16.0  # of the floor: beyond it a table needs no point
_Way: TypeAlias = Callable[[Floats, Targets], Calibration]


def calibrate(margins: Floats, target: Targets) -> Calibration:
    """Return a monotone table from margin to probability.

    Three ways compete: the margin taken as log odds, as boosting means it; a line through it (Platt, 1999); isotonic
    steps (Zadrozny and Elkan, 2002). Each is judged by its log loss on folds it wasn't made of, and the simplest
    within one standard error of the best is taken (Breiman, 1984): on some thousand frauds steps cost more than they
    mend where a model is right already.

    Raises:
        DatasetError: the margins rank no fraud above a good payment.
    """
    if len(np.unique(isotonic_regression(target[np.argsort(margins, kind="stable")].astype(np.float64)))) < 2 or (  # noqa: PLR2004 - a table has two ends
        margins.min() == margins.max()
    ):
        raise DatasetError("the model ranks no fraud above a good payment: give more days, or look at the labels")
    losses = np.array([_losses(way, margins, target) for way in WAYS])
    best = losses[int(np.argmin(losses.mean(axis=1)))]
    excess = losses - best
    allowed = excess.std(axis=1) / np.sqrt(len(target))
    simplest = int(np.argmax(excess.mean(axis=1) <= allowed))
    return WAYS[simplest](margins, target)


def log_odds(margins: Floats, _target: Targets) -> Calibration:
    """Take margins at their word."""
    return _table(margins, lambda at: 1 / (1 + np.exp(-at)))


def line(margins: Floats, target: Targets) -> Calibration:
    """Move and stretch the log odds."""
    column = margins.astype(np.float64)[:, np.newaxis]
    model = LogisticRegression(C=np.inf).fit(column, target)
    return _table(margins, lambda at: model.predict_proba(at[:, np.newaxis])[:, 1])


def steps(margins: Floats, target: Targets) -> Calibration:
    """Join isotonic steps by lines.

    Each step stands at its mean margin with (frauds + share) / (rows + 1), where `share` is that of all rows.
    """
    places, group = np.unique(margins.astype(np.float64), return_inverse=True)
    weights = np.bincount(group).astype(np.float64)
    rates = np.bincount(group, target) / weights
    levels, step = np.unique(isotonic_regression(rates, sample_weight=weights), return_inverse=True)
    rows = np.bincount(step, weights).astype(np.float64)
    middles = np.bincount(step, places * weights) / rows
    frauds = np.bincount(step, rates * weights).astype(np.float64)
    if len(levels) < 2:  # noqa: PLR2004 - as above; a fold may be without any rank
        return _table(margins, lambda at: np.full(len(at), target.mean()))
    merged = _merge(rows, middles, frauds)
    probabilities = (merged[2] + target.mean()) / (merged[0] + 1)
    return Calibration(
        margins=tuple(merged[1].tolist()), probabilities=tuple(np.maximum.accumulate(probabilities).tolist())
    )


WAYS: Final[tuple[_Way, ...]] = (log_odds, line, steps)
"""From the simplest on."""


def probabilities(margins: Floats, table: Calibration) -> Doubles:
    """Return the probabilities that a table gives margins."""
    return np.interp(margins, table.margins, table.probabilities)


def _losses(way: _Way, margins: Floats, target: Targets) -> Doubles:
    """Return the log loss of each payment by the table of the folds that it isn't in."""
    said = np.empty(len(target))
    for made_of, judged in StratifiedKFold(_FOLDS).split(margins, target):
        said[judged] = probabilities(margins[judged], way(margins[made_of], target[made_of]))
    said = np.clip(said, _FLOOR, 1 - _FLOOR)
    return np.asarray(-np.log(np.where(target == 1, said, 1 - said)))


def _table(margins: Floats, curve: Callable[[Doubles], Doubles]) -> Calibration:
    """Return a curve at even steps between the smallest margin and the largest, of those that differ in the end."""
    low, high = np.clip([float(margins.min()), float(margins.max())], -_LOG_ODDS_MAX, _LOG_ODDS_MAX)
    at = np.linspace(min(low, high - 1), high, CALIBRATION_POINTS_MAX)
    said = np.maximum.accumulate(np.clip(curve(at), _FLOOR, 1 - _FLOOR))
    return Calibration(margins=tuple(at.tolist()), probabilities=tuple(said.tolist()))


def _merge(rows: Doubles, middles: Doubles, frauds: Doubles) -> tuple[Doubles, Doubles, Doubles]:
    """Join the steps that are the least apart in probability until the table has room for all."""
    while len(rows) > CALIBRATION_POINTS_MAX:
        at = int(np.argmin(np.diff(frauds / rows)))
        both = slice(at, at + 2)
        middle = np.average(middles[both], weights=rows[both])
        middles = np.concatenate([middles[:at], [middle], middles[at + 2 :]])
        rows = np.concatenate([rows[:at], [rows[both].sum()], rows[at + 2 :]])
        frauds = np.concatenate([frauds[:at], [frauds[both].sum()], frauds[at + 2 :]])
    return rows, middles, frauds
