"""The uplink's files on a POSIX system."""

import errno
import os
from collections.abc import Collection
from pathlib import Path
from typing import Final

from tidegate.errors import DiskFullError, SettingsError

_PRIVATE: Final = 0o600
_OTHERS: Final = 0o077
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class PosixFile:
    """One small file, replaced whole."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> bytes:
        """Return what was saved last; nothing where there is none."""
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return b""

    def save(self, data: bytes) -> None:
        """Make it durable, at once.

        Raises:
            DiskFullError: there is no room; the old stands.
        """
        try:
            self._save(data)
        except OSError as error:
            if error.errno in _FULL:
                raise DiskFullError(f"{self._path}: the disk is full; free space on it") from error
            raise

    def put(self, data: bytes) -> None:
        """Replace it at once, and let a crash take it: for what is told anew every second."""
        self._beside(data, durable=False).replace(self._path)

    def _save(self, data: bytes) -> None:
        promote(self._beside(data, durable=True), self._path)

    def _beside(self, data: bytes, *, durable: bool) -> Path:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        beside = self._path.with_name(self._path.name + ".tmp")
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _PRIVATE)
        with open(handle, "wb") as file:  # noqa: PTH123 - a descriptor, so that the file is private from the start
            file.write(data)
            file.flush()
            if durable:
                os.fsync(handle)
        return beside


def read_key(path: Path) -> bytes:
    """Return a private key's file.

    Raises:
        SettingsError: there is none, or others may read it.
    """
    try:
        mode = path.stat().st_mode
        pem = path.read_bytes()
    except OSError as error:
        told = f"{path}: the site's key can't be read ({error.strerror}); enrol: tidegate site enrol"
        raise SettingsError(told) from error
    if mode & _OTHERS:
        raise SettingsError(f"{path}: others may read the site's key; chmod 600 it, and rotate it")
    return pem


class FolderTexts:
    """The sets of lists and the manifests of bundles in a site's data folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> Collection[str]:
        """Return what records call them."""
        return tuple(self._files())

    def read(self, name: str) -> bytes | None:
        """Return a text; None: it isn't kept any more."""
        file = self._files().get(name)
        try:
            return None if file is None else file.read_bytes()
        except FileNotFoundError:
            return None

    def _files(self) -> dict[str, Path]:
        sets = {_lists_name(path.stem): path for path in (self._folder / "orders").glob("*-l-*.csv")}
        return sets | {path.parent.name: path for path in (self._folder / "bundles").glob("b-*/manifest.json")}


def _lists_name(stem: str) -> str:
    """Return what records call a set whose file begins with its version."""
    return stem.partition("-")[2]


class WatchedKey:
    """A private key's file, read again where another has taken its place."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None

    def fresh(self) -> bytes | None:
        """Return the key, where it is another than the last time; None: it is the same, or is just away.

        Raises:
            SettingsError: there never was one, or others may read it.
        """
        try:
            found = self._path.stat()
        except OSError:
            return None if self._seen else read_key(self._path)
        seen = (found.st_ino, found.st_mtime_ns)
        if seen == self._seen:
            return None
        pem = read_key(self._path)
        self._seen = seen
        return pem


def promote(beside: Path, path: Path) -> None:
    """Put a file in the place of another, durably: after a crash it is the old one or the new."""
    beside.replace(path)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
