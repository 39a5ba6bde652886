"""`tidegate up`, ended in each of its stages by SIGKILL and by Ctrl-C: nothing stays behind, and the next one works."""

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from actors.journal.disk import PosixDisk
from actors.journal.verify import verify
from actors.scorer.disk import PosixFolder
from actors.scorer.shelf import Shelf
from tests.e2e.newcomer import SMALL, STAGE_S, Run, until

ROOT = Path(__file__).resolve().parents[2]
RAY_PROCESSES = 4  # up, its reaper and what Ray starts first

pytestmark = pytest.mark.slow


class Up(Run):
    """A running `tidegate up` on a configuration of the test's own."""

    def __init__(self, config: Path, *options: str) -> None:
        command = [sys.executable, "-m", "edge_nodes.cli", "up", "--config", str(config), "--rate", "50", *options]
        super().__init__([*command, "--", *SMALL], config.parent, {**os.environ, "PYTHONPATH": str(ROOT)})

    def ray_is_starting(self) -> bool:
        """Wait until Ray has started some processes."""
        return self.reached("starting Ray") and until(lambda: len(self.processes()) >= RAY_PROCESSES, STAGE_S)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A demo site in a folder of its own, on a free port."""
    made = tmp_path / "site.toml"
    made.write_text(
        f'profile = "demo"\ndata_dir = "{tmp_path}/site"\nmachine_mark = "{tmp_path}/mark"\n[door]\nport = 0\n'
    )
    return made


@pytest.fixture
def up(config: Path) -> Iterator[Callable[..., Up]]:
    """Starts runs; whatever a failed test leaves is ended."""
    runs: list[Up] = []

    def start(*options: str) -> Up:
        runs.append(Up(config, *options))
        return runs[-1]

    yield start
    for run in runs:
        run.clear()


def test_whatever_ends_up_in_any_stage_nothing_stays_behind_and_the_next_one_decides(
    up: Callable[..., Up], tmp_path: Path, bundle_files: dict[str, bytes]
) -> None:
    starting = up()
    assert starting.ray_is_starting(), starting.lines
    assert starting.end(signal.SIGINT) != 0

    training = up()
    assert training.reached("training: "), training.lines
    assert training.end(signal.SIGKILL) == -signal.SIGKILL

    shelf = Shelf(folder=PosixFolder(tmp_path / "site" / "bundles"))  # a model spares the later stages a training
    shelf.activate(shelf.put(bundle_files))
    killed = up()
    assert killed.reached("decisions/s"), killed.lines
    assert killed.end(signal.SIGKILL) == -signal.SIGKILL

    interrupted = up()
    assert interrupted.reached("decisions/s"), interrupted.lines
    assert interrupted.end(signal.SIGINT) == 0
    assert verify(PosixDisk(tmp_path / "site" / "journal")).ok


def _proxies(run: Run) -> list[int]:
    return [pid for pid in run.processes() if b"haproxy\0" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 0)], ids=str)
def test_a_site_behind_ray_serve_leaves_no_proxy_behind_whatever_ends_it(
    up: Callable[..., Up],
    config: Path,
    tmp_path: Path,
    bundle_files: dict[str, bytes],
    number: signal.Signals,
    code: int,
) -> None:
    config.write_text(f'{config.read_text()}via = "serve"\n')
    (tmp_path / "site").mkdir()
    shelf = Shelf(folder=PosixFolder(tmp_path / "site" / "bundles"))
    shelf.activate(shelf.put(bundle_files))

    served = up()

    assert served.reached("decisions/s"), served.lines
    assert _proxies(served)
    assert served.end(number) == code
    assert verify(PosixDisk(tmp_path / "site" / "journal")).ok


def test_a_port_that_is_taken_is_told_in_a_sentence_before_anything_starts(up: Callable[..., Up], config: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config.write_text(config.read_text().replace("port = 0", f"port = {port}"))

        run = up()
        code = run.ended()

    assert code == 1
    told = f"door: 127.0.0.1:{port} can't be listened on (Address already in use); stop who does, or set door.port"
    assert run.lines == [f"tidegate: {told}\n"]
