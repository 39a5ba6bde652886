"""Notices where the cloud has another history than the journal, and writes that down for the gate.

That happens where an older copy of a site was put back: the cloud has records that the journal doesn't, or others under
their numbers. Nothing of either is overwritten. The gate begins a new epoch; the old one stays at the site as it is,
and what of it the cloud can't join is kept aside there, with its reason.
"""

from collections.abc import Sequence

from actors.uplink.ports import Journal, Memory
from tidegate.ids import EpochId
from tidegate.passages import Span
from tidegate.records import Lane
from tidegate.tide import FORKED, Answer
from tidegate.tideline import Witness, denied, witness_bytes


class Doubts:
    """What speaks against the journal. For one thread."""

    def __init__(self, journal: Journal, file: Memory) -> None:
        self._journal, self._file = journal, file
        self._written: Witness | None = None
        self._forked: set[EpochId] = set()
        self.denied: set[EpochId] = set()
        """Epochs of which the cloud has another history."""

    def heard(self, answer: Answer, epochs: Sequence[EpochId]) -> None:
        """Take an answer; `epochs` are those that its results are about, in order.

        Raises:
            DiskFullError: there is no room to write it down; the next answer tries again.
        """
        told = {epoch for epoch, result in zip(epochs, answer.results, strict=False) if result.reason == FORKED}
        self._forked |= told
        newest = self._journal.epochs()[-1]
        said = [_witness(c.epoch, c.lane, c.committed[-1][1], c.chain) for c in answer.cursors if c.committed]
        mine = [each for each in said if each.epoch == newest]
        suspects = [each for each in mine if newest in told or each.seq > self._journal.last(newest, each.lane)]
        if self._written is not None and newest in self.denied:
            suspects.append(self._written)
        if suspects:
            self._look(newest, suspects)

    def trusts(self, epoch: EpochId, lane: Lane, committed: Sequence[Span]) -> bool:
        """Tell whether what the cloud has of a lane is what the journal has: only that may be dropped behind it."""
        if epoch in self._forked or epoch in self.denied:
            return False
        return not committed or committed[-1].last <= self._journal.last(epoch, lane)

    def _look(self, newest: EpochId, suspects: Sequence[Witness]) -> None:
        """Compare with what the journal holds by now: a request that was under way may be another uplink's."""
        self._journal.refresh()
        found = next((each for each in suspects if denied(each, self._journal)), None)
        if found is None:
            self.denied.discard(newest)
            return
        self.denied.add(newest)
        if found != self._written:
            self._file.save(witness_bytes(found))
            self._written = found


def _witness(epoch: str, lane: int, seq: int, chain: str) -> Witness:
    return Witness(EpochId(epoch), Lane(lane), seq, bytes.fromhex(chain))
