"""Weeks to walk forward through: what a model made at a week's start learns from, is calibrated on, is tested on.

The three never share a payment, and the first two hold nothing that wasn't known when the week began. The model that
stays is made of all that has settled.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from tidegate.limits import DAY_US
from training.dataset import Events, Flags, Ints
from training.labels import DELAY_US, Rows, training_rows
from training.mapping import DatasetError

WEEK_DAYS: Final = 7
WEEK_US: Final = WEEK_DAYS * DAY_US
WEEKS: Final = 4
"""Test weeks: single ones swing by more than models differ."""
HISTORY_US: Final = 90 * DAY_US
"""What a model learns from at most: on recorded payments 28, 90 and 150 days score alike."""
CALIBRATION_US: Final = WEEK_US
"""Sees each weekday once; a longer span would age the model."""
_REPORTED_US: Final = 2 * WEEK_US
"""How long before the week frauds count as reported: the published protocol's training week and its delay."""
_FRAUDS_MIN: Final = 20  # with fewer neither a fit nor a table nor a metric means anything


def span_us(count: int) -> int:
    """Return how much of the past `count` settled weeks rest on: older payments have no part in any of them."""
    settled = count * WEEK_US + DELAY_US + DAY_US  # the weeks, and the days that the newest needs to settle
    return settled + DELAY_US + CALIBRATION_US + HISTORY_US


@dataclass(frozen=True, slots=True)
class Week:
    """One test week from `start_us` on. The model's `rows`, and the parts that make its table, had settled by then."""

    start_us: int
    train: Rows
    calibrate: Rows
    rows: Rows
    test: Rows


def settled_until(last_us: int, delay_us: int = DELAY_US) -> int:
    """Return the midnight before which all payments are older than the label delay, where `last_us` is the newest's."""
    return (last_us + 1 - delay_us) // DAY_US * DAY_US


@dataclass(frozen=True, slots=True)
class Settled:
    """What the model that stays is made of: `rows` to learn from, and their parts as a week has them.

    All payments before `end_us`, the midnight that the newest test week ends with.
    """

    end_us: int
    train: Rows
    calibrate: Rows
    rows: Rows


def settled(events: Events, *, delay_us: int = DELAY_US, history_us: int = HISTORY_US) -> Settled:
    """Return all payments that are older than the label delay, with what is known of them by now.

    Raises:
        DatasetError: they have too few frauds.
    """
    last_us = int(events.occurred_us[-1])
    end_us = settled_until(int(events.occurred_us[-1]), delay_us)
    known = training_rows(events, cut_us=last_us, delay_us=delay_us)
    age_us = end_us - events.occurred_us[known.index]
    rows = known.where((age_us > 0) & (age_us <= CALIBRATION_US + history_us))
    newest = end_us - events.occurred_us[rows.index] <= CALIBRATION_US
    made = Settled(end_us, train=rows.where(~newest), calibrate=rows.where(newest), rows=rows)
    for name in ("train", "calibrate"):
        _check(f"all before {_date(end_us)}: to {name}", getattr(made, name))
    return made


def week(events: Events, start_us: int, *, delay_us: int = DELAY_US, history_us: int = HISTORY_US) -> Week:
    """Return the week that starts at `start_us`.

    Only payments older than the label delay are learnt from, frauds that somebody reported sooner included: whoever
    learns such frauds without the good payments around them takes the newest days for bad ones. A payment of a card
    that was known to be in a thief's hand when the day began isn't tested: in life it is blocked.

    Raises:
        DatasetError: the week has not settled yet, or one of the three has too few frauds.
    """
    last_us = int(events.occurred_us[-1])
    if start_us + WEEK_US > last_us + 1 - delay_us:
        raise DatasetError(f"the week of {_date(start_us)} has not settled: give {delay_us // DAY_US} days after it")
    known = training_rows(events, cut_us=start_us, delay_us=delay_us)
    age_us = start_us - delay_us - events.occurred_us[known.index]
    later = training_rows(events, cut_us=last_us, delay_us=delay_us, from_us=start_us)
    inside = events.occurred_us[later.index] < start_us + WEEK_US
    rows = known.where((age_us >= 0) & (age_us < CALIBRATION_US + history_us))
    newest = start_us - delay_us - events.occurred_us[rows.index] < CALIBRATION_US
    made = Week(
        start_us=start_us,
        train=rows.where(~newest),
        calibrate=rows.where(newest),
        rows=rows,
        test=later.where(inside & ~_reported(events, later.index, start_us)),
    )
    for name in ("train", "calibrate", "test"):
        _check(f"the week of {_date(start_us)}: to {name}", getattr(made, name))
    return made


def weeks(
    events: Events, count: int = WEEKS, *, delay_us: int = DELAY_US, history_us: int = HISTORY_US
) -> tuple[Week, ...]:
    """Return the last `count` settled weeks, oldest first; fewer where a model would learn from less than a week.

    Raises:
        DatasetError: the payments don't span one such week, or have too few known frauds.
    """
    first_us, end_us = int(events.occurred_us[0]), int(events.occurred_us[-1]) + 1
    newest_us = settled_until(int(events.occurred_us[-1]), delay_us) - WEEK_US
    earliest_us = first_us + WEEK_US + CALIBRATION_US + delay_us
    starts = [start for back in range(count) if (start := newest_us - back * WEEK_US) >= earliest_us]
    if not starts:
        days, least = (end_us - first_us) / DAY_US, (earliest_us - first_us + WEEK_US + delay_us) // DAY_US
        raise DatasetError(f"the payments span {days:.0f} days; give {least + 1} or more")
    return tuple(week(events, start, delay_us=delay_us, history_us=history_us) for start in reversed(starts))


def _reported(events: Events, index: Ints, start_us: int) -> Flags:
    """Return of each payment whether a fraud of its card was known at midnight before it."""
    recent = (events.label_known_us < start_us + WEEK_US) & (events.occurred_us >= start_us - _REPORTED_US)
    frauds = np.flatnonzero(recent)
    day = (events.occurred_us[index] - start_us) // DAY_US
    found = np.zeros(len(index), np.bool_)
    for each in range(WEEK_DAYS):
        midnight_us = start_us + each * DAY_US
        known = (events.label_known_us[frauds] <= midnight_us) & (events.label_corrected_us[frauds] > midnight_us)
        cards = np.unique(events.card_slot[frauds[known]])
        found |= (day == each) & np.isin(events.card_slot[index], cards)
    return found


def _check(name: str, rows: Rows) -> None:
    frauds = int(rows.target.sum())
    if frauds < _FRAUDS_MIN or frauds == len(rows.target):
        raise DatasetError(f"{name}: {frauds} known frauds of {len(rows.target)} payments; give more days")


def _date(at_us: int) -> str:
    return str(np.datetime64(at_us, "us").astype("datetime64[D]"))
