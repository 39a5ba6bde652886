"""What stands on the disk, byte by byte: names, segment headers, appends, the mark, locators.

    0001-8f3c…/00000001.seg   header, appends without gaps between them, zeros up to the preallocated size
    0001-8f3c…/00000001.zst   the same, sealed and compressed (see `shelf`)
    0001-8f3c…/trimmed        stands for the first segments, where they were dropped: see `Trimmed`
    0001-8f3c…/mark           the last durable position, overwritten in place after every sync
    reserve                   room kept for a full disk

Integers are little endian. A checksum is a CRC-32C seeded with epoch and segment number, and an append names its own
offset, so that bytes from another place are never taken for an append of this one.
"""

import re
import struct
from collections.abc import Iterable
from typing import Final, NamedTuple

from crc32c import crc32c

from tidegate.errors import JournalFormatError
from tidegate.ids import EPOCH_HEX, EpochId, GateId, SiteId
from tidegate.limits import NAME_BYTES_MAX, SEGMENT_BYTES_MAX
from tidegate.records import CHAIN_START, HEAD_BYTES, SCHEMAS, Kind, Lane, Record

LANES: Final = len(Lane)
RESERVE: Final = "reserve"
MARK: Final = "mark"
TRIMMED: Final = "trimmed"
BESIDE: Final = ".tmp"
FORMAT_VERSION: Final = 1

# --- Names. ---
_FOLDER: Final = re.compile(rf"(\d{{4}})-([0-9a-f]{{{EPOCH_HEX}}})")
_SEGMENT: Final = re.compile(r"(\d{8})\.(seg|zst)")


class EpochName(NamedTuple):
    """The folder of an epoch: epochs are numbered in the order they began."""

    ordinal: int
    epoch: EpochId

    def __str__(self) -> str:
        return f"{self.ordinal:04d}-{self.epoch}"

    def segment(self, number: int) -> str:
        """Return the name of segment `number`, from 1."""
        return f"{self}/{number:08d}.seg"

    def compressed(self, number: int) -> str:
        """Return the name of the compressed segment `number`."""
        return f"{self}/{number:08d}.zst"

    @property
    def mark(self) -> str:
        """The name of the epoch's mark."""
        return f"{self}/{MARK}"

    @property
    def trimmed(self) -> str:
        """The name of what stands for the epoch's dropped segments."""
        return f"{self}/{TRIMMED}"


def epoch_names(sizes: Iterable[str]) -> list[EpochName]:
    """Return the epochs that have files among `sizes`, names of files, oldest first."""
    matches = {_FOLDER.fullmatch(name.partition("/")[0]) for name in sizes if "/" in name}
    return sorted({EpochName(int(match[1]), EpochId(match[2])) for match in matches if match})


def segment_numbers(sizes: Iterable[str], name: EpochName) -> list[int]:
    """Return the numbers of the epoch's segments, compressed or not, ascending."""
    files = (file.partition("/") for file in sizes)
    matches = (_SEGMENT.fullmatch(file) for folder, _, file in files if folder == str(name))
    return sorted({int(match[1]) for match in matches if match})


# --- Locators: where a record begins, as one non-negative int64. ---
_OFFSET_BITS: Final = 28
_SEGMENT_BITS: Final = 22
EPOCHS_MAX: Final = 2 ** (63 - _OFFSET_BITS - _SEGMENT_BITS) - 1
SEGMENTS_MAX: Final = 2**_SEGMENT_BITS - 1
if 2**_OFFSET_BITS != SEGMENT_BYTES_MAX:
    raise AssertionError("a locator has room for the largest segment")


def locator(epoch_index: int, segment: int, offset: int) -> int:
    """Return the locator of the record that begins at `offset`."""
    return (epoch_index << _SEGMENT_BITS | segment) << _OFFSET_BITS | offset


def located(locator: int) -> tuple[int, int, int]:
    """Return epoch index, segment and offset of a locator."""
    rest, offset = divmod(locator, SEGMENT_BYTES_MAX)
    index, segment = divmod(rest, SEGMENTS_MAX + 1)
    return index, segment, offset


# --- Segment header. Magic, version, size and checksum keep their places in every version. ---
_PREFIX: Final = struct.Struct("<8sIII")
_SIZED: Final = struct.Struct("<II")
_SEGMENT_MAGIC: Final = b"\xf5TIDESEG"
_HEADER: Final = struct.Struct(f"<{NAME_BYTES_MAX}s{NAME_BYTES_MAX}s{EPOCH_HEX}sQQQ" + "Q32s8s" * LANES)
HEADER_BYTES: Final = _PREFIX.size + _HEADER.size
_NO_SCHEMA: Final = bytes(8)


