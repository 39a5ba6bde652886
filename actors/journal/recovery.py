"""Opens a gate's journal: finds what is durable, cuts a torn tail, begins a new epoch where it must, and tells all.

A crash anywhere in here leaves what the next open handles: a torn tail stays visible until a record tells of it, and
an epoch exists from the moment its mark does.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

from actors.journal.journal import Bounds, Journal
from actors.journal.layout import BESIDE, EPOCHS_MAX, RESERVE, EpochName, Mark, epoch_names, segment_numbers
from actors.journal.log import Item, Place, Position
from actors.journal.ports import Disk, File
from actors.journal.segment import used_bytes
from actors.journal.shelf import Shelf, remove_segment
from actors.journal.walk import Lost, Torn, Walk, walk
from tidegate.clock import Clock
from tidegate.errors import DiskFullError, JournalError
from tidegate.ids import Entropy, EpochId, GateId, SiteId, new_epoch
from tidegate.limits import LOST_RANGES_TOLD_MAX
from tidegate.records import Kind, Lane, event_body
from tidegate.tideline import Witness

_POISON: Final = b"\xff"
"""No append and no header begins with it: marks a tail as torn while it is being cleaned."""


class Reason(StrEnum):
    """Why an epoch began."""

    FIRST_START = "first_start"
    MACHINE_CHANGED = "machine_changed"
    DAMAGED = "damaged"
    RESTORED = "restored"
    """The cloud has another history of the epoch before: an older copy of the journal was put back."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose journal it is. `machine_mark` is kept outside the data folder, so that a restored copy shows."""

    site: SiteId
    gate: GateId
    machine_mark: str


@dataclass(frozen=True, slots=True)
class Recovery:
    """What was found at the opening, for the gate to act on.

    `offline_approvals` is False in an epoch that began with damage, and in all that follow it. `last_time_us` is the
    highest time in the journal: the clock must not go below it.
    """

    epoch: EpochId
    epoch_index: int
    new_epoch: bool
    reason: Reason
    lost: tuple[Lost, ...]
    torn: Torn | None
    offline_approvals: bool
    last_pos: int
    last_time_us: int


def open_journal(
    *,
    disk: Disk,
    owner: Owner,
    clock: Clock,
    entropy: Entropy,
    bounds: Bounds | None = None,
    witness: Witness | None = None,
) -> tuple[Journal, Recovery]:
    """Return the journal, ready to append, and what was found. Whatever it holds is durable then.

    `witness` is what the cloud is known to have: where that isn't what the journal holds, a new epoch begins.

    Raises:
        JournalFormatError: an unknown version, schema or kind, or another owner's journal; nothing was changed.
        JournalError: another process holds the journal, or the disk failed.
        DiskFullError: no room for what must be written at a start.
    """
    bounds = bounds or Bounds()
    with ExitStack() as stack:
        disk.lock()
        stack.callback(disk.unlock)
        try:
            opened = _Opening(disk, owner, clock, entropy, bounds, witness).run()
        except OSError as error:
            raise JournalError(f"the journal can't be opened: {error}; check the disk") from error
        stack.pop_all()
    return opened


