"""The shelf's folder on a POSIX system: written beside, synced, renamed, the folder synced."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

BESIDE: Final = ".tmp-"


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    _sync(path)


class PosixFolder:
    """One folder, made where it is missing; its parent must exist."""

    def __init__(self, path: Path) -> None:
        self._path = path
        if not path.is_dir():
            path.mkdir()
            _sync(path.parent)

    def names(self) -> list[str]:
        """Return the files and folders directly in it, sorted."""
        return sorted(path.name for path in self._path.iterdir())

    def read(self, name: str) -> bytes:
        """Return a file's content."""
        return (self._path / name).read_bytes()

    def files(self, name: str) -> dict[str, bytes]:
        """Return the content of each file in a folder."""
        return {path.name: path.read_bytes() for path in sorted((self._path / name).iterdir()) if path.is_file()}

    def replace(self, name: str, data: bytes) -> None:
        """Make `data` the content of a file, at once."""
        beside = self._path / f"{BESIDE}{name}"
        _write(beside, data)
        beside.replace(self._path / name)
        _sync(self._path)

    def make(self, name: str, files: Mapping[str, bytes]) -> None:
        """Make a folder of files, at once."""
        if (self._path / name).exists():
            raise FileExistsError(f"{self._path / name}: is there already")
        beside = self._cleared(name)
        beside.mkdir()
        for each, data in files.items():
            _write(beside / each, data)
        _sync(beside)
        beside.rename(self._path / name)
        _sync(self._path)

    def remove(self, name: str) -> None:
        """Remove a folder: first its name, then its files."""
        beside = self._cleared(name)
        (self._path / name).rename(beside)
        _sync(self._path)
        shutil.rmtree(beside)

    def _cleared(self, name: str) -> Path:
        """Return the place beside `name`, without what a crash left there."""
        beside = self._path / f"{BESIDE}{name}"
        if beside.exists():
            shutil.rmtree(beside)
        return beside
