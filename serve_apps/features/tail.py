"""The end of the log of deltas, for readers that wait there: all that wait for one version cost one look at the log."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NamedTuple

from tidegate.errors import OverloadedError
from tidegate.limits import DELTAS_WAITING_MAX


class Batch(NamedTuple):
    """A batch as it is in the log, under its version; `time_us` is when it was committed there."""

    version: int
    data: bytes
    time_us: int


Read = Callable[[int], Awaitable[Batch | None]]
"""Returns the first batch of a version or above; None: there is none yet."""


class Tail:
    """One event loop's, but for `ring`."""

    def __init__(self, read: Read, *, waiting_max: int = DELTAS_WAITING_MAX) -> None:
        self._read, self._waiting_max = read, waiting_max
        self._news = asyncio.Event()
        self._looks: dict[int, asyncio.Task[Batch | None]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self.waiting = 0
        """Readers that wait now."""

    def ring(self) -> None:
        """Have all who wait look again; any thread may say so."""
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # the loop has ended, and all who waited with it
                loop.call_soon_threadsafe(self._rung)

    async def first(self, version: int, wait_s: float) -> Batch | None:
        """Return the first batch of a version or above; None: there was none within so many seconds.

        Raises:
            OverloadedError: too many wait.
            Error: whatever the look at the log raises.
        """
        if self.waiting >= self._waiting_max:
            raise OverloadedError(f"more than {self._waiting_max} readers wait for deltas: put a cache between")
        self._loop = asyncio.get_running_loop()
        self.waiting += 1
        try:
            return await self._waited(version, wait_s)
        finally:
            self.waiting -= 1

    async def _waited(self, version: int, wait_s: float) -> Batch | None:
        news = self._news
        found = await self._look(version)
        if wait_s <= 0:
            return found
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while found is None:
                    await news.wait()
                    news = self._news
                    found = await self._look(version)
        return found

    async def _look(self, version: int) -> Batch | None:
        task = self._looks.get(version)
        if task is None:
            task = self._looks[version] = asyncio.ensure_future(self._read(version))
            task.add_done_callback(lambda done: self._looked(version, done))
        return await asyncio.shield(task)

    def _looked(self, version: int, done: "asyncio.Task[Batch | None]") -> None:
        if self._looks.get(version) is done:
            del self._looks[version]

    def _rung(self) -> None:
        self._looks.clear()  # a look that is under way may have missed what is new
        self._news.set()
        self._news = asyncio.Event()