class _Opening:
    """One opening, step by step."""

    def __init__(
        self, disk: Disk, owner: Owner, clock: Clock, entropy: Entropy, bounds: Bounds, witness: Witness | None
    ) -> None:
        self._disk = disk
        self._owner = owner
        self._now_us = clock.now_us()
        self._entropy = entropy
        self._bounds = bounds
        self._witness = witness

    def run(self) -> tuple[Journal, Recovery]:
        """Look first, change afterwards."""
        names = epoch_names(self._disk.sizes())
        last = None
        while names and last is None:
            found = walk(self._disk, names[-1], (self._owner.site, self._owner.gate), self._witness)
            if found.unfinished:
                names.pop()
            else:
                last = found
        self._clear(names)
        if last is None:
            return self._begin(Reason.FIRST_START, names, None)
        if last.lost or last.started is None:
            return self._begin(Reason.DAMAGED, names, last)
        if last.started["machine_mark"] != self._owner.machine_mark:
            return self._begin(Reason.MACHINE_CHANGED, names, last)
        if last.denied:
            return self._begin(Reason.RESTORED, names, last)
        return self._resume(names, last)

    def _clear(self, names: list[EpochName]) -> None:
        """Remove what an earlier crash left unfinished, and see to the reserve."""
        sizes = self._disk.sizes()
        finished = {str(name) for name in names}
        for name in names:
            self._drop_trimmed(name)
        for file in sorted(sizes, reverse=True):
            folder, slash, _ = file.partition("/")
            if file.endswith(BESIDE) or (slash and folder not in finished and epoch_names([file])):
                self._disk.remove(file)
        if RESERVE not in sizes:
            self._make_reserve()

    def _drop_trimmed(self, name: EpochName) -> None:
        """Remove segments that were dropped, and were still there when the process ended."""
        sizes, kept = self._disk.sizes(), set(Shelf(self._disk).numbers(self._disk.sizes(), name))
        for number in segment_numbers(sizes, name):
            if number not in kept:
                remove_segment(self._disk, name, number)

    def _make_reserve(self) -> None:
        try:
            self._disk.create(RESERVE, self._bounds.reserve_bytes).close()
        except DiskFullError:
            return  # the journal opens, answers and refuses until there is room: see `space.rung`

    def _begin(self, reason: Reason, names: list[EpochName], last: Walk | None) -> tuple[Journal, Recovery]:
        """Begin a new epoch. The old one stays as it is, for ever."""
        index = names[-1].ordinal + 1 if names else 1
        if index > EPOCHS_MAX:
            raise JournalError(f"the journal has {EPOCHS_MAX} epochs; move its folder away and keep it")
        name = EpochName(index, new_epoch(self._entropy))
        if last is not None:
            self._sync_tail(last)
        journal = self._journal(name, Position(), (), names)
        allowed = reason is not Reason.DAMAGED and (last is None or bool(_started(last)["offline_approvals"]))
        started: dict[str, Any] = {
            "epoch": name.epoch,
            "previous": names[-1].epoch if names else "",
            "reason": reason.value,
            "site": self._owner.site,
            "gate": self._owner.gate,
            "machine_mark": self._owner.machine_mark,
            "offline_approvals": int(allowed),
        }
        if reason is Reason.RESTORED and self._witness is not None:
            started["cloud"] = {"lane": self._witness.lane, "seq": self._witness.seq}
        told = [_event(Kind.RANGE_LOST, values) for values in _told(last)]
        last_time_us = max(self._now_us, last.at.last_time_us if last else 0)
        journal.tell([_event(Kind.EPOCH_STARTED, started), *told], last_time_us)
        journal.commit()
        return journal, _recovery(journal, started, last, last_time_us, new=True)

    def _resume(self, names: list[EpochName], last: Walk) -> tuple[Journal, Recovery]:
        """Go on in the newest epoch, behind its last record."""
        self._mend(last)
        last_time_us = max(self._now_us, last.at.last_time_us)
        journal = self._journal(last.name, last.at, last.starts, names[:-1])
        if last.torn is not None:
            journal.tell([_event(Kind.TAIL_CUT, asdict(last.torn))], last_time_us)
            journal.commit()
        elif last.at.offset and last.mark.durable_pos < last.at.next_pos - 1:
            at = last.at
            journal.confirm(Mark(at.next_pos - 1, at.segment, at.offset, at.next_seqs))
        return journal, _recovery(journal, _started(last), last, last_time_us, new=False)

    def _journal(self, name: EpochName, at: Position, starts: Sequence[int], older: Sequence[EpochName]) -> Journal:
        place = Place(self._owner.site, self._owner.gate, name.epoch, name.ordinal)
        return Journal(disk=self._disk, place=place, at=at, starts=starts, older=older, bounds=self._bounds)

    def _mend(self, last: Walk) -> None:
        """Make the tail durable as the walk saw it, and cut what is torn."""
        name, at = last.name, last.at
        file = self._tail(last)
        if file is not None:
            # After a failed sync the system may show bytes that the disk doesn't hold: what nothing proves to be
            # durable is written again.
            begin = min(last.mark.offset, at.offset) if last.mark.segment == at.segment else 0
            file.pwrite(file.pread(at.offset - begin, begin) + (_POISON if last.torn else b""), begin)
            file.sync()
        for number in reversed(segment_numbers(self._disk.sizes(), name)):
            if number > at.segment:
                self._disk.remove(name.segment(number))
        if file is not None:
            self._blank(file, at)
            file.close()

    def _tail(self, last: Walk) -> File | None:
        """Return the segment that the log goes on in; None where that holds nothing yet."""
        name = last.name.segment(last.at.segment)
        if name in self._disk.sizes():
            return self._disk.open(name) if last.at.offset or last.torn else None
        return self._disk.create(name, self._bounds.segment_bytes) if last.torn else None

    def _blank(self, file: File, at: Position) -> None:
        """Zero what follows the cut, but for the poison: a later scan must not take it for valid."""
        rest = used_bytes(file.pread(file.size(), at.offset + len(_POISON)))
        if rest:
            file.pwrite(bytes(rest), at.offset + len(_POISON))
        file.extend(at.segment_bytes)

    def _sync_tail(self, last: Walk) -> None:
        """Make durable what the page cache still holds of an epoch that is left."""
        sizes = self._disk.sizes()
        names = [last.name.segment(number) for number in segment_numbers(sizes, last.name)]
        if names and names[-1] in sizes:
            file = self._disk.open(names[-1])
            file.sync()
            file.close()


