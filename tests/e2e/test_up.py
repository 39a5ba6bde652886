"""`tidegate up`, ended in each of its stages by SIGKILL and by Ctrl-C: nothing stays behind, and the next one works."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from actors.journal.disk import PosixDisk
from actors.journal.verify import verify
from actors.scorer.disk import PosixFolder
from actors.scorer.shelf import Shelf

ROOT = Path(__file__).resolve().parents[2]
MARK = "TIDEGATE_TEST_UP"
STAGE_S = 300
GONE_S = 60
RAY_PROCESSES = 4  # up, its reaper and what Ray starts first
SMALL = ("--days", "45", "--cards", "500", "--trees", "20")

pytestmark = pytest.mark.slow


def _marked(mark: str) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    return found


def _until(done: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not (met := done()) and time.monotonic() < deadline:
        threading.Event().wait(0.1)
    return met


class Up:
    """A running `tidegate up`, with what it printed so far; its processes carry a mark of the test's own."""

    def __init__(self, config: Path, *options: str) -> None:
        self.mark = secrets.token_hex(8)
        command = [sys.executable, "-m", "edge_nodes.cli", "up", "--config", str(config), "--rate", "50", *options]
        self._process = subprocess.Popen(
            [*command, "--", *SMALL],
            cwd=config.parent,
            env={**os.environ, "PYTHONPATH": str(ROOT), MARK: self.mark},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        self.lines.extend(self._process.stdout)

    def reached(self, stage: str) -> bool:
        """Wait until a line says the stage, or the run ended."""
        return _until(lambda: self._said(stage) or self._process.poll() is not None, STAGE_S) and self._said(stage)

    def _said(self, text: str) -> bool:
        return any(text in line for line in self.lines)

    def ray_is_starting(self) -> bool:
        """Wait until Ray has started some processes."""
        return self.reached("starting Ray") and _until(lambda: len(_marked(self.mark)) >= RAY_PROCESSES, STAGE_S)

    def end(self, number: signal.Signals) -> int:
        """Send a signal; return the exit code once nothing of this run is left."""
        self._process.send_signal(number)
        return self.ended()

    def close(self) -> None:
        """Let go of a run that ended."""
        self._process.wait(GONE_S)
        self._reader.join(GONE_S)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def ended(self) -> int:
        """Return the exit code; nothing may be left."""
        code = self._process.wait(STAGE_S)
        gone = _until(lambda: not _marked(self.mark), GONE_S)
        self.close()
        assert gone, [(Path(f"/proc/{pid}/cmdline").read_bytes(), self.lines[-1:]) for pid in _marked(self.mark)]
        assert not self._said("Traceback"), "".join(self.lines)
        return code


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
        for pid in _marked(run.mark):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        run.close()


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


def _proxies(mark: str) -> list[int]:
    return [pid for pid in _marked(mark) if b"haproxy\0" in Path(f"/proc/{pid}/cmdline").read_bytes()]


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
    assert _proxies(served.mark)
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
