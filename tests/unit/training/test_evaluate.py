"""Evaluation: a model a week, the newest by the job's own trainer; money as it turned out; parts of the payments."""

from collections.abc import Callable

import numpy as np
import pytest

from tidegate.policy.costs import Costs, cheapest, expected_costs
from training.dataset import Events
from training.evaluate import Walk, by_segment, measured, realized, walk
from training.fit import boost
from training.metrics import NAMES
from training.options import FitSettings
from training.walk import weeks

FAST = FitSettings(trees=8, depth=3, bins=32)


@pytest.fixture(scope="module")
def events(events_of: Callable[..., Events]) -> Events:
    return events_of(60)


@pytest.fixture(scope="module")
def made(events: Events, vectors_of: Callable[..., np.ndarray]) -> Walk:
    return walk(events, vectors_of(events), weeks(events, 2), FAST)


def test_each_week_is_scored_by_the_model_that_was_made_before_it(events: Events, made: Walk) -> None:
    assert [len(one.target) for one in made.scored] == [len(one.test.index) for one in made.weeks]
    assert all((one.day >= 0).all() and (one.day < 7).all() for one in made.scored)
    assert made.fitted[0].booster.save_raw() != made.fitted[1].booster.save_raw()
    index = made.scored[1].index
    assert (made.scored[1].target == events.fraud[index]).all()


def test_the_newest_model_alone_is_trained_by_the_given_trainer_and_weeks_are_told(
    events: Events, vectors_of: Callable[..., np.ndarray]
) -> None:
    trained: list[int] = []
    told: list[int] = []

    def train(rows: np.ndarray, target: np.ndarray, settings: FitSettings) -> bytes:
        trained.append(len(rows))
        return boost(rows, target, settings)

    chosen = weeks(events, 3)
    walk(events, vectors_of(events), chosen, FAST, train=train, heard=told.append)

    assert trained == [len(chosen[-1].train.index)]
    assert told == [1, 2, 3]


def test_metrics_come_with_intervals(made: Walk) -> None:
    found = measured(made.scored, seed=1)

    assert tuple(found) == NAMES
    assert found["auc"].value > 0.85
    assert all(one.low <= one.value <= one.high for one in found.values())


def test_a_cost_is_that_of_the_outcome_a_gate_would_choose_as_the_payment_turned_out() -> None:
    costs, rng = Costs(), np.random.default_rng(4)
    said, amount, target = rng.random(500) ** 4, rng.integers(1, 100_000, 500), rng.integers(0, 2, 500).astype(np.uint8)

    cost = realized(said, amount, target, costs)

    chosen = [cheapest(round(p * 1e6), minor, costs) for p, minor in zip(said.tolist(), amount.tolist(), strict=True)]
    for at, outcome in enumerate(chosen):
        assert cost[at] == expected_costs(int(target[at]) * 1_000_000, int(amount[at]), costs)[outcome] / 1e6
    assert len(set(chosen)) == 4
    approved = realized(np.zeros(2), np.array([10_000, 10_000]), np.array([0, 1], np.uint8), costs)
    assert approved.tolist() == [0.0, 10_000 + costs.fraud_fixed_minor]


def test_segments_part_the_payments_and_a_field_with_one_word_or_too_many_is_none(events: Events, made: Walk) -> None:
    parts = by_segment(events, made.scored)
    names = [part.name for part in parts]
    total = sum(len(one.target) for one in made.scored)

    assert {"channel online", "channel moto"} <= set(names)
    assert sum(part.rows for part in parts if part.name.startswith("amount")) == total
    assert all(0 <= part.recall <= 1 and part.frauds >= 10 for part in parts)
    assert not [name for name in names if name.startswith(("mcc", "site"))]
