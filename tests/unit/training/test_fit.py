"""Fitting: nothing later than the cut is learnt from, metrics and calibration come from the payments after it."""

import numpy as np
import pyarrow as pa
import pytest
import xgboost as xgb

from tidegate.features.declarations import FEATURE_COUNT
from tidegate.limits import DAY_US
from training.dataset import NEVER, Events
from training.fit import boost, calibrate, fit, measure, split
from training.labels import DELAY_US
from training.mapping import DatasetError
from training.options import FitSettings

A_DAY = 200
FAST = FitSettings(trees=12, depth=3)


def _events(days: int, fraud_every: int = 25) -> Events:
    """Payments at even intervals, each n-th a fraud that is known after a day."""
    count = days * A_DAY
    occurred = np.arange(count, dtype=np.int64) * (DAY_US // A_DAY)
    fraud = np.arange(count) % fraud_every == 0
    return Events(
        transaction_ids=pa.array([""] * count),
        occurred_us=occurred,
        amount_minor=np.full(count, 100),
        card_slot=np.zeros(count, np.int32),
        terminal_slot=np.zeros(count, np.int32),
        fraud=fraud,
        label_known_us=np.where(fraud, occurred + DAY_US, NEVER),
        label_corrected_us=np.full(count, NEVER),
        declined=np.zeros(count, np.bool_),
        cards=("c",),
        terminals=("t",),
        texts={},
    )


def _vectors(events: Events, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(len(events), FEATURE_COUNT)).astype(np.float32)
    rows[:, 0] += 2 * events.fraud
    return rows


def test_no_row_to_train_on_was_unknown_at_the_cut_and_none_of_the_tail_is_before_it() -> None:
    events = _events(60)
    parts = split(events)
    trained, tail = parts.train.index, parts.tail.index
    end_us = int(events.occurred_us[-1]) + 1

    known = np.where(events.fraud, events.label_known_us, events.occurred_us + DELAY_US)
    assert (known[trained] <= parts.cut_us).all()
    assert (known[tail] <= end_us).all()
    assert events.occurred_us[trained].max() <= parts.cut_us < events.occurred_us[tail].min()
    assert parts.train.target.sum() == events.fraud[trained].sum()


def test_the_tail_ends_a_label_delay_before_the_end_so_that_good_payments_are_in_it_evenly() -> None:
    events = _events(60)
    parts = split(events)
    tail_us = events.occurred_us[parts.tail.index]

    assert tail_us.max() <= int(events.occurred_us[-1]) + 1 - DELAY_US
    assert parts.tail.target.mean() == pytest.approx(1 / 25, rel=0.02)


@pytest.mark.parametrize(("days", "every", "said"), [(9, 25, "span 9 days; give 21"), (60, 5_000, "known frauds of")])
def test_too_short_a_time_or_too_few_frauds_are_refused_with_what_to_do(days: int, every: int, said: str) -> None:
    with pytest.raises(DatasetError, match=said):
        split(_events(days, every))


def test_a_model_ranks_frauds_of_the_tail_and_is_calibrated_on_it() -> None:
    events = _events(60)
    vectors = _vectors(events)
    parts = split(events)

    fitted = fit(vectors, parts, FAST)
    margins = fitted.booster.predict(xgb.DMatrix(vectors[parts.tail.index]), output_margin=True)
    probabilities = np.interp(margins, fitted.calibration.margins, fitted.calibration.probabilities)

    assert fitted.metrics["auc"] > 0.85
    assert fitted.metrics["tail_rows"] == len(parts.tail.index)
    assert probabilities.mean() == pytest.approx(parts.tail.target.mean(), rel=0.15)


def test_equal_seeds_give_equal_boosters_and_a_tree_more_gives_another() -> None:
    events = _events(30)
    rows, target = _vectors(events), events.fraud.astype(np.uint8)

    assert boost(rows, target, FAST) == boost(rows, target, FAST)
    assert boost(rows, target, FAST) != boost(rows, target, FitSettings(trees=13, depth=3))


def test_boosting_tells_how_far_it_is() -> None:
    events = _events(30)
    told: list[float] = []

    boost(_vectors(events), events.fraud.astype(np.uint8), FitSettings(trees=20, depth=2), told.append)

    assert told == [part / 10 for part in range(1, 11)]


def test_metrics_of_a_perfect_and_of_a_reversed_ranking() -> None:
    target = np.repeat(np.array([0, 1], np.uint8), [1_000, 10])
    margins = np.arange(len(target), dtype=np.float32)

    perfect, reversed_ = measure(margins, target), measure(-margins, target)

    assert (perfect["auc"], perfect["average_precision"], perfect["recall_at_fpr_0.001"]) == (1.0, 1.0, 1.0)
    assert (reversed_["auc"], reversed_["recall_at_fpr_0.001"]) == (0.0, 0.0)


def test_recall_at_one_good_payment_in_a_thousand_lets_one_of_a_thousand_through() -> None:
    target = np.repeat(np.array([0, 1], np.uint8), [1_000, 2])
    margins = np.concatenate([np.arange(1_000), [998.5, 1.5]]).astype(np.float32)

    assert measure(margins, target)["recall_at_fpr_0.001"] == 0.0
    assert measure(np.where(margins == 998.5, 999.5, margins), target)["recall_at_fpr_0.001"] == 0.5


@pytest.mark.parametrize("seed", range(5))
def test_a_calibration_fits_its_table_whatever_the_margins(seed: int) -> None:
    rng = np.random.default_rng(seed)
    margins = np.round(rng.normal(size=20_000) * 3, seed).astype(np.float32)
    target = (rng.random(len(margins)) < 1 / (1 + np.exp(3 - margins))).astype(np.uint8)

    table = calibrate(margins, target)

    told = np.interp(margins, table.margins, table.probabilities)
    truth = 1 / (1 + np.exp(3 - margins))
    assert np.abs(told - truth).mean() < 0.02, f"seed {seed}"
    assert 0 < table.probabilities[0] < table.probabilities[-1] < 1


def test_margins_that_say_nothing_cannot_be_calibrated() -> None:
    with pytest.raises(DatasetError, match="ranks no fraud above a good payment"):
        calibrate(np.zeros(100, np.float32), np.arange(100, dtype=np.uint8) % 2)
