"""Waits for the disk: whoever made a record awaits here until it is durable, many of them on one flush.

Inline, the loop itself flushes once all requests of this turn have been decided: on a fast disk handing over to a
thread costs more than the flush. In a thread, the loop decides on while the disk works: right for slow disks.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from actors.journal.journal import Journal
from actors.journal.writer import Batch
from tidegate.errors import JournalError

Told = Callable[[JournalError | None], None]
"""Is told that a record is durable (None), or why it never will be; must not raise."""

INLINE_FLUSH_US_MAX: Final = 400
"""A disk whose median flush is faster is flushed inline: handing over to a thread and back costs 100 to 200."""


class Committer:
    """Group commit for one journal, on one event loop."""

    def __init__(
        self,
        *,
        journal: Journal,
        inline: bool,
        on_failure: Callable[[str], None],
        on_flush: Callable[[float], None],
        ticks: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._journal = journal
        self._on_failure = on_failure
        self._on_flush = on_flush
        self._ticks = ticks
        self._waiting: deque[tuple[int, Told]] = deque()
        self._thread = None if inline else ThreadPoolExecutor(1, thread_name_prefix="flush")
        self._due = False
        self._failure: JournalError | None = None

    def when_durable(self, pos: int, told: Told) -> None:
        """Call `told` once the record at `pos` is durable, with None; with the failure where it will never be.

        Now, where it is durable already; in the order of positions otherwise.
        """
        if pos <= self._journal.durable_pos or self._failure is not None:
            told(None if pos <= self._journal.durable_pos else self._failure)
            return
        self._waiting.append((pos, told))
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._inline if self._thread is None else self._hand_over)

    async def durable(self, pos: int) -> None:
        """Return once the record at `pos` is durable.

        Raises:
            JournalError: it will never be; nothing may be answered.
        """
        if pos <= self._journal.durable_pos:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.when_durable(pos, lambda failure: _settle(future, failure))
        await future

    def _inline(self) -> None:
        batch = self._journal.take()
        self._due = False
        if batch is not None:
            self._done(batch, self._flush(batch))

    def _flush(self, batch: Batch) -> JournalError | None:
        started = self._ticks()
        try:
            batch.flush()
        except JournalError as error:
            return error
        self._on_flush(self._ticks() - started)
        return None

    def _hand_over(self) -> None:
        batch = self._journal.take()
        if batch is None or self._thread is None:
            self._due = False
            return
        work = asyncio.get_running_loop().run_in_executor(self._thread, self._flush, batch)
        work.add_done_callback(lambda done: self._returned(batch, done.result()))

    def _returned(self, batch: Batch, failure: JournalError | None) -> None:
        self._done(batch, failure)
        self._due = bool(self._waiting) and failure is None
        if self._due:
            self._hand_over()

    def _done(self, batch: Batch, failure: JournalError | None) -> None:
        if failure is not None:
            self._fail(failure)
            return
        self._journal.committed(batch)
        self._tell()

    def _tell(self) -> None:
        durable = self._journal.durable_pos
        try:
            while self._waiting and self._waiting[0][0] <= durable:
                self._waiting.popleft()[1](None)
        finally:
            if self._waiting and self._waiting[0][0] <= durable:  # one who raised keeps nobody else waiting
                asyncio.get_running_loop().call_soon(self._tell)

    def _fail(self, failure: JournalError) -> None:
        """Nobody is answered, nothing more is taken: what the disk holds decides after a restart."""
        self._failure = failure
        self._on_failure(failure.message)
        while self._waiting:
            self._waiting.popleft()[1](failure)

    def close(self) -> None:
        """Let the thread go."""
        if self._thread is not None:
            self._thread.shutdown(wait=True)


def _settle(future: "asyncio.Future[None]", failure: JournalError | None) -> None:
    if future.done():
        return
    if failure is None:
        future.set_result(None)
    else:
        future.set_exception(failure)
