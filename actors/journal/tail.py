"""Reads runs of a lane from a journal's files, beside the gate that writes them and never beyond what is durable.

Knows of each lane where it read last, so that reading on costs what is new; anywhere else it starts at the segment's
header, which says where the lanes stand, and hashes its way to the first record asked for.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from actors.journal.layout import (
    APPEND_BYTES,
    CHAIN_UNKNOWN,
    HEADER_BYTES,
    NO_CHAINS,
    EpochName,
    Header,
    Mark,
    append_seed,
    epoch_names,
    parse_header,
    parse_mark,
)
from actors.journal.ports import Disk
from actors.journal.segment import Stretch, heads, stretches
from actors.journal.shelf import Shelf
from tidegate.ids import EpochId, GateId, SiteId
from tidegate.limits import APPEND_BYTES_MAX, MIB
from tidegate.passages import Head, Passage
from tidegate.records import DECISION, Lane, chained

_WINDOW_BYTES: Final = 2 * MIB + APPEND_BYTES_MAX  # holds the largest append wherever it begins in the first half
_PLACES_KEPT: Final = 4  # a lane has a live and a backlog reader; the rest is for who asks for a head


class _Place(NamedTuple):
    """Record `seq` stands at or behind the append at `offset`; `before` is the running hash there."""

    seq: int
    segment: int
    offset: int
    before: bytes


class _Run(NamedTuple):
    """Records of one lane that stand close to each other: contiguous in `seq`, one behind the other in `data`."""

    segment: int
    offsets: Sequence[int]
    """Of the append that each stands in."""
    first: int
    positions: Sequence[int]
    data: memoryview
    ends: Sequence[int]
    """Where in `data` each ends; the first begins at `begin`."""
    begin: int = 0

    @property
    def records(self) -> int:
        """How many there are."""
        return len(self.ends)

    @property
    def last(self) -> int:
        """The number of the last one; `first` - 1 where there is none."""
        return self.first + len(self.ends) - 1

    def until(self, seq: int) -> "_Run":
        """Return those up to `seq`."""
        return self if seq >= self.last else self._cut(0, max(0, seq - self.first + 1))

    def since(self, seq: int) -> "_Run":
        """Return those from `seq` on."""
        return self if seq <= self.first else self._cut(min(self.records, seq - self.first), self.records)

    def _cut(self, start: int, stop: int) -> "_Run":
        begin = self.ends[start - 1] if start else self.begin
        cut = slice(start, stop)
        return _Run(
            self.segment, self.offsets[cut], self.first + start, self.positions[cut], self.data, self.ends[cut], begin
        )

    def bytes(self) -> memoryview:
        """Return their canonical bytes."""
        return self.data[self.begin : self.ends[-1]] if self.ends else self.data[:0]


class _Walk:
    """Where a reader is in a lane."""

    def __init__(self, place: _Place) -> None:
        self.place = place

    def before(self, run: _Run, known: bytes) -> bytes:
        """Return the running hash before a run: unknown behind a loss, unless the segment's header tells it."""
        return self.place.before if run.first == self.place.seq and self.place.before != CHAIN_UNKNOWN else known

    def pass_over(self, run: _Run, known: bytes) -> None:
        """Go behind a run; what was passed before is left out."""
        run = run.since(self.place.seq)
        if not run.records:
            return
        before = self.before(run, known)
        if before != CHAIN_UNKNOWN:
            before = chained(before, run.data, run.ends, run.begin)
        self.place = _Place(run.last + 1, run.segment, run.offsets[-1], before)


class _Passage:
    """A passage in the making."""

    def __init__(self, begin: _Run, before: bytes, records_max: int, bytes_max: int) -> None:
        self._first, self._pos, self._before = begin.first, begin.positions[0], before
        self._room, self._records_max = bytes_max, records_max
        self._parts: list[memoryview] = []
        self._count = 0

    def goes_on(self, run: _Run, before: bytes) -> bool:
        """Tell whether a run continues it, with hashes that are known or not as its own are, and there is room."""
        joins = run.first == self._first + self._count and (before == CHAIN_UNKNOWN) == (self._before == CHAIN_UNKNOWN)
        return joins and self._count < self._records_max and run.ends[0] - run.begin <= self._room

    def take(self, run: _Run) -> _Run:
        """Take as much of a run as there is room for; one record at least where there is none yet."""
        fits = bisect_right(run.ends, self._room + run.begin) or (not self._count)
        taken = run.until(run.first + min(int(fits), self._records_max - self._count) - 1)
        self._parts.append(taken.bytes())
        self._room -= len(self._parts[-1])
        self._count += taken.records
        return taken

    def done(self, epoch: EpochId, lane: Lane, after: bytes) -> Passage:
        """Return it."""
        last = self._first + self._count - 1
        return Passage(epoch, lane, self._first, last, self._pos, self._before, after, b"".join(self._parts))


