"""The archive under real faults: killed writers, two writers, power cuts, a full disk, merging between reads."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from serve_apps.archive import durability
from serve_apps.archive.archive import TOPICS
from serve_apps.archive.delta import DeltaStore, open_store, opened
from serve_apps.archive.ports import ArchiveError, Piece, UnavailableError
from serve_apps.plumbing.stream.ports import Message
from serve_apps.plumbing.stream.sqlite import SqliteStream
from tests.sent import SOURCE, decision_rows, decisions_frame, source
from tidegate import archived
from tidegate.clock import SystemClock
from tidegate.limits import ARCHIVE_FILES_MAX, DAY_US, SECOND_US

ROOT = Path(__file__).resolve().parents[2]
APP = "tidegate.L1/0"
MESSAGES, ROWS = 160, 50
KILLS = 10
WRITER = f"""
import sys
from pathlib import Path
from serve_apps.archive.consumer import Consumer
from serve_apps.archive.delta import open_store
from serve_apps.plumbing.stream.sqlite import SqliteStream
from tidegate.clock import SystemClock

stream = SqliteStream(Path(sys.argv[2]), SystemClock())
consumer = Consumer(reader=stream.reader(), consumers=stream.consumers(), store=open_store(Path(sys.argv[1])),
                    clock=SystemClock(), rows_max={4 * ROWS})
print("writing", flush=True)
while consumer.step().messages or consumer.flush():
    pass
print("done", flush=True)
"""


def piece(offset: int, count: int = ROWS, at_us: int = 0) -> Piece:
    rows = decision_rows(offset * count, count)
    rows["time_us"] += at_us
    return Piece(APP, offset, archived.decisions(SOURCE, rows))


def rows_of(folder: Path) -> pa.Table:
    return opened(folder)["decisions"].to_pyarrow_dataset().to_table(["source", "seq"])


def check_once(folder: Path, count: int) -> None:
    rows = rows_of(folder)
    assert rows.num_rows == count
    assert rows.group_by(["source", "seq"]).aggregate([]).num_rows == count


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log on disk that two sites have sent to."""
    path = tmp_path_factory.mktemp("log") / "log.sqlite"
    stream = SqliteStream(path, SystemClock())
    for topic in TOPICS:
        stream.create(topic, 2)
    writer = stream.writer("c0")
    for at in range(MESSAGES):
        frames = [(site, decisions_frame(at * ROWS + 1, ROWS, source(site))) for site in (1, 2)]
        writer.commit([Message("tidegate.L1", f"site-{site}".encode(), data) for site, data in frames], {})
    writer.close()
    stream.close()
    return path


