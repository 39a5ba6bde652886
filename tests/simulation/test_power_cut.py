"""The journal under power cuts, at thousands of places: a tear is cut and told, damage inside is told exactly."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import pytest

from actors.journal.disk import PosixDisk
from actors.journal.journal import Bounds, Journal
from actors.journal.layout import APPEND_BYTES, HEADER_BYTES, located
from actors.journal.log import Entry, Item
from actors.journal.memory import MemoryDisk, PowerCut
from actors.journal.ports import Disk
from actors.journal.recovery import Owner, Reason, Recovery, open_journal
from actors.journal.segment import Columns
from actors.journal.verify import verify
from actors.journal.walk import LaneRange
from tidegate.clock import ManualClock
from tidegate.ids import GateId, SiteId
from tidegate.records import DECISION_BODY_BYTES, HEAD_BYTES, Kind, Lane, Record, event_body

NOW_US = 1_795_000_000_000_000
POINTS = 2_000
REAL_POINTS = 150
WAYS = 3
BOUNDS = Bounds(segment_bytes=64 * 1024, bytes_max=64 * 1024 * 1024, reserve_bytes=4096, pending_bytes_max=1024 * 1024)
SEEDS = (1, 3, 4, 6)


@dataclass(frozen=True)
class Written:
    """Where one append stands, and what it holds."""

    file: str
    start: int
    stop: int
    records: tuple[Record, ...]


@dataclass
class Base:
    """A disk with a journal of which the first `acknowledged` appends were acknowledged, and the rest never."""

    disk: MemoryDisk
    appends: list[Written] = field(default_factory=list)
    acknowledged: int = 0

    @property
    def kept(self) -> list[Record]:
        return [record for append in self.appends[: self.acknowledged] for record in append.records]

    @property
    def never(self) -> list[Record]:
        return [record for append in self.appends[self.acknowledged :] for record in append.records]


def opened(disk: Disk, rng: Random, mark: str = "m1", bounds: Bounds = BOUNDS) -> tuple[Journal, Recovery]:
    owner = Owner(SiteId("s1"), GateId("g0"), mark)
    return open_journal(disk=disk, owner=owner, clock=ManualClock(NOW_US), entropy=rng.randbytes, bounds=bounds)


def some_items(rng: Random) -> list[Item]:
    decision = (Lane.DECISIONS, Kind.DECISION, rng.randbytes(DECISION_BODY_BYTES))
    evicted = (Lane.EVENTS, Kind.CARD_EVICTED, event_body({"card": "c" * rng.randrange(4_000)}))
    return rng.choice([[decision], [decision], [decision, evicted], [evicted], [decision] * 3])


def add(base: Base, journal: Journal, rng: Random) -> None:
    entries = journal.append(some_items(rng), NOW_US)
    _, segment, start = located(entries[0][0])
    stop = located(entries[-1][0])[2] + HEAD_BYTES + len(entries[-1][1].body)
    file = f"0001-{journal.epoch}/{segment:08d}.seg"
    base.appends.append(Written(file, start - APPEND_BYTES, stop, tuple(record for _, record in entries)))


def build(seed: int, appends: int = 50) -> Base:
    """A journal of some segments, its last batch of several appends written but never synced nor acknowledged."""
    rng = Random(seed)
    base = Base(MemoryDisk())
    journal, _ = opened(base.disk, rng)
    first = next(record for _, record in journal.scan())
    file = next(iter(base.disk.sizes()))
    base.appends.append(Written(file, HEADER_BYTES, HEADER_BYTES + APPEND_BYTES + len(first.to_bytes()), (first,)))
    for _ in range(appends):
        add(base, journal, rng)
        if rng.random() < 0.4:
            journal.commit()
    journal.commit()
    base.acknowledged = len(base.appends)
    for _ in range(4):
        add(base, journal, rng)
    batch = journal.take()
    assert batch is not None
    for part in batch.parts:
        base.disk.open(base.appends[base.acknowledged - 1].file).pwrite(part.data, part.start)
    base.disk.kill()
    assert len({append.file for append in base.appends[base.acknowledged - 1 :]}) == 1, "choose another seed"
    return base


def mixed(rng: Random, data: bytes, kinds: int = 3) -> bytes:
    """Other bytes: zeros, a single flipped bit, or noise. Never the same."""
    kind = 3 - kinds + rng.randrange(kinds)
    if kind == 0 and any(data):
        return bytes(len(data))
    if kind == 1:
        at = rng.randrange(len(data))
        return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
    return bytes(byte ^ rng.randrange(1, 256) for byte in data)


def recorded(journal: Journal) -> list[Record]:
    """Return the records of all epochs, as a start replays them."""
    return [record for piece in journal.columns_all() for record in _records(piece)]


def _records(piece: Columns | Entry) -> list[Record]:
    return [Record.from_bytes(row.tobytes()) for row in piece.rows] if isinstance(piece, Columns) else [piece[1]]


def scanned(journal: Journal) -> list[Record]:
    return [record for _, record in journal.scan()]


def check_tear(base: Base, disk: Disk, rng: Random) -> None:
    """Every acknowledged record is there, then perhaps some that never were, then the record that tells the tear."""
    journal, recovery = opened(disk, rng)

    assert not recovery.new_epoch
    assert recovery.offline_approvals
    assert recovery.torn is not None
    assert recovery.lost == ()
    found = scanned(journal)
    kept = base.kept
    assert found[: len(kept)] == kept
    beyond = found[len(kept) : -1]
    assert beyond == base.never[: len(beyond)]
    assert found[-1].kind is Kind.TAIL_CUT
    assert found[-1].values()["first_pos"] == found[-1].pos == journal.durable_pos
    if rng.random() < 0.8:
        journal.close()
        return
    journal.append(some_items(rng), NOW_US)
    journal.commit()
    after = scanned(journal)
    journal.close()

    again, recovery = opened(disk, rng)
    assert recovery.torn is None
    assert scanned(again) == after
    again.close()


def check_damage(base: Base, disk: Disk, rng: Random, gone: set[int]) -> None:
    """Exactly the records at the positions `gone` are lost; a new epoch tells so, and stops approvals offline."""
    journal, recovery = opened(disk, rng)

    assert recovery.new_epoch
    assert recovery.reason is Reason.DAMAGED
    assert not recovery.offline_approvals
    assert {pos for lost in recovery.lost for pos in range(lost.first_pos, lost.last_pos + 1)} == gone
    lost_records = {(part.lane, seq) for lost in recovery.lost for part in lost.lanes for seq in span(part)}
    records = base.kept + base.never
    assert lost_records == {(record.lane, record.seq) for record in records if record.pos in gone}
    everything = recorded(journal)
    own = scanned(journal)
    assert everything == [record for record in records if record.pos not in gone] + own
    assert [record.kind for record in own] == [Kind.EPOCH_STARTED] + [Kind.RANGE_LOST] * len(recovery.lost)
    assert [(record.values()["first_pos"], record.values()["last_pos"]) for record in own[1:]] == [
        (lost.first_pos, lost.last_pos) for lost in recovery.lost
    ]
    journal.close()
    if rng.random() < 0.8:
        return

    again, recovery = opened(disk, rng)
    assert not recovery.new_epoch
    assert not recovery.offline_approvals
    assert recorded(again) == everything
    again.close()


def span(part: LaneRange) -> range:
    return range(part.first_seq, part.last_seq + 1)


def tear(base: Base, disk: MemoryDisk, rng: Random) -> None:
    """Truncate or garble the file at or beyond the durable offset."""
    last = base.appends[base.acknowledged - 1]
    end = base.appends[-1].stop if rng.random() < 0.8 else BOUNDS.segment_bytes - 1
    at = rng.randrange(last.stop, end)
    if rng.random() < 0.3:
        disk.truncate(last.file, at)
    else:
        data = disk.open(last.file).pread(rng.randrange(1, 700), at)
        # Zeros up to the very end of what was written could leave what looks whole, and is.
        disk.garble(last.file, at, mixed(rng, data, 3 if at + len(data) < base.appends[-1].stop else 2))


def damage(base: Base, disk: MemoryDisk, rng: Random) -> set[int]:
    """Garble bytes that were acknowledged; return the positions of the records they held."""
    hit = rng.choice(base.appends[: base.acknowledged])
    at = rng.randrange(0, HEADER_BYTES) if rng.random() < 0.05 else rng.randrange(hit.start, hit.stop)
    end = max(append.stop for append in base.appends[: base.acknowledged] if append.file == hit.file)
    size = rng.choice([1, 4, 64, 700, 3000])
    data = disk.open(hit.file).pread(min(size, end - at), at)
    new = mixed(rng, data)
    disk.garble(hit.file, at, new)
    held = [(a, slice(max(a.start - at, 0), max(a.stop - at, 0))) for a in base.appends if a.file == hit.file]
    hits = [append for append, part in held if data[part] != new[part]]
    return {record.pos for append in hits for record in append.records}


@pytest.fixture(scope="module")
def bases() -> list[Base]:
    return [build(seed) for seed in SEEDS]


def at_each_point(bases: list[Base], points: int, check: Callable[[Base, MemoryDisk, Random], None]) -> None:
    for point in range(points):
        base = bases[point % len(bases)]
        try:
            check(base, base.disk.copy(), Random(point))
        except Exception as error:
            raise AssertionError(f"at point {point}") from error


def on_posix(disk: MemoryDisk, folder: Path) -> PosixDisk:
    """The same files in a real folder."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in disk.sizes():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(disk.read(name))
    return PosixDisk(folder)