class Tail:
    """The runs of all epochs. For one thread; whatever was there at the last `refresh` can be read."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._shelf = Shelf(disk)
        self._names: dict[EpochId, EpochName] = {}
        self._numbers: dict[EpochId, list[int]] = {}
        self._headers: dict[tuple[EpochId, int], Header | None] = {}
        self._places: dict[tuple[EpochId, Lane], deque[_Place]] = {}
        self._ended: dict[EpochId, tuple[int, ...]] = {}
        self._mark: Mark | None = None

    def refresh(self, *, everything: bool = False) -> bool:
        """Look what there is now; return whether anything became durable since the last look.

        `everything`: look for other epochs, too, and for segments that were removed; that lists the folder.
        """
        before = (list(self._names), self._mark)
        newest = next(reversed(self._names.values()), None)
        self._mark = self._read_mark(newest)
        if everything or newest is None or self._mark is None or self._mark.segment not in self._numbers[newest.epoch]:
            self._list()
        return before != (list(self._names), self._mark)

    def epochs(self) -> tuple[EpochId, ...]:
        """Return the epochs, oldest first; the last is the one a gate writes to."""
        return tuple(self._names)

    def whose(self) -> tuple[SiteId, GateId] | None:
        """Return whose journal it is; None: no segment says it."""
        for epoch, numbers in self._numbers.items():
            for number in numbers:
                header = self._header(self._names[epoch], number)
                if header is not None:
                    return header.site, header.gate
        return None

    def durable_pos(self) -> int:
        """Return the position up to which the newest epoch is durable; 0: nothing of it is."""
        return self._mark.durable_pos if self._mark is not None else 0

    def last(self, epoch: EpochId, lane: Lane) -> int:
        """Return the last durable sequence number of a lane; 0: none."""
        if epoch == self.epochs()[-1]:
            return self._mark.next_seqs[lane] - 1 if self._mark is not None else 0
        if epoch not in self._ended:
            self._ended[epoch] = self._ends(self._names[epoch])
        return self._ended[epoch][lane]

    def first(self, epoch: EpochId, lane: Lane) -> int:
        """Return the first sequence number of a lane that wasn't dropped once the cloud had it."""
        trimmed = self._shelf.trimmed(self._names[epoch])
        return trimmed.header.next_seqs[lane] if trimmed is not None else 1

    def head(self, epoch: EpochId, lane: Lane) -> Head:
        """Return where a lane stands, with what is durable; reads what lies between the last read and that."""
        last = self.last(epoch, lane)
        walk = _Walk(self._nearest(self._names[epoch], lane, last + 1))
        for run in self._runs(self._names[epoch], lane, walk.place):
            walk.pass_over(run.until(last), self._known(epoch, lane, run))
            if run.last >= last:
                break
        self._keep(epoch, lane, walk.place)
        return Head(last, walk.place.before)

    def read(
        self, epoch: EpochId, lane: Lane, first: int, *, through: int, records_max: int, bytes_max: int
    ) -> Passage | None:
        """Return the passage that begins at `first`, or at the first record behind it that can be read.

        At most `records_max` records of `bytes_max` bytes together, but one at least. None: nothing of `first` to
        `through` can be read.
        """
        walk = _Walk(self._nearest(self._names[epoch], lane, first))
        made: _Passage | None = None
        for run in self._runs(self._names[epoch], lane, walk.place):
            known = self._known(epoch, lane, run)
            walk.pass_over(run.until(first - 1), known)
            rest = run.since(max(first, walk.place.seq)).until(through)
            if not rest.records:
                if run.last >= through:
                    break
                continue
            if made is not None and not made.goes_on(rest, walk.before(rest, known)):
                break
            made = made or _Passage(rest, walk.before(rest, known), records_max, bytes_max)
            taken = made.take(rest)
            walk.pass_over(taken, known)
            if taken.records < rest.records or run.last >= through:
                break
        self._keep(epoch, lane, walk.place)
        return None if made is None else made.done(epoch, lane, walk.place.before)

    # Where to begin.

    def _nearest(self, name: EpochName, lane: Lane, seq: int) -> _Place:
        """Return the nearest known place at or before a record."""
        kept = [place for place in self._places.get((name.epoch, lane), ()) if place.seq <= seq]
        return max((*kept, self._segment_place(name, lane, seq)))

    def _segment_place(self, name: EpochName, lane: Lane, seq: int) -> _Place:
        """Return the place at the head of the last segment that begins at or before a record."""
        numbers = self._numbers[name.epoch]
        low, high, found = 0, len(numbers), None
        while low < high:
            middle = (low + high) // 2
            header = self._header(name, numbers[middle])
            if header is None:  # damaged: the segments before it tell where to begin
                numbers, high = [n for n in numbers if n != numbers[middle]], high - 1
            elif header.next_seqs[lane] <= seq:
                found, low = header, middle + 1
            else:
                high = middle
        if found is None:
            return _Place(1, numbers[0] if numbers else 1, HEADER_BYTES, NO_CHAINS[lane])
        return _Place(found.next_seqs[lane], found.segment, HEADER_BYTES, found.chains[lane])

    def _keep(self, epoch: EpochId, lane: Lane, place: _Place) -> None:
        places = self._places.setdefault((epoch, lane), deque(maxlen=_PLACES_KEPT))
        if place in places:
            places.remove(place)
        places.append(place)

    # What is there.

    def _list(self) -> None:
        sizes = self._disk.sizes()
        self._names = {name.epoch: name for name in epoch_names(sizes)}
        self._numbers = {epoch: self._shelf.numbers(sizes, name) for epoch, name in self._names.items()}
        self._mark = self._read_mark(next(reversed(self._names.values()), None))
        for epoch, number in [key for key in self._headers if key[1] not in self._numbers.get(key[0], ())]:
            del self._headers[epoch, number]

    def _read_mark(self, name: EpochName | None) -> Mark | None:
        try:
            return parse_mark(self._disk.read(name.mark)) if name is not None else None
        except FileNotFoundError:
            return None

    def _header(self, name: EpochName, number: int) -> Header | None:
        key = (name.epoch, number)
        if self._headers.get(key) is None:
            self._headers[key] = parse_header(self._shelf.window(name, number, HEADER_BYTES, 0), name.segment(number))
        return self._headers[key]

    def _ends(self, name: EpochName) -> tuple[int, ...]:
        """Return the last sequence number of each lane of an epoch that has ended."""
        last = [0] * len(Lane)
        for lane in Lane:
            for number in reversed(self._numbers[name.epoch]):
                begin = _Place(0, number, HEADER_BYTES, CHAIN_UNKNOWN)
                header = self._header(name, number)
                before = header.next_seqs[lane] - 1 if header is not None else 0
                last[lane] = max((run.last for run in self._runs(name, lane, begin)), default=before)
                if last[lane] or header is not None:
                    break
        return tuple(last)

    # Records, run by run.

    def _runs(self, name: EpochName, lane: Lane, place: _Place) -> Iterator[_Run]:
        """Yield the lane's records from an append on, through what is durable."""
        for number in [n for n in self._numbers[name.epoch] if n >= place.segment]:
            offset = place.offset if number == place.segment else HEADER_BYTES
            for origin, raw, stretch in self._stretches(name, number, offset):
                if stretch.rows is None:
                    yield from _events(lane, number, origin, raw, stretch, name)
                elif lane is Lane.DECISIONS:
                    yield from _decisions(number, origin, stretch, stretch.rows)

    def _stretches(self, name: EpochName, number: int, offset: int) -> Iterator[tuple[int, bytes, Stretch]]:
        stop = self._stop(name, number)
        seed = append_seed(name.epoch, number)
        while offset < stop:
            size = min(_WINDOW_BYTES, stop - offset)
            raw = self._shelf.window(name, number, size, offset)
            end = 0
            for stretch in stretches(raw, seed, start=0, origin=offset):
                yield offset, raw, stretch
                end = stretch.stop
            if len(raw) < size or offset + size == stop:
                return
            offset += end or size - APPEND_BYTES_MAX

    def _stop(self, name: EpochName, number: int) -> int:
        """Return the byte of a segment up to which it may be read: of the newest epoch, what the mark says."""
        if name.epoch != self.epochs()[-1]:
            return 1 << 62
        if self._mark is None or number > self._mark.segment:
            return 0
        return self._mark.offset if number == self._mark.segment else 1 << 62

    def _known(self, epoch: EpochId, lane: Lane, run: _Run) -> bytes:
        """Return the running hash before a run where its segment's header tells it."""
        header = self._header(self._names[epoch], run.segment)
        told = header is not None and header.next_seqs[lane] == run.first
        return header.chains[lane] if header is not None and told else CHAIN_UNKNOWN


