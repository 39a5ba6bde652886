"""A caller's deadline: what there is still time for. It counts from the arrival of the request.

The time that the journal lately took to make a decision durable is kept back. Once only that is left, the model and
the rules are left out, visibly; once nothing is left, nothing is decided. A stage that has begun is finished: each
takes less than the millisecond in which deadlines are told.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from tidegate.limits import DEADLINE_FLUSH_READINGS, DEADLINE_FLUSH_RENEWED

_MS_PER_S: Final = 1_000
_PERCENTILE: Final = 0.99
_KEPT_BACK_MAX: Final = 0.5
"""At most this share of a deadline is kept back: otherwise one slow minute of a disk would refuse everybody for ever,
since what is refused is never measured."""


class Pace:
    """How long a decision waited for the disk lately."""

    def __init__(self) -> None:
        self._waits_s: deque[float] = deque(maxlen=DEADLINE_FLUSH_READINGS)
        self._stale = 0
        self._p99_s = 0.0

    def waited(self, seconds: float) -> None:
        """Take one reading."""
        self._waits_s.append(seconds)
        self._stale += 1

    @property
    def p99_s(self) -> float:
        """The 99th percentile of the latest readings, renewed now and then; 0 before the first."""
        if self._stale >= DEADLINE_FLUSH_RENEWED or (self._stale and not self._p99_s):
            ordered = sorted(self._waits_s)
            self._p99_s = ordered[int((len(ordered) - 1) * _PERCENTILE)]
            self._stale = 0
        return self._p99_s


class Deadline:
    """One request's: `milliseconds` after `arrived_s`, a reading of `ticks`; `flush_s` is kept back for the disk."""

    def __init__(self, milliseconds: int, arrived_s: float, flush_s: float, ticks: Callable[[], float]) -> None:
        allowed_s = milliseconds / _MS_PER_S
        self._ends_s = arrived_s + allowed_s
        self._answer_by_s = self._ends_s - min(flush_s, allowed_s * _KEPT_BACK_MAX)
        self._ticks = ticks

    def passed(self) -> bool:
        """Tell whether the caller has given up."""
        return self._ticks() >= self._ends_s

    def presses(self) -> bool:
        """Tell whether there is time left for nothing but the disk."""
        return self._ticks() >= self._answer_by_s
