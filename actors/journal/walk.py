"""The walk over one epoch: verifies every append, numbers and chains, and tells a torn tail from damage inside.

What can't be read is *damage inside* where something proves that it was durable: the mark, a later append that
carries a durable position at or behind it, or a later segment's header (written only after the segment before it
was synced). Without such a proof nothing of it was ever acknowledged: a *torn tail*. The walk changes nothing.
"""

from dataclasses import dataclass, replace
from operator import lt
from typing import Any

from actors.journal.layout import (
    CHAIN_UNKNOWN,
    HEADER_BYTES,
    LANES,
    NO_CHAINS,
    NO_MARK,
    Append,
    EpochName,
    Header,
    Mark,
    Trimmed,
    append_seed,
    parse_header,
    parse_mark,
)
from actors.journal.log import Position
from actors.journal.ports import Disk
from actors.journal.segment import Gap, heads, pieces, records, used_bytes
from actors.journal.shelf import Shelf
from tidegate.errors import JournalFormatError
from tidegate.ids import GateId, SiteId
from tidegate.records import Kind, Lane, chain
from tidegate.tideline import Witness


@dataclass(frozen=True, slots=True)
class LaneRange:
    """Records `first_seq` to `last_seq`, both included, of one lane."""

    lane: Lane
    first_seq: int
    last_seq: int


@dataclass(frozen=True, slots=True)
class Lost:
    """Records that can't be read any more: positions `first_pos` to `last_pos`, both included.

    They stood in the bytes from `start` of `file` up to `stop` of `last_file`. `last_pos` = `first_pos` - 1 where only
    a header was damaged. `acknowledged`: something proves that records of it were durable; False only beside other
    damage that is proven.
    """

    file: str
    start: int
    last_file: str
    stop: int
    first_pos: int
    last_pos: int
    lanes: tuple[LaneRange, ...]
    acknowledged: bool


@dataclass(frozen=True, slots=True)
class Torn:
    """A tail that was never acknowledged: `used` bytes from `offset` of `file` on, and in the files behind it.

    `last_pos` is the highest position that could still be read there; 0: none.
    """

    file: str
    offset: int
    used: int
    first_pos: int
    last_pos: int


@dataclass(frozen=True, slots=True)
class Walk:
    """What one epoch holds. `at` is where its log goes on: only meaningful where nothing is lost."""

    name: EpochName
    header: Header | None
    started: dict[str, Any] | None
    mark: Mark
    marked: bool
    at: Position
    starts: tuple[int, ...]
    counts: tuple[int, ...]
    durable_pos: int
    lost: tuple[Lost, ...]
    torn: Torn | None
    trimmed_pos: int
    """Up to where its records were dropped, once the cloud had them; 0: none was."""
    denied: bool
    """The cloud has another history of it: a witness was handed in that says so."""

    @property
    def unfinished(self) -> bool:
        """Whether its creation was cut short: it has no mark, and nothing says that anything was acknowledged."""
        return not self.marked and self.durable_pos == 0


@dataclass(slots=True)
class _Hole:
    """A gap on the way: where the log stood before it, and where it goes on behind it."""

    before: Position
    counts: tuple[int, ...]
    file: str
    last_file: str
    stop: int
    headless: bool = False
    next_pos: int = 0
    next_seqs: tuple[int, ...] = ()

    def lost(self, durable_pos: int) -> Lost:
        before = self.before
        ranges = zip(Lane, before.next_seqs, self.next_seqs, strict=True)
        return Lost(
            file=self.file,
            start=before.offset,
            last_file=self.last_file,
            stop=self.stop,
            first_pos=before.next_pos,
            last_pos=self.next_pos - 1,
            lanes=tuple(LaneRange(lane, first, then - 1) for lane, first, then in ranges if then > first),
            acknowledged=before.next_pos <= durable_pos,
        )


def walk(
    disk: Disk, name: EpochName, owner: tuple[SiteId, GateId] | None = None, witness: Witness | None = None
) -> Walk:
    """Return what epoch `name` holds, and whether `witness` denies it. Memory: one segment.

    Raises:
        JournalFormatError: a version, schema or kind that this program doesn't know, or another owner's journal.
    """
    walker = _Walker(disk, name, owner, witness)
    numbers = Shelf(disk).numbers(disk.sizes(), name)
    for number in range(walker.first, max(numbers, default=0) + 1):
        walker.segment(number)
    return walker.result()


