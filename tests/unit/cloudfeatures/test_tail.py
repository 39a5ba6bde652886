"""Readers at the end of the log: they wait together, look together, and miss nothing."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from serve_apps.features.tail import Batch, Tail
from tidegate.errors import OverloadedError, TemporaryError

FIRST = Batch(5, b"five", 17)
WAIT_S = 20.0
"""More than any of these tests waits."""


class Log:
    """A log whose looks are counted, and end when they are let."""

    def __init__(self) -> None:
        self.looks: list[int] = []
        self.batches: list[Batch] = []
        self.open = asyncio.Event()
        self.open.set()

    async def read(self, version: int) -> Batch | None:
        self.looks.append(version)
        found = next((batch for batch in self.batches if batch.version >= version), None)
        await self.open.wait()
        return found


def run(test: Callable[[Log, Tail], Awaitable[None]], **bounds: Any) -> None:
    async def started() -> None:
        log = Log()
        await test(log, Tail(log.read, **bounds))

    asyncio.run(started())


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not done():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0)


def test_what_is_there_is_answered_at_once() -> None:
    async def test(log: Log, tail: Tail) -> None:
        log.batches = [FIRST]
        assert await tail.first(3, 0.0) == FIRST

    run(test)


def test_who_waits_is_answered_when_it_rings_and_all_together_look_once() -> None:
    async def test(log: Log, tail: Tail) -> None:
        waiting = [asyncio.ensure_future(tail.first(5, WAIT_S)) for _ in range(100)]
        await until(lambda: tail.waiting == 100 and log.looks == [5])
        log.batches = [FIRST]
        tail.ring()
        assert set(await asyncio.gather(*waiting)) == {FIRST}
        assert (log.looks, tail.waiting) == ([5, 5], 0)

    run(test)


def test_who_asks_during_a_look_that_began_before_the_news_is_answered_all_the_same() -> None:
    async def test(log: Log, tail: Tail) -> None:
        log.open.clear()
        early = asyncio.ensure_future(tail.first(5, WAIT_S))
        await until(lambda: log.looks == [5])
        log.batches = [FIRST]
        tail.ring()
        await asyncio.sleep(0)
        late = asyncio.ensure_future(tail.first(5, WAIT_S))
        await until(lambda: log.looks == [5, 5])
        log.open.set()
        assert (await early, await late) == (FIRST, FIRST)

    run(test)


def test_who_waits_too_long_is_told_that_there_is_none() -> None:
    async def test(_log: Log, tail: Tail) -> None:
        assert await tail.first(5, 0.001) is None
        assert tail.waiting == 0

    run(test)


def test_too_many_who_wait_are_turned_away() -> None:
    async def test(_log: Log, tail: Tail) -> None:
        waiting = asyncio.ensure_future(tail.first(5, WAIT_S))
        await until(lambda: tail.waiting == 1)
        with pytest.raises(OverloadedError, match="1 readers wait"):
            await tail.first(5, WAIT_S)
        waiting.cancel()
        await until(lambda: tail.waiting == 0)

    run(test, waiting_max=1)


def test_a_log_that_cannot_be_asked_is_told_to_all_and_asked_again_by_the_next() -> None:
    async def test(_log: Log, _tail: Tail) -> None:
        async def away(_version: int) -> Batch | None:
            raise TemporaryError("the disk is away")

        broken = Tail(away)
        for _ in range(2):
            with pytest.raises(TemporaryError, match="away"):
                await broken.first(5, WAIT_S)
        assert broken.waiting == 0

    run(test)


def test_ringing_before_anybody_has_asked_and_after_the_loop_has_ended_is_nothing() -> None:
    kept: list[Tail] = []

    async def test(log: Log, tail: Tail) -> None:
        tail.ring()
        log.batches = [FIRST]
        await tail.first(5, 0.0)
        kept.append(tail)

    run(test)
    kept[0].ring()