def _decisions(number: int, origin: int, stretch: Stretch, rows: npt.NDArray[np.void]) -> Iterator[_Run]:
    """Yield a stretch of decisions as runs: one, unless records are missing between them."""
    width, data = DECISION.itemsize, memoryview(rows.tobytes())
    seqs, positions = rows["seq"], rows["pos"].tolist()
    offsets = (stretch.offsets() + (origin - APPEND_BYTES)).tolist() if stretch.append is None else None
    cuts = [0, *(np.flatnonzero(np.diff(seqs) != 1) + 1).tolist(), len(rows)]
    for start, stop in pairwise(cuts):
        ends = range((start + 1) * width, (stop + 1) * width, width)
        begins = offsets[start:stop] if offsets is not None else [origin + stretch.start] * (stop - start)
        yield _Run(number, begins, int(seqs[start]), positions[start:stop], data, ends, start * width)


def _events(lane: Lane, number: int, origin: int, raw: bytes, stretch: Stretch, name: EpochName) -> Iterator[_Run]:
    """Yield one append's records of a lane, one by one: they are few."""
    if stretch.append is not None:
        view = memoryview(raw)
        for start, stop, of, _kind, seq, pos, _time in heads(raw, stretch.append, name.segment(number)):
            if of is lane:
                yield _Run(number, [origin + stretch.start], seq, [pos], view, [stop], start)
