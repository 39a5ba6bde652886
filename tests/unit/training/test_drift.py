"""Drift: what is spread as before has an index near zero; what moved, vanished or appeared has a large one."""

import numpy as np
import pytest

from tidegate.features.declarations import FEATURE_COUNT, NAMES
from training.drift import LARGE, MODERATE, SCORE, profile, stability


def _rows(seed: int, count: int = 5_000) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, FEATURE_COUNT)).astype(np.float32)
    rows[:, 1] = np.random.default_rng(seed).integers(0, 3, count)
    rows[np.random.default_rng(seed + 1).random(count) < 0.2, 2] = np.nan
    rows[:, 3] = np.nan
    return rows


def test_what_is_spread_as_before_has_not_moved() -> None:
    found = stability(profile(_rows(1), _rows(1)[:, 0]), _rows(2), _rows(2)[:, 0])

    assert set(found) == {*NAMES, SCORE}
    assert max(found.values()) < 0.02 < MODERATE


@pytest.mark.parametrize("column", [0, 1, 2, 3])
def test_what_moved_vanished_or_appeared_is_first(column: int) -> None:
    now = _rows(2)
    now[:, column] = {0: now[:, 0] + 1, 1: 7, 2: np.nan, 3: 1}[column]

    found = stability(profile(_rows(1), _rows(1)[:, 5]), now, now[:, 5])

    assert next(iter(found)) == NAMES[column]
    assert found[NAMES[column]] > LARGE


def test_the_index_of_two_halves_is_the_formula_of_the_book() -> None:
    before = {
        NAMES[0]: profile(
            np.array([[0.0], [1.0]] * 50, np.float32).repeat(FEATURE_COUNT, 1), np.zeros(100, np.float32)
        )[NAMES[0]]
    }
    now = np.zeros((100, FEATURE_COUNT), np.float32)
    now[:20] = 1

    found = stability(before, now, now[:, 0])[NAMES[0]]

    assert found == pytest.approx((0.8 - 0.5) * np.log(0.8 / 0.5) + (0.2 - 0.5) * np.log(0.2 / 0.5))
