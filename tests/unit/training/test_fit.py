"""Fitting: a model of a week's past ranks the week's frauds, the same for equal seeds, and tells how far it is."""

from collections.abc import Callable

import numpy as np

from training.calibrate import probabilities
from training.dataset import Events
from training.fit import boost, fit, refit
from training.options import FitSettings
from training.walk import settled, weeks

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


def test_the_model_that_stays_has_learnt_from_the_newest_payments_and_its_table_has_not(
    events_of: Make, vectors_of: Vectors
) -> None:
    events = events_of(60)
    vectors, rest = vectors_of(events), settled(events)
    newest = rest.rows.index >= rest.calibrate.index[0]
    vectors[rest.rows.index[newest], 1] += 4.0 * rest.rows.target[newest]  # what thieves do since a week
    trained: list[int] = []

    def train(rows: np.ndarray, target: np.ndarray, settings: FitSettings) -> bytes:
        trained.append(len(rows))
        return boost(rows, target, settings)

    fitted, before = refit(vectors, rest, FAST, train), fit(vectors, rest, FAST)

    assert trained == [len(rest.rows.index)]
    assert fitted.calibration == before.calibration
    plain_and_thief = np.zeros((2, vectors.shape[1]), np.float32)
    plain_and_thief[1, 1] = 4.0
    seen, unseen = (np.diff(model.margins(plain_and_thief))[0] for model in (fitted, before))
    assert seen > 0.2
    assert abs(unseen) < 0.1


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