def _started(last: Walk) -> dict[str, Any]:
    """Return what the epoch's first record says; where it is lost, so are approvals offline."""
    return last.started or {"offline_approvals": 0}


def _event(kind: Kind, values: dict[str, Any]) -> Item:
    return Lane.EVENTS, kind, event_body(values)


def _told(last: Walk | None) -> list[dict[str, Any]]:
    """Return what the records of the lost ranges say; where there are too many, the last one covers the rest."""
    lost = last.lost if last else ()
    single, rest = lost[: LOST_RANGES_TOLD_MAX - 1], lost[LOST_RANGES_TOLD_MAX - 1 :]
    groups = [(one,) for one in single] + ([rest] if rest else [])
    return [_range(group, last.name.epoch) for group in groups] if last else []


def _range(group: Sequence[Lost], epoch: EpochId) -> dict[str, Any]:
    lanes: dict[Lane, list[int]] = {}
    for lost in group:
        for part in lost.lanes:
            lanes.setdefault(part.lane, [part.lane, part.first_seq, 0])[2] = part.last_seq
    return {
        "epoch": epoch,
        "file": group[0].file,
        "start": group[0].start,
        "last_file": group[-1].last_file,
        "stop": group[-1].stop,
        "first_pos": group[0].first_pos,
        "last_pos": group[-1].last_pos,
        "lanes": list(lanes.values()),
        "acknowledged": int(any(lost.acknowledged for lost in group)),
        "ranges": len(group),
    }


def _recovery(
    journal: Journal, started: dict[str, Any], last: Walk | None, last_time_us: int, *, new: bool
) -> Recovery:
    return Recovery(
        epoch=journal.epoch,
        epoch_index=journal.epoch_index,
        new_epoch=new,
        reason=Reason(started["reason"]),
        lost=last.lost if last else (),
        torn=last.torn if last else None,
        offline_approvals=bool(started["offline_approvals"]),
        last_pos=journal.durable_pos,
        last_time_us=last_time_us,
    )
