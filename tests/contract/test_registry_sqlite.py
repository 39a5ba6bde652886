"""The registry's file: private, refused where it is another's, changed by several processes, whole after a kill."""

import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from serve_apps.ingest.registry import Registry
from serve_apps.ingest.sqlite import SqliteQuarantine, SqliteRegister
from serve_apps.plumbing.database import DatabaseError
from tests.contract.committing import ROOT
from tidegate.clock import ManualClock
from tidegate.errors import DiskFullError, SettingsError

WAIT_S = 30.0
ADDING = """
import itertools, os, sys
from pathlib import Path
from serve_apps.ingest.registry import Registry
from serve_apps.ingest.sqlite import SqliteRegister
from tidegate.clock import SystemClock

registry = Registry(SqliteRegister(Path(sys.argv[1])), SystemClock(), os.urandom)
for number in itertools.count(1):
    registry.add(f"{sys.argv[2]}-{number}", by="anna")
    print(number, flush=True)
"""
FULL = """
import os, resource, sys
from pathlib import Path
from serve_apps.ingest.registry import Registry
from serve_apps.ingest.sqlite import SqliteRegister
from tidegate.clock import SystemClock
from tidegate.errors import TemporaryError

registry = Registry(SqliteRegister(Path(sys.argv[1])), SystemClock(), os.urandom)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
made = 0
try:
    for number in range(10_000):
        registry.add(f"s{number}", by="anna")
        made = number + 1
except TemporaryError as error:
    print(type(error).__name__, made, len(registry.sites(after="", items=10_000)))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cloud" / "register.sqlite"


def adding(path: Path, name: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", ADDING, str(path), name], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def names(path: Path) -> set[str]:
    registry = Registry(SqliteRegister(path), ManualClock(1), Random(1).randbytes)
    return {each.site.name for each in registry.sites(after="", items=10_000)}


def test_nobody_else_on_the_machine_reads_it(path: Path) -> None:
    SqliteRegister(path).close()
    held = SqliteRegister(path)
    Registry(held, ManualClock(1), Random(1).randbytes).add("s1", by="anna")

    assert {stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()} == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_another_file_and_another_format_are_refused_and_left_as_they_are(path: Path) -> None:
    SqliteRegister(path).close()
    with pytest.raises(SettingsError, match="isn't the file that is expected there"):
        SqliteQuarantine(path)
    with sqlite3.connect(path) as later:
        later.execute("PRAGMA user_version = 2")
    later.close()
    before = path.read_bytes()

    with pytest.raises(SettingsError, match="format 2, and this program reads 1"):
        SqliteRegister(path)
    assert path.read_bytes() == before


def test_a_damaged_file_is_told_by_name(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database at all" * 100)

    with pytest.raises(DatabaseError, match=r"register\.sqlite: the file is damaged: put a copy"):
        SqliteRegister(path)


def test_two_processes_write_and_a_third_reads_and_kills_lose_nothing_that_was_answered(path: Path) -> None:
    register = SqliteRegister(path)
    reader = Registry(register, ManualClock(1), Random(1).randbytes)
    told = {}
    with adding(path, "a") as one, adding(path, "b") as two:
        for name, process in (("a", one), ("b", two)):
            assert process.stdout is not None
            for line in process.stdout:
                told[name] = int(line)
                assert reader.site(f"{name}-{told[name]}").site.made_by == "anna"
                if told[name] >= 20:
                    process.kill()
            assert process.wait(WAIT_S) == -9

    found = names(path)
    assert {f"{name}-{number}" for name, last in told.items() for number in range(1, last + 1)} <= found
    assert register.count() == len(found)


def test_a_full_disk_is_said_and_what_was_answered_is_there(path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL, str(path)], cwd=ROOT, capture_output=True, text=True, check=True)
    kind, made, there = done.stdout.split()

    assert kind in {DiskFullError.__name__, DatabaseError.__name__}
    assert 0 < int(made) <= int(there) <= int(made) + 1
    assert len(names(path)) == int(there)
