"""Fitting: a model of a week's past ranks the week's frauds, the same for equal seeds, and tells how far it is."""

from collections.abc import Callable

import numpy as np

from training.calibrate import probabilities
from training.dataset import Events
from training.fit import boost, fit
from training.options import FitSettings
from training.walk import weeks

FAST = FitSettings(trees=12, depth=3, bins=32)
Make = Callable[..., Events]
Vectors = Callable[..., np.ndarray]


def test_a_model_ranks_frauds_of_the_week_and_its_probabilities_are_near_their_share(
    events_of: Make, vectors_of: Vectors
) -> None:
    events = events_of(60)
    vectors, week = vectors_of(events), weeks(events, 1)[0]

    fitted = fit(vectors, week, FAST)
    margins = fitted.margins(vectors[week.test.index])
    said = probabilities(margins, fitted.calibration)

    assert margins[week.test.target == 1].mean() > margins[week.test.target == 0].mean() + 0.5
    assert abs(said.mean() - week.test.target.mean()) < 0.2 * week.test.target.mean()


def test_equal_seeds_give_equal_boosters_and_a_tree_more_gives_another(events_of: Make, vectors_of: Vectors) -> None:
    events = events_of(30)
    rows, target = vectors_of(events), events.fraud.astype(np.uint8)

    assert boost(rows, target, FAST) == boost(rows, target, FAST)
    assert boost(rows, target, FAST) != boost(rows, target, FitSettings(trees=13, depth=3, bins=32))


def test_boosting_tells_how_far_it_is(events_of: Make, vectors_of: Vectors) -> None:
    events = events_of(30)
    told: list[float] = []

    boost(vectors_of(events), events.fraud.astype(np.uint8), FitSettings(trees=20, depth=2, bins=32), told.append)

    assert told == [part / 10 for part in range(1, 11)]
