"""What the journal needs of a disk, for its two adapters: `disk.PosixDisk` and the twin `memory.MemoryDisk`.

Names are relative, with `/` between folder and file; folders come and go with the files in them.
"""

from typing import Protocol


class File(Protocol):
    """One open file. Reads and writes may come from several threads; a handle is closed by whoever opened it."""

    def pread(self, size: int, offset: int) -> bytes:
        """Return up to `size` bytes at `offset`, fewer at the end of the file. May block on the disk."""

    def pwrite(self, data: bytes | bytearray, offset: int) -> None:
        """Write all of `data` at `offset`. Not durable before `sync`; survives the process, not the power.

        Raises:
            DiskFullError: there is no room for it; a part may have been written.
            OSError: the disk failed.
        """

    def sync(self) -> None:
        """Block until everything written to this file is durable.

        An error is final: afterwards the system may show bytes that never reach the disk, so nobody tries again.

        Raises:
            OSError: the disk failed.
        """

    def size(self) -> int:
        """Return the file's length in bytes."""

    def extend(self, size: int) -> None:
        """Make the file at least `size` bytes long, the new ones zero, with room on the disk for each; durable.

        Raises:
            DiskFullError: there is no room.
        """

    def close(self) -> None:
        """Let go of the handle; makes nothing durable."""


class Disk(Protocol):
    """One folder of a journal. Called by whoever opens, flushes, tends or reads it; every method may block."""

    def lock(self) -> None:
        """Hold the folder for this process, until `unlock` or its death.

        Raises:
            JournalError: another one holds it.
        """

    def unlock(self) -> None:
        """Let go of the folder."""

    def create(self, name: str, size: int) -> File:
        """Return a new file of `size` zero bytes, each with room on the disk; file and name are durable.

        Raises:
            FileExistsError: the name is taken.
            DiskFullError: there is no room; nothing was made.
        """

    def open(self, name: str) -> File:
        """Return the existing file for reading and writing.

        Raises:
            FileNotFoundError: there is none.
        """

    def read(self, name: str) -> bytes:
        """Return the whole content of a file.

        Raises:
            FileNotFoundError: there is none.
        """

    def replace(self, name: str, data: bytes) -> None:
        """Make `data` the whole content of `name`, durably and at once: after a crash it is the old or the new.

        A crash may leave `name` + `.tmp` behind.

        Raises:
            DiskFullError: there is no room; the old content stands.
        """

    def remove(self, name: str) -> None:
        """Remove a file, durably.

        Raises:
            FileNotFoundError: there is none.
        """

    def sizes(self) -> dict[str, int]:
        """Return the length in bytes of every file by name, sorted by name."""

    def free_bytes(self) -> int:
        """Return how many more bytes the disk takes."""
