"""One commit for many requests: what comes while a commit is under way waits together for the next one.

No timer: alone, a request is committed at once; in a crowd, a commit carries all that came during the one before.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Final, NamedTuple

from serve_apps.ingest.committer import Brought, Outcome
from serve_apps.ingest.intake import Admitted
from serve_apps.plumbing.stream.ports import TooLargeError
from tidegate.errors import OverloadedError
from tidegate.limits import FRAME_BYTES_MAX, FRAMES_BODY_BYTES_MAX, INGEST_PENDING_BYTES_MAX, LOG_COMMIT_BYTES_MAX

_HEAD_BYTES: Final = 4_096
Commit = Callable[[Sequence[Brought]], list[Outcome]]


class _Waiting(NamedTuple):
    """A request that waits: how many bytes of it are held here, and how many a commit of it may take."""

    brought: Brought
    size: int
    weight: int
    future: "asyncio.Future[Outcome]"


class Grouping:
    """The queue before one committer. Belongs to one event loop; `executor` has one thread, the committer's."""

    def __init__(self, commit: Commit, weigh: Callable[[Brought], int], executor: Executor) -> None:
        self._commit = commit
        self._weigh = weigh
        self._executor = executor
        self._waiting: deque[_Waiting] = deque()
        self._bytes = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def pending_bytes(self) -> int:
        """What waits or is under way."""
        return self._bytes

    def credit(self) -> int:
        """Return how large the next request of a site may be: less the more waits."""
        room = (INGEST_PENDING_BYTES_MAX - self._bytes) // 4
        return max(FRAME_BYTES_MAX, min(FRAMES_BODY_BYTES_MAX, room))

    async def commit(self, brought: Brought) -> Outcome:
        """Return what became of what one request brought, once that is durable.

        Raises:
            OverloadedError: too much waits.
            TemporaryError, FencedError, TooLargeError: as the committer's.
        """
        size = sum(item.frame.envelope.size if isinstance(item, Admitted) else _HEAD_BYTES for item in brought)
        if self._bytes + size > INGEST_PENDING_BYTES_MAX:
            raise OverloadedError("too much waits to be committed; send again later", delay_s=1.0)
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(brought, size, self._weigh(brought), future))
        self._bytes += size
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        while self._waiting:
            group = self._next()
            await self._take(group)
            self._bytes -= sum(each.size for each in group)

    async def _take(self, group: Sequence[_Waiting]) -> None:
        """Commit a group and hand over what came of it; where it is too large, each by itself: only one is to blame."""
        loop, brought = asyncio.get_running_loop(), [each.brought for each in group]
        try:
            outcomes = await loop.run_in_executor(self._executor, self._commit, brought)
        except Exception as error:  # noqa: BLE001 - whoever waits gets it, whatever it is
            if isinstance(error, TooLargeError) and len(group) > 1:
                for each in group:
                    await self._take([each])
                return
            for each in group:
                _settle(each.future, error)
        else:
            for each, outcome in zip(group, outcomes, strict=True):
                _settle(each.future, outcome)

    def _next(self) -> list[_Waiting]:
        """Return the requests of the next commit: one at least, and as many as fit it with their cursors."""
        group = [self._waiting.popleft()]
        weight = group[0].weight
        while self._waiting and weight + self._waiting[0].weight <= LOG_COMMIT_BYTES_MAX // 2:
            group.append(self._waiting.popleft())
            weight += group[-1].weight
        return group


def _settle(future: "asyncio.Future[Outcome]", result: Outcome | Exception) -> None:
    """Hand over what came of it, unless the caller has gone."""
    if future.cancelled():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
