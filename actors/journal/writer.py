"""The writer: the only one that puts bytes on the disk of an open journal, batch by batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Final

from actors.journal.layout import EpochName, Mark, pack_mark
from actors.journal.log import Part
from actors.journal.ports import Disk, File
from actors.journal.space import measure, with_reserve
from tidegate.errors import DiskFullError, JournalError


class Writer:
    """Writes parts of segments in order, each segment synced before the next one's header is written.

    Used by one thread at a time. After an error it is `failed` for good: a sync is never tried again, because the
    system may by then show bytes that the disk doesn't hold.
    """

    def __init__(self, *, disk: Disk, name: EpochName, segment: int, segment_bytes: int) -> None:
        self._disk = disk
        self._name = name
        self._segment_bytes: Final = segment_bytes
        self._file: File | None = None
        self._mark: File | None = None
        self.segment = segment
        """The segment in use: those before it are sealed."""
        self.space = measure(disk)
        """As it was when the last segment was made."""
        self.growing = Lock()
        """Held by who makes files: of two that find the disk full at one time, one would take the other's reserve."""
        self.failed = False

    def write(self, parts: Sequence[Part], mark: Mark) -> None:
        """Make `parts` durable, and the mark say so.

        Raises:
            JournalError: it failed, now or before.
        """
        if self.failed:
            raise JournalError("the journal failed before; restart the gate")
        try:
            for part in parts:
                self._write(part)
            self._put_mark(mark)
        except (OSError, DiskFullError) as error:
            self.failed = True
            raise JournalError(f"{self._name}: {error}; nothing more is journaled until the gate restarts") from error

    def close(self) -> None:
        """Sync the mark, unless something failed, and let go of the files."""
        if self._mark is not None and not self.failed:
            self._mark.sync()
        for file in (self._file, self._mark):
            if file is not None:
                file.close()
        self._file = self._mark = None

    def _write(self, part: Part) -> None:
        if part.segment != self.segment or self._file is None:
            self._turn_to(part)
        if self._file is not None:
            self._file.pwrite(part.data, part.start)
            self._file.sync()

    def _turn_to(self, part: Part) -> None:
        if self._file is not None:
            self._file.close()
        name = self._name.segment(part.segment)
        try:
            self._file = self._disk.open(name)
            if part.start == 0:
                self._file.extend(self._segment_bytes)  # left blank by a crash
        except FileNotFoundError:
            with self.growing:
                self._file = with_reserve(self._disk, lambda: self._disk.create(name, self._segment_bytes))
                self.space = measure(self._disk)
        self.segment = part.segment

    def _put_mark(self, mark: Mark) -> None:
        """Overwrite the mark, unsynced: old or new, it is true. The epoch's first one is durable: it exists now."""
        if self._mark is None:
            try:
                self._mark = self._disk.open(self._name.mark)
            except FileNotFoundError:
                self._disk.replace(self._name.mark, pack_mark(mark))
                self._mark = self._disk.open(self._name.mark)
        self._mark.pwrite(pack_mark(mark), 0)


@dataclass(frozen=True, slots=True)
class Batch:
    """What waited for one flush: the records up to `mark.durable_pos`."""

    parts: tuple[Part, ...]
    mark: Mark
    writer: Writer

    @property
    def last_pos(self) -> int:
        """The position of its last record."""
        return self.mark.durable_pos

    def flush(self) -> None:
        """Make it durable. May run in any thread, one batch at a time, in the order they were taken.

        Raises:
            JournalError: it can't be known to be durable, and never will be: the journal has failed.
        """
        self.writer.write(self.parts, self.mark)
