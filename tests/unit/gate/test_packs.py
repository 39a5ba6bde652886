"""Batches that were counted are found again by version and digest; what is torn, damaged or gone is said."""

import pytest

from actors.gate import packs as module
from actors.gate.packs import Packs
from actors.journal.memory import MemoryDisk
from tests.deltas import batch
from tidegate.deltas import Deltas
from tidegate.errors import NotFoundError

BATCH = batch()
WIRE = BATCH.to_bytes()
FIRST = "deltas/000000000001.pack"


def filled(disk: MemoryDisk, *versions: int) -> Packs:
    packs = Packs(disk)
    for version in versions:
        packs.put(version, BATCH, WIRE)
    return packs


def names(disk: MemoryDisk) -> list[int]:
    return [int(name[7:-5]) for name in disk.sizes()]


def test_a_batch_is_found_again_by_whoever_looks() -> None:
    disk = MemoryDisk()
    writer = filled(disk, 1, 4, 9)
    for packs in (writer, Packs(disk)):
        assert [packs.get(version, BATCH.sha256).canonical for version in (9, 1, 4)] == 3 * [BATCH.canonical]
    assert names(disk) == [1]


def test_what_was_never_kept_is_not_found() -> None:
    packs = filled(MemoryDisk(), 1, 4)
    for version, digest in ((2, BATCH.sha256), (4, 64 * "0"), (5, BATCH.sha256)):
        with pytest.raises(NotFoundError, match=f"before version {version}: not kept"):
            packs.get(version, digest)


def test_versions_may_begin_again_in_any_pack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DELTA_PACK_BYTES", 2 * len(WIRE))
    disk = MemoryDisk()
    filled(disk, 7, 8, 9, 1, 2, 9)
    for order in ((7, 8, 9, 1, 2), (2, 1, 9, 7, 8)):
        packs = Packs(disk)
        assert all(packs.get(version, BATCH.sha256) for version in order)


def test_a_full_pack_is_followed_by_another_and_the_oldest_goes_at_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DELTA_PACK_BYTES", 2 * len(WIRE))
    monkeypatch.setattr(module, "DELTA_PACKS_MAX", 3)
    disk = MemoryDisk()
    packs = filled(disk, *range(1, 9))
    assert names(disk) == [2, 3, 4]
    assert packs.get(3, BATCH.sha256)
    with pytest.raises(NotFoundError):
        packs.get(2, BATCH.sha256)


@pytest.mark.parametrize("size", [1, 40, 60, len(WIRE)])
def test_behind_a_torn_entry_another_pack_begins(size: int) -> None:
    disk = MemoryDisk()
    filled(disk, 1)
    with_it = disk.read(FIRST)
    disk.open(FIRST).pwrite(with_it[:size], len(with_it))
    packs = filled(disk, 2)
    assert names(disk) == [1, 2]
    assert packs.get(1, BATCH.sha256).canonical == packs.get(2, BATCH.sha256).canonical


def test_a_pack_that_a_crash_left_empty_is_used() -> None:
    disk = MemoryDisk()
    disk.create(FIRST, 0)
    assert filled(disk, 1).get(1, BATCH.sha256)


def test_a_damaged_entry_is_passed_over_and_those_behind_it_are_found() -> None:
    disk = MemoryDisk()
    filled(disk, 1, 2, 3)
    entry = len(disk.read(FIRST)) // 3
    disk.garble(FIRST, entry + 80, b"damage")
    packs = Packs(disk)
    assert packs.get(1, BATCH.sha256)
    assert packs.get(3, BATCH.sha256)
    with pytest.raises(NotFoundError, match="before version 2"):
        packs.get(2, BATCH.sha256)


def test_an_entry_that_says_another_content_than_it_has_is_not_handed_out() -> None:
    packs, other = Packs(MemoryDisk()), Deltas(BATCH.rows[:1])
    packs.put(1, BATCH, other.to_bytes())
    with pytest.raises(NotFoundError, match="digest"):
        packs.get(1, BATCH.sha256)


def test_a_failed_write_leaves_the_next_one_right() -> None:
    disk = MemoryDisk()
    packs = filled(disk, 1)
    disk.fail_next_sync()
    with pytest.raises(OSError, match="sync"):
        packs.put(2, BATCH, WIRE)
    packs.put(3, BATCH, WIRE)
    assert Packs(disk).get(3, BATCH.sha256)
