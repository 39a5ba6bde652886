"""Metrics: scikit-learn's where it has them, the published daily lists, and intervals that know of bursts."""

from typing import Any

import numpy as np
import pytest

from training.metrics import (
    NAMES,
    Scored,
    _Ranked,
    bootstrap,
    card_precisions,
    differences,
    estimates,
    mean,
    measure,
)


def _scored(margin: np.ndarray, target: np.ndarray, **columns: np.ndarray) -> Scored:
    count = len(margin)
    at = np.arange(count)
    made: dict[str, Any] = {
        "day": at * 7 // count,
        "card": at.astype(np.int32),
        "terminal": (at % 17).astype(np.int32),
        "cost_minor": np.abs(np.sin(at)) * 100,
        "outcomes_minor": np.zeros((4, len(at))),
    }
    probability = 1 / (1 + np.exp(-margin.astype(np.float64)))
    return Scored(
        start_us=0,
        index=at,
        target=target.astype(np.uint8),
        margin=margin.astype(np.float32),
        probability=probability,
        **(made | columns),
    )


def _random(seed: int, count: int = 3_000, digits: int = 8, **columns: np.ndarray) -> Scored:
    rng = np.random.default_rng(seed)
    target = rng.random(count) < 0.03
    return _scored(np.round(rng.normal(size=count) + target, digits), target, **columns)


@pytest.mark.parametrize("digits", [8, 1])
def test_under_equal_weights_the_fast_measures_are_scikit_learns_also_with_ties(digits: int) -> None:
    week = _random(1, digits=digits)
    ones = np.ones(len(week.target))

    fast = _Ranked(week).measure(ones, ones, np.ones(7))

    assert dict(zip(NAMES, fast, strict=True)) == pytest.approx(measure(week), rel=1e-9)


def test_a_weight_of_two_is_a_payment_that_is_there_twice() -> None:
    week = _random(2)
    twice = np.arange(len(week.target)) % 3 == 0
    rows = np.concatenate([np.arange(len(twice)), np.flatnonzero(twice)])
    both = _scored(week.margin[rows], week.target[rows], cost_minor=week.cost_minor[rows])

    fast = _Ranked(week).measure(1.0 + twice, np.ones(17), np.ones(7))

    for name in ("auc", "average_precision", "recall_at_fpr_0.001", "brier", "cost_minor"):
        assert fast[NAMES.index(name)] == pytest.approx(measure(both)[name], rel=1e-9), name


def test_metrics_of_a_perfect_and_of_a_reversed_ranking() -> None:
    target = np.repeat([0, 1], [1_000, 10])
    at = np.arange(len(target)) / 100

    perfect, reversed_ = measure(_scored(at, target)), measure(_scored(-at, target))

    assert (perfect["auc"], perfect["average_precision"], perfect["recall_at_fpr_0.001"]) == (1.0, 1.0, 1.0)
    assert (reversed_["auc"], reversed_["recall_at_fpr_0.001"]) == (0.0, 0.0)


def test_recall_at_one_good_payment_in_a_thousand_lets_one_of_a_thousand_through() -> None:
    target = np.repeat([0, 1], [1_000, 2])
    margins = np.concatenate([np.arange(1_000), [997.5, 1.5]])

    assert measure(_scored(margins, target))["recall_at_fpr_0.001"] == 0.0
    assert measure(_scored(np.where(margins == 997.5, 998.5, margins), target))["recall_at_fpr_0.001"] == 0.5


def test_a_card_counts_once_a_day_by_its_most_suspect_payment_and_is_gone_once_found_out() -> None:
    day = np.array([0, 0, 0, 0, 1, 1, 1])
    card = np.array([1, 1, 2, 3, 1, 2, 4], np.int32)
    margin = np.array([0.9, 0.1, 0.8, 0.7, 0.99, 0.2, 0.1])
    target = np.array([0, 1, 0, 0, 1, 1, 0])
    week = _scored(margin, target, day=day, card=card)

    assert card_precisions(week, top=1).tolist() == [1.0, 1.0]
    assert card_precisions(week, top=2).tolist() == [0.5, 0.5]
    assert card_precisions(week, top=3).tolist() == pytest.approx([1 / 3, 1 / 3])


def test_an_interval_covers_its_value_and_the_same_seed_draws_it_again() -> None:
    weeks = [_random(3), _random(4)]
    drawn = bootstrap([weeks], seed=5, draws=100)
    found = estimates(mean([measure(week) for week in weeks]), drawn[:, 0])

    assert all(one.low < one.value < one.high for one in found.values())
    assert (bootstrap([weeks], seed=5, draws=100) == drawn).all()
    assert (bootstrap([weeks], seed=6, draws=100) != drawn).any()


def test_frauds_in_bursts_of_few_cards_or_terminals_give_wider_intervals_than_frauds_apart() -> None:
    target = _random(7).target
    frauds = np.cumsum(target) % 6
    margin = np.where(target == 1, frauds - 3.0, np.linspace(-3, 3, 3_000))  # of a burst all are seen, or none
    widths = []
    for burst in ("", "card", "terminal"):
        columns = {"card": np.arange(3_000, dtype=np.int32), "terminal": np.arange(3_000, dtype=np.int32)}
        if burst:
            columns[burst] = np.where(target == 1, frauds, columns[burst]).astype(np.int32)
        drawn = bootstrap([[_scored(margin, target, **columns)]], seed=1, draws=100)
        widths.append(np.ptp(np.percentile(drawn[:, 0, NAMES.index("auc")], [5, 95])))

    assert widths[1] > 1.5 * widths[0]
    assert widths[2] > 1.5 * widths[0]


def test_the_difference_of_a_model_with_itself_is_nothing_and_paired_intervals_are_narrow() -> None:
    week = _random(8)
    near = _scored(week.margin + np.random.default_rng(9).normal(size=3_000) * 0.05, week.target)
    same = differences(measure(week), measure(week), bootstrap([[week], [week]], seed=1, draws=50))
    close = differences(measure(near), measure(week), bootstrap([[near], [week]], seed=1, draws=100))
    alone = estimates(measure(week), bootstrap([[week]], seed=1, draws=100)[:, 0])

    assert set(same.values()) == {(0.0, 0.0, 0.0)}
    assert np.diff(close["auc"][1:]) < 0.3 * np.diff(alone["auc"][1:])
