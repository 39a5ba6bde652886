"""A keeper's folder on a POSIX system: what is exchanged is written beside, synced, renamed, the folder synced."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tidegate.errors import DiskFullError

_BESIDE: Final = ".beside"


class PosixStore:
    """One folder, made where it is missing; its parent must exist."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.mkdir(exist_ok=True, mode=0o700)

    def names(self) -> list[str]:
        """Return what is there; see the port."""
        return sorted(each.name for each in self._path.iterdir())

    def read(self, name: str) -> bytes | None:
        """Return a file; see the port."""
        try:
            return (self._path / name).read_bytes()
        except FileNotFoundError:
            return None

    def replace(self, name: str, data: bytes) -> None:
        """Exchange a file's content; see the port."""
        beside = self._path / f"{name}{_BESIDE}"
        with self._told(), beside.open("wb") as sink:
            sink.write(data)
            sink.flush()
            os.fsync(sink.fileno())
        beside.replace(self._path / name)
        self._sync()

    def append(self, name: str, data: bytes) -> None:
        """Add to a file; see the port."""
        with self._told(), (self._path / name).open("ab") as sink:
            sink.write(data)

    def remove(self, name: str) -> None:
        """Remove a file; see the port."""
        (self._path / name).unlink(missing_ok=True)

    def _sync(self) -> None:
        handle = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise DiskFullError(f"{self._path}: the disk is full: free space on it") from error
            raise