def test_whatever_is_torn_beyond_the_durable_offset_every_acknowledged_record_is_there(bases: list[Base]) -> None:
    def check(base: Base, disk: MemoryDisk, rng: Random) -> None:
        tear(base, disk, rng)
        check_tear(base, disk, rng)

    at_each_point(bases, POINTS, check)


def test_whatever_is_garbled_inside_exactly_that_is_lost_and_told(bases: list[Base]) -> None:
    def check(base: Base, disk: MemoryDisk, rng: Random) -> None:
        gone = damage(base, disk, rng)
        check_damage(base, disk, rng, gone)

    at_each_point(bases, POINTS, check)


def test_a_real_disk_tells_tears_as_the_twin_does(bases: list[Base], tmp_path: Path) -> None:
    def check(base: Base, disk: MemoryDisk, rng: Random) -> None:
        tear(base, disk, rng)
        check_tear(base, on_posix(disk, tmp_path / "journal"), rng)

    at_each_point(bases, REAL_POINTS, check)


def test_a_real_disk_tells_damage_as_the_twin_does(bases: list[Base], tmp_path: Path) -> None:
    def check(base: Base, disk: MemoryDisk, rng: Random) -> None:
        gone = damage(base, disk, rng)
        check_damage(base, on_posix(disk, tmp_path / "journal"), rng, gone)

    at_each_point(bases, REAL_POINTS, check)


