"""The reaper: when whoever started a run is gone, so are all of its processes, whatever they are just doing."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_nodes import reaper

RESTLESS = '#!/bin/sh\nexec /bin/sh "$0"\n'


@pytest.fixture
def restless(tmp_path: Path) -> Callable[[str], "subprocess.Popen[bytes]"]:
    """Starts a process of a run that is always becoming another program."""
    script = tmp_path / "again.sh"
    script.write_text(RESTLESS)
    return lambda mark: subprocess.Popen(["/bin/sh", str(script)], env={**os.environ, reaper.VARIABLE: mark})


def test_a_run_ends_with_the_one_who_started_it(restless: Callable[[str], "subprocess.Popen[bytes]"]) -> None:
    mark = f"reaper-{os.getpid()}-a"
    with restless(mark) as process:
        command = [sys.executable, "-m", "edge_nodes.reaper", mark]

        guard = subprocess.run(command, stdin=subprocess.DEVNULL, check=False, timeout=60)

        assert guard.returncode == 0
        assert process.wait(timeout=10) == -9


def test_a_process_that_a_look_misses_while_it_becomes_another_is_ended_by_the_next(
    restless: Callable[[str], "subprocess.Popen[bytes]"], monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = f"reaper-{os.getpid()}-b"
    looks: Iterator[dict[int, int]] = iter([{}, {}])
    see = reaper.members
    monkeypatch.setattr(reaper, "members", lambda wanted, seen: next(looks, see(wanted, seen)))
    with restless(mark) as process:
        assert reaper.reap(mark, {}) == 0

        assert process.wait(timeout=10) == -9


TITLED = "import signal; signal.pause()"
PARENT = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {TITLED!r}], env={{}})
print(child.pid, flush=True)
child.wait()
"""


@pytest.fixture
def family() -> Iterator[Callable[[str], tuple["subprocess.Popen[bytes]", int]]]:
    """Starts a marked process with a child that shows no mark; returns it and the child's number."""
    started: list[subprocess.Popen[bytes]] = []

    def start(mark: str) -> tuple["subprocess.Popen[bytes]", int]:
        environment = {**os.environ, reaper.VARIABLE: mark}
        started.append(subprocess.Popen([sys.executable, "-c", PARENT], env=environment, stdout=subprocess.PIPE))
        assert started[-1].stdout is not None
        return started[-1], int(started[-1].stdout.readline())

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_the_child_of_a_run_that_shows_no_mark_goes_with_it(
    family: Callable[[str], tuple["subprocess.Popen[bytes]", int]],
) -> None:
    mark = f"reaper-{os.getpid()}-c"
    parent, child = family(mark)

    assert set(reaper.members(mark, {})) == {parent.pid, child}
    assert reaper.reap(mark, {}) == 0
    assert "Z" in Path(f"/proc/{parent.pid}/stat").read_text().split()


def test_an_orphan_that_shows_no_mark_is_known_again_and_its_number_alone_proves_nothing(
    family: Callable[[str], tuple["subprocess.Popen[bytes]", int]],
) -> None:
    mark = f"reaper-{os.getpid()}-d"
    parent, child = family(mark)
    seen = reaper.members(mark, {})
    parent.kill()
    parent.wait()

    assert reaper.members(mark, {}) == {}
    assert reaper.members(mark, {child: seen[child] + 1}) == {}
    assert set(reaper.members(mark, seen)) == {child}
    assert reaper.reap(mark, seen) == 0
