"""Folds the log of deltas into the store, and says what of the log may be let go."""

import logging
from typing import Final

from serve_apps.features.ports import Store
from serve_apps.plumbing.stream.log import DELTAS
from serve_apps.plumbing.stream.ports import Consumers, OutOfRangeError, Place, Reader, Stored
from tidegate.clock import Clock
from tidegate.deltas import DeltaError, Deltas
from tidegate.limits import ARCHIVE_READ_BYTES, ARCHIVE_READ_MESSAGES, DELTA_KEPT_US

NAME: Final = "features-fold"
"""What the log knows this consumer by."""
PLACE: Final[Place] = (DELTAS, 0)
_LOG: Final = logging.getLogger(__name__)


class Folder:
    """The reader of the one partition of deltas; one thread's."""

    def __init__(self, *, reader: Reader, consumers: Consumers, store: Store, clock: Clock) -> None:
        self._reader, self._consumers, self._store, self._clock = reader, consumers, store, clock
        consumers.register(NAME, [DELTAS])
        self.halted = ""
        """Why it was stopped: an alarm; empty: it goes on."""
        self.next = 0
        """All versions below are in the store."""

    def step(self) -> int:
        """Fold what is there; return how many batches.

        Raises:
            TemporaryError: log or store can't be asked; the next step goes on where the store is.
        """
        if self.halted:
            return 0
        try:
            return sum(map(self._fold, self._read()))
        except (DeltaError, OutOfRangeError) as error:
            self.halted = error.message
            _LOG.exception("features: the log of deltas can't be folded")
            return 0

    def let_go(self) -> None:
        """Tell the log that batches which are folded and older than they are kept for aren't needed any more.

        Raises:
            TemporaryError: it can't be asked.
        """
        oldest_us, offset = self._clock.now_us() - DELTA_KEPT_US, self._reader.begin(*PLACE)
        while found := self._reader.read(*PLACE, offset, messages_max=ARCHIVE_READ_MESSAGES, bytes_max=1 << 20):
            old = [stored for stored in found if stored.time_us < oldest_us and stored.offset < self.next]
            if old:
                offset = old[-1].offset + 1
                self._consumers.store(NAME, {PLACE: offset})
            if len(old) < len(found):
                return

    def _read(self) -> list[Stored]:
        at = self._store.next()
        if not at:  # a store that is new begins with what the log still has
            at = self._reader.begin(*PLACE)
        self.next = at
        return self._reader.read(*PLACE, at, messages_max=ARCHIVE_READ_MESSAGES, bytes_max=ARCHIVE_READ_BYTES)

    def _fold(self, stored: Stored) -> int:
        self._store.fold(stored.offset, Deltas.from_bytes(stored.value).of_cards())
        self.next = stored.offset + 1
        return 1
