"""Verifies a whole journal, every epoch and every record, without changing a byte: for operators and tests."""

from dataclasses import dataclass

from actors.journal.layout import EpochName, epoch_names
from actors.journal.ports import Disk
from actors.journal.walk import Walk, walk
from tidegate.errors import JournalFormatError


@dataclass(frozen=True, slots=True)
class EpochVerdict:
    """One epoch: what the walk found, or why this program can't read it."""

    name: EpochName
    found: Walk | None
    refused: str

    @property
    def ok(self) -> bool:
        """Whether every record that was ever durable is there."""
        return self.found is not None and not self.found.lost


@dataclass(frozen=True, slots=True)
class Verdict:
    """All epochs, oldest first. `ok` is False where something durable is lost or can't be read; a tear is neither."""

    epochs: tuple[EpochVerdict, ...]

    @property
    def ok(self) -> bool:
        """Whether every record that was ever durable is there."""
        return all(epoch.ok for epoch in self.epochs)


def verify(disk: Disk) -> Verdict:
    """Return what the journal on `disk` holds. Needs no lock: a journal in use may show a tear that is no tear."""
    return Verdict(tuple(_verdict(disk, name) for name in epoch_names(disk.sizes())))


def _verdict(disk: Disk, name: EpochName) -> EpochVerdict:
    try:
        return EpochVerdict(name, walk(disk, name), "")
    except JournalFormatError as error:
        return EpochVerdict(name, None, error.message)
