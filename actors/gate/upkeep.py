"""Upkeep of a gate in the gaps between its decisions: checkpoints of the window, and the journal's own chores."""

import asyncio
import contextlib
from typing import Final

from actors.gate.committer import Committer
from actors.gate.gate import Gate
from actors.gate.start import line_of, store_checkpoint
from actors.gate.tideline import Tideline
from actors.journal.ports import Disk
from tidegate.errors import DiskFullError
from tidegate.limits import OVERLAY_CHECKPOINT_BATCHES, OVERLAY_CHECKPOINT_ROWS

_EVERY_S: Final = 1.0
_CHORES_EVERY: Final = 10
"""Rounds between two looks at the disk: it fills in minutes, not in seconds."""


class Upkeep:
    """Runs beside the decisions on their event loop; what is slow runs in threads."""

    def __init__(self, *, gate: Gate, committer: Committer, disk: Disk, tideline: Tideline | None = None) -> None:
        self._gate = gate
        self._committer = committer
        self._disk = disk
        self._tideline = tideline
        self._every = gate.settings.window.checkpoint_every_records
        self._saved_pos = gate.state.window_pos
        self._saved_deltas = (gate.tally.deltas, gate.tally.delta_rows)

    async def run(self) -> None:
        """Go on until cancelled.

        Raises:
            RestoredError: the gate has to start anew.
        """
        rounds = 0
        while True:
            await asyncio.sleep(_EVERY_S)
            rounds += 1
            if self._tideline is not None:
                await asyncio.to_thread(self._tideline.check, self._gate.epoch)
            if self._due():
                await self.checkpoint()
            if rounds % _CHORES_EVERY == 0:
                await asyncio.to_thread(self._chores, self._gate.now_us())
                self._forget()

    def _due(self) -> bool:
        """Tell whether a start would have too much to apply again."""
        batches, rows = self._saved_deltas
        return (
            self._gate.journal.last_pos - self._saved_pos >= self._every
            or self._gate.tally.deltas - batches >= OVERLAY_CHECKPOINT_BATCHES
            or self._gate.tally.delta_rows - rows >= OVERLAY_CHECKPOINT_ROWS
        )

    async def checkpoint(self) -> None:
        """Store the window as of now. Decisions go on meanwhile: the copy is taken a slice at a time.

        A disk that is too full keeps the checkpoints it has: the next start replays more.
        """
        pos, copy, tally = self._gate.journal.last_pos, self._gate.window.copy(), self._gate.tally
        deltas = (tally.deltas, tally.delta_rows)
        for _ in iter(copy.step, True):
            await asyncio.sleep(0)
        await self._committer.durable(pos)
        with contextlib.suppress(DiskFullError):
            await asyncio.to_thread(store_checkpoint, self._disk, self._gate.epoch, pos, copy)
        self._saved_pos, self._saved_deltas = pos, deltas

    def _chores(self, now_us: int) -> None:
        line = line_of(self._tideline, self._disk, self._gate.epoch, now_us)
        while self._gate.journal.tend(line):
            pass

    def _forget(self) -> None:
        """Forget where decisions stood that were dropped."""
        kept = self._gate.journal.kept()
        for epoch, places in self._gate.state.places.items():
            places.forget(kept.get(epoch, 0))
