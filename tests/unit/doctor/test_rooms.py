"""What the doctor reads from a site's rooms, of which some are really broken; nothing is changed by looking."""

import itertools
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from actors.gate.start import store_checkpoint
from actors.journal.memory import MemoryDisk
from actors.journal.recovery import Owner, open_journal
from actors.scorer.memory import MemoryFolder
from actors.scorer.shelf import Shelf
from actors.window.window import Window, WindowCopy
from edge_nodes.doctor import findings
from edge_nodes.doctor.ports import CheckpointsSeen, JournalSeen, Time
from edge_nodes.doctor.rooms import bundle_seen, checkpoints_seen, flushes_us, journal_seen
from tidegate.bundle import MANIFEST, canonical, decode
from tidegate.clock import ManualClock
from tidegate.errors import DiskFullError
from tidegate.ids import GateId, SiteId
from tidegate.limits import FLUSH_PROBES, HOUR_US
from tidegate.policy.terms import Policy
from tidegate.records import DECISION_BODY_BYTES, Kind, Lane

OWNER = Owner(SiteId("site-1"), GateId("g0"), "m" * 32)


@pytest.fixture
def disk(now_us: int) -> MemoryDisk:
    """A journal of five decisions, closed in order."""
    disk, chance = MemoryDisk(), Random(5)
    journal, _ = open_journal(disk=disk, owner=OWNER, clock=ManualClock(now_us), entropy=chance.randbytes)
    for _ in range(5):
        journal.append([(Lane.DECISIONS, Kind.DECISION, chance.randbytes(DECISION_BODY_BYTES))], now_us)
        journal.commit()
    journal.close()
    return disk


def segment(disk: MemoryDisk) -> str:
    return next(name for name in disk.sizes() if name.endswith(".seg"))


def seen(disk: MemoryDisk, *, held: bool = False) -> JournalSeen:
    before = {name: disk.read(name) for name in disk.sizes()}
    found = journal_seen(disk, "site-1", "g0", held=held)
    assert {name: disk.read(name) for name in disk.sizes()} == before
    return found


def test_a_whole_journal_shows_epoch_position_and_highest_time(disk: MemoryDisk, now_us: int) -> None:
    found = seen(disk)

    assert (found.last_pos, found.last_time_us, found.began) == (6, now_us, "first_start")
    assert findings.of_journal(found).level == "ok"


def test_a_garbled_journal_fails_and_names_what_is_lost(disk: MemoryDisk) -> None:
    disk.garble(segment(disk), 1_400, b"rotten")

    verdict = findings.of_journal(seen(disk))

    assert verdict.level == "fail"
    assert "LOST positions 3..3 (L1 2..2)" in verdict.value


def test_a_torn_tail_warns_unless_a_gate_writes_to_it(disk: MemoryDisk) -> None:
    disk.garble(segment(disk), 60_000, b"torn")

    assert findings.of_journal(seen(disk)).level == "warn"
    assert findings.of_journal(seen(disk, held=True)).level == "ok"


def test_another_sites_journal_is_refused(disk: MemoryDisk) -> None:
    found = journal_seen(disk, "site-2", "g0", held=False)

    assert findings.of_journal(found).level == "fail"
    assert "site-1" in found.refused


def test_an_empty_folder_is_no_journal_and_no_damage() -> None:
    assert journal_seen(MemoryDisk(), "site-1", "g0", held=False) == JournalSeen()


def test_a_clock_that_was_set_back_fails_against_the_journal(disk: MemoryDisk, now_us: int) -> None:
    verdict = findings.of_clock(Time(now_us - HOUR_US, synchronised=True), seen(disk), "system")

    assert verdict.level == "fail"
    assert "-3,600.0 s" in verdict.value


