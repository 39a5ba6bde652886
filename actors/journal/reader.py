"""Reads a journal's files without opening it: for operators, reports and replays, also while a gate writes to it."""

from collections.abc import Iterator

from actors.journal.layout import EpochName, append_seed, epoch_names, located, locator
from actors.journal.log import Entry
from actors.journal.ports import Disk
from actors.journal.segment import Columns, columns, entries, record_bytes
from actors.journal.shelf import Shelf
from tidegate.errors import NotFoundError
from tidegate.ids import EpochId
from tidegate.limits import RECORD_BODY_BYTES_MAX
from tidegate.records import HEAD_BYTES, Record


class Reader:
    """All epochs that were there when it was made, and whatever of their records can be read."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._shelf = Shelf(disk)
        self._names = {name.ordinal: name for name in epoch_names(disk.sizes())}

    def epochs(self) -> tuple[EpochName, ...]:
        """Return the epochs, oldest first."""
        return tuple(self._names.values())

    def epoch_of(self, locator: int) -> EpochId:
        """Return the epoch that the record at a locator belongs to."""
        return self._names[located(locator)[0]].epoch

    def trimmed_pos(self, epoch_index: int) -> int:
        """Return up to which position an epoch's records were dropped; 0: none."""
        trimmed = self._shelf.trimmed(self._names[epoch_index])
        return trimmed.header.first_pos - 1 if trimmed is not None else 0

    def read(self, locator: int) -> Record:
        """Return the record at a locator that `pieces` gave.

        Raises:
            NotFoundError: there is no record any more.
        """
        index, segment, offset = located(locator)
        head = self._shelf.window(self._names[index], segment, HEAD_BYTES, offset)
        size = min(record_bytes(head), HEAD_BYTES + RECORD_BODY_BYTES_MAX) if len(head) == HEAD_BYTES else 0
        try:
            return Record.from_bytes(self._shelf.window(self._names[index], segment, size, offset))
        except ValueError as error:
            raise NotFoundError(f"epoch {index}, segment {segment}, byte {offset}: no record can be read") from error

    def pieces(self, *, since: int = 0) -> Iterator[Columns | Entry]:
        """Yield all records in order from the epoch of an index on, runs of decisions as columns.

        Of segments that were dropped come the records that still hold.

        Raises:
            JournalFormatError: a record is of a kind that this program doesn't know.
        """
        for name in self._names.values():
            if name.ordinal < since:
                continue
            yield from self._shelf.standing(name)
            for number in self._shelf.numbers(self._disk.sizes(), name):
                raw, base = self._shelf.load(name, number), locator(name.ordinal, number, 0)
                yield from columns(raw, append_seed(name.epoch, number), base, name.segment(number))

    def entries(self) -> Iterator[Entry]:
        """Yield all records in order, each with its locator.

        Raises:
            JournalFormatError: as `pieces`.
        """
        for name in self._names.values():
            yield from self._shelf.standing(name)
            for number in self._shelf.numbers(self._disk.sizes(), name):
                raw, base = self._shelf.load(name, number), locator(name.ordinal, number, 0)
                yield from entries(raw, append_seed(name.epoch, number), base, name.segment(number))
