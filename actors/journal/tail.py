"""Reads runs of a lane from a journal's files, beside the gate that writes them and never beyond what is durable.

Knows of each lane where it read last, so that reading on costs what is new; anywhere else it starts at the segment's
header, which says where the lanes stand, and hashes its way to the first record asked for.
"""

from collections import deque
from collections.abc import Iterator
from typing import Final, NamedTuple

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
    segment_numbers,
)
from actors.journal.ports import Disk
from actors.journal.segment import Stretch, heads, stretches
from actors.journal.shelf import Shelf
from tidegate.ids import EpochId
from tidegate.limits import APPEND_BYTES_MAX, MIB
from tidegate.passages import Head, Passage
from tidegate.records import DECISION, Lane, chain

_WINDOW_BYTES: Final = 2 * MIB + APPEND_BYTES_MAX  # holds the largest append wherever it begins in the first half
_PLACES_KEPT: Final = 4  # a lane has a live and a backlog reader; the rest is for who asks for a head


class _Place(NamedTuple):
    """Record `seq` stands at or behind the append at `offset`; `before` is the running hash there."""

    seq: int
    segment: int
    offset: int
    before: bytes


class _Blob(NamedTuple):
    """One record: the append it stands in, its numbers, its canonical bytes."""

    segment: int
    offset: int
    seq: int
    pos: int
    data: bytes | memoryview


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

    def head(self, epoch: EpochId, lane: Lane) -> Head:
        """Return where a lane stands, with what is durable; reads what lies between the last read and that."""
        last = self.last(epoch, lane)
        place = self._nearest(self._names[epoch], lane, last + 1)
        seq, before = place.seq, place.before
        for blob in self._blobs(self._names[epoch], lane, place):
            if blob.seq >= seq:
                before = self._before(epoch, lane, blob, seq, before)
                before = _after(before, blob)
                seq = blob.seq + 1
                place = _Place(seq, blob.segment, blob.offset, before)
            if seq > last:
                break
        self._keep(epoch, lane, place)
        return Head(last, before)

    def read(
        self, epoch: EpochId, lane: Lane, first: int, *, through: int, records_max: int, bytes_max: int
    ) -> Passage | None:
        """Return the run that begins at `first`, or at the first record behind it that can be read.

        At most `records_max` records of `bytes_max` bytes together, but one at least. None: nothing of `first` to
        `through` can be read.
        """
        place = self._nearest(self._names[epoch], lane, first)
        seq, before = place.seq, place.before
        begun: _Blob | None = None
        start, size = before, 0
        parts: list[bytes | memoryview] = []
        for blob in self._blobs(self._names[epoch], lane, place):
            if blob.seq < seq:
                continue
            full = begun is not None and (len(parts) >= records_max or size + len(blob.data) > bytes_max)
            if blob.seq > through or full or (begun is not None and blob.seq != seq):
                break
            known = self._before(epoch, lane, blob, seq, before)
            if begun is not None and start == CHAIN_UNKNOWN != known:
                break  # a run's hashes are both known or both not
            before = known
            if blob.seq >= first:
                if begun is None:
                    begun, start = blob, before
                parts.append(blob.data)
                size += len(blob.data)
            before, seq = _after(before, blob), blob.seq + 1
            place = _Place(seq, blob.segment, blob.offset, before)
        self._keep(epoch, lane, place)
        if begun is None:
            return None
        return Passage(epoch, lane, begun.seq, seq - 1, begun.pos, start, before, b"".join(parts))

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
        self._numbers = {epoch: segment_numbers(sizes, name) for epoch, name in self._names.items()}
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
                last[lane] = max((blob.seq for blob in self._blobs(name, lane, begin)), default=0)
                header = self._header(name, number)
                if last[lane] or (header is not None and header.next_seqs[lane] == 1):
                    break
        return tuple(last)

    # Records, one by one.

    def _blobs(self, name: EpochName, lane: Lane, place: _Place) -> Iterator[_Blob]:
        """Yield the lane's records from an append on, through what is durable."""
        for number in [n for n in self._numbers[name.epoch] if n >= place.segment]:
            offset = place.offset if number == place.segment else HEADER_BYTES
            for origin, raw, stretch in self._stretches(name, number, offset):
                yield from _of_lane(lane, number, origin, raw, stretch, name)

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

    def _before(self, epoch: EpochId, lane: Lane, blob: _Blob, seq: int, before: bytes) -> bytes:
        """Return the running hash before a record: unknown behind a loss, until a header tells it again."""
        if blob.seq == seq and before != CHAIN_UNKNOWN:
            return before
        header = self._header(self._names[epoch], blob.segment)
        known = header is not None and header.next_seqs[lane] == blob.seq
        return header.chains[lane] if header is not None and known else CHAIN_UNKNOWN


def _after(before: bytes, blob: _Blob) -> bytes:
    return chain(before, bytes(blob.data)) if before != CHAIN_UNKNOWN else before


def _of_lane(lane: Lane, number: int, origin: int, raw: bytes, stretch: Stretch, name: EpochName) -> Iterator[_Blob]:
    """Yield the records of one lane in a stretch."""
    if stretch.rows is not None:
        if lane is Lane.DECISIONS:
            data, width = memoryview(stretch.rows.tobytes()), DECISION.itemsize
            seqs, positions = stretch.rows["seq"].tolist(), stretch.rows["pos"].tolist()
            for index, (at, seq, pos) in enumerate(zip(stretch.offsets().tolist(), seqs, positions, strict=True)):
                begin = origin + (at - APPEND_BYTES if stretch.append is None else stretch.start)
                yield _Blob(number, begin, seq, pos, data[index * width : (index + 1) * width])
    elif stretch.append is not None:
        for start, stop, of, _kind, seq, pos, _time in heads(raw, stretch.append, name.segment(number)):
            if of is lane:
                yield _Blob(number, origin + stretch.start, seq, pos, raw[start:stop])