class SlowFile:
    """A file on a disk that takes its time: each flush moves the clock."""

    def __init__(self, sync_us: Iterator[int]) -> None:
        self._file: Any = MemoryDisk().create("probe", 1)
        self._sync_us = sync_us
        self.ticks_ns = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def sync(self) -> None:
        self._file.sync()
        self.ticks_ns += next(self._sync_us) * 1_000

    def now_ns(self) -> int:
        return self.ticks_ns


def test_a_slow_disk_fails_and_is_not_waited_for_without_end() -> None:
    file = SlowFile(iter([40_000] * FLUSH_PROBES))

    took = flushes_us(file, file.now_ns)

    assert set(took) == {40_000.0}
    assert len(took) < FLUSH_PROBES
    assert findings.of_flushes(took).level == "fail"


def test_a_fast_disk_with_a_slow_flush_now_and_then_warns() -> None:
    file = SlowFile(iter([90] * 250 + [5_000] * 6))

    took = flushes_us(file, file.now_ns)

    assert len(took) == FLUSH_PROBES
    assert findings.of_flushes(took).level == "warn"


def test_a_full_disk_is_told_as_such() -> None:
    disk = MemoryDisk()
    file = disk.create("probe", 1)
    disk.full(100)

    with pytest.raises(DiskFullError, match="full"):
        flushes_us(file, lambda: 0)


def whole_copy(window: Window) -> WindowCopy:
    copy = window.copy()
    while not copy.step():
        pass
    return copy


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_counts() -> None:
    disk, window = MemoryDisk(), Window(cards_max=16, terminals_max=4)
    for pos in (10, 20):
        store_checkpoint(disk, "0123456789abcdef", pos, whole_copy(window))
    newest = max(disk.sizes())
    disk.garble(newest, 100, b"rotten")

    found = checkpoints_seen(disk, "0123456789abcdef")

    assert found == CheckpointsSeen(newest_pos=10, damaged=(newest,))
    assert checkpoints_seen(disk, "f" * 16) == CheckpointsSeen()


def test_an_active_bundle_shows_its_age_and_its_golden_rows(bundle_files: dict[str, bytes]) -> None:
    shelf = Shelf(folder=MemoryFolder())
    assert bundle_seen(shelf, lambda: 0.0).bundle == ""
    shelf.activate(shelf.put(bundle_files))

    found = bundle_seen(shelf, lambda: 0.0)

    assert (found.refused, found.golden_rows) == ("", 256)


def test_rules_that_take_too_long_are_told_of_a_bundle_that_decides(bundle_files: dict[str, bytes]) -> None:
    bundle = decode(bundle_files)
    rule = {"number": 1, "id": "a", "state": "active", "when": "amount > 1.0", "outcome": "review"}
    policy = Policy.model_validate({"rules": [{**rule, "reason": "RULE_OTHER", "text": "t"}]})
    shelf, reads = Shelf(folder=MemoryFolder()), itertools.count()
    slow = canonical(bundle.manifest.model_copy(update={"policy": policy}))
    shelf.activate(shelf.put({**bundle_files, MANIFEST: slow}))

    assert bundle_seen(shelf, lambda: next(reads) * 1e-5).rules == ""
    assert "rules take 100 µs on the golden rows" in bundle_seen(shelf, lambda: next(reads) * 1e-4).rules


def test_a_missing_and_a_garbled_bundle_and_a_broken_pointer_are_refused_by_name(
    bundle_files: dict[str, bytes],
) -> None:
    folder = MemoryFolder()
    shelf = Shelf(folder=folder)
    bundle = shelf.put(bundle_files)
    shelf.activate(bundle)
    folder.replace(f"{bundle}/golden_margins.npy", b"rotten")
    assert bundle in bundle_seen(shelf, lambda: 0.0).refused

    folder.remove(bundle)
    assert "not on the shelf" in bundle_seen(shelf, lambda: 0.0).refused

    folder.replace("active", b"rubbish\n")
    assert "holds no bundle's id" in bundle_seen(shelf, lambda: 0.0).refused
