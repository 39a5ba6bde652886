"""Artifacts, catalogue and keys in folders of a POSIX system: written beside, synced, renamed, the folder synced."""

import contextlib
import errno
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner, Signer

from serve_apps.models.ports import ArtifactError
from tidegate.errors import DiskFullError, NotFoundError, SettingsError
from tidegate.limits import MODEL_ARTIFACT_BYTES_MAX
from tidegate.trust import Target

_OTHERS: Final = 0o077
_READABLE: Final = 0o644
_PRIVATE: Final = 0o600
_NUMBER: Final = "08d"


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _made(folder: Path) -> Path:
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _sync(folder.parent)
    return folder


@contextlib.contextmanager
def _replacing(path: Path, mode: int) -> Iterator[BinaryIO]:
    """Write a file's new content; it gets its name at the end, and nothing of it is left where that raises."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".beside-")
    beside = Path(name)
    try:
        with os.fdopen(handle, "wb") as sink:
            yield sink
            sink.flush()
            os.fchmod(sink.fileno(), mode)
            os.fsync(sink.fileno())
        beside.replace(path)
        _sync(path.parent)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise DiskFullError(f"{path.parent}: the disk is full: free space on it") from error
        raise
    finally:
        beside.unlink(missing_ok=True)


class FolderArtifacts:
    """Artifacts below `path`, in folders by the first digits of their digest."""

    def __init__(self, path: Path) -> None:
        self._path = _made(path)

    def put(self, target: Target, chunks: Iterable[bytes]) -> None:
        """Keep bytes; see the port."""
        if target.size > MODEL_ARTIFACT_BYTES_MAX:
            raise ArtifactError(f"body: at most {MODEL_ARTIFACT_BYTES_MAX} bytes are kept of one artifact")
        place = self._place(target.sha256)
        _made(place.parent)
        with _replacing(place, _READABLE) as sink:
            _copied(chunks, sink, target)

    def size(self, sha256: str) -> int | None:
        """Return the size; see the port."""
        place = self._place(sha256)
        return place.stat().st_size if place.is_file() else None

    def read(self, sha256: str, first: int, count: int) -> bytes:
        """Return bytes; see the port."""
        try:
            with self._place(sha256).open("rb") as source:
                source.seek(first)
                return source.read(count)
        except FileNotFoundError:
            raise NotFoundError("sha256: there is no artifact of that digest") from None

    def _place(self, sha256: str) -> Path:
        return self._path / sha256[:2] / sha256


def _copied(chunks: Iterable[bytes], sink: BinaryIO, target: Target) -> None:
    """Copy what comes, and stop where it is more than was told of."""
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        size += len(chunk)
        if size > target.size:
            raise ArtifactError(f"body: more than the {target.size} bytes that were told of; send what was told of")
        digest.update(chunk)
        sink.write(chunk)
    if size != target.size:
        raise ArtifactError(f"body: {size} bytes, where {target.size} were told of; send them whole")
    if digest.hexdigest() != target.sha256:
        raise ArtifactError("body: not the bytes of that sha256; send it again")


class FolderPublished:
    """A catalogue's files in one folder."""

    def __init__(self, path: Path) -> None:
        self._path = _made(path)

    def read(self, name: str) -> bytes | None:
        """Return a file; see the port."""
        try:
            return (self._path / name).read_bytes()
        except FileNotFoundError:
            return None

    def newest(self, role: str) -> int:
        """Return the highest version; see the port."""
        return max((int(path.name.split(".")[0]) for path in self._path.glob(f"[0-9]*.{role}.json")), default=0)

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write files; see the port."""
        for name, data in files.items():
            with _replacing(self._path / name, _READABLE) as sink:
                sink.write(data)


class FolderKeys:
    """Keys as PEM files that their owner alone can read."""

    def __init__(self, path: Path) -> None:
        self._path = _made(path)

    def signers(self, role: str) -> Sequence[Signer]:
        """Return a role's keys; see the port.

        Raises:
            SettingsError: a file may be read by others, or is no key.
        """
        return tuple(_signer(path) for path in sorted(self._path.glob(f"{role}-*.pem")))

    def make(self, role: str) -> Signer:
        """Make a key; see the port."""
        made = CryptoSigner.generate_ed25519()
        taken = [int(path.stem.rpartition("-")[2]) for path in self._path.glob(f"{role}-[0-9]*.pem")]
        number = max(taken, default=0) + 1  # revoked ones may have been removed: none is ever written over
        with _replacing(self._path / f"{role}-{number:{_NUMBER}}.pem", _PRIVATE) as sink:
            sink.write(made.private_bytes)
        return made


def _signer(path: Path) -> Signer:
    if path.stat().st_mode & _OTHERS:
        raise SettingsError(f"{path}: others may read this key; chmod 600, and rotate it: `{path.stem}` may be known")
    try:
        return CryptoSigner(load_pem_private_key(path.read_bytes(), None))
    except ValueError as error:
        raise SettingsError(f"{path}: no private key; put its copy back, or rotate the role's key") from error
