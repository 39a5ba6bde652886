"""Fits a model to the payments of a week's past: boosted trees and a calibration table, each on payments of its own.

No Ray in here: `training.job` runs `boost` inside Ray Train.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

import xgboost as xgb

from tidegate.bundle import Calibration
from tidegate.trees import Floats
from training.calibrate import calibrate
from training.labels import Rows
from training.metrics import Targets
from training.options import FitSettings
from training.walk import Settled, Week


@dataclass(frozen=True, slots=True)
class Fitted:
    """A model, and its table from margin to probability."""

    booster: xgb.Booster
    calibration: Calibration
    parameters: dict[str, float | int | str]

    def margins(self, rows: Floats) -> Floats:
        """Return the margins of rows, float32 [n, features]."""
        made: Floats = self.booster.predict(xgb.DMatrix(rows, nthread=1), output_margin=True)
        return made


Progress: TypeAlias = Callable[[float], None]
"""Hears which part of the trees is done, 0 to 1."""
_TOLD: Final = 10


def _nobody(_part: float) -> None:
    """Hear nothing."""


Train: TypeAlias = Callable[[Floats, Targets, FitSettings], bytes]
"""Turns rows float32 [n, features] and targets [n] into a booster's UBJSON."""


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


def fit(features: Floats, week: Week | Settled, settings: FitSettings) -> Fitted:
    """Train on a week's rows to train on, and calibrate on those that follow them."""
    booster = _boosted(features, week.train, settings, boost)
    matrix = xgb.DMatrix(features[week.calibrate.index], nthread=settings.threads)
    calibration = calibrate(booster.predict(matrix, output_margin=True), week.calibrate.target)
    return Fitted(booster, calibration, {**settings.parameters(), "trees": settings.trees})


def refit(features: Floats, past: Week | Settled, settings: FitSettings, train: Train = boost) -> Fitted:
    """Train on all that had settled; the table is of a model that hadn't learnt from the payments it was made of.

    So the newest week of all, which knows most of what thieves do now, is learnt from, too. The two models rank alike
    but for that (scikit-learn's `CalibratedClassifierCV(ensemble=False)` keeps the same kind of pair).
    """
    before = fit(features, past, settings)
    return replace(before, booster=_boosted(features, past.rows, settings, train))


def _boosted(features: Floats, rows: Rows, settings: FitSettings, train: Train) -> xgb.Booster:
    made = xgb.Booster({"nthread": settings.threads})
    made.load_model(bytearray(train(features[rows.index], rows.target, settings)))
    return made