# --- Power cuts while the journal is opened, written and tended: at every single step on the disk. ---


def cut_everywhere(
    start: MemoryDisk, act: Callable[[MemoryDisk, Random], None], check: Callable[[MemoryDisk], None]
) -> int:
    """Cut the power at each step of `act`, crash in several ways, and `check` what is found. Return the steps."""
    for step in range(1, 10_000):
        for way in range(WAYS):
            disk = start.copy()
            disk.cut_at(step)
            try:
                act(disk, Random(step))
            except PowerCut:
                disk.crash(Random(way))
            else:
                return step
            try:
                check(disk)
            except Exception as error:
                raise AssertionError(f"cut at step {step}, crashed in way {way}") from error
    raise AssertionError("it never ends")


@pytest.mark.parametrize("start", [40, 0], ids=["garbled", "never written"])
def test_a_power_cut_while_a_tail_is_cut_never_hides_the_tear(bases: list[Base], start: int) -> None:
    base = bases[0]
    disk = base.disk.copy()
    torn = base.appends[base.acknowledged]
    disk.garble(torn.file, torn.start + start, bytes(torn.stop - torn.start - start))

    def check(disk: MemoryDisk) -> None:
        journal, recovery = opened(disk, Random(7))
        found = scanned(journal)
        assert not recovery.new_epoch
        assert found[: len(base.kept)] == base.kept
        assert Kind.TAIL_CUT in {record.kind for record in found}
        assert {record.kind for record in found[len(base.kept) :]} == {Kind.TAIL_CUT}
        assert verify(disk).ok

    steps = cut_everywhere(disk, lambda disk, rng: opened(disk, rng)[0].close(), check)

    assert steps > 8


