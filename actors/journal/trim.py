"""Drops the first segment of an epoch once nobody at the site needs it any more and the cloud has all of it.

What stands for it is made durable first: where the lanes go on, and what of it still holds, such as the policy. So
numbers and hashes go on as if it were there, a start reads less, and a replay finds what a decision rested on.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from actors.journal.layout import (
    APPEND_BYTES,
    HEADER_BYTES,
    STANDING,
    EpochName,
    Header,
    Trimmed,
    append_seed,
    locator,
    pack_trimmed,
    parse_header,
)
from actors.journal.ports import Disk
from actors.journal.segment import Columns, columns
from actors.journal.shelf import Shelf, remove_segment
from tidegate.errors import NotFoundError
from tidegate.ids import EpochId
from tidegate.records import HEAD_BYTES, Kind, Lane, Record

KEPT_LANES = (Lane.MONEY, Lane.DECISIONS, Lane.EVENTS)
"""Lanes of which nothing is dropped that the cloud doesn't have."""


class TrimmedError(NotFoundError):
    """The record was dropped at the site once the cloud had it."""


@dataclass(frozen=True, slots=True)
class Line:
    """What may go: what the cloud has of each lane, what is old enough, what a checkpoint of the window covers."""

    committed: Mapping[tuple[EpochId, Lane], int]
    before_us: int
    checkpoint_pos: int

    def is_behind(self, epoch: EpochId, header: Header) -> bool:
        """Tell whether all that went before a segment is in the cloud."""
        return all(self.committed.get((epoch, lane), 0) >= header.next_seqs[lane] - 1 for lane in KEPT_LANES)


def trim(disk: Disk, name: EpochName, last: int, line: Line, *, current: bool) -> int:
    """Drop the first segment of an epoch, where that may go; return the first one that is kept then, 0: nothing went.

    `last` and what follows it stays. `current`: a gate goes on in this epoch, and needs what its window rests on.

    Raises:
        DiskFullError: there is no room for what stands for it; nothing was changed.
    """
    shelf = Shelf(disk)
    numbers = shelf.numbers(disk.sizes(), name)
    if len(numbers) < 2 or numbers[1] != numbers[0] + 1 or numbers[1] > last:  # noqa: PLR2004 - one stays
        return 0
    first, follows = numbers[:2]
    header = parse_header(shelf.window(name, follows, HEADER_BYTES, 0), name.segment(follows))
    if header is None or not line.is_behind(name.epoch, header):
        return 0
    if (current and header.first_pos > line.checkpoint_pos + 1) or _begins_us(shelf, name, follows) >= line.before_us:
        return 0
    made = _standing(shelf, name, first, header, line.before_us)
    if made is None:
        return 0
    disk.replace(name.trimmed, pack_trimmed(made))
    remove_segment(disk, name, first)
    return follows


def _begins_us(shelf: Shelf, name: EpochName, number: int) -> int:
    """Return the time of a segment's first record; nothing proves it yet: it saves reading what is younger."""
    head = shelf.window(name, number, HEAD_BYTES, HEADER_BYTES + APPEND_BYTES)
    return int.from_bytes(head[16:24], "little", signed=True)


def _standing(shelf: Shelf, name: EpochName, number: int, header: Header, before_us: int) -> Trimmed | None:
    """Return what stands for a segment and those before it; None where it is damaged or not old enough: it stays."""
    held: dict[Kind, Record] = {record.kind: record for _, record in shelf.standing(name)}
    raw, seed = shelf.load(name, number), append_seed(name.epoch, number)
    own = parse_header(raw, name.segment(number))
    count, last_us = 0, 0
    for piece in columns(raw, seed, locator(name.ordinal, number, 0), name.segment(number)):
        if isinstance(piece, Columns):
            count, last_us = count + len(piece.rows), max(last_us, int(piece.rows["time_us"].max()))
            continue
        record = piece[1]
        count, last_us = count + 1, max(last_us, record.time_us)
        if record.kind in STANDING:
            held[record.kind] = record
    if own is None or count != header.first_pos - own.first_pos or last_us >= before_us:
        return None
    return Trimmed(header, tuple(sorted(held.values(), key=lambda record: record.pos)))
