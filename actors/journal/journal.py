"""The open journal of a gate: append, make durable, read back, keep within its bounds."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt

from actors.journal.layout import (
    EPOCHS_MAX,
    RESERVE,
    SEGMENTS_MAX,
    EpochName,
    Mark,
    append_seed,
    located,
    locator,
)
from actors.journal.log import Entry, Item, Log, Part, Place, Position
from actors.journal.ports import Disk
from actors.journal.segment import Columns, columns, entries, record_bytes
from actors.journal.shelf import Shelf
from actors.journal.space import Rung, measure, rung, with_reserve
from actors.journal.trim import Line, TrimmedError, trim
from actors.journal.writer import Batch, Writer
from tidegate.errors import DiskFullError, JournalError, NotFoundError
from tidegate.ids import EpochId
from tidegate.limits import (
    COMMIT_PENDING_BYTES_MAX,
    JOURNAL_BYTES_MAX,
    JOURNAL_RESERVE_BYTES,
    RECORD_BODY_BYTES_MAX,
    SEGMENT_BYTES,
    SEGMENT_BYTES_MAX,
    SEGMENT_BYTES_MIN,
)
from tidegate.passages import Head
from tidegate.records import DECISION, HEAD_BYTES, Lane, Record

_READ_BYTES: Final = 1024  # a decision and most events come with one read
_WINDOW_BYTES: Final = 1024 * 1024  # what `rows` reads at once
_SKIP_BYTES: Final = 32 * 1024  # reading over this much costs less than another read


@dataclass(frozen=True, slots=True)
class Bounds:
    """The sizes of a journal, in bytes."""

    segment_bytes: int = SEGMENT_BYTES
    bytes_max: int = JOURNAL_BYTES_MAX
    reserve_bytes: int = JOURNAL_RESERVE_BYTES
    pending_bytes_max: int = COMMIT_PENDING_BYTES_MAX

    def __post_init__(self) -> None:
        if not SEGMENT_BYTES_MIN <= self.segment_bytes <= SEGMENT_BYTES_MAX:
            raise ValueError(f"segment_bytes must be {SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_MAX}")
        if self.bytes_max < self.reserve_bytes + 2 * self.segment_bytes:
            raise ValueError("bytes_max must hold the reserve and two segments")


class Journal:
    """One open journal. A single writer: everything but `Batch.flush` and `tend` belongs to one thread.

    Made by `recovery.open_journal`.
    """

    def __init__(
        self,
        *,
        disk: Disk,
        place: Place,
        at: Position,
        starts: Sequence[int],
        older: Sequence[EpochName],
        bounds: Bounds,
    ) -> None:
        self._disk = disk
        self._shelf = Shelf(disk)
        self._name = EpochName(place.epoch_index, place.epoch)
        self._names = {name.ordinal: name for name in (*older, self._name)}
        self._bounds = bounds
        self._log = Log(
            place=place,
            at=at,
            starts=starts,
            segment_bytes=bounds.segment_bytes,
            pending_bytes_max=bounds.pending_bytes_max,
        )
        self._writer = Writer(disk=disk, name=self._name, segment=at.segment, segment_bytes=bounds.segment_bytes)
        self._in_flight: Batch | None = None
        self._durable_pos = at.next_pos - 1
        self._incompressible: set[tuple[EpochName, int]] = set()
        self._space = self._writer.space
        self._rung = rung(self._space, bounds.bytes_max)
        self._kept = {ordinal: self._first_kept(name) for ordinal, name in self._names.items()}

    @property
    def epoch(self) -> EpochId:
        """The epoch that records are appended to."""
        return self._name.epoch

    @property
    def epoch_index(self) -> int:
        """The number of this epoch, from 1."""
        return self._name.ordinal

    def epoch_of(self, locator: int) -> EpochId:
        """The epoch that the record at a locator belongs to."""
        return self._name_of(located(locator)[0]).epoch

    @property
    def durable_pos(self) -> int:
        """The position up to which everything survives a power cut; 0: nothing yet."""
        return self._durable_pos

    @property
    def last_pos(self) -> int:
        """The position of the last record appended, durable or not."""
        return self._log.next_pos - 1

    @property
    def failed(self) -> bool:
        """Whether the disk failed: nothing is accepted any more, the gate has to restart from the disk."""
        return self._writer.failed

    @property
    def used_bytes(self) -> int:
        """What the journal takes on the disk, reserve included."""
        return self._space.used_bytes

    @property
    def used_ratio(self) -> float:
        """The share of its bound that the journal takes, 0 to 1."""
        return self._space.used_bytes / self._bounds.bytes_max

    def head(self, lane: Lane) -> Head:
        """Return where the lane stands, with what is not durable yet."""
        return self._log.head(lane)

    def rung(self) -> Rung:
        """Return the step of the disk's ladder."""
        return self._rung

    # Writing.

    def append(self, items: Sequence[Item], time_us: int, *, admitted: int | None = None) -> tuple[Entry, ...]:
        """Number and chain `items` as one append; return their locators and records. Touches no disk.

        They are all there or none is, after a crash too. Every error leaves the journal as it was. `admitted` is what
        `admit` returned for bodies of these sizes, with nothing appended since; without it they are admitted here.

        Raises:
            JournalError: the journal has failed.
            DiskFullError: the bound of the disk is reached.
            OverloadedError: too much waits for a flush.
            ValueError: not a possible append.
        """
        return self._log.append(items, self.admit(items) if admitted is None else admitted, time_us)

    def admit(self, items: Sequence[Item]) -> int:
        """Return the size of an append of `items`, or raise what `append` would; only the bodies' sizes matter.

        For who has to change other state together with the append, and asks first.
        """
        if self._writer.failed:
            raise JournalError("the journal failed before; restart the gate")
        size = self._log.size(items)
        if self._rung is Rung.REFUSE or not (self._log.fits(size) or self._may_grow()):
            raise DiskFullError(
                f"the journal uses {self._space.used_bytes} of {self._bounds.bytes_max} bytes, or its disk is full; "
                "free space or raise journal.bytes_max",
            )
        return size

    def tell(self, items: Sequence[Item], time_us: int) -> None:
        """Append what an opening has to say, on a full disk too: the reserve is kept for that."""
        self._log.append(items, self._log.size(items), time_us)

    def confirm(self, mark: Mark) -> None:
        """Have the mark say what an opening has made durable, for who reads beside the gate: it may stay idle long."""
        self._writer.write((), mark)

    def take(self) -> Batch | None:
        """Return what waits to be made durable, or None.

        Raises:
            RuntimeError: the batch before is not committed yet.
        """
        if self._in_flight is not None:
            raise RuntimeError("the batch before is still in flight: call committed() first")
        log = self._log
        parts = tuple(log.take())
        if not parts:
            return None
        mark = Mark(log.next_pos - 1, parts[-1].segment, parts[-1].stop, log.next_seqs)
        self._in_flight = Batch(parts, mark, self._writer)
        return self._in_flight

    def committed(self, batch: Batch) -> None:
        """Publish what `batch.flush()` made durable."""
        self._durable_pos = self._log.durable_pos = batch.last_pos
        self._in_flight = None
        if self._writer.space is not self._space:
            self._climb()

    def commit(self) -> None:
        """Make everything appended durable, in this thread.

        Raises:
            JournalError: the disk failed.
        """
        batch = self.take()
        if batch is not None:
            batch.flush()
            self.committed(batch)

    def close(self) -> None:
        """Make everything durable, the mark too, and let go of the folder; after a failure, only let go."""
        try:
            if not self._writer.failed:
                self.commit()
        finally:
            self._writer.close()
            self._disk.unlock()

    # Reading.

    def read(self, at: int) -> Record:
        """Return the record at a locator that `append` or a scan gave, durable or not.

        Raises:
            TrimmedError: it was dropped once the cloud had it.
            NotFoundError: there is no record any more.
        """
        data = self._unflushed(at) if at >= self._waiting() else self._window(*located(at))
        try:
            return Record.from_bytes(data)
        except ValueError as error:
            if at < self._kept_from(located(at)[0]):
                raise TrimmedError("it was dropped at the site once the cloud had it: ask there") from error
            raise _gone(at) from error

    def kept(self) -> dict[EpochId, int]:
        """Return for each epoch the locator before which its records were dropped."""
        return {name.epoch: self._kept_from(ordinal) for ordinal, name in self._names.items()}

    def _kept_from(self, epoch_index: int) -> int:
        return locator(epoch_index, self._kept.get(epoch_index, 1), 0)

    def rows(self, locators: Sequence[int]) -> npt.NDArray[np.void]:
        """Return the decisions at `locators`, in that order, as an array of dtype DECISION.

        Neighbours are read together: for the pages of a list.

        Raises:
            NotFoundError: at one of them there is no decision any more.
        """
        ats = [int(at) for at in locators]
        blobs = [b""] * len(ats)
        window, begin, end, waiting = b"", 0, 0, self._waiting()
        order = sorted(range(len(ats)), key=ats.__getitem__)
        for place, number in enumerate(order):
            at = ats[number]
            if at >= waiting:
                window, begin, end = self._unflushed(at), at, at + 1
            elif not begin <= at < end:
                index, segment, offset = located(at)
                size = _span(ats, order, place) + DECISION.itemsize
                window, begin = self._shelf.window(self._name_of(index), segment, size, offset), at
                end = at + len(window) - DECISION.itemsize + 1
            blobs[number] = window[at - begin : at - begin + DECISION.itemsize]
            if len(blobs[number]) < DECISION.itemsize:
                raise _gone(at)
        rows: npt.NDArray[np.void] = np.frombuffer(b"".join(blobs), DECISION)
        if not (rows["lane"] == int(Lane.DECISIONS)).all():
            raise NotFoundError("one of the locators is no decision's")
        return rows

    def scan(self, from_pos: int = 1) -> Iterator[Entry]:
        """Yield the records of this epoch from `from_pos` through what is durable at the call."""
        return self._scan(from_pos, self._durable_pos)

    def _scan(self, from_pos: int, through_pos: int) -> Iterator[Entry]:
        for number in self._segments(from_pos, through_pos):
            for at, record in self._entries(self._name, number):
                if from_pos <= record.pos <= through_pos:
                    yield at, record

    def columns(self, from_pos: int = 1) -> Iterator[Columns | Entry]:
        """Yield what `scan` does, in the same order, but runs of decisions as columns: for replays."""
        return self._columns(from_pos, self._durable_pos)

    def columns_all(self) -> Iterator[Columns | Entry]:
        """Yield the records of all epochs, oldest first, through what is durable, runs of decisions as columns.

        Of segments that were dropped come the records that still hold.
        """
        sizes = self._disk.sizes()
        for name in self._names.values():
            yield from self._shelf.standing(name)
            if name == self._name:
                yield from self.columns()
            else:
                for number in self._shelf.numbers(sizes, name):
                    yield from self._pieces(name, number)

    def _pieces(self, name: EpochName, number: int) -> Iterator[Columns | Entry]:
        raw, base, seed, file = self._opened(name, number)
        return columns(raw, seed, base, file)

    def _columns(self, from_pos: int, through_pos: int) -> Iterator[Columns | Entry]:
        for number in self._segments(from_pos, through_pos):
            for piece in self._pieces(self._name, number):
                if not isinstance(piece, Columns):
                    if from_pos <= piece[1].pos <= through_pos:
                        yield piece
                    continue
                pos = piece.rows["pos"]
                chosen = (pos >= from_pos) & (pos <= through_pos)
                if chosen.any():
                    yield piece if chosen.all() else Columns(piece.locators[chosen], piece.rows[chosen])

    # Upkeep.

    def tend(self, line: Line | None = None) -> bool:
        """Do one piece of upkeep and return whether there may be more: restore the reserve, drop or compress a segment.

        `line` says what may be dropped; without one, where there is no cloud, nothing is. Runs in any thread, one at a
        time; beside flushes, but for those that need a new segment meanwhile.
        """
        if self._writer.failed:
            return False
        with self._writer.growing:
            worked = self._restore_reserve() or (self._rung >= Rung.COMPRESS and self._make_room(line))
            self._writer.space = measure(self._disk)
        self._climb()
        return worked

    def _restore_reserve(self) -> bool:
        if RESERVE in self._disk.sizes() or self._disk.free_bytes() < 2 * self._bounds.reserve_bytes:
            return False
        self._disk.create(RESERVE, self._bounds.reserve_bytes).close()
        return True

    def _make_room(self, line: Line | None) -> bool:
        return (line is not None and self._trim_one(line)) or self._compress_one()

    def _trim_one(self, line: Line) -> bool:
        for name in self._names.values():
            last = self._writer.segment if name == self._name else SEGMENTS_MAX
            trimmed = with_reserve(self._disk, partial(trim, self._disk, name, last, line, current=name == self._name))
            if trimmed:
                self._kept[name.ordinal] = trimmed
                return True
        return False

    def _first_kept(self, name: EpochName) -> int:
        trimmed = self._shelf.trimmed(name)
        return trimmed.header.segment if trimmed is not None else 1

    def _compress_one(self) -> bool:
        sizes = self._disk.sizes()
        for name in self._names.values():
            for number in self._shelf.numbers(sizes, name):
                sealed = name != self._name or number < self._writer.segment
                if sealed and name.segment(number) in sizes and (name, number) not in self._incompressible:
                    self._compress(name, number)
                    return True
        return False

    def _compress(self, name: EpochName, number: int) -> None:
        try:
            done = with_reserve(self._disk, lambda: self._shelf.compress(name, number))
        except DiskFullError:
            done = False
        if not done:
            self._incompressible.add((name, number))

    def _climb(self) -> None:
        self._space = self._writer.space
        self._rung = rung(self._space, self._bounds.bytes_max)

    def _may_grow(self) -> bool:
        return self._space.used_bytes + self._bounds.segment_bytes <= self._bounds.bytes_max

    def _window(self, index: int, segment: int, offset: int) -> bytes:
        """Return at least the record at `offset` from the disk."""
        name = self._name_of(index)
        data = self._shelf.window(name, segment, _READ_BYTES, offset)
        if len(data) < HEAD_BYTES or record_bytes(data) <= len(data):
            return data
        return self._shelf.window(name, segment, min(record_bytes(data), HEAD_BYTES + RECORD_BODY_BYTES_MAX), offset)

    def _name_of(self, index: int) -> EpochName:
        if index not in self._names:
            raise NotFoundError(f"this journal has no epoch number {index}")
        return self._names[index]

    def _in_memory(self) -> Iterator[Part]:
        """Yield what waits for the disk still, in order."""
        if self._in_flight is not None:
            yield from self._in_flight.parts
        yield from self._log.pending()

    def _waiting(self) -> int:
        """Return the locator from which on records have to be read from memory."""
        for part in self._in_memory():
            return locator(self._name.ordinal, part.segment, part.start)
        return locator(EPOCHS_MAX + 1, 0, 0)

    def _unflushed(self, at: int) -> bytes:
        """Return the record at a locator that waits for the disk; nothing where there is none."""
        index, segment, offset = located(at)
        for part in self._in_memory():
            if (index, segment) == (self._name.ordinal, part.segment) and part.start <= offset < part.stop:
                begin = offset - part.start
                return bytes(part.data[begin : begin + record_bytes(part.data, begin)])
        return b""

    def _segments(self, from_pos: int, through_pos: int) -> range:
        """Return the numbers of the segments that hold the positions, at the call."""
        starts = self._log.starts
        return range(max(1, bisect_right(starts, from_pos)), bisect_right(starts, through_pos) + 1)

    def _opened(self, name: EpochName, number: int) -> tuple[bytes, int, int, str]:
        raw = self._shelf.load(name, number)
        return raw, locator(name.ordinal, number, 0), append_seed(name.epoch, number), name.segment(number)

    def _entries(self, name: EpochName, number: int) -> Iterator[Entry]:
        raw, base, seed, file = self._opened(name, number)
        return entries(raw, seed, base, file)


def _span(locators: Sequence[int], order: Sequence[int], place: int) -> int:
    """Return how far one read from `order[place]` should reach to serve those close behind it."""
    begin = last = locators[order[place]]
    for number in order[place + 1 :]:
        at = locators[number]
        if at - last > _SKIP_BYTES or at - begin > _WINDOW_BYTES:
            break
        last = at
    return last - begin


def _gone(locator: int) -> NotFoundError:
    index, segment, offset = located(locator)
    return NotFoundError(
        f"epoch {index}, segment {segment}, byte {offset}: no record can be read there; verify the journal"
    )
