"""The shelf of segments: reads them raw or compressed, and compresses a sealed one so that it stays readable.

A compressed segment is a head, the sizes of its blocks, and one zstd frame a block, so that one record costs one
block. A block that doesn't decompress reads as zeros: the walk finds the hole and names it.
"""

import struct
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Final, NamedTuple

import zstandard
from crc32c import crc32c

from actors.journal.layout import EpochName, Trimmed, locator, parse_trimmed, segment_numbers
from actors.journal.log import Entry
from actors.journal.ports import Disk, File
from actors.journal.segment import used_bytes
from tidegate.errors import JournalFormatError
from tidegate.limits import SEGMENT_BYTES_MAX

_MAGIC: Final = b"\xf5TIDEZST"
_VERSION: Final = 1
_FIXED: Final = struct.Struct("<IIII")
_HEAD_BYTES: Final = len(_MAGIC) + 4 + _FIXED.size
_BLOCK_BYTES: Final = 128 * 1024  # a record costs 0.1 ms; larger blocks save only a few percent more
_BLOCKS_MAX: Final = SEGMENT_BYTES_MAX // _BLOCK_BYTES
_WORTH: Final = 32  # what saves less than a part in so many isn't worth its reading and writing
_LEVEL: Final = 3  # the library's default; higher levels cost the gate's idle time for a few percent


class _Index(NamedTuple):
    block_bytes: int
    raw_bytes: int
    stops: list[int]  # where each frame begins in the file, and where the last one ends


class Shelf:
    """Reads any segment of a journal's disk. Safe in any thread: each call opens and closes what it reads."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def numbers(self, sizes: Iterable[str], name: EpochName) -> list[int]:
        """Return the numbers of the epoch's segments among `sizes`, ascending, but for those that were dropped."""
        trimmed = self.trimmed(name)
        first = trimmed.header.segment if trimmed is not None else 1
        return [number for number in segment_numbers(sizes, name) if number >= first]

    def trimmed(self, name: EpochName) -> Trimmed | None:
        """Return what stands for the epoch's dropped segments; None: none was dropped.

        Raises:
            JournalFormatError: it is of another version.
        """
        try:
            return parse_trimmed(self._disk.read(name.trimmed), name.trimmed)
        except FileNotFoundError:
            return None

    def standing(self, name: EpochName) -> Iterator[Entry]:
        """Yield the records of dropped segments that still hold, at the locator of the first segment that is kept."""
        trimmed = self.trimmed(name)
        if trimmed is not None:
            at = locator(name.ordinal, trimmed.header.segment, 0)
            yield from ((at, record) for record in trimmed.records)

    def load(self, name: EpochName, number: int) -> bytes:
        """Return the whole segment from its header on; nothing where it is missing.

        Raises:
            JournalFormatError: it is compressed by an unknown version.
        """
        try:
            return self._disk.read(name.segment(number))
        except FileNotFoundError:
            return self._decompressed(name.compressed(number))

    def window(self, name: EpochName, number: int, size: int, offset: int) -> bytes:
        """Return up to `size` bytes at `offset` of a segment; nothing where it is missing."""
        try:
            file = self._disk.open(name.segment(number))
        except FileNotFoundError:
            return self._decompressed(name.compressed(number), offset, offset + size)
        try:
            return file.pread(size, offset)
        finally:
            file.close()

    def compress(self, name: EpochName, number: int) -> bool:
        """Compress a sealed segment; False where that would save next to nothing and it was left as it is.

        The original goes only after the compressed one is durable and was read back.

        Raises:
            DiskFullError: there is no room for both; nothing was changed.
        """
        raw = self._disk.read(name.segment(number))  # to its very end: the last record may end in zeros
        data = _compressed(raw)
        if len(data) * _WORTH > used_bytes(raw) * (_WORTH - 1):
            return False
        self._disk.replace(name.compressed(number), data)
        if self._decompressed(name.compressed(number)) != raw:
            self._disk.remove(name.compressed(number))
            return False
        self._disk.remove(name.segment(number))
        return True

    def _decompressed(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return bytes [start, stop) of the segment that `name` holds compressed; nothing where it is missing."""
        try:
            file = self._disk.open(name)
        except FileNotFoundError:
            return b""
        try:
            index = _index(file, name)
            return b"" if index is None else _cut_out(file, index, start, stop)
        finally:
            file.close()


def remove_segment(disk: Disk, name: EpochName, number: int) -> None:
    """Remove a segment, in whatever form it is there."""
    sizes = disk.sizes()
    for file in (name.segment(number), name.compressed(number)):
        if file in sizes:
            disk.remove(file)


def _compressed(raw: bytes) -> bytes:
    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
    frames = [compressor.compress(raw[at : at + _BLOCK_BYTES]) for at in range(0, len(raw), _BLOCK_BYTES)]
    index = struct.pack(f"<{len(frames)}I", *(len(frame) for frame in frames))
    fixed = _FIXED.pack(_VERSION, _BLOCK_BYTES, len(raw), len(frames))
    return b"".join((_MAGIC, crc32c(index, crc32c(fixed)).to_bytes(4, "little"), fixed, index, *frames))


def _index(file: File, name: str) -> _Index | None:
    """Return where the blocks are, or None where that is damaged: then nothing of the segment can be read."""
    head = file.pread(_HEAD_BYTES, 0)
    if len(head) < _HEAD_BYTES or not head.startswith(_MAGIC):
        return None
    fixed = head[-_FIXED.size :]
    version, block_bytes, raw_bytes, count = _FIXED.unpack(fixed)
    sizes = file.pread(4 * min(count, _BLOCKS_MAX), _HEAD_BYTES)
    if crc32c(sizes, crc32c(fixed)) != int.from_bytes(head[len(_MAGIC) : -_FIXED.size], "little"):
        return None
    if version != _VERSION:
        raise JournalFormatError(
            f"{name}: compressed segment of version {version}, this program reads {_VERSION}; "
            "start the program that wrote it",
        )
    stops = accumulate(struct.unpack(f"<{count}I", sizes), initial=_HEAD_BYTES + len(sizes))
    return _Index(block_bytes, raw_bytes, list(stops))


def _cut_out(file: File, index: _Index, start: int, stop: int | None) -> bytes:
    stop = index.raw_bytes if stop is None else min(stop, index.raw_bytes)
    if start >= stop:
        return b""
    first, last = start // index.block_bytes, (stop - 1) // index.block_bytes
    skip = first * index.block_bytes
    return b"".join(_block(file, index, block) for block in range(first, last + 1))[start - skip : stop - skip]


def _block(file: File, index: _Index, block: int) -> bytes:
    begin, end = index.stops[block], index.stops[block + 1]
    size = min(index.block_bytes, index.raw_bytes - block * index.block_bytes)
    try:
        raw = zstandard.ZstdDecompressor().decompress(file.pread(end - begin, begin), max_output_size=size)
    except zstandard.ZstdError:
        return bytes(size)
    return raw if len(raw) == size else bytes(size)
