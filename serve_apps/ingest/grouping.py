"""One commit for many requests: what comes while a commit is under way waits together for the next one.

No timer: alone, a request is committed at once; in a crowd, a commit carries all that came during the one before.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Final

from serve_apps.ingest.committer import Brought, Outcome
from serve_apps.ingest.intake import Admitted
from tidegate.errors import OverloadedError
from tidegate.limits import FRAME_BYTES_MAX, FRAMES_BODY_BYTES_MAX, INGEST_PENDING_BYTES_MAX, LOG_COMMIT_BYTES_MAX

_HEAD_BYTES: Final = 4_096
Commit = Callable[[Sequence[Brought]], list[Outcome]]


class Grouping:
    """The queue before one committer. Belongs to one event loop; `executor` has one thread, the committer's."""

    def __init__(self, commit: Commit, executor: Executor) -> None:
        self._commit = commit
        self._executor = executor
        self._waiting: deque[tuple[Brought, int, asyncio.Future[Outcome]]] = deque()
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
            TemporaryError, FencedError: as the committer's.
        """
        size = sum(len(item.frame.data) if isinstance(item, Admitted) else _HEAD_BYTES for item in brought)
        if self._bytes + size > INGEST_PENDING_BYTES_MAX:
            raise OverloadedError("too much waits to be committed; send again later", delay_s=1.0)
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append((brought, size, future))
        self._bytes += size
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            group = self._next()
            try:
                outcomes = await loop.run_in_executor(
                    self._executor, self._commit, [brought for brought, _, _ in group]
                )
            except Exception as error:  # noqa: BLE001 - whoever waits gets it, whatever it is
                for _, _, future in group:
                    _settle(future, error)
            else:
                for (_, _, future), outcome in zip(group, outcomes, strict=True):
                    _settle(future, outcome)
            self._bytes -= sum(size for _, size, _ in group)

    def _next(self) -> list[tuple[Brought, int, "asyncio.Future[Outcome]"]]:
        """Return the requests of the next commit: one at least, and as many as fit it."""
        group = [self._waiting.popleft()]
        size = group[0][1]
        while self._waiting and size + self._waiting[0][1] <= LOG_COMMIT_BYTES_MAX // 2:
            group.append(self._waiting.popleft())
            size += group[-1][1]
        return group


def _settle(future: "asyncio.Future[Outcome]", result: Outcome | Exception) -> None:
    """Hand over what came of it, unless the caller has gone."""
    if future.cancelled():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
