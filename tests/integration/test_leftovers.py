"""Temporary folders: gone with their run, or with the next one where that was killed, and never under a living one."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_nodes.leftovers import FOLDER_PREFIX, remove_leftovers, run_folder

RUN = """
import sys, pathlib
from edge_nodes.leftovers import run_folder
with run_folder(pathlib.Path(sys.argv[1])) as folder:
    (folder / "session").mkdir()
    print(folder, flush=True)
    sys.stdin.read()
"""


@contextmanager
def running(root: Path) -> Iterator[tuple["subprocess.Popen[str]", Path]]:
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        try:
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()


def test_a_folder_goes_with_its_run(tmp_path: Path) -> None:
    with run_folder(tmp_path) as folder:
        assert folder.name.startswith(FOLDER_PREFIX)
        assert folder.is_dir()

    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_killed_run_goes_with_the_next_one_and_a_living_runs_stays(tmp_path: Path) -> None:
    (tmp_path / f"{FOLDER_PREFIX}strange").mkdir()
    (tmp_path / "else").mkdir()
    with running(tmp_path) as (_, living), running(tmp_path) as (process, killed):
        assert killed.is_dir()
        process.kill()
        process.wait(timeout=20)
        assert killed.is_dir()

        with run_folder(tmp_path) as own:
            assert {folder.name for folder in tmp_path.iterdir()} == {
                *(own.name, living.name),
                *(f"{FOLDER_PREFIX}strange", "else"),
            }
            remove_leftovers(tmp_path)
            assert own.is_dir()
