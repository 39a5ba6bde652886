"""Takes in what the cloud tells of other sites, a batch at a time, in order, beside the decisions.

Labels that were posted there are applied first, a few at a time; then the batch is kept, and counted between two
decisions at once. A crash at any point is mended by giving the same batch again.
"""

import asyncio
from typing import Any

from actors.gate.committer import Committer
from actors.gate.gate import Gate
from actors.gate.packs import Packs
from tidegate.clock import rfc3339
from tidegate.deltas import Deltas
from tidegate.errors import InvalidError
from tidegate.limits import LABELS_AT_ONCE, OVERLAY_NOTED_US

Answer = dict[str, Any]


class Intake:
    """The deltas' way into one gate."""

    def __init__(self, *, gate: Gate, committer: Committer, packs: Packs) -> None:
        self._gate = gate
        self._committer = committer
        self._packs = packs
        self._turn = asyncio.Lock()

    async def take(self, asked: int, *, since: int, until: int, wire: bytes) -> Answer:
        """Count a batch of the versions from `since` on and before `until`; one that is in already changes nothing.

        `asked` is where the overlay was when it was asked for. It begins later where the cloud has let versions go.

        Raises:
            DeltaError: the bytes are no batch.
            InvalidError: the overlay is elsewhere by now, such as at the beginning; ask for what comes there.
            NotReadyError, OverloadedError, DiskFullError, OSError: it isn't counted; give it again.
        """
        async with self._turn:
            batch = await asyncio.to_thread(Deltas.from_bytes, wire)
            if until > self._gate.window.overlay.reached.version:
                self._need(asked)
                for at, label in enumerate(batch.labels(), 1):
                    self._gate.take_posted(label)
                    if at % LABELS_AT_ONCE == 0:
                        await asyncio.sleep(0)
                await asyncio.to_thread(self._packs.put, until, batch, wire)
                await self._committer.durable(self._gate.take_deltas(batch, since=since, until=until))
            return overlay_answer(self._gate)

    async def nothing_came(self, asked: int, as_of_us: int) -> Answer:
        """Note, once in a while, that the cloud had nothing from where the overlay is on, up to `as_of_us`."""
        async with self._turn:
            reached = self._gate.window.overlay.reached
            if asked == reached.version > 0 and as_of_us - reached.as_of_us >= OVERLAY_NOTED_US:
                await self._committer.durable(self._gate.nothing_came(as_of_us))
            return overlay_answer(self._gate)

    async def began_again(self, asked: int) -> Answer:
        """Forget other sites where the overlay is at a version that the cloud's log has never had."""
        async with self._turn:
            if asked == self._gate.window.overlay.reached.version > 0:
                self._gate.drop_overlay(f"the cloud's log of deltas has no version {asked}: it began again")
            return overlay_answer(self._gate)

    def _need(self, asked: int) -> None:
        reached = self._gate.window.overlay.reached.version
        if asked != reached:
            raise InvalidError(
                f"asked: the overlay is at {reached} by now, and not at {asked}: ask for what begins there"
            )


def overlay_answer(gate: Gate) -> Answer:
    """Return what a site knows of others."""
    overlay = gate.window.overlay
    reached = overlay.reached
    as_of = rfc3339(reached.as_of_us) if overlay.begun else None
    return {"version": reached.version, "as_of": as_of, "cards": len(overlay.cards), "whole": reached.whole}
