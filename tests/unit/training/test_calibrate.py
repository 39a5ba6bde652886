"""Calibration: the simplest table that the payments don't speak against, made of payments that nothing else uses."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss

from training.calibrate import WAYS, calibrate, line, log_odds, probabilities, steps
from training.dataset import Events
from training.evaluate import gap
from training.fit import fit
from training.mapping import DatasetError
from training.options import FitSettings
from training.walk import weeks


def _drawn(truth: Callable[[np.ndarray], np.ndarray], seed: int, count: int = 12_000) -> tuple[np.ndarray, np.ndarray]:
    """Margins, and targets drawn by what they truly mean."""
    rng = np.random.default_rng(seed)
    margins = (rng.normal(size=count) * 2 - 3).astype(np.float32)
    return margins, (rng.random(count) < truth(margins)).astype(np.uint8)


def _odds(margins: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-margins)))


def _shrunk(margins: np.ndarray) -> np.ndarray:
    return _odds(0.5 * margins - 1)


def _jump(margins: np.ndarray) -> np.ndarray:
    return np.where(margins > -1, 0.3, 0.01)


@pytest.mark.parametrize(("truth", "way"), [(_odds, log_odds), (_shrunk, line), (_jump, steps)])
@pytest.mark.parametrize("seed", range(2))
def test_the_simplest_way_that_fits_is_taken_and_its_table_is_near_the_truth(
    truth: Callable[[np.ndarray], np.ndarray], way: object, seed: int
) -> None:
    margins, target = _drawn(truth, seed)
    chosen = next(one for one in WAYS if one is way)

    table = calibrate(margins, target)

    assert table == chosen(margins, target), f"seed {seed}"
    assert np.abs(probabilities(margins, table) - truth(margins)).mean() < 0.012
    assert 0 < table.probabilities[0] < table.probabilities[-1] < 1


def test_a_table_mends_an_overconfident_model_on_a_week_that_neither_was_made_of(
    events_of: Callable[..., Events], vectors_of: Callable[..., np.ndarray]
) -> None:
    events = events_of(60)
    vectors, week = vectors_of(events, signal=1.5), weeks(events, 1)[0]
    deep = FitSettings(trees=60, depth=6, bins=32, eta=0.5, child_weight=0.1, shrink=0.1)

    fitted = fit(vectors, week, deep)
    margins, target = fitted.margins(vectors[week.test.index]), week.test.target
    raw, mended = _odds(margins.astype(np.float64)), probabilities(margins, fitted.calibration)

    assert brier_score_loss(target, mended) < 0.97 * brier_score_loss(target, raw)
    assert gap(target, mended) < 0.6 * gap(target, raw)
    spoiled = replace(week, test=replace(week.test, target=1 - week.test.target))
    assert fit(vectors, spoiled, deep).calibration == fitted.calibration


def test_steps_fit_their_table_whatever_the_margins() -> None:
    for digits in range(4):
        margins, target = _drawn(_odds, digits)
        table = steps(np.round(margins, digits), target)

        assert np.abs(probabilities(margins, table) - _odds(margins)).mean() < 0.03, f"digits {digits}"


def test_margins_that_say_nothing_cannot_be_calibrated() -> None:
    with pytest.raises(DatasetError, match="ranks no fraud above a good payment"):
        calibrate(np.zeros(100, np.float32), np.arange(100, dtype=np.uint8) % 2)