class Header(NamedTuple):
    """What a segment says of itself: whose it is, and where the lanes stand at its start."""

    site: SiteId
    gate: GateId
    epoch: EpochId
    segment: int
    segment_bytes: int
    first_pos: int
    next_seqs: tuple[int, ...]
    chains: tuple[bytes, ...]


def _schema(lane: Lane) -> bytes:
    return bytes.fromhex(SCHEMAS[lane]) if lane in SCHEMAS else _NO_SCHEMA


def pack_header(header: Header) -> bytes:
    """Return the header's bytes."""
    lanes: list[int | bytes] = []
    for lane in Lane:
        lanes += [header.next_seqs[lane], header.chains[lane], _schema(lane)]
    names = (header.site.encode(), header.gate.encode(), header.epoch.encode())
    body = _HEADER.pack(*names, header.segment, header.segment_bytes, header.first_pos, *lanes)
    checksum = crc32c(body, crc32c(_SIZED.pack(FORMAT_VERSION, HEADER_BYTES)))
    return _PREFIX.pack(_SEGMENT_MAGIC, FORMAT_VERSION, HEADER_BYTES, checksum) + body


def parse_header(data: bytes | memoryview, file: str) -> Header | None:
    """Return the header at the start of `data`, or None where it is damaged.

    Raises:
        JournalFormatError: it is undamaged, and of another version or with another schema of records.
    """
    if len(data) < HEADER_BYTES:
        return None
    magic, version, size, checksum = _PREFIX.unpack_from(data)
    body = bytes(data[_PREFIX.size : size])
    if magic != _SEGMENT_MAGIC or crc32c(body, crc32c(_SIZED.pack(version, size))) != checksum:
        return None
    if version != FORMAT_VERSION:
        raise JournalFormatError(
            f"{file}: journal format {version}, this program reads {FORMAT_VERSION}; "
            "start the program that wrote it, or move the folder away",
        )
    site, gate, epoch, segment, segment_bytes, first_pos, *lanes = _HEADER.unpack(body)
    _check_schemas(lanes[2::3], file)
    return Header(
        site=SiteId(_text(site)),
        gate=GateId(_text(gate)),
        epoch=EpochId(_text(epoch)),
        segment=segment,
        segment_bytes=segment_bytes,
        first_pos=first_pos,
        next_seqs=tuple(lanes[0::3]),
        chains=tuple(lanes[1::3]),
    )


def _text(padded: bytes) -> str:
    return padded.rstrip(b"\0").decode()


def _check_schemas(found: list[bytes], file: str) -> None:
    for lane, schema in zip(Lane, found, strict=True):
        expected = SCHEMAS.get(lane, "no schema")
        if schema not in {_NO_SCHEMA, _schema(lane)}:
            raise JournalFormatError(
                f"{file}: lane L{lane:d} has records of schema {schema.hex()}, this program writes {expected}; "
                "start the program that wrote it, or move the folder away",
            )


# --- Append: the records of one call under one checksum. ---
APPEND_MAGIC: Final = b"\xf7AP\x01"
"""Begins with a byte that no UTF-8 text contains."""
_APPEND_FIRST_BYTE: Final = APPEND_MAGIC[0]
_SEED: Final = struct.Struct(f"<{EPOCH_HEX}sQ")
_CHECKED: Final = struct.Struct("<III4xQQ" + "Q" * LANES)
_APPEND: Final = struct.Struct("<4sI" + _CHECKED.format.removeprefix("<"))
_UNCHECKED_BYTES: Final = 8
APPEND_BYTES: Final = _APPEND.size


class Append(NamedTuple):
    """The head of one append that verified; its records stand in [`start` + APPEND_BYTES, `stop`)."""

    start: int
    stop: int
    records: int
    durable_pos: int
    first_pos: int
    next_seqs: tuple[int, ...]


def append_seed(epoch: EpochId, segment: int) -> int:
    """Return what the checksums of this segment begin with."""
    seed: int = crc32c(_SEED.pack(epoch.encode(), segment))
    return seed


