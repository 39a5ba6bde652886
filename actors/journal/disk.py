"""The journal's disk on a POSIX system: one folder, preallocated files, `fdatasync`, synced folders."""

import contextlib
import errno
import fcntl
import os
from pathlib import Path
from typing import Final

from tidegate.errors import DiskFullError, JournalError

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
LOCK: Final = ".lock"
_MODE: Final = 0o600  # a journal holds who paid what


def _full(path: Path) -> DiskFullError:
    return DiskFullError(f"{path}: the disk is full; free space on it")


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class PosixFile:
    """One open file descriptor."""

    def __init__(self, path: Path, handle: int) -> None:
        self._path = path
        self._handle = handle

    def pread(self, size: int, offset: int) -> bytes:
        """Return up to `size` bytes at `offset`."""
        data = os.pread(self._handle, size, offset)
        while 0 < len(data) < size:
            more = os.pread(self._handle, size - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def pwrite(self, data: bytes | bytearray, offset: int) -> None:
        """Write all of `data` at `offset`."""
        try:
            done = os.pwrite(self._handle, data, offset)
            while done < len(data):
                done += os.pwrite(self._handle, data[done:], offset + done)
        except OSError as error:
            if error.errno in _FULL:
                raise _full(self._path) from error
            raise

    def sync(self) -> None:
        """Make the content durable."""
        os.fdatasync(self._handle)

    def size(self) -> int:
        """Return the length in bytes."""
        return os.fstat(self._handle).st_size

    def extend(self, size: int) -> None:
        """Preallocate up to `size` bytes, durably."""
        try:
            if size > 0:
                os.posix_fallocate(self._handle, 0, size)
        except OSError as error:
            if error.errno in _FULL:
                raise _full(self._path) from error
            raise
        os.fsync(self._handle)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._handle)


class PosixDisk:
    """One folder, made where it is missing; its parent must exist."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: int | None = None
        self._make(folder)

    def lock(self) -> None:
        """Hold the folder by `flock`, which ends with the process, however it dies."""
        handle = os.open(self._folder / LOCK, os.O_RDWR | os.O_CREAT, _MODE)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(handle)
            raise JournalError(f"{self._folder}: another process holds this journal; stop it first") from error
        self._held = handle

    def unlock(self) -> None:
        """Let go of the folder."""
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def create(self, name: str, size: int) -> PosixFile:
        """Return a new preallocated file."""
        path = self._folder / name
        self._make(path.parent)
        file = PosixFile(path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, _MODE))
        try:
            file.extend(size)
        except DiskFullError:
            file.close()
            self.remove(name)
            raise
        _sync_folder(path.parent)
        return file

    def open(self, name: str) -> PosixFile:
        """Return the existing file."""
        path = self._folder / name
        return PosixFile(path, os.open(path, os.O_RDWR))

    def read(self, name: str) -> bytes:
        """Return the whole content."""
        return (self._folder / name).read_bytes()

    def replace(self, name: str, data: bytes) -> None:
        """Write beside, sync, rename, sync the folder."""
        path = self._folder / name
        self._make(path.parent)
        beside = path.with_name(path.name + ".tmp")
        file = PosixFile(beside, os.open(beside, os.O_RDWR | os.O_CREAT | os.O_TRUNC, _MODE))
        try:
            file.pwrite(data, 0)
            file.sync()
        except DiskFullError:
            beside.unlink()
            raise
        finally:
            file.close()
        beside.replace(path)
        _sync_folder(path.parent)

    def remove(self, name: str) -> None:
        """Unlink the file, and its folder where that is left empty."""
        path = self._folder / name
        path.unlink()
        _sync_folder(path.parent)
        if path.parent != self._folder and not any(path.parent.iterdir()):
            path.parent.rmdir()
            _sync_folder(path.parent.parent)

    def sizes(self) -> dict[str, int]:
        """Return the length of every file but the lock."""
        found: dict[str, int] = {}
        for path in sorted(self._folder.rglob("*")):
            with contextlib.suppress(FileNotFoundError):  # compressed and removed by a gate meanwhile
                if path.is_file() and path.name != LOCK:
                    found[path.relative_to(self._folder).as_posix()] = path.stat().st_size
        return found

    def free_bytes(self) -> int:
        """Return what the file system still gives to this user."""
        stats = os.statvfs(self._folder)
        return stats.f_bavail * stats.f_frsize

    def _make(self, folder: Path) -> None:
        if not folder.is_dir():
            folder.mkdir()
            _sync_folder(folder.parent)
