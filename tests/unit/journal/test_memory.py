"""The twin disk does what real ones do when the power goes: else the other tests prove nothing."""

from random import Random

import pytest

from actors.journal.memory import SECTOR_BYTES, MemoryDisk, PowerCut


def crashed(disk: MemoryDisk, ways: int = 60) -> list[MemoryDisk]:
    copies = [disk.copy() for _ in range(ways)]
    for way, copy in enumerate(copies):
        copy.crash(Random(way))
    return copies


def test_what_was_synced_survives_every_crash() -> None:
    disk = MemoryDisk()
    file = disk.create("a", 4 * SECTOR_BYTES)
    file.pwrite(b"x" * 2_000, 0)
    file.sync()

    assert {copy.read("a")[:2_000] for copy in crashed(disk)} == {b"x" * 2_000}


def test_any_subset_of_unsynced_sectors_survives_whole() -> None:
    disk = MemoryDisk()
    disk.create("a", 3 * SECTOR_BYTES).pwrite(b"x" * 3 * SECTOR_BYTES, 0)

    found = {copy.read("a") for copy in crashed(disk)}

    whole = {b"x" * SECTOR_BYTES, bytes(SECTOR_BYTES)}
    sectors = [data[at : at + SECTOR_BYTES] for data in found for at in range(0, len(data), SECTOR_BYTES)]
    assert set(sectors) == whole
    assert len(found) == 8


def test_a_name_that_was_not_synced_may_vanish() -> None:
    found = set()
    for way in range(30):
        disk = MemoryDisk()
        disk.cut_at(2)
        with pytest.raises(PowerCut):
            disk.create("a", 10)
        disk.crash(Random(way))
        found.add(tuple(disk.sizes().items()))

    assert found == {(), (("a", 0),)}


def test_a_replaced_file_is_the_old_or_the_new_wherever_it_is_cut() -> None:
    for step in range(1, 9):
        for way in range(10):
            disk = MemoryDisk()
            disk.replace("a", b"old")
            disk.cut_at(step)
            try:
                disk.replace("a", b"new")
            except PowerCut:
                disk.crash(Random(way))

            assert disk.read("a") in {b"old", b"new"}


def test_after_a_failed_sync_bytes_are_seen_that_no_later_sync_writes() -> None:
    disk = MemoryDisk()
    file = disk.create("a", 10)
    file.pwrite(b"x", 0)
    disk.fail_next_sync()
    with pytest.raises(OSError, match="simulated"):
        file.sync()
    file.sync()

    assert disk.read("a")[:1] == b"x"
    assert {copy.read("a")[:1] for copy in crashed(disk)} == {b"\0"}


def test_a_killed_process_loses_nothing_it_wrote() -> None:
    disk = MemoryDisk()
    disk.create("a", 10).pwrite(b"x", 0)
    disk.kill()

    assert disk.read("a")[:1] == b"x"


def test_the_same_seed_crashes_in_the_same_way() -> None:
    disk = MemoryDisk()
    disk.create("a", 9_000).pwrite(b"x" * 9_000, 0)
    first, second = disk.copy(), disk.copy()
    first.crash(Random(4))
    second.crash(Random(4))

    assert first.read("a") == second.read("a")