def pack_append(
    seed: int,
    start: int,
    count: int,
    durable_pos: int,
    first_pos: int,
    next_seqs: tuple[int, ...],
    records: bytes,
) -> bytes:
    """Return head and records as one checked append that begins at `start`."""
    size = APPEND_BYTES + len(records)
    checked = _CHECKED.pack(size, count, start, durable_pos, first_pos, *next_seqs)
    checksum: int = crc32c(records, crc32c(checked, seed))
    return b"".join((APPEND_MAGIC, checksum.to_bytes(4, "little"), checked, records))


def parse_append(data: memoryview, start: int, seed: int, origin: int = 0) -> Append | None:
    """Return the append at `start`, or None where there is none that verifies.

    `origin` is the offset of the data's first byte in its segment: the append's own offset counts from the segment's.
    """
    if len(data) - start < APPEND_BYTES + HEAD_BYTES or data[start] != _APPEND_FIRST_BYTE:
        return None
    magic, checksum, size, records, offset, durable_pos, first_pos, *next_seqs = _APPEND.unpack_from(data, start)
    stop = start + size
    if magic != APPEND_MAGIC or offset != origin + start or size <= APPEND_BYTES or stop > len(data):
        return None
    if crc32c(data[start + _UNCHECKED_BYTES : stop], seed) != checksum:
        return None
    return Append(start, stop, records, durable_pos, first_pos, tuple(next_seqs))


# --- The mark. One sector, overwritten in place: it is the old one or the new one. ---
_MARK_MAGIC: Final = b"\xf5TM\x01"
_MARK: Final = struct.Struct("<QII" + "Q" * LANES)


class Mark(NamedTuple):
    """What is durable for certain: position, the byte behind it, and the next sequence number of each lane."""

    durable_pos: int
    segment: int
    offset: int
    next_seqs: tuple[int, ...]


NO_MARK: Final = Mark(0, 0, 0, (1,) * LANES)
NO_CHAINS: Final = (CHAIN_START,) * LANES
CHAIN_UNKNOWN: Final = b""
"""The running hash of a lane between a lost range and the next segment's header."""


def pack_mark(mark: Mark) -> bytes:
    """Return the mark's bytes."""
    body = _MARK.pack(mark.durable_pos, mark.segment, mark.offset, *mark.next_seqs)
    checksum: int = crc32c(body)
    return _MARK_MAGIC + checksum.to_bytes(4, "little") + body


def parse_mark(data: bytes) -> Mark | None:
    """Return the mark, or None where it is damaged."""
    body = data[8 : 8 + _MARK.size]
    if data[:8] != _MARK_MAGIC + crc32c(body).to_bytes(4, "little") or len(body) != _MARK.size:
        return None
    durable_pos, segment, offset, *next_seqs = _MARK.unpack(body)
    return Mark(durable_pos, segment, offset, tuple(next_seqs))


# --- What stands for segments that were dropped. It is durable before they go. ---
_TRIMMED_MAGIC: Final = b"\xf5TR\x01"
STANDING: Final = frozenset(
    {
        Kind.EPOCH_STARTED,
        Kind.BUNDLE_ACTIVATED,
        Kind.LISTS_ACTIVATED,
        Kind.CONFIG_ACTIVATED,
        Kind.POLICY_ACTIVATED,
        Kind.CLOCK_STEPPED,
    }
)
"""Kinds of records that hold until another of their kind comes: the last one of each outlives its segment."""


class Trimmed(NamedTuple):
    """The header of the first segment that is kept, and the records before it that still hold, in order."""

    header: Header
    records: tuple[Record, ...]


def pack_trimmed(trimmed: Trimmed) -> bytes:
    """Return the file's bytes."""
    body = pack_header(trimmed.header) + b"".join(record.to_bytes() for record in trimmed.records)
    checksum: int = crc32c(body)
    return _TRIMMED_MAGIC + checksum.to_bytes(4, "little") + body


def parse_trimmed(data: bytes, file: str) -> Trimmed | None:
    """Return what stands for dropped segments, or None where that is damaged: then they count as lost.

    Raises:
        JournalFormatError: it is of another version.
    """
    body = data[8:]
    header = parse_header(body, file)
    if header is None or data[:8] != _TRIMMED_MAGIC + crc32c(body).to_bytes(4, "little"):
        return None
    records, at = [], HEADER_BYTES
    while at < len(body):
        size = HEAD_BYTES + int.from_bytes(body[at + HEAD_BYTES - 4 : at + HEAD_BYTES], "little")
        records.append(Record.from_bytes(body[at : at + size]))
        at += size
    return Trimmed(header, tuple(records))
