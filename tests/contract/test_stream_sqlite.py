"""The log in a file: killed writers, writers in other processes, full disks, damage, and disk given back."""

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from serve_apps.plumbing.stream import sqlite
from serve_apps.plumbing.stream.ports import DamagedError, FencedError, Message, MismatchError, UnavailableError
from serve_apps.plumbing.stream.sqlite import SqliteStream
from tests.contract.committing import COMMITTER, CURSOR, KEY, ROOT, counted
from tidegate.clock import SystemClock

TOPIC = "tidegate.L1"
KILLS = 6
WAIT_S = 30.0
FILE_FULL = """
import resource, sys
from pathlib import Path
from serve_apps.plumbing.stream.ports import UnavailableError, UnknownOutcomeError
from serve_apps.plumbing.stream.sqlite import SqliteStream
from tests.contract.committing import COMMITTER, CURSOR, count_up, counted
from tidegate.clock import SystemClock

stream = SqliteStream(Path(sys.argv[1]), SystemClock())
stream.create("tidegate.L1", 1)
for bound in range(1_000_000, 5_000_000, 450_001):
    resource.setrlimit(resource.RLIMIT_FSIZE, (bound, resource.RLIM_INFINITY))
    try:
        count_up(stream, "tidegate.L1")
    except (UnavailableError, UnknownOutcomeError) as error:
        told = type(error).__name__
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    writer, reader = stream.writer(COMMITTER), stream.reader()
    numbers, noted = counted(reader, "tidegate.L1"), int(writer.cursors().get(CURSOR, b"0"))
    assert numbers == list(range(1, noted + 1)), (bound, noted, numbers[-3:])
    print("full", told, noted, flush=True)
    reader.close()
    writer.close()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.sqlite"


@pytest.fixture
def stream(path: Path) -> Iterator[SqliteStream]:
    held = SqliteStream(path, SystemClock())
    held.create(TOPIC, 1)
    yield held
    held.close()


def committing(path: Path) -> "subprocess.Popen[str]":
    words = [sys.executable, "-m", "tests.contract.committing", "sqlite", str(path), TOPIC]
    return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def fill(stream: SqliteStream, count: int, size: int) -> None:
    writer = stream.writer("filling")
    for _ in range(count):
        writer.commit([Message(TOPIC, KEY, os.urandom(size))], {})
    writer.close()


def test_a_writer_killed_again_and_again_loses_nothing_that_it_acknowledged(stream: SqliteStream, path: Path) -> None:
    reader = stream.reader()
    acknowledged = 0
    for kill in range(1, KILLS + 1):
        with committing(path) as process:
            assert process.stdout is not None
            for line in process.stdout:
                acknowledged = int(line)
                if acknowledged >= 20 * kill:
                    process.kill()
            assert process.wait(WAIT_S) == -9

        numbers = counted(reader, TOPIC)
        writer = SqliteStream(path, SystemClock()).writer(COMMITTER)
        assert numbers == list(range(1, len(numbers) + 1))
        assert len(numbers) == int(writer.cursors()[CURSOR]) >= acknowledged
        writer.close()
    reader.close()


def test_a_writer_of_another_process_is_fenced_and_dies_of_it(stream: SqliteStream, path: Path) -> None:
    with committing(path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        writer = stream.writer(COMMITTER)
        noted = int(writer.cursors()[CURSOR])
        process.stdout.read()
        assert process.wait(WAIT_S) == 1

    writer.commit([Message(TOPIC, KEY, str(noted + 1).encode())], {CURSOR: str(noted + 1).encode()})
    reader = stream.reader()
    assert counted(reader, TOPIC) == list(range(1, noted + 2))
    for held in (reader, writer):
        held.close()


def test_a_full_disk_never_parts_cursors_from_messages(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FILE_FULL, str(path)], cwd=ROOT, check=True, capture_output=True, text=True
    )

    told = [line.split() for line in done.stdout.splitlines() if line.startswith("full")]
    assert len(told) == 9
    assert int(told[-1][2]) > int(told[0][2]) > 0


def test_several_read_while_one_writes_and_see_nothing_but_whole_commits(stream: SqliteStream, path: Path) -> None:
    stream.create("tidegate.L0", 1)
    writer = stream.writer("pairs")
    done = threading.Event()
    torn: list[int] = []

    def watch() -> None:
        reader = SqliteStream(path, SystemClock()).reader()
        while not done.is_set():
            behind = reader.end("tidegate.L0", 0)  # asked first, so never ahead of what is committed with it
            if reader.end(TOPIC, 0) < behind:
                torn.append(behind)
        reader.close()

    threads = [threading.Thread(target=watch) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(60):
        pair = [Message(topic, KEY, str(number).encode()) for topic in ("tidegate.L0", TOPIC)]
        writer.commit(pair, {})
    done.set()
    for thread in threads:
        thread.join()
    writer.close()

    assert torn == []


def test_trimming_gives_the_disk_back(stream: SqliteStream, path: Path) -> None:
    fill(stream, 80, 900_000)
    book = stream.consumers()
    book.register("archive", [TOPIC])
    before = path.stat().st_size
    book.store("archive", {(TOPIC, 0): 78})

    assert book.trim() == {(TOPIC, 0): 78}

    assert before > 30_000_000
    assert path.stat().st_size < 3_000_000
    reader = stream.reader()
    assert len(reader.read(TOPIC, 0, 78, messages_max=100, bytes_max=1 << 23)) == 2
    for held in (reader, book):
        held.close()


def test_what_is_written_ahead_stays_bounded(stream: SqliteStream, path: Path) -> None:
    fill(stream, 120, 900_000)

    assert path.with_name(path.name + "-wal").stat().st_size < 48 * 1024 * 1024


def test_a_log_is_readable_by_its_owner_alone(stream: SqliteStream, path: Path) -> None:
    fill(stream, 1, 10)

    assert {file.stat().st_mode & 0o077 for file in path.parent.iterdir()} == {0}
    assert {file.name for file in path.parent.iterdir()} <= {path.name, f"{path.name}-wal", f"{path.name}-shm"}


def test_many_may_make_the_same_log_at_once(path: Path) -> None:
    made: list[SqliteStream] = []

    def make() -> None:
        stream = SqliteStream(path, SystemClock())
        stream.create(TOPIC, 3)
        made.append(stream)

    threads = [threading.Thread(target=make) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    reader = made[0].reader()
    assert len(made) == 6
    assert reader.partitions(TOPIC) == 3
    reader.close()
    for stream in made:
        stream.close()


@pytest.mark.parametrize("what", ["zeros", "noise", "half", "header"])
def test_a_damaged_log_is_refused_with_what_to_do(stream: SqliteStream, path: Path, what: str) -> None:
    fill(stream, 40, 50_000)
    stream.close()
    data = bytearray(path.read_bytes())
    if what == "half":
        del data[len(data) // 2 :]
    elif what == "header":
        data[:16] = b"not a database.."
    else:
        data[16_384:131_072] = bytes(114_688) if what == "zeros" else os.urandom(114_688)
    path.write_bytes(data)

    with pytest.raises(DamagedError, match=r"Stop what uses it, keep the file"):
        SqliteStream(path, SystemClock())
    assert path.read_bytes() == data


def test_damage_that_no_opening_found_stops_readers_and_writers(
    stream: SqliteStream, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(stream, 40, 50_000)
    stream.close()
    data = bytearray(path.read_bytes())
    data[2 * 16_384 :] = bytes(len(data) - 2 * 16_384)
    path.write_bytes(data)
    monkeypatch.setattr(sqlite, "LOG_CHECKED_BYTES_MAX", 0)
    opened = SqliteStream(path, SystemClock())

    reader = opened.reader()
    with pytest.raises(DamagedError):
        reader.read(TOPIC, 0, 0, messages_max=10, bytes_max=1 << 20)
    with pytest.raises(DamagedError):
        opened.writer("filling")
    for held in (reader, opened):
        held.close()


def test_another_programs_file_is_left_as_it_is(path: Path) -> None:
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE theirs (a)")
    other.close()
    before = path.read_bytes()

    with pytest.raises(MismatchError, match="no log of Tidegate's"):
        SqliteStream(path, SystemClock())
    assert path.read_bytes() == before


def test_a_log_of_a_later_format_is_left_as_it_is(stream: SqliteStream, path: Path) -> None:
    stream.close()
    later = sqlite3.connect(path)
    later.execute("PRAGMA user_version = 2")
    later.close()

    with pytest.raises(MismatchError, match="format 2"):
        SqliteStream(path, SystemClock())


def test_a_log_that_somebody_keeps_busy_is_unavailable_and_changes_nothing(
    stream: SqliteStream, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "LOG_BUSY_S_MAX", 0.1)
    writer = stream.writer("waiting")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(UnavailableError, match="another process writes"):
        writer.commit([Message(TOPIC, KEY, b"1")], {})
    other.execute("ROLLBACK")
    other.close()
    writer.commit([Message(TOPIC, KEY, b"2")], {})

    reader = stream.reader()
    assert counted(reader, TOPIC) == [2]
    for held in (reader, writer):
        held.close()


def test_a_fenced_writer_stays_fenced_when_its_fencer_is_gone(stream: SqliteStream) -> None:
    first = stream.writer("c0")
    stream.writer("c0").close()

    with pytest.raises(FencedError):
        first.commit([], {"a": b"1"})
    first.close()
