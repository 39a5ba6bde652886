"""What every disk of the journal must do: the real one and its twin, by the same sentences."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.journal.disk import PosixDisk
from actors.journal.memory import MemoryDisk
from actors.journal.ports import Disk
from tidegate.errors import JournalError


@pytest.fixture(params=["posix", "memory"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Disk:
    return PosixDisk(tmp_path / "journal") if request.param == "posix" else MemoryDisk()


@pytest.fixture
def second(disk: Disk, tmp_path: Path) -> Disk:
    """Another process's view of the same disk."""
    return PosixDisk(tmp_path / "journal") if isinstance(disk, PosixDisk) else disk


def test_a_new_disk_is_empty(disk: Disk) -> None:
    assert disk.sizes() == {}


def test_a_created_file_has_its_whole_size_in_zeros(disk: Disk) -> None:
    file = disk.create("a/1", 10_000)

    assert file.size() == 10_000
    assert file.pread(10_000, 0) == bytes(10_000)
    file.close()


def test_a_file_of_no_bytes_can_be_created(disk: Disk) -> None:
    disk.create("a", 0).close()

    assert disk.sizes() == {"a": 0}


def test_a_name_is_created_once(disk: Disk) -> None:
    disk.create("a", 1).close()

    with pytest.raises(FileExistsError):
        disk.create("a", 1)


def test_what_was_written_is_read_back_at_its_offset(disk: Disk) -> None:
    file = disk.create("a", 4_096)
    file.pwrite(b"hello", 1_000)
    file.pwrite(bytearray(b"world"), 1_005)

    assert file.pread(10, 1_000) == b"helloworld"
    assert disk.read("a")[999:1_011] == b"\0helloworld\0"
    file.close()


def test_another_handle_sees_what_was_written_before_it_was_synced(disk: Disk) -> None:
    file = disk.create("a", 512)
    file.pwrite(b"x", 7)
    other = disk.open("a")

    assert other.pread(1, 7) == b"x"
    file.close()
    other.close()


def test_reading_ends_with_the_file(disk: Disk) -> None:
    file = disk.create("a", 10)

    assert file.pread(100, 4) == bytes(6)
    assert file.pread(100, 10) == b""
    file.close()


def test_writing_beyond_the_end_lengthens_the_file(disk: Disk) -> None:
    file = disk.create("a", 10)
    file.pwrite(b"ab", 20)

    assert file.size() == 22
    assert file.pread(12, 10) == bytes(10) + b"ab"
    file.close()


def test_a_file_is_extended_with_zeros_and_keeps_its_content(disk: Disk) -> None:
    file = disk.create("a", 3)
    file.pwrite(b"abc", 0)
    file.extend(6)
    file.extend(5)

    assert disk.read("a") == b"abc\0\0\0"
    file.close()


def test_a_sync_succeeds_and_changes_nothing(disk: Disk) -> None:
    file = disk.create("a", 3)
    file.pwrite(b"abc", 0)
    file.sync()

    assert disk.read("a") == b"abc"
    file.close()


@pytest.mark.parametrize("name", ["a", "folder/a"])
def test_a_missing_file_is_told(disk: Disk, name: str) -> None:
    for act in (disk.open, disk.read, disk.remove):
        with pytest.raises(FileNotFoundError):
            act(name)


def test_replacing_makes_or_overwrites_the_whole_file_and_leaves_nothing_beside_it(disk: Disk) -> None:
    disk.replace("a/b", b"first, and longer")
    disk.replace("a/b", b"second")

    assert disk.read("a/b") == b"second"
    assert disk.sizes() == {"a/b": 6}


def test_files_are_listed_by_name_with_their_sizes(disk: Disk) -> None:
    for name, size in (("b", 2), ("a/2", 1), ("a/1", 3)):
        disk.create(name, size).close()

    assert list(disk.sizes().items()) == [("a/1", 3), ("a/2", 1), ("b", 2)]


def test_a_removed_file_is_gone_and_its_name_is_free_again(disk: Disk) -> None:
    disk.create("a/1", 5).close()
    disk.remove("a/1")

    assert disk.sizes() == {}
    disk.create("a/1", 6).close()
    assert disk.sizes() == {"a/1": 6}


def test_a_handle_outlives_the_name_of_its_file(disk: Disk) -> None:
    file = disk.create("a", 3)
    file.pwrite(b"abc", 0)
    disk.remove("a")

    assert file.pread(3, 0) == b"abc"
    file.close()


def test_a_disk_has_room(disk: Disk) -> None:
    assert disk.free_bytes() > 0


@pytest.fixture
def held(disk: Disk) -> Iterator[Disk]:
    disk.lock()
    yield disk
    disk.unlock()


def test_a_disk_is_held_by_one_at_a_time(held: Disk, second: Disk) -> None:
    with pytest.raises(JournalError, match="another process"):
        second.lock()

    held.unlock()
    second.lock()
    second.unlock()


def test_a_lock_is_no_file_of_the_journal(held: Disk) -> None:
    assert held.sizes() == {}
