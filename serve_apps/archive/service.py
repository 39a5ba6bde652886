"""The archive's life: takes what the log has, writes it, keeps the tables tidy, and goes on after what may pass."""

import logging
from collections.abc import Callable
from typing import Final

from serve_apps.archive.consumer import Consumer
from serve_apps.archive.ports import Store
from tidegate.clock import Clock
from tidegate.errors import TemporaryError
from tidegate.limits import ARCHIVE_PAUSE_S, ARCHIVE_RETRY_S_MAX, ARCHIVE_TIDY_US

_LOG: Final = logging.getLogger(__name__)
Pause = Callable[[float], bool]
"""Waits for so many seconds; returns True once the service is to end, as `threading.Event.wait` does."""


class Service:
    """Runs in a thread or a process of its own until `pause` says that it is over."""

    def __init__(self, *, consumer: Consumer, store: Store, clock: Clock, pause: Pause) -> None:
        self._consumer = consumer
        self._store = store
        self._clock = clock
        self._pause = pause
        self._tidied_us: int | None = None

    def run(self) -> None:
        """Archive until the end, then write what was read."""
        wait_s = 0.0
        while not self._pause(wait_s):
            wait_s = self._once(wait_s)
        self._consumer.flush()

    def _once(self, waited_s: float) -> float:
        """Do one step and the upkeep that follows from it; return how long to wait."""
        try:
            step = self._consumer.step()
            if step.rows:
                self._store.tend()
            self._tidy()
        except TemporaryError as error:
            _LOG.warning("archive: %s; tried again", error.message)
            return min(max(2 * waited_s, ARCHIVE_PAUSE_S), ARCHIVE_RETRY_S_MAX)
        return 0.0 if step.messages else ARCHIVE_PAUSE_S

    def _tidy(self) -> None:
        now_us = self._clock.now_us()
        if self._tidied_us is None or not 0 <= now_us - self._tidied_us < ARCHIVE_TIDY_US:
            self._store.tidy()
            self._tidied_us = now_us
