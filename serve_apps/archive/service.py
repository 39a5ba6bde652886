"""The archive's life: takes what the log has, writes it, keeps the tables tidy, and goes on after what may pass."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from serve_apps.archive.consumer import Consumer, Position, Step
from serve_apps.archive.ports import Store
from serve_apps.plumbing.stream.ports import Consumers, Place
from tidegate.archived import Pin
from tidegate.clock import Clock
from tidegate.errors import TemporaryError, TidegateError
from tidegate.limits import ARCHIVE_PAUSE_S, ARCHIVE_RETRY_S_MAX, ARCHIVE_STALLED_US, ARCHIVE_TIDY_US, ARCHIVE_TRIM_US

_LOG: Final = logging.getLogger(__name__)
Pause = Callable[[float], bool]
"""Waits for so many seconds; returns True once the service is to end, as `threading.Event.wait` does."""


class Works(Protocol):
    """What a service works with, opened by the thread that uses it."""

    @property
    def consumer(self) -> Consumer:
        """What takes frames from the log."""

    @property
    def consumers(self) -> Consumers:
        """The log's book of who needs what."""

    @property
    def store(self) -> Store:
        """The tables."""

    def close(self) -> None:
        """Let go of the log."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How an archive does, as of its last step, for who asks from another thread."""

    since_us: int
    """When it began."""
    looked_us: int
    """When its last step ended, well or not."""
    messages: int = 0
    rows: int = 0
    """Made durable since it began."""
    written_us: int = 0
    """When rows were made durable last; 0: not since it began."""
    trouble: str = ""
    """Why nothing is archived for now; empty: nothing keeps it."""
    positions: Mapping[Place, Position] = field(default_factory=dict)
    halted: Mapping[Place, str] = field(default_factory=dict)
    """Partitions that were stopped, and why: each is an alarm."""
    versions: Pin | None = None
    """Of each table."""


class Service:
    """Runs in a thread or a process of its own until `pause` says that it is over."""

    def __init__(self, *, opening: Callable[[], Works], clock: Clock, pause: Pause) -> None:
        self._opening = opening
        self._clock = clock
        self._pause = pause
        self._works: Works | None = None
        self._due: dict[str, int] = {}
        now_us = clock.now_us()
        self.standing = Standing(now_us, now_us)

    def run(self) -> None:
        """Archive until the end, then write what was read."""
        wait_s = 0.0
        while not self._pause(wait_s):
            wait_s = self._once(wait_s)
        self._end()

    def stalled(self, now_us: int) -> str:
        """Return what is wrong where no step has ended for far too long; empty: nothing is."""
        silent_us = now_us - self.standing.looked_us
        return f"no step has ended for {silent_us // 1_000_000} s" if silent_us > ARCHIVE_STALLED_US else ""

    def _once(self, waited_s: float) -> float:
        """Do one step and the upkeep that follows from it; return how long to wait."""
        try:
            step = self._step()
        except TidegateError as error:
            return self._failed(error, waited_s)
        self._told(step)
        return 0.0 if step.messages else ARCHIVE_PAUSE_S

    def _step(self) -> Step:
        works = self._works = self._works or self._opening()
        step = works.consumer.step()
        if step.rows:
            works.store.tend()
        if self._is_due("tidy", ARCHIVE_TIDY_US):
            works.store.tidy()
        if self._is_due("trim", ARCHIVE_TRIM_US):
            works.consumers.trim()
        return step

    def _is_due(self, what: str, every_us: int) -> bool:
        """Tell whether something is to be done again; it counts as done then."""
        now_us = self._clock.now_us()
        if what in self._due and 0 <= now_us - self._due[what] < every_us:
            return False
        self._due[what] = now_us
        return True

    def _told(self, step: Step) -> None:
        """Say how it does after a step that went well."""
        works, before, now_us = self._works, self.standing, self._clock.now_us()
        if works is None:
            return
        self.standing = replace(
            before,
            looked_us=now_us,
            messages=before.messages + step.messages,
            rows=before.rows + step.rows,
            written_us=now_us if step.rows else before.written_us,
            trouble="",
            positions=works.consumer.positions(),
            halted=dict(works.consumer.halted),
            versions=works.store.pin() if step.rows or before.versions is None else before.versions,
        )

    def _failed(self, error: TidegateError, waited_s: float) -> float:
        """Say what keeps it, and wait: what may pass is tried again, what a person has to mend is opened anew."""
        if error.message != self.standing.trouble:
            _LOG.warning("archive: %s; tried again", error.message)
        if not isinstance(error, TemporaryError):
            self._let_go()
        self._due.clear()
        self.standing = replace(self.standing, looked_us=self._clock.now_us(), trouble=error.message)
        return min(max(2 * waited_s, ARCHIVE_PAUSE_S), ARCHIVE_RETRY_S_MAX)

    def _end(self) -> None:
        """Write what was read; what isn't is read again by the next one."""
        try:
            if self._works is not None:
                self._works.consumer.flush()
        except TidegateError as error:
            _LOG.warning("archive: %s; the next one begins again there", error.message)
        finally:
            self._let_go()

    def _let_go(self) -> None:
        works, self._works = self._works, None
        if works is not None:
            works.close()