class _Walker:
    def __init__(
        self, disk: Disk, name: EpochName, owner: tuple[SiteId, GateId] | None, witness: Witness | None
    ) -> None:
        self._sizes = disk.sizes()
        self._witness = witness if witness is not None and witness.epoch == name.epoch else None
        self._asked = (self._witness.lane, self._witness.seq) if self._witness is not None else None
        self._witnessed = CHAIN_UNKNOWN
        self._shelf = Shelf(disk)
        self._name = name
        self._owner = owner
        self._marked = name.mark in self._sizes
        self._mark = (parse_mark(disk.read(name.mark)) if self._marked else None) or NO_MARK
        # A mark is made once the epoch's first records are durable: even one that can't be read proves those.
        self._durable_pos = max(self._mark.durable_pos, int(self._marked))
        self._header: Header | None = None
        self._started: dict[str, Any] | None = None
        self._segment, self._offset, self._segment_bytes = 1, 0, 0
        self._next_pos = 1
        self._next_seqs = [1] * LANES
        self._chains = list(NO_CHAINS)
        self._last_time_us = 0
        self._counts = [0] * LANES
        self._starts: list[int] = []
        self._hole: _Hole | None = None
        self._holes: list[_Hole] = []
        self.first = self._segment
        self._trimmed_pos = 0
        trimmed = self._shelf.trimmed(name)
        if trimmed is not None:
            self._begin_behind(trimmed)

    def _begin_behind(self, trimmed: Trimmed) -> None:
        """Begin where the first segment that is kept does."""
        header = trimmed.header
        self.first = self._segment = header.segment
        self._next_pos, self._next_seqs, self._chains = header.first_pos, list(header.next_seqs), list(header.chains)
        self._trimmed_pos = header.first_pos - 1
        self._durable_pos = max(self._durable_pos, self._trimmed_pos)
        self._starts = [header.first_pos] * (header.segment - 1)
        said = (record for record in trimmed.records if record.kind is Kind.EPOCH_STARTED)
        self._started = next((record.values() for record in said), None)

    def segment(self, number: int) -> None:
        """Walk segment `number`."""
        file = self._file(number)
        raw = self._shelf.load(self._name, number)
        header = parse_header(raw, file)
        self._segment, self._offset, self._segment_bytes = number, 0, 0
        if header is None or not self._enter(header, file):
            self._skip(file, min(HEADER_BYTES, len(raw))).headless = True
        self._starts.append(self._next_pos)
        for piece in pieces(raw, append_seed(self._name.epoch, number)):
            if isinstance(piece, Gap) or not self._append(raw, piece, file):
                self._skip(file, piece.stop)
            else:
                self._offset = piece.stop

    def result(self) -> Walk:
        """Return what was found, judged by all proofs of durability together."""
        self._close_tail()
        damaged = any(hole.before.next_pos <= self._durable_pos for hole in self._holes)
        tear = self._hole if damaged or not self._holes else self._holes[0]
        end = self._position() if tear is None else tear.before
        at = self._go_on_at(end)
        return Walk(
            name=self._name,
            header=self._header,
            started=self._started,
            mark=self._mark,
            marked=self._marked,
            at=at,
            starts=tuple(self._starts[: at.segment if at.offset else at.segment - 1]),
            counts=tuple(self._counts) if damaged or tear is None else tear.counts,
            durable_pos=self._durable_pos,
            lost=tuple(hole.lost(self._durable_pos) for hole in self._holes) if damaged else (),
            torn=None if damaged and tear is None else self._torn(end),
            trimmed_pos=self._trimmed_pos,
            denied=self._denied(end),
        )

    def _denied(self, end: Position) -> bool:
        witness = self._witness
        return witness is not None and witness.denies(end.next_seqs[witness.lane] - 1, self._witnessed)

    def _enter(self, header: Header, file: str) -> bool:
        """Take the segment's header as the next thing that is known; False where it can't follow what was read."""
        if self._owner not in {None, (header.site, header.gate)}:
            raise JournalFormatError(
                f"{file}: the journal of {header.site}/{header.gate}, not of {'/'.join(self._owner or ())}; "
                "correct site and gate in the configuration, or give this gate a folder of its own",
            )
        if (header.epoch, header.segment) != (self._name.epoch, self._segment):
            return False
        if not self._anchor(header.first_pos, header.next_seqs, header=True):
            return False
        if any(mine not in {CHAIN_UNKNOWN, theirs} for mine, theirs in zip(self._chains, header.chains, strict=True)):
            self._skip(file, HEADER_BYTES).headless = True
            self._close(header.first_pos, header.next_seqs)
        self._chains = list(header.chains)
        self._durable_pos = max(self._durable_pos, header.first_pos - 1)
        self._header = self._header or header
        self._offset, self._segment_bytes = HEADER_BYTES, header.segment_bytes
        return True

    def _append(self, raw: bytes, append: Append, file: str) -> bool:
        """Take an append as the next thing that is known; False where it can't follow what was read."""
        if not self._anchor(append.first_pos, append.next_seqs, header=False):
            return False
        self._durable_pos = max(self._durable_pos, min(append.durable_pos, append.first_pos - 1))
        next_seqs, chains = self._next_seqs, self._chains
        for start, stop, lane, _kind, seq, pos, time_us in heads(raw, append, file):
            if pos != self._next_pos or seq != next_seqs[lane]:
                return False
            self._next_pos += 1
            next_seqs[lane] += 1
            self._counts[lane] += 1
            if chains[lane] != CHAIN_UNKNOWN:
                chains[lane] = chain(chains[lane], raw[start:stop])
            if (lane, seq) == self._asked:
                self._witnessed = chains[lane]
            self._last_time_us = max(self._last_time_us, time_us)
        if append.first_pos == 1:
            self._started = next(records(raw, append, file))[1].values()
        return True

    def _anchor(self, first_pos: int, next_seqs: tuple[int, ...], *, header: bool) -> bool:
        """Close the hole before something that verifies; False where that lies behind what was read already."""
        hole = self._hole
        if first_pos == self._next_pos and next_seqs == tuple(self._next_seqs):
            if hole is not None and header and not hole.headless:
                self._hole = None  # only the unused end of a sealed segment
            elif hole is not None:
                self._close(first_pos, next_seqs)
            return True
        if first_pos < self._next_pos or any(map(lt, next_seqs, self._next_seqs)):
            return False
        self._hole = hole or self._opened()
        self._close(first_pos, next_seqs)
        return True

    def _close(self, next_pos: int, next_seqs: tuple[int, ...]) -> None:
        if self._hole is not None:
            self._hole.next_pos, self._hole.next_seqs = next_pos, next_seqs
            self._holes.append(self._hole)
            self._hole = None
            self._next_pos, self._next_seqs, self._chains = next_pos, list(next_seqs), [CHAIN_UNKNOWN] * LANES

    def _close_tail(self) -> None:
        """Count as lost what the mark proves and the segments don't hold."""
        if self._durable_pos < self._next_pos:
            return
        mark = self._mark
        hole = self._hole = self._hole or self._opened()
        if mark.segment:
            hole.last_file, hole.stop = self._file(mark.segment), mark.offset
        self._close(self._durable_pos + 1, mark.next_seqs if mark.segment else tuple(self._next_seqs))

    def _skip(self, file: str, stop: int) -> _Hole:
        hole = self._hole = self._hole or self._opened()
        hole.last_file, hole.stop = file, stop
        return hole

    def _opened(self) -> _Hole:
        file = self._file(self._segment)
        return _Hole(self._position(), tuple(self._counts), file, file, self._offset)

    def _position(self) -> Position:
        return Position(
            self._segment,
            self._offset,
            self._segment_bytes,
            self._next_pos,
            tuple(self._next_seqs),
            tuple(self._chains),
            self._last_time_us,
        )

    def _go_on_at(self, at: Position) -> Position:
        """Return `at`, or the start of the next segment where `at` lies in one that is sealed for ever."""
        if self._name.compressed(at.segment) in self._sizes and self._name.segment(at.segment) not in self._sizes:
            return replace(at, segment=at.segment + 1, offset=0, segment_bytes=0)
        return at

    def _torn(self, at: Position) -> Torn | None:
        """Return what is torn from `at` on, or None where nothing was ever written there."""
        name = self._name.segment(at.segment)
        short = at.offset > 0 and self._sizes.get(name, at.segment_bytes) < at.segment_bytes
        offset, used = at.offset, 0
        for number in range(at.segment, len(self._starts) + 1):
            used += max(0, used_bytes(self._shelf.load(self._name, number)) - offset)
            offset = 0
        if not used and not (short and at.segment == len(self._starts)):
            return None
        last_pos = self._next_pos - 1 if self._next_pos > at.next_pos else 0
        return Torn(self._file(at.segment), at.offset, used, at.next_pos, last_pos)

    def _file(self, number: int) -> str:
        """Return the name under which segment `number` is found, or was."""
        compressed = self._name.compressed(number)
        raw = self._name.segment(number)
        return compressed if compressed in self._sizes and raw not in self._sizes else raw
