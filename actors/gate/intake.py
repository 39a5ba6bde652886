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
from tidegate.limits import LABELS_AT_ONCE, OVERLAY_NOTED_US

Answer = dict[str, Any]


class Intake:
    """The deltas' way into one gate."""

    def __init__(self, *, gate: Gate, committer: Committer, packs: Packs) -> None:
        self._gate = gate
        self._committer = committer
        self._packs = packs
        self._turn = asyncio.Lock()

    async def take(self, *, since: int, until: int, wire: bytes) -> Answer:
        """Count a batch of the versions from `since` on and before `until`; one that is in already changes nothing.

        Raises:
            DeltaError: the bytes are no batch.
            InvalidError: it doesn't begin where the overlay is, or later.
            NotReadyError, OverloadedError, DiskFullError, OSError: it isn't counted; give it again.
        """
        async with self._turn:
            batch = await asyncio.to_thread(Deltas.from_bytes, wire)
            if until > self._gate.window.overlay.reached.version:
                for at, label in enumerate(batch.labels(), 1):
                    self._gate.take_posted(label)
                    if at % LABELS_AT_ONCE == 0:
                        await asyncio.sleep(0)
                await asyncio.to_thread(self._packs.put, until, batch, wire)
                await self._committer.durable(self._gate.take_deltas(batch, since=since, until=until))
            return overlay_answer(self._gate)

    async def nothing_came(self, version: int) -> Answer:
        """Note, once in a while, that the cloud has nothing from `version` on, which is where the overlay is."""
        async with self._turn:
            reached, now_us = self._gate.window.overlay.reached, self._gate.now_us()
            if version == reached.version > 0 and now_us - reached.as_of_us >= OVERLAY_NOTED_US:
                await self._committer.durable(self._gate.nothing_came())
            return overlay_answer(self._gate)


def overlay_answer(gate: Gate) -> Answer:
    """Return what a site knows of others."""
    overlay = gate.window.overlay
    reached = overlay.reached
    as_of = rfc3339(reached.as_of_us) if overlay.begun else None
    return {"version": reached.version, "as_of": as_of, "cards": len(overlay.cards), "whole": reached.whole}
