"""Committers beside each other: each has a share of the sites, a name, a thread and a queue of its own.

Which committer a site's cursors lie with follows from its name and the number of committers, so that number is fixed
when a log is made: with another one, a site would be told that nothing of it is there.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from serve_apps.ingest.committer import Brought, Committer, Outcome, origin_of
from serve_apps.ingest.grouping import Grouping
from serve_apps.plumbing.stream.log import partition
from serve_apps.plumbing.stream.ports import FencedError, MismatchError, Stream
from tidegate.errors import SettingsError
from tidegate.frames import Head

_MARK: Final = "tidegate.committers"
"""A topic that carries nothing: its partitions, which no log lets anybody change, are the committers."""
T = TypeVar("T")


def names_of(stream: Stream, count: int) -> list[str]:
    """Return the committers' names; the first time, their number is noted in the log.

    Raises:
        SettingsError: the log was made with another number.
        TemporaryError: it can't be asked.
    """
    try:
        stream.create(_MARK, count)
    except MismatchError as error:
        told = f"ingest.committers: {count} isn't what the log was made with ({error.message}); set it back"
        raise SettingsError(told) from error
    return [f"c{number}" for number in range(count)]


class Shard:
    """One committer on a thread of its own, behind its queue. Belongs to one event loop."""

    def __init__(self, committer: Committer) -> None:
        self.committer = committer
        self.fenced: FencedError | None = None
        """Set once another committer has taken over: this one acknowledges nothing any more, and has to end."""
        self._thread = ThreadPoolExecutor(1, "committer")
        self.grouping = Grouping(self._commit, committer.weight, self._thread)

    async def run(self, work: Callable[[Committer], T]) -> T:
        """Have the committer do something between two commits."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._guarded, work)

    def close(self) -> None:
        """Let go of the stream once what is under way has ended."""
        self._thread.submit(self.committer.close).result()
        self._thread.shutdown()

    def _commit(self, requests: Sequence[Brought]) -> list[Outcome]:
        return self._guarded(lambda committer: committer.commit(requests))

    def _guarded(self, work: Callable[[Committer], T]) -> T:
        try:
            return work(self.committer)
        except FencedError as error:
            self.fenced = error
            raise


class Shards:
    """All committers."""

    def __init__(self, committers: Sequence[Committer]) -> None:
        self.each = tuple(Shard(committer) for committer in committers)

    def of(self, name: str) -> Shard:
        """Return who has a site, or a text."""
        return self.each[partition(name.encode(), len(self.each))]

    def credit(self) -> int:
        """Return how large the next request of a site may be: what the fullest queue has room for."""
        return min(shard.grouping.credit() for shard in self.each)

    async def commit(self, brought: Brought) -> Outcome:
        """Return what became of what one request brought, in its order, once that is durable.

        Raises:
            OverloadedError, TemporaryError, FencedError: as one of the committers says; a part may be there.
        """
        shares: dict[Shard, list[int]] = {}
        for at, item in enumerate(brought):
            said = item if isinstance(item, Head) else item.header
            shares.setdefault(self.of(origin_of(said).site), []).append(at)
        taken = [shard.grouping.commit([brought[at] for at in places]) for shard, places in shares.items()]
        outcomes = await asyncio.gather(*taken)
        results = {
            at: result
            for places, outcome in zip(shares.values(), outcomes, strict=True)
            for at, result in zip(places, outcome.results, strict=True)
        }
        cursors = [cursor for outcome in outcomes for cursor in outcome.cursors]
        return Outcome([results[at] for at in range(len(brought))], cursors)
