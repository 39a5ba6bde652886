"""The log of one epoch, without a disk: numbers records, chains them, frames them, keeps what waits for a flush."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from actors.journal.layout import (
    APPEND_BYTES,
    HEADER_BYTES,
    LANES,
    NO_CHAINS,
    SEGMENTS_MAX,
    Header,
    append_seed,
    locator,
    pack_append,
    pack_header,
)
from tidegate.errors import OverloadedError
from tidegate.ids import EpochId, GateId, SiteId
from tidegate.limits import APPEND_BYTES_MAX, RECORD_BODY_BYTES_MAX
from tidegate.passages import Head
from tidegate.records import DECISION_BODY_BYTES, HEAD_BYTES, SCHEMAS, Kind, Lane, Record, chain

Item = tuple[Lane, Kind, bytes]
"""What is to become a record: lane, kind, body."""
Entry = tuple[int, Record]
"""A record and its locator."""


@dataclass(frozen=True, slots=True)
class Place:
    """Whose log it is: what identifies its records, and the number of its epoch."""

    site: SiteId
    gate: GateId
    epoch: EpochId
    epoch_index: int


@dataclass(frozen=True, slots=True)
class Position:
    """Where a log goes on: the byte behind its last record, and the next numbers. Offset 0: no header yet."""

    segment: int = 1
    offset: int = 0
    segment_bytes: int = 0
    next_pos: int = 1
    next_seqs: tuple[int, ...] = (1,) * LANES
    chains: tuple[bytes, ...] = NO_CHAINS
    last_time_us: int = 0


@dataclass(slots=True)
class Part:
    """Bytes that belong at `start` of a segment."""

    segment: int
    start: int
    data: bytearray = field(default_factory=bytearray)

    @property
    def stop(self) -> int:
        """The byte behind it."""
        return self.start + len(self.data)


class Log:
    """Turns items into records and records into parts of segments. Touches no disk.

    Holds at most `pending_bytes_max` until `take`; an append never crosses a segment.
    """

    def __init__(
        self, *, place: Place, at: Position, starts: Sequence[int], segment_bytes: int, pending_bytes_max: int
    ) -> None:
        self._place = place
        self._segment_bytes = segment_bytes
        self._room_bytes = at.segment_bytes if at.offset else segment_bytes
        self._pending_bytes_max = pending_bytes_max
        self._append_bytes_max: Final = min(APPEND_BYTES_MAX, segment_bytes - HEADER_BYTES)
        self._next_pos = at.next_pos
        self._next_seqs = list(at.next_seqs)
        self._chains = list(at.chains)
        self._pending: list[Part] = []
        self._pending_bytes = 0
        self._segment, self._offset = at.segment, at.offset
        self._seed = append_seed(place.epoch, at.segment)
        self.durable_pos = at.next_pos - 1
        """What every append carries as the proof of what was acknowledged before it."""
        self.starts = list(starts)
        """The first position of each segment, from segment 1."""

    @property
    def next_pos(self) -> int:
        """The position of the next record."""
        return self._next_pos

    @property
    def next_seqs(self) -> tuple[int, ...]:
        """The next sequence number of each lane."""
        return tuple(self._next_seqs)

    def head(self, lane: Lane) -> Head:
        """Return where the lane stands."""
        return Head(self._next_seqs[lane] - 1, self._chains[lane])

    def size(self, items: Sequence[Item]) -> int:
        """Return how many bytes an append of `items` takes.

        Raises:
            ValueError: no items, a lane without a schema, a decision of another width, or more than the bounds.
            OverloadedError: too much waits for a flush already.
        """
        size = APPEND_BYTES
        for lane, kind, body in items:
            if lane not in SCHEMAS or (lane is Lane.DECISIONS and len(body) != DECISION_BODY_BYTES):
                raise ValueError(f"{kind.name} with a body of {len(body)} bytes doesn't fit lane {lane.name}")
            if len(body) > RECORD_BODY_BYTES_MAX:
                raise ValueError(f"{kind.name} has {len(body)} bytes, at most {RECORD_BODY_BYTES_MAX} are allowed")
            size += HEAD_BYTES + len(body)
        if not APPEND_BYTES < size <= self._append_bytes_max:
            raise ValueError(f"{len(items)} records of {size} bytes in one append; at most {self._append_bytes_max}")
        if self._pending_bytes + size > self._pending_bytes_max:
            raise OverloadedError("too much waits for the disk; send again more slowly")
        return size

    def fits(self, size: int) -> bool:
        """Tell whether an append of `size` bytes fits the segment in use."""
        return self._offset + size <= self._room_bytes

    def append(self, items: Sequence[Item], size: int, time_us: int) -> tuple[Entry, ...]:
        """Add `items`, of a `size` that was asked for; begins the next segment where they don't fit this one."""
        if self._offset + size > self._room_bytes:
            self._roll()
        part = self._part()
        at = locator(self._place.epoch_index, self._segment, self._offset + APPEND_BYTES)
        pos, next_seqs, chains = self._next_pos, self._next_seqs, self._chains
        head = (self._seed, self._offset, len(items), self.durable_pos, pos, tuple(next_seqs))
        entries, blobs = [], []
        for lane, kind, body in items:
            record = Record(lane, kind, next_seqs[lane], pos, time_us, body)
            blob = record.to_bytes()
            next_seqs[lane] += 1
            chains[lane] = chain(chains[lane], blob)
            entries.append((at, record))
            blobs.append(blob)
            at += len(blob)
            pos += 1
        self._next_pos = pos
        part.data += pack_append(*head, blobs[0] if len(blobs) == 1 else b"".join(blobs))
        self._offset += size
        self._pending_bytes += size
        return tuple(entries)

    def take(self) -> list[Part]:
        """Return what waits, in the order of the disk, and forget it."""
        parts, self._pending, self._pending_bytes = self._pending, [], 0
        return parts

    def pending(self) -> list[Part]:
        """Return what waits, for readers."""
        return self._pending

    def _part(self) -> Part:
        if not self._pending or self._pending[-1].segment != self._segment:
            self._pending.append(Part(self._segment, self._offset))
        part = self._pending[-1]
        if self._offset == 0:
            part.data += self._header()
            self._offset = HEADER_BYTES
            self.starts.append(self._next_pos)
        return part

    def _roll(self) -> None:
        if self._segment == SEGMENTS_MAX:
            raise ValueError(f"an epoch has at most {SEGMENTS_MAX} segments")
        self._segment, self._offset, self._room_bytes = self._segment + 1, 0, self._segment_bytes
        self._seed = append_seed(self._place.epoch, self._segment)

    def _header(self) -> bytes:
        place = self._place
        return pack_header(
            Header(
                place.site,
                place.gate,
                place.epoch,
                self._segment,
                self._segment_bytes,
                self._next_pos,
                tuple(self._next_seqs),
                tuple(self._chains),
            )
        )
