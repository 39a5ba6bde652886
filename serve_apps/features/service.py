"""The life of features: extracts deltas, folds them, rings for who waits, and goes on after what may pass."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from serve_apps.features.extractor import Extractor, cursor_of
from serve_apps.features.folder import Folder
from serve_apps.plumbing.stream.ports import Consumers
from tidegate.clock import Clock
from tidegate.errors import TidegateError
from tidegate.limits import (
    DELTA_BATCH_AGE_US,
    FEATURES_PAUSE_S,
    FEATURES_RETRY_S_MAX,
    FEATURES_SHOWN_US,
    FEATURES_STALLED_US,
    FEATURES_TRIM_US,
)

_LOG: Final = logging.getLogger(__name__)
Pause = Callable[[float], bool]
"""Waits for so many seconds; returns True once the service is to end, as `threading.Event.wait` does."""


class Works(Protocol):
    """What a service works with, opened by the thread that uses it."""

    @property
    def extractor(self) -> Extractor:
        """What makes deltas of frames."""

    @property
    def folder(self) -> Folder:
        """What folds them."""

    @property
    def consumers(self) -> Consumers:
        """The log's book of who needs what."""

    def close(self) -> None:
        """Let go of the log."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How features do, as of the last step, for who asks from another thread."""

    looked_us: int
    rows: int = 0
    """Appended to the log since it began."""
    odd: int = 0
    """Left out since it began, because no gate could count them."""
    batches: int = 0
    """Folded since it began."""
    next: int = 0
    """All versions below are in the store."""
    as_of_us: int = 0
    """All that the log held then is in the log of deltas; 0: not known yet."""
    trouble: str = ""
    """Why nothing goes on for now; empty: nothing keeps it."""
    halted: Mapping[str, str] = field(default_factory=dict)
    """What was stopped, and why: each is an alarm."""


class Service:
    """Runs in a thread of its own until `pause` says that it is over; `ring` tells that there are new batches."""

    def __init__(self, *, opening: Callable[[], Works], clock: Clock, pause: Pause, ring: Callable[[], None]) -> None:
        self._opening, self._clock, self._pause, self._ring = opening, clock, pause, ring
        self._works: Works | None = None
        self._trimmed_us: int | None = None
        self._news_us = self._rung_us = -FEATURES_SHOWN_US - 1
        self._before = Standing(0)  # what was counted before the log was opened last
        self.standing = Standing(clock.now_us())

    def run(self) -> None:
        """Go on until the end. What was read and not committed is read again by the next one."""
        wait_s = 0.0
        while not self._pause(wait_s):
            wait_s = self._once(wait_s)
        self._let_go()

    def stalled(self, now_us: int) -> str:
        """Return what is wrong where no step has ended for far too long; empty: nothing is."""
        silent_us = now_us - self.standing.looked_us
        return f"no step has ended for {silent_us // 1_000_000} s" if silent_us > FEATURES_STALLED_US else ""

    def _once(self, waited_s: float) -> float:
        """Do one step; return how long to wait."""
        try:
            busy = self._step()
        except TidegateError as error:
            return self._failed(error, waited_s)
        return 0.0 if busy else FEATURES_PAUSE_S

    def _step(self) -> bool:
        works = self._works = self._works or self._opening()
        before, began_us = works.extractor.rows, self._clock.now_us()
        taken = works.extractor.step()
        if not taken and works.extractor.idle:
            self.standing = replace(self.standing, as_of_us=began_us)
        self._tell(began_us, news=works.extractor.rows != before)  # readers don't wait for a store that is away
        folded = works.folder.step()
        if folded:
            self._tell(began_us, news=True)
        self._trim(works)
        self._told(works, folded)
        return bool(taken or folded)

    def _tell(self, now_us: int, *, news: bool) -> None:
        """Ring for what is new, and for a while again: a log may show a commit to its readers a moment later."""
        if news:
            self._news_us = now_us
        again = now_us - self._news_us <= FEATURES_SHOWN_US and now_us - self._rung_us >= DELTA_BATCH_AGE_US
        if news or again:
            self._rung_us = now_us
            self._ring()

    def _trim(self, works: Works) -> None:
        now_us = self._clock.now_us()
        if self._trimmed_us is None or not 0 <= now_us - self._trimmed_us < FEATURES_TRIM_US:
            self._trimmed_us = now_us
            works.folder.let_go()
            works.consumers.trim()

    def _told(self, works: Works, folded: int) -> None:
        extractor, folder = works.extractor, works.folder
        halted = {cursor_of(place): why for place, why in extractor.halted.items()}
        self.standing = replace(
            self.standing,
            looked_us=self._clock.now_us(),
            rows=self._before.rows + extractor.rows,
            odd=self._before.odd + extractor.odd,
            batches=self.standing.batches + folded,
            next=folder.next,
            trouble="",
            halted=halted | ({"deltas": folder.halted} if folder.halted else {}),
        )

    def _failed(self, error: TidegateError, waited_s: float) -> float:
        """Say what keeps it, wait, and open the log anew: a writer may be over after any failure, and tells no more."""
        if error.message != self.standing.trouble:
            _LOG.warning("features: %s; tried again", error.message)
        self._let_go()
        self.standing = replace(self.standing, looked_us=self._clock.now_us(), trouble=error.message)
        return min(max(2 * waited_s, FEATURES_PAUSE_S), FEATURES_RETRY_S_MAX)

    def _let_go(self) -> None:
        works, self._works = self._works, None
        if works is not None:
            rows, odd = works.extractor.rows, works.extractor.odd
            self._before = replace(self._before, rows=self._before.rows + rows, odd=self._before.odd + odd)
            works.close()
