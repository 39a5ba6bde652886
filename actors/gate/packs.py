"""Packs: the deltas that a gate has counted, beside its orders, for a start and for who computes a decision again.

A pack is a file of entries, one behind the other: a head (magic, version, length, CRC-32, digest) and the batch as it
came over the wire. Records of the journal name a batch by version and digest. An entry is durable before its record is
written; the oldest packs go when all take too much room. What is torn at the end of the last pack was counted by
nobody, and stays where it is: the next entry begins a pack.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

from actors.journal.ports import Disk
from tidegate.deltas import DeltaError, Deltas
from tidegate.errors import NotFoundError
from tidegate.limits import DELTA_PACK_BYTES, DELTA_PACKS_MAX

_FOLDER: Final = "deltas/"
_SUFFIX: Final = ".pack"
_MAGIC: Final = b"TGDP"
_HEAD: Final = struct.Struct("<4sQII32s")


_Key = tuple[int, bytes]


class _Place(NamedTuple):
    begin: int
    end: int


class Packs:
    """The packs of one gate; one writer at a time, any number of readers."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._last: tuple[str, int] | None = None
        """The pack that is written to and where its entries end; None before that was looked up."""
        self._read: tuple[str, bytes, dict[_Key, _Place]] = ("", b"", {})
        """The pack that was read last: a start reads one entry after the other."""

    def put(self, version: int, batch: Deltas, wire: bytes) -> None:
        """Keep a batch, durably, under the version that an overlay is at once it is in; slow.

        Raises:
            DiskFullError, OSError: it isn't kept.
        """
        digest = bytes.fromhex(batch.sha256)
        checked = zlib.crc32(wire, zlib.crc32(digest + version.to_bytes(8, "little")))
        name, end = self._end()
        self._last, self._read = None, ("", b"", {})  # what a failed write leaves behind is looked at again
        data = _HEAD.pack(_MAGIC, version, len(wire), checked, digest) + wire
        file = self._disk.open(name)
        try:
            file.pwrite(data, end)
            file.sync()
        finally:
            file.close()
        self._last = (name, end + len(data))

    def get(self, version: int, sha256: str) -> Deltas:
        """Return the batch that was kept under a version and its digest, proven to be that.

        Raises:
            NotFoundError: it isn't kept any more, or it is damaged.
        """
        key = (version, bytes.fromhex(sha256))
        for name in self._likely():
            data, places = self._opened(name)
            if key in places:
                return _proven(data[slice(*places[key])], sha256, version)
        raise NotFoundError(f"deltas before version {version}: not kept at this site any more, or damaged")

    def _likely(self) -> list[str]:
        """Return all packs: the one that was read last and the one behind it first, then the newest."""
        names = self._names()
        at = names.index(self._read[0]) if self._read[0] in names else len(names)
        return names[at : at + 2] + (names[:at] + names[at + 2 :])[::-1]

    def _opened(self, name: str) -> tuple[bytes, dict[_Key, _Place]]:
        if self._read[0] != name:
            data = self._disk.read(name)
            self._read = (name, data, dict(_entries(data)))
        return self._read[1:]

    def _end(self) -> tuple[str, int]:
        """Return the pack to write to and where; a new one where the last is full, in the place of the oldest."""
        name, end = self._last or self._found()
        if end < DELTA_PACK_BYTES:
            return name, end
        for old in self._names()[: 1 - DELTA_PACKS_MAX]:
            self._disk.remove(old)
        fresh = f"{_FOLDER}{self._number():012d}{_SUFFIX}"
        self._disk.create(fresh, 0).close()
        return fresh, 0

    def _number(self) -> int:
        """Return the number of the next pack: versions may begin again where an overlay was dropped."""
        names = self._names()
        return int(names[-1].removeprefix(_FOLDER).removesuffix(_SUFFIX)) + 1 if names else 1

    def _found(self) -> tuple[str, int]:
        """Return the last pack and where it ends; one that ends in anything but an entry is left as it is."""
        names = self._names()
        data = self._disk.read(names[-1]) if names else b""
        end = max((place.end for _, place in _entries(data)), default=0)
        return (names[-1], end) if names and end == len(data) else ("", DELTA_PACK_BYTES)

    def _names(self) -> list[str]:
        return [name for name in self._disk.sizes() if name.startswith(_FOLDER) and name.endswith(_SUFFIX)]


def _entries(data: bytes) -> Iterator[tuple[_Key, _Place]]:
    """Yield the entries of a pack that prove whole; one that is damaged inside is passed over."""
    at = 0
    while at + _HEAD.size <= len(data):
        magic, version, length, checked, digest = _HEAD.unpack_from(data, at)
        begin, at = at + _HEAD.size, at + _HEAD.size + length
        if magic != _MAGIC or at > len(data):
            return
        if zlib.crc32(memoryview(data)[begin:at], zlib.crc32(digest + version.to_bytes(8, "little"))) == checked:
            yield (version, digest), _Place(begin, at)


def _proven(wire: bytes, sha256: str, version: int) -> Deltas:
    try:
        batch = Deltas.from_bytes(wire)
    except DeltaError as error:
        raise NotFoundError(f"deltas before version {version}: {error.message}") from error
    if batch.sha256 != sha256:
        raise NotFoundError(f"deltas before version {version}: their digest isn't the one they were counted under")
    return batch
