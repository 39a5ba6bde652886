"""Fits a model to what was known: split by time, boosted trees, calibration and metrics on payments held out after it.

No Ray in here: `training.job` runs `boost` inside Ray Train.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray
from sklearn.isotonic import isotonic_regression
from sklearn.metrics import average_precision_score, roc_auc_score

from tidegate.bundle import CALIBRATION_POINTS_MAX, Calibration
from tidegate.limits import DAY_US
from tidegate.trees import Floats
from training.dataset import Events
from training.labels import DELAY_US, Rows, training_rows
from training.mapping import DatasetError
from training.options import FitSettings

TAIL_US_MAX: Final = 14 * DAY_US
"""Held out at the end: two weeks see each weekday twice; a longer tail would age the model."""
FALSE_POSITIVE_RATE: Final = 0.001
_DELAYS_MIN: Final = 3  # label delays to span: one before the cut, one after the tail, and room for both
_FRAUDS_MIN: Final = 20  # with fewer neither a fit nor a metric means anything

Targets: TypeAlias = NDArray[np.uint8]
Doubles: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Split:
    """Rows to train on, as known at `cut_us`, and rows after it to measure and calibrate on, as known at the end."""

    train: Rows
    tail: Rows
    cut_us: int


@dataclass(frozen=True, slots=True)
class Fitted:
    """A model with what the held-out tail says of it."""

    booster: xgb.Booster
    calibration: Calibration
    metrics: dict[str, float]
    parameters: dict[str, float | int | str]


Progress: TypeAlias = Callable[[float], None]
"""Hears which part of the trees is done, 0 to 1."""
_TOLD: Final = 10


def _nobody(_part: float) -> None:
    """Hear nothing."""


Train: TypeAlias = Callable[[Floats, Targets, FitSettings], bytes]
"""Turns rows float32 [n, features] and targets [n] into a booster's UBJSON."""


def split(events: Events, delay_us: int = DELAY_US) -> Split:
    """Split by time: the tail ends a label delay before the end, so that its verdicts are known.

    Raises:
        DatasetError: the payments span too short a time, or have too few known frauds on either side.
    """
    first, end = int(events.occurred_us[0]), int(events.occurred_us[-1]) + 1
    tail_end = end - delay_us
    cut_us = tail_end - min(TAIL_US_MAX, (tail_end - first) // 4)
    if cut_us - delay_us <= first:
        days = (end - first) / DAY_US
        raise DatasetError(f"the payments span {days:.0f} days; give {_DELAYS_MIN * delay_us // DAY_US} or more")
    known = training_rows(events, cut_us=end, delay_us=delay_us, from_us=cut_us + 1)
    settled = events.occurred_us[known.index] <= tail_end
    train = training_rows(events, cut_us=cut_us, delay_us=delay_us)
    tail = Rows(known.index[settled], known.target[settled])
    for name, rows in (("before", train), ("after", tail)):
        if (frauds := int(rows.target.sum())) < _FRAUDS_MIN or frauds == len(rows.target):
            raise DatasetError(f"{frauds} known frauds of {len(rows.target)} payments {name} the cut; give more days")
    return Split(train, tail, cut_us)


class _Told(xgb.callback.TrainingCallback):  # type: ignore[misc]
    """Tells how far boosting is, some ten times."""

    def __init__(self, trees: int, progress: Progress) -> None:
        self._trees = trees
        self._progress = progress

    def after_iteration(self, _model: xgb.Booster, epoch: int, _evals_log: dict[str, Any]) -> bool:
        done = epoch + 1
        if done % max(self._trees // _TOLD, 1) == 0:
            self._progress(done / self._trees)
        return False


def boost(rows: Floats, target: Targets, settings: FitSettings, progress: Progress = _nobody) -> bytes:
    """Return the UBJSON of a booster trained on `rows`, float32 [n, features]; in a group, each member has its part."""
    matrix = xgb.QuantileDMatrix(rows, target, max_bin=settings.bins, nthread=settings.threads)
    told = _Told(settings.trees, progress)
    booster = xgb.train(settings.parameters(), matrix, num_boost_round=settings.trees, callbacks=[told])
    return bytes(booster.save_raw("ubj"))


def fit(features: Floats, parts: Split, settings: FitSettings, train: Train = boost) -> Fitted:
    """Train on the payments before the cut; calibrate and measure on those after it."""
    booster = xgb.Booster({"nthread": settings.threads})
    booster.load_model(bytearray(train(features[parts.train.index], parts.train.target, settings)))
    matrix = xgb.DMatrix(features[parts.tail.index], nthread=settings.threads)
    margins = booster.predict(matrix, output_margin=True)
    calibration = calibrate(margins, parts.tail.target)
    metrics = measure(margins, parts.tail.target)
    return Fitted(booster, calibration, metrics, {**settings.parameters(), "trees": settings.trees})


def measure(margins: Floats, target: Targets) -> dict[str, float]:
    """Return how well margins rank frauds: area under ROC, average precision, recall at 0.1 % false positives."""
    allowed = np.quantile(margins[target == 0], 1 - FALSE_POSITIVE_RATE, method="higher")
    return {
        "auc": float(roc_auc_score(target, margins)),
        "average_precision": float(average_precision_score(target, margins)),
        "recall_at_fpr_0.001": float(np.mean(margins[target == 1] > allowed)),
        "tail_rows": float(len(target)),
        "tail_frauds": float(target.sum()),
    }


def calibrate(margins: Floats, target: Targets) -> Calibration:
    """Return a monotone table from margin to probability: isotonic steps (Zadrozny and Elkan, 2002), joined by lines.

    Each step stands at its mean margin with (frauds + share) / (rows + 1), where `share` is that of all rows: no
    finite sample makes a payment certain.
    """
    places, group = np.unique(margins.astype(np.float64), return_inverse=True)
    weights = np.bincount(group).astype(np.float64)
    rates = np.bincount(group, target) / weights
    levels, step = np.unique(isotonic_regression(rates, sample_weight=weights), return_inverse=True)
    rows = np.bincount(step, weights).astype(np.float64)
    middles = np.bincount(step, places * weights) / rows
    frauds = np.bincount(step, rates * weights).astype(np.float64)
    if len(levels) < 2:  # noqa: PLR2004 - a line has two ends
        raise DatasetError("the model ranks no fraud above a good payment: give more days, or look at the labels")
    merged = _merge(rows, middles, frauds)
    probabilities = (merged[2] + target.mean()) / (merged[0] + 1)
    return Calibration(
        margins=tuple(merged[1].tolist()), probabilities=tuple(np.maximum.accumulate(probabilities).tolist())
    )


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
