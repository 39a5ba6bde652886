"""Clocks: shifted and quickened, following events, and never going back; times as text and back."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.clock import EventClock, ManualClock, SteadyClock, SystemClock, microseconds, rfc3339
from tidegate.limits import CLOCK_STEP_BACK_US_TOLERATED, DAY_US, SECOND_US
from tidegate.payment import parse_moment

YEAR_1 = microseconds(datetime.min.replace(tzinfo=UTC))
YEAR_9999 = microseconds(datetime.max.replace(tzinfo=UTC))
MOMENTS = st.integers(YEAR_1, YEAR_9999)


class Wall:
    """A machine's clock in nanoseconds, in the test's hand."""

    def __init__(self, now_us: int) -> None:
        self.now_us = now_us

    def __call__(self) -> int:
        return self.now_us * 1000 + 999


def test_a_system_clock_is_the_wall_clock_shifted_by_its_offset() -> None:
    wall = Wall(1_000)
    clock = SystemClock(offset_us=-DAY_US, wall_ns=wall)

    assert clock.now_us() == 1_000 - DAY_US
    wall.now_us += 7
    assert clock.now_us() == 1_007 - DAY_US


@pytest.mark.parametrize(("rate", "passed"), [(1.0, 1_000), (60.0, 60_000), (0.5, 500), (0.0, 0)])
def test_a_rate_counts_from_the_moment_the_clock_is_made(rate: float, passed: int) -> None:
    wall = Wall(5_000_000)
    clock = SystemClock(offset_us=300, rate=rate, wall_ns=wall)

    assert clock.now_us() == 5_000_300
    wall.now_us += 1_000
    assert clock.now_us() == 5_000_300 + passed


def test_a_system_clock_goes_back_where_the_machines_does() -> None:
    wall = Wall(1_000_000)
    clock = SystemClock(rate=2.0, wall_ns=wall)
    wall.now_us -= 10

    assert clock.now_us() == 1_000_000 - 20


def test_a_manual_clock_can_be_set_back() -> None:
    clock = ManualClock(100)
    clock.advance(-30)

    assert clock.now_us() == 70


@given(st.integers(-100, 100), st.lists(st.integers(-100, 100)))
@settings(max_examples=20)
def test_an_event_clock_is_the_newest_event_seen(start: int, events: list[int]) -> None:
    clock = EventClock(start)
    for event in events:
        clock.follow(event)

    assert clock.now_us() == max([start, *events])


@given(st.integers(0, 100 * SECOND_US), st.lists(st.integers(-20 * SECOND_US, 20 * SECOND_US), min_size=1))
@settings(max_examples=20)
def test_a_steady_clock_is_the_highest_of_its_floor_and_all_its_source_said(floor: int, steps: list[int]) -> None:
    source = ManualClock(50 * SECOND_US)
    clock = SteadyClock(source, floor_us=floor)
    highest = floor
    for step in steps:
        source.advance(step)
        stepped = source.now_us() < highest - CLOCK_STEP_BACK_US_TOLERATED
        highest = max(highest, source.now_us())

        assert clock.now_us() == highest
        assert clock.behind_us == highest - source.now_us()
        assert clock.stepped_back == stepped


@pytest.mark.parametrize(
    ("back", "told"), [(CLOCK_STEP_BACK_US_TOLERATED, False), (CLOCK_STEP_BACK_US_TOLERATED + 1, True)]
)
def test_a_step_back_is_told_beyond_what_time_services_do_and_until_the_source_caught_up(
    back: int, *, told: bool
) -> None:
    source = ManualClock(1_000 * SECOND_US)
    clock = SteadyClock(source)
    clock.now_us()
    source.advance(-back)

    assert (clock.now_us(), clock.stepped_back) == (1_000 * SECOND_US, told)
    source.advance(back)
    assert (clock.now_us(), clock.stepped_back, clock.behind_us) == (1_000 * SECOND_US, False, 0)


def test_a_restored_floor_counts_as_time_already_handed_out() -> None:
    clock = SteadyClock(ManualClock(0), floor_us=CLOCK_STEP_BACK_US_TOLERATED + 1)

    assert clock.now_us() == CLOCK_STEP_BACK_US_TOLERATED + 1
    assert clock.stepped_back


@given(MOMENTS)
@settings(max_examples=20)
def test_a_time_written_is_the_time_read(time_us: int) -> None:
    written = rfc3339(time_us)

    assert microseconds(parse_moment(written)) == time_us
    assert len(written) == len("2026-11-24T00:13:00.123456Z")


def test_a_time_is_written_in_utc_with_microseconds() -> None:
    assert rfc3339(0) == "1970-01-01T00:00:00.000000Z"
    assert rfc3339(-1) == "1969-12-31T23:59:59.999999Z"
    assert rfc3339(1_795_500_000_000_001) == "2026-11-24T06:00:00.000001Z"


@given(MOMENTS.filter(lambda us: YEAR_1 + 2 * DAY_US < us < YEAR_9999 - 2 * DAY_US), st.integers(-1_439, 1_439))
@settings(max_examples=20)
def test_one_moment_is_one_number_whatever_the_offset_it_is_told_in(time_us: int, minutes: int) -> None:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)

    assert microseconds(moment.astimezone(timezone(timedelta(minutes=minutes)))) == time_us


@pytest.mark.parametrize("text", ["2026-11-24T09:30:00", "yesterday", ""])
def test_a_time_without_an_offset_is_no_moment(text: str) -> None:
    with pytest.raises(ValueError, match=r"offset|isoformat"):
        parse_moment(text)
