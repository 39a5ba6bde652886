"""Where an epoch's decisions stand in the journal, by `seq`: for those who ask for one again, or for the latest."""

from typing import Any, Final

import numpy as np

_BLOCK: Final = 65_536
Ints = np.ndarray[Any, np.dtype[np.int64]]


class Places:
    """Eight bytes a decision, in blocks, so that growing never copies; bounded by what the journal may hold."""

    def __init__(self) -> None:
        self._blocks: list[Ints] = []
        self._last = 0
        self._forgotten = 0

    @property
    def last(self) -> int:
        """The highest `seq` there is; 0: none."""
        return self._last

    def put(self, seq: int, place: int) -> None:
        """Remember the locator of decision `seq`, 1 or more."""
        block, at = divmod(seq - 1, _BLOCK)
        while len(self._blocks) <= block:
            self._blocks.append(np.zeros(_BLOCK, np.int64))
        self._blocks[block][at] = place
        self._last = max(self._last, seq)

    def put_run(self, seqs: Ints, places: Ints) -> None:
        """Remember a run of decisions."""
        for seq, place in zip(seqs.tolist(), places.tolist(), strict=True):
            self.put(seq, place)

    def find(self, seq: int) -> int | None:
        """Return the locator of decision `seq`, or None where it isn't known or was lost."""
        if not 1 <= seq <= self._last:
            return None
        block, at = divmod(seq - 1, _BLOCK)
        return int(self._blocks[block][at]) or None

    def forget(self, before_place: int) -> None:
        """Forget the decisions that stood before a locator: places rise with `seq`."""
        for block in self._blocks[self._forgotten :]:
            gone = (block != 0) & (block < before_place)
            block[gone] = 0
            if block.any():
                return
            self._forgotten += block is not self._blocks[-1]

    def before(self, seq: int, count: int) -> list[tuple[int, int]]:
        """Return (seq, locator) of up to `count` decisions below `seq`, newest first; lost ones are left out."""
        wanted = range(min(seq - 1, self._last), max(min(seq - 1, self._last) - count, 0), -1)
        found = ((one, self.find(one)) for one in wanted)
        return [(one, place) for one, place in found if place is not None]
