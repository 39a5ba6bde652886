"""Weeks: what a model learns from, is calibrated on and is tested on never overlap, and nothing is known too early."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tidegate.limits import DAY_US, HOUR_US
from training.dataset import NEVER, Events
from training.labels import DELAY_US
from training.mapping import DatasetError
from training.walk import CALIBRATION_US, HISTORY_US, WEEK_US, settled, span_us, week, weeks

Make = Callable[..., Events]
A_DAY = 200


def test_the_three_parts_of_a_week_share_no_payment_and_follow_each_other(events_of: Make) -> None:
    events = events_of(70)
    for one in weeks(events, 3):
        train, calibrate, test = (events.occurred_us[part.index] for part in (one.train, one.calibrate, one.test))

        assert train.max() < calibrate.min() <= calibrate.max() < test.min()
        assert test.min() >= one.start_us
        assert test.max() < one.start_us + WEEK_US


def test_nothing_that_was_not_known_when_the_week_began_is_learnt_or_calibrated_on(events_of: Make) -> None:
    events = events_of(70, known_days=9)
    one = weeks(events, 1)[0]

    for part in (one.train, one.calibrate):
        frauds = part.index[part.target == 1]
        assert (events.label_known_us[frauds] <= one.start_us).all()
        assert (events.occurred_us[part.index] <= one.start_us - DELAY_US).all()
    late = (events.occurred_us > one.start_us - 9 * DAY_US) & events.fraud
    assert late[one.calibrate.index].sum() > 0
    assert (one.calibrate.target[late[one.calibrate.index]] == 0).all()


def test_weeks_touch_and_the_newest_has_settled(events_of: Make) -> None:
    events = events_of(70)
    starts = [one.start_us for one in weeks(events, 4)]
    end_us = int(events.occurred_us[-1]) + 1

    assert np.diff(starts).tolist() == [WEEK_US] * 3
    assert starts[-1] + WEEK_US <= end_us - DELAY_US < starts[-1] + WEEK_US + 2 * DAY_US


def test_the_model_that_stays_is_made_of_all_that_settled_before_the_newest_week_ended(events_of: Make) -> None:
    events = events_of(130, known_days=9)
    newest, rest = weeks(events, 1)[0], settled(events)

    assert rest.end_us == newest.start_us + WEEK_US
    assert (np.concatenate([rest.train.index, rest.calibrate.index]) == rest.rows.index).all()
    learnt_us = events.occurred_us[rest.rows.index]
    assert learnt_us.min() >= rest.end_us - CALIBRATION_US - HISTORY_US
    assert rest.end_us - DAY_US < learnt_us.max() < rest.end_us
    assert events.occurred_us[rest.calibrate.index].min() == rest.end_us - CALIBRATION_US
    unknown = events.fraud & (events.label_known_us > events.occurred_us[-1])
    assert unknown[rest.rows.index].any()
    assert not rest.rows.target[unknown[rest.rows.index]].any()


def test_two_weeks_later_a_test_week_begins_when_the_model_that_stays_was_made(events_of: Make) -> None:
    then = events_of(70)
    made_us = settled(then).end_us + DELAY_US

    assert made_us <= then.occurred_us[-1]
    assert weeks(events_of(84), 1)[0].start_us == made_us


def test_there_are_fewer_weeks_where_a_model_would_learn_from_less_than_one(events_of: Make) -> None:
    made = weeks(events_of(45), 4)

    assert len(made) == 2
    assert made[0].train.index[0] == 0


def test_a_model_learns_from_a_bounded_past(events_of: Make) -> None:
    events = events_of(70)
    one = week(events, 50 * DAY_US, history_us=10 * DAY_US)
    learnt_us = events.occurred_us[one.train.index]

    assert learnt_us.min() == 50 * DAY_US - DELAY_US - CALIBRATION_US - 10 * DAY_US + DAY_US // 200
    assert learnt_us.max() <= 50 * DAY_US - DELAY_US - CALIBRATION_US


def test_what_weeks_rest_on_lies_within_their_span_and_hardly_more_does(events_of: Make) -> None:
    events = events_of(200)
    oldest = weeks(events, 3)[0]
    begins_us = int(events.occurred_us[-1]) - span_us(3)

    learnt_us = events.occurred_us[oldest.train.index].min()
    assert begins_us <= learnt_us < begins_us + 2 * DAY_US


STOLEN = 51 * A_DAY + A_DAY // 2  # a fraud at noon, known at noon of the next day


def _tested_days(events: Events, corrected_us: int) -> list[int]:
    """The days of the week of day 50 on which a card is tested that pays often, and once by a thief's hand."""
    at = np.arange(len(events))
    card = np.where((at % 10 == 3) | (at == STOLEN), 0, 1 + at % 976).astype(np.int32)
    corrected = np.where(at == STOLEN, corrected_us, NEVER)
    own = replace(events, card_slot=card, label_corrected_us=corrected)
    tested = week(own, 50 * DAY_US).test.index
    return sorted(set((own.occurred_us[tested[card[tested] == 0]] // DAY_US).tolist()))


@pytest.mark.parametrize(
    ("corrected_us", "days"),
    [
        (NEVER, [50, 51, 52]),
        (52 * DAY_US + 20 * HOUR_US, [50, 51, 52, 53, 54, 55, 56]),
        (54 * DAY_US + HOUR_US, [50, 51, 52, 55, 56]),
    ],
)
def test_a_card_is_not_tested_on_days_that_begin_with_its_fraud_known(
    events_of: Make, corrected_us: int, days: list[int]
) -> None:
    assert _tested_days(events_of(70), corrected_us) == days


@pytest.mark.parametrize(("days", "every", "said"), [(9, 25, "span 9 days; give 36"), (70, 5_000, "known frauds of")])
def test_too_short_a_time_or_too_few_frauds_are_refused_with_what_to_do(
    events_of: Make, days: int, every: int, said: str
) -> None:
    with pytest.raises(DatasetError, match=said):
        weeks(events_of(days, every))


def test_a_week_whose_labels_may_still_come_is_refused(events_of: Make) -> None:
    with pytest.raises(DatasetError, match="1970-02-27 has not settled: give 7 days after it"):
        week(events_of(70), 57 * DAY_US)
