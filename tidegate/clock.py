"""Time is passed in: one port, a real clock, one for tests, one that follows a stream, and one that never goes back.

All times are integers, microseconds UTC since 1970.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, Protocol

from tidegate.limits import CLOCK_STEP_BACK_US_TOLERATED, SECOND_US

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """Whoever needs to know the time is handed one of these; calling it never blocks."""

    def now_us(self) -> int:
        """Return microseconds UTC since 1970."""


class SystemClock:
    """The machine's wall clock, shifted by `offset_us` and running at `rate` from the moment it is made."""

    def __init__(self, *, offset_us: int = 0, rate: float = 1.0, wall_ns: Callable[[], int] = time.time_ns) -> None:
        self._wall_ns = wall_ns
        self._rate = rate
        self._origin_us = wall_ns() // 1000
        self._start_us = self._origin_us + offset_us

    def now_us(self) -> int:
        """Return the shifted wall time; it goes back where the machine's clock does."""
        elapsed_us = self._wall_ns() // 1000 - self._origin_us
        return self._start_us + (elapsed_us if self._rate == 1.0 else int(elapsed_us * self._rate))


class ManualClock:
    """A clock in the test's hand."""

    def __init__(self, now_us: int) -> None:
        self._now_us = now_us

    def now_us(self) -> int:
        """Return what was set last."""
        return self._now_us

    def advance(self, by_us: int) -> None:
        """Move by `by_us`, which may be negative: clocks are set back in life, too."""
        self._now_us += by_us


class EventClock:
    """Follows a replayed stream: now is the newest event seen. Refused under the production profile."""

    def __init__(self, start_us: int = 0) -> None:
        self._now_us = start_us

    def now_us(self) -> int:
        """Return the newest event time followed so far."""
        return self._now_us

    def follow(self, event_us: int) -> None:
        """Advance to `event_us`; an older event changes nothing."""
        self._now_us = max(self._now_us, event_us)


class SteadyClock:
    """Never goes back: max(source, the highest time handed out or restored). Reports larger steps back.

    A gate stamps records with it, so that `time_us` never falls along `pos`.
    """

    def __init__(self, source: Clock, *, floor_us: int = 0) -> None:
        self._source = source
        self._highest_us = floor_us
        self._stepped_back = False

    def now_us(self) -> int:
        """Return the steady time."""
        now_us = self._source.now_us()
        self._stepped_back = now_us < self._highest_us - CLOCK_STEP_BACK_US_TOLERATED
        self._highest_us = max(now_us, self._highest_us)
        return self._highest_us

    @property
    def behind_us(self) -> int:
        """How far the source is behind what was already handed out; 0 in health."""
        return max(0, self._highest_us - self._source.now_us())

    @property
    def stepped_back(self) -> bool:
        """Whether the last reading found the source more than the tolerated step behind."""
        return self._stepped_back


def rfc3339(time_us: int) -> str:
    """Return `time_us` as RFC 3339 UTC with microseconds, `2026-11-24T00:13:00.123456Z`."""
    seconds, micros = divmod(time_us, SECOND_US)
    return f"{_rfc3339_second(seconds)}.{micros:06d}Z"


@lru_cache(maxsize=16)
def _rfc3339_second(seconds: int) -> str:
    """Most times that are written lie in the same few seconds."""
    y, mo, d, h, mi, s = time.gmtime(seconds)[:6]
    return f"{y:04d}-{mo:02d}-{d:02d}T{h:02d}:{mi:02d}:{s:02d}"


def microseconds(moment: datetime) -> int:
    """Return an aware datetime as microseconds UTC since 1970, exactly."""
    delta = moment - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * SECOND_US + delta.microseconds
