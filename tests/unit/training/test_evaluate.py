"""Evaluation: a model a week; money as it turned out; parts of the payments."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tidegate.policy.costs import Liability, cheapest, expected_costs
from tidegate.policy.terms import BearerCosts, Bearing, Policy
from training.dataset import Events, Words
from training.evaluate import Walk, bearers_of, by_segment, chosen, measured, priced, walk
from training.fit import refit
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


def test_each_week_is_scored_by_the_model_that_was_made_before_it(
    events: Events, made: Walk, vectors_of: Callable[..., np.ndarray]
) -> None:
    assert [len(one.target) for one in made.scored] == [len(one.test.index) for one in made.weeks]
    assert all((one.day >= 0).all() and (one.day < 7).all() for one in made.scored)
    vectors = vectors_of(events)
    for week, scored in zip(made.weeks, made.scored, strict=True):
        assert (refit(vectors, week, FAST).margins(vectors[week.test.index]) == scored.margin).all()
    index = made.scored[1].index
    assert (made.scored[1].target == events.fraud[index]).all()


def test_weeks_are_told_as_they_are_done(events: Events, vectors_of: Callable[..., np.ndarray]) -> None:
    told: list[int] = []

    walk(events, vectors_of(events), weeks(events, 3), FAST, heard=told.append)

    assert told == [1, 2, 3]


def test_metrics_come_with_intervals(made: Walk) -> None:
    found = measured(made.scored, seed=1)

    assert tuple(found) == NAMES
    assert found["auc"].value > 0.85
    assert all(one.low <= one.value <= one.high for one in found.values())


def test_a_cost_is_that_of_the_outcome_a_gate_would_choose_as_the_payment_turned_out_by_who_bears_it() -> None:
    costs, rng = BearerCosts(), np.random.default_rng(4)
    said = np.rint(rng.random(500) ** 4 * 1e6).astype(np.int64)
    amount, fraud, bearing = rng.integers(1, 100_000, 500), rng.integers(0, 2, 500), rng.integers(0, 3, 500)

    turned_out = priced(fraud * 1_000_000, amount, bearing.astype(np.uint8), costs)
    cost = chosen(priced(said, amount, bearing.astype(np.uint8), costs), turned_out)

    outcomes = set()
    for at in range(500):
        own = costs.of(Liability(int(bearing[at])))
        outcome = cheapest(int(said[at]), int(amount[at]), own)
        assert cost[at] == expected_costs(int(fraud[at]) * 1_000_000, int(amount[at]), own)[outcome] / 1e6
        outcomes.add(outcome)
    assert len(outcomes) == 4


def test_who_bears_a_loss_follows_from_how_a_payment_came_in(events: Events) -> None:
    policy = Policy(liability=(Bearing(bearer="issuer", channels=("card_present",), entry_modes=("chip",)),))
    events = replace(
        events,
        texts={
            "channel": Words(np.array([0, 0, 1, 0], np.int32), ("card_present", "online")),
            "entry_mode": Words(np.array([0, -1, 0, 1], np.int32), ("chip", "magstripe")),
        },
    )

    assert bearers_of(events, np.arange(4), policy).tolist() == [2, 0, 0, 0]


def test_segments_part_the_payments_and_a_field_with_one_word_or_too_many_is_none(events: Events, made: Walk) -> None:
    parts = by_segment(events, made.scored)
    names = [part.name for part in parts]
    total = sum(len(one.target) for one in made.scored)

    assert {"channel online", "channel moto"} <= set(names)
    assert sum(part.rows for part in parts if part.name.startswith("amount")) == total
    assert all(0 <= part.recall <= 1 and part.frauds >= 10 for part in parts)
    assert not [name for name in names if name.startswith(("mcc", "site"))]