def _killed(folder: Path, log: Path, after_s: float) -> bool:
    """Run the writer and kill it; tell whether it was done before."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", WRITER, str(folder), str(log)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        try:
            process.wait(timeout=after_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
    return process.returncode == 0


def test_each_row_is_there_once_after_many_kills_of_the_writer(log: Path, tmp_path: Path) -> None:
    folder, rng, kills = tmp_path / "archive", random.Random(5), 0
    while not _killed(folder, log, rng.uniform(0.0, 0.9) if kills < KILLS else 300):
        kills += 1

    assert kills >= 3
    check_once(folder, 2 * MESSAGES * ROWS)


class Racing(Piece):
    """A piece whose rows are asked for between the comparison of offsets and the commit: another writer acts then."""

    other: DeltaStore

    def __getattribute__(self, name: str) -> object:
        if name == "batch":
            self.other.append("decisions", [piece(0)])
        return super().__getattribute__(name)


def test_of_two_writers_with_equal_handles_the_second_is_refused(tmp_path: Path) -> None:
    one, two = open_store(tmp_path), open_store(tmp_path)
    for store in (one, two):
        assert store.offset("decisions", APP) == -1
    racing = Racing(*piece(0))
    Racing.other = two

    with pytest.raises(UnavailableError, match="another writer was first"):
        one.append("decisions", [racing])

    check_once(tmp_path, ROWS)
    assert one.append("decisions", [piece(0), piece(1)]) == ROWS
    check_once(tmp_path, 2 * ROWS)


def _append_all(store: DeltaStore, pieces: Iterable[Piece], acknowledged: list[int]) -> None:
    for each in pieces:
        store.append("decisions", [each])
        acknowledged.append(each.offset)


class PowerCutError(Exception):
    """The machine is off from here on."""


class Disk:
    """Keeps, in a folder of its own, what a power cut would leave: the files that were synced, as they were then.

    A name survives where its folder was synced behind the file.
    """

    def __init__(self, live: Path, kept: Path, cut_at: int = 1 << 30) -> None:
        self._live, self._kept, self._cut_at = live, kept, cut_at
        self._pending: list[Path] = []

    def sync(self, path: Path) -> None:
        self._cut_at -= 1
        if not self._cut_at:
            raise PowerCutError
        durability.sync(path)
        if path.is_file():
            self._pending.append(path)
            return
        named = [each for each in self._pending if each.parent == path]
        self._pending = [each for each in self._pending if each.parent != path]
        for each in named:
            target = self._kept / each.relative_to(self._live)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(each, target)


def test_what_was_acknowledged_is_on_the_disk(tmp_path: Path) -> None:
    live, kept = tmp_path / "live", tmp_path / "kept"
    store = open_store(live, sync=Disk(live, kept).sync)

    for offset in range(ARCHIVE_FILES_MAX):
        store.append("decisions", [piece(offset, 3)])
        if offset % 20 == 0:
            assert open_store(kept).offset("decisions", APP) == offset
    assert store.checkpoint("decisions")
    check_once(kept, 3 * ARCHIVE_FILES_MAX)

    assert store.merge("decisions") == ARCHIVE_FILES_MAX
    store.append("decisions", [piece(ARCHIVE_FILES_MAX, 3, at_us=DAY_US)])

    assert opened(kept)["decisions"].version() == opened(live)["decisions"].version()
    check_once(kept, 3 * ARCHIVE_FILES_MAX + 3)


@pytest.mark.parametrize("cut_at", range(1, 12))
def test_a_power_cut_at_any_sync_loses_nothing_that_was_acknowledged(cut_at: int, tmp_path: Path) -> None:
    live, kept = tmp_path / "live", tmp_path / "kept"
    disk = Disk(live, kept)
    store = open_store(live, sync=disk.sync)
    store.append("decisions", [piece(0)])
    dying = DeltaStore(live, sync=Disk(live, kept, cut_at).sync)
    acknowledged: list[int] = []
    with pytest.raises(PowerCutError):
        _append_all(dying, map(piece, range(1, 100)), acknowledged)
    offset = len(acknowledged)

    again = open_store(kept)

    assert again.offset("decisions", APP) >= offset
    again.append("decisions", [piece(at) for at in range(offset + 3)])
    check_once(kept, ROWS * (offset + 3))


def _data(folder: Path, version: int) -> Path:
    return durability.added(folder / "decisions", version)[0].path


def _tear(folder: Path, version: int, how: str) -> None:
    log = durability.commit_file(folder / "decisions", version)
    data = _data(folder, version)
    match how:
        case "empty log":
            log.write_bytes(b"")
        case "half a log":
            log.write_bytes(log.read_bytes()[: log.stat().st_size // 2])
        case "no log":
            log.unlink()
        case "no data":
            data.unlink()
        case "empty data":
            data.write_bytes(b"")
        case "zeros in the data":
            data.write_bytes(bytes(data.stat().st_size))


TEARS = ("empty log", "half a log", "no log", "no data", "empty data", "zeros in the data")


@pytest.mark.parametrize("how", TEARS)
def test_a_torn_last_commit_is_put_aside_and_its_rows_read_again(how: str, tmp_path: Path) -> None:
    store = open_store(tmp_path)
    for offset in range(3):
        store.append("decisions", [piece(offset)])
    _tear(tmp_path, 3, how)

    again = open_store(tmp_path)

    assert again.offset("decisions", APP) == 1
    assert again.append("decisions", [piece(offset) for offset in range(4)]) == 2 * ROWS
    check_once(tmp_path, 4 * ROWS)


@pytest.mark.parametrize("how", TEARS)
def test_damage_before_the_last_commit_is_refused_and_nothing_is_changed(how: str, tmp_path: Path) -> None:
    store = open_store(tmp_path)
    for offset in range(3):
        store.append("decisions", [piece(offset)])
    _tear(tmp_path, 2, how)
    before = sorted(path for path in tmp_path.rglob("*") if path.is_file())

    with pytest.raises(ArchiveError, match="restore"):
        open_store(tmp_path)

    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == before


@pytest.mark.parametrize("torn", ["_last_checkpoint", "checkpoint"])
def test_a_torn_checkpoint_only_costs_time(torn: str, tmp_path: Path) -> None:
    store = open_store(tmp_path)
    for offset in range(ARCHIVE_FILES_MAX):
        store.append("decisions", [piece(offset, 2)])
    assert store.checkpoint("decisions")
    log = tmp_path / "decisions" / durability.LOG
    path = log / torn if torn.startswith("_") else next(log.glob("*.checkpoint.parquet"))
    path.write_bytes(path.read_bytes()[:7])

    assert open_store(tmp_path).offset("decisions", APP) == ARCHIVE_FILES_MAX - 1
    check_once(tmp_path, 2 * ARCHIVE_FILES_MAX)


def test_a_pinned_version_reads_the_same_after_merging_and_tidying(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    for offset in range(ARCHIVE_FILES_MAX):
        store.append("decisions", [piece(offset, 2)])
    pin = store.pin()
    reader = opened(tmp_path, pin)["decisions"].to_pyarrow_dataset()

    assert store.merge("decisions") == ARCHIVE_FILES_MAX
    store.append("decisions", [piece(ARCHIVE_FILES_MAX, 2)])
    assert store.vacuum("decisions") == []

    for read in (reader, opened(tmp_path, pin)["decisions"].to_pyarrow_dataset()):
        assert sorted(read.to_table(["seq"])["seq"].to_pylist()) == list(range(2 * ARCHIVE_FILES_MAX))
    check_once(tmp_path, 2 * ARCHIVE_FILES_MAX + 2)
    assert store.offset("decisions", APP) == ARCHIVE_FILES_MAX
    assert len(opened(tmp_path)["decisions"].file_uris()) == 2


def test_files_of_killed_writers_go_once_they_are_older_than_the_retention(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.append("decisions", [piece(0)])
    left = [_data(tmp_path, 1).with_name(name) for name in ("old.parquet", "new.parquet")]
    for path, days in zip(left, (91, 89), strict=True):
        path.write_bytes(b"left")
        at_s = time.time() - days * DAY_US / SECOND_US
        os.utime(path, (at_s, at_s))

    store.tidy()

    assert [path.exists() for path in left] == [False, True]
    check_once(tmp_path, ROWS)


def test_what_was_written_together_lies_together_after_merging(tmp_path: Path) -> None:
    """So that a group of rows spans little time, and whoever reads a day reads little of it."""
    store = open_store(tmp_path)
    for offset in range(ARCHIVE_FILES_MAX):
        store.append("decisions", [piece(offset, 3)])
    store.merge("decisions")

    read = opened(tmp_path)["decisions"].to_pyarrow_dataset().to_table(["seq"])["seq"]

    steps = pc.pairwise_diff(read.combine_chunks()).drop_null().to_pylist()
    assert steps.count(1) == 2 * ARCHIVE_FILES_MAX


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of six megabytes, which only root can make."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid():
        pytest.skip("a small file system is mounted by root alone")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_leaves_the_archive_readable_and_goes_on_where_it_was_freed(small_disk: Path) -> None:
    folder = small_disk / "archive"
    store = open_store(folder)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1 << 20))
    rng = np.random.default_rng(3)

    def noisy(at: int) -> Piece:
        rows = decision_rows(at * 2_000, 2_000)
        rows["features"] = rng.normal(size=rows["features"].shape)
        return Piece(APP, at, archived.decisions(SOURCE, rows))

    acknowledged: list[int] = []
    with pytest.raises(UnavailableError, match="not written"):
        _append_all(store, map(noisy, range(1_000)), acknowledged)

    offset = len(acknowledged)
    assert offset > 0
    check_once(folder, 2_000 * offset)
    assert store.offset("decisions", APP) == offset - 1
    ballast.unlink()
    assert open_store(folder).append("decisions", [noisy(at) for at in (offset - 1, offset)]) == 2_000
    check_once(folder, 2_000 * (offset + 1))


def test_another_programs_table_is_refused(tmp_path: Path) -> None:
    open_store(tmp_path)
    log = durability.commit_file(tmp_path / "labels", 0)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines:
        if "metaData" in line:
            line["metaData"]["description"] = "tidegate labels, layout 99"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))

    with pytest.raises(ArchiveError, match="layout 99, this program has tidegate labels"):
        open_store(tmp_path)
