"""What an uplink wrote down of the cloud, as its gate reads it: off the hot path, and believed only where it holds."""

from actors.journal.ports import Disk
from actors.journal.tail import Tail
from tidegate.errors import TemporaryError
from tidegate.ids import EpochId
from tidegate.tideline import COMMITTED, WITNESS, Key, Witness, denied, parse_committed, parse_witness


class RestoredError(TemporaryError):
    """The cloud has another history of the epoch than the journal: the gate starts anew, in a new epoch."""

    code = "JOURNAL_RESTORED"


class Tideline:
    """The uplink's files beside a journal. Missing or damaged, they say nothing."""

    def __init__(self, disk: Disk, journal: Disk) -> None:
        self._disk, self._journal = disk, journal
        self._judged: Witness | None = None

    def witness(self) -> Witness | None:
        """Return what the uplink found to speak against a journal, last."""
        return parse_witness(self._read(WITNESS))

    def committed(self) -> dict[Key, int]:
        """Return up to which record the cloud has all of each lane."""
        return parse_committed(self._read(COMMITTED))

    def check(self, epoch: EpochId) -> None:
        """Compare a witness that is new with the journal of `epoch`, which a gate has open.

        Raises:
            RestoredError: it is another history.
        """
        witness = self.witness()
        if witness is None or witness.epoch != epoch or witness == self._judged:
            return
        tail = Tail(self._journal)
        tail.refresh(everything=True)
        if denied(witness, tail):
            raise RestoredError(
                f"the cloud has another history of epoch {epoch}, through L{witness.lane:d} {witness.seq}: "
                "an older copy of this site was put back, and a new epoch begins"
            )
        self._judged = witness

    def _read(self, name: str) -> bytes:
        try:
            return self._disk.read(name)
        except FileNotFoundError:
            return b""
