"""What ingest's application works with: the intake on a thread of its own, committers behind it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from serve_apps.ingest.committer import Committer, Holding, Origin
from serve_apps.ingest.ingest import NOTHING, Meter, let_in
from serve_apps.ingest.intake import Known, UnwantedError, admit_head, admit_part
from serve_apps.ingest.ports import Keys, Quarantine, Refusal
from serve_apps.ingest.refusals import Refusals, refusal_of, refusals_of
from serve_apps.ingest.shards import Shards
from serve_apps.ingest.staging import Proven, Staging
from serve_apps.plumbing.stream.ports import FencedError
from tidegate.artifacts import ArtifactAnswer, Part
from tidegate.clock import Clock
from tidegate.frames import KNOWN, FrameError, SignedHead
from tidegate.tide import TEXTS, Answer, Status

T = TypeVar("T")


class Backend:
    """Takes in what sites send. Belongs to one event loop."""

    def __init__(
        self,
        *,
        keys: Keys,
        quarantine: Quarantine,
        committers: Sequence[Committer],
        clock: Clock,
        known: Known = KNOWN,
    ) -> None:
        self.keys, self.quarantine, self.clock, self.known = keys, quarantine, clock, known
        self.meter, self.staging, self.shards = Meter(), Staging(), Shards(committers)
        self._refusals = Refusals(quarantine, clock)
        self._intake = ThreadPoolExecutor(1, "intake")

    @property
    def fenced(self) -> FencedError | None:
        """What a committer was told by which another one has taken over; None: all are in charge."""
        return next((shard.fenced for shard in self.shards.each if shard.fenced is not None), None)

    async def frames(self, body: bytes) -> Answer:
        """Take in a request of frames; see `Ingest.frames`."""
        loop = asyncio.get_running_loop()
        try:
            request = await loop.run_in_executor(self._intake, let_in, body, self.keys, self.known)
        except FrameError as error:
            self.meter.count_refused(_word(error))
            raise
        outcome = await self.shards.commit(request.admitted()) if request.admitted() else NOTHING
        answer, now_us = request.answer(outcome, self.shards.credit()), self.clock.now_us()
        kept = request.cases(answer.results, now_us)
        if kept:
            await loop.run_in_executor(self._intake, self.quarantine.keep, kept)
        await self._note(refusals_of(request.items, now_us))
        self.meter.count(request, answer.results, now_us)
        return answer

    async def head(self, body: bytes) -> Answer:
        """Take in a head; see `Ingest.head`."""
        loop = asyncio.get_running_loop()
        try:
            head = await loop.run_in_executor(self._intake, admit_head, body, self.keys)
        except FrameError as error:
            self.meter.count_refused(_word(error))
            await self._note(refusal_of(SignedHead.parse, body, _word(error), self.clock.now_us()))
            raise
        outcome = await self.shards.commit([head])
        for result in outcome.results:
            if result.status is Status.REFUSED:
                self.meter.count_refused(result.reason)
        return Answer(results=outcome.results, cursors=outcome.cursors, credit_bytes=self.shards.credit())

    async def text(self, body: bytes) -> ArtifactAnswer:
        """Take in a part of a text, or the offer of one."""
        loop = asyncio.get_running_loop()
        try:
            taken = await loop.run_in_executor(self._intake, self._taken, body)
        except FrameError as error:
            self.meter.count_text(_word(error))
            await self._note(refusal_of(Part.parse, body, _word(error), self.clock.now_us()))
            return ArtifactAnswer(reason=_word(error), message=error.message)
        if not isinstance(taken, Proven):
            return ArtifactAnswer(next_part=taken)
        while not await self.shards.of(taken.sha256).run(lambda committer: committer.keep(taken)):
            pass  # between two commits those of frames have their turn
        self.meter.count_text(Status.COMMITTED)
        return ArtifactAnswer()

    async def _note(self, refused: Sequence[Refusal]) -> None:
        if refused:
            await asyncio.get_running_loop().run_in_executor(self._intake, self._refusals.note, refused)

    async def refused(self, *, items: int, site: str | None) -> list[Refusal]:
        """Return in whose name something was refused, and why, the latest first.

        Raises:
            TemporaryError: there is no way to write what is held, or to read.
        """
        page = partial(self._refusals.page, items=items, site=site)
        return await asyncio.get_running_loop().run_in_executor(self._intake, page)

    def _taken(self, body: bytes) -> Proven | int | None:
        """Return a whole text, the part of one that is wanted next, or None where all of it is there."""
        part = admit_part(body, self.keys)
        header, committer = part.header, self.shards.of(part.header.sha256).committer
        if committer.has(header.sha256):
            return None
        if (why := committer.refuses(header.site, header.sha256)) is not None:
            raise UnwantedError(TEXTS, why)
        return self.staging.take(part)

    async def kept(self, work: Callable[[Quarantine], T]) -> T:
        """Look at what is kept aside, which is on a disk, on the intake's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._intake, work, self.quarantine)

    async def ready(self) -> None:
        """Return once frames can be committed.

        Raises:
            TemporaryError: a committer can't ask the stream.
        """
        await asyncio.gather(*(shard.run(Committer.ready) for shard in self.shards.each))

    async def holdings(self) -> Mapping[Origin, Holding]:
        """Return what is known of each epoch, as it is now.

        Raises:
            TemporaryError: a committer can't ask the stream.
        """
        each = [shard.run(lambda committer: dict(committer.holdings())) for shard in self.shards.each]
        return {origin: held for part in await asyncio.gather(*each) for origin, held in part.items()}

    async def acknowledge(self, site: str, *, by: str, why: str) -> dict[Origin, list[str]]:
        """Note that somebody has looked at all alarms of a site; return which.

        Raises:
            TemporaryError: the committer can't note it now.
        """
        return await self.shards.of(site).run(lambda committer: committer.acknowledge(site, by=by, why=why))

    def close(self) -> None:
        """Let go of the stream once what is under way has ended."""
        self._intake.submit(self._refusals.close)
        self._intake.shutdown()
        for shard in self.shards.each:
            shard.close()


def _word(error: FrameError) -> str:
    """Return the stable word for why something was refused."""
    return error.word if isinstance(error, UnwantedError) else error.reason
