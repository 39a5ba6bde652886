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
    looks: Iterator[list[int]] = iter([[], []])
    see = reaper.marked
    monkeypatch.setattr(reaper, "marked", lambda wanted: next(looks, see(wanted)))
    with restless(mark) as process:
        assert reaper.reap(mark) == 0

        assert process.wait(timeout=10) == -9