def test_a_power_cut_while_a_damaged_epoch_is_left_loses_nothing_more(bases: list[Base]) -> None:
    base = bases[1]
    disk = base.disk.copy()
    gone = {record.pos for record in base.appends[9].records}
    disk.garble(base.appends[9].file, base.appends[9].start + 40, b"rotten")

    def check(disk: MemoryDisk) -> None:
        journal, recovery = opened(disk, Random(7))
        own = scanned(journal)
        everything = recorded(journal)
        assert recovery.epoch_index == 2
        assert recovery.reason is Reason.DAMAGED
        assert not recovery.offline_approvals
        assert [record.kind for record in own[:2]] == [Kind.EPOCH_STARTED, Kind.RANGE_LOST]
        assert {record.kind for record in own[2:]} <= {Kind.RANGE_LOST}
        lost = [record.values() for record in own[1:]]
        assert [(one["first_pos"], one["last_pos"]) for one in lost if one["acknowledged"]] == [(min(gone), max(gone))]
        assert all(one["first_pos"] > base.kept[-1].pos for one in lost if not one["acknowledged"])  # never synced
        kept = [record for record in base.kept if record.pos not in gone]
        assert everything[: len(kept)] == kept
        assert everything[-len(own) :] == own

    steps = cut_everywhere(disk, lambda disk, rng: opened(disk, rng)[0].close(), check)

    assert steps > 8


@pytest.mark.parametrize(("mark", "reason"), [("m1", Reason.FIRST_START), ("m2", Reason.MACHINE_CHANGED)])
def test_a_power_cut_while_an_epoch_is_made_leaves_one_to_begin_or_go_on_with(mark: str, reason: Reason) -> None:
    disk = MemoryDisk()
    if reason is Reason.MACHINE_CHANGED:
        opened(disk, Random(1))[0].close()

    def check(disk: MemoryDisk) -> None:
        journal, recovery = opened(disk, Random(7), mark)
        assert recovery.reason is reason
        assert recovery.offline_approvals
        assert [record.kind for record in scanned(journal)] == [Kind.EPOCH_STARTED]
        assert recovery.epoch_index == len({name.split("/")[0] for name in disk.sizes() if "/" in name})

    steps = cut_everywhere(disk, lambda disk, rng: opened(disk, rng, mark)[0].close(), check)

    assert steps > 8


def test_a_power_cut_at_any_step_of_a_busy_day_keeps_every_acknowledged_record() -> None:
    """Rolling segments, compressing, closing: whatever is cut, acknowledged records are there and no epoch begins."""
    tight = replace(BOUNDS, bytes_max=5 * BOUNDS.segment_bytes + BOUNDS.reserve_bytes)
    acknowledged: list[Record] = []

    def act(disk: MemoryDisk, rng: Random) -> None:
        acknowledged.clear()
        journal, _ = opened(disk, rng, bounds=tight)
        for _ in range(14):
            journal.append([(Lane.EVENTS, Kind.LISTS_ACTIVATED, rng.randbytes(15_000))], NOW_US)
            journal.append([(Lane.EVENTS, Kind.CARD_EVICTED, rng.randbytes(700))], NOW_US)
            journal.commit()
            acknowledged[:] = scanned(journal)
            journal.tend()
        journal.close()

    def check(disk: MemoryDisk) -> None:
        journal, recovery = opened(disk, Random(7), bounds=tight)
        assert recovery.epoch_index == 1
        assert recovery.lost == ()
        assert scanned(journal)[: len(acknowledged)] == acknowledged
        assert verify(disk).ok

    steps = cut_everywhere(MemoryDisk(), act, check)

    assert steps > 90
