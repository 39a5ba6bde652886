"""`tidegate up`: a cloud and two sites that send to it, cut off and let back; ended anywhere, nothing stays behind."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from actors.journal.disk import PosixDisk
from actors.journal.verify import verify
from actors.scorer.disk import PosixFolder
from actors.scorer.shelf import Shelf
from edge_nodes.leftovers import FOLDER_PREFIX
from edge_nodes.node import free_port
from tests.e2e.newcomer import SMALL, STAGE_S, Run, until
from tidegate.limits import HOUSE_BYTES_MAX

ROOT = Path(__file__).resolve().parents[2]
CLUSTERS = 2
RAY_PROCESSES = 4  # up, its reaper and what Ray starts first
ROW = re.compile(
    r" *(?P<rate>\d+) [^|]*\| *(?P<behind1>\d+) +(?P<lag1>[\d.]+) +\d+ +(?P<way1>\w+)"
    r" \| *(?P<behind2>\d+) +(?P<lag2>[\d.]+) +\d+ +(?P<way2>\w+)\n"
)

pytestmark = pytest.mark.slow


class Up(Run):
    """A running `tidegate up` on a configuration of the test's own."""

    def __init__(self, config: Path, *options: str) -> None:
        command = [sys.executable, "-m", "edge_nodes.cli", "up", "--config", str(config), "--rate", "50", *options]
        super().__init__([*command, "--", *SMALL], config.parent, {**os.environ, "PYTHONPATH": str(ROOT)})

    def ray_is_starting(self) -> bool:
        """Wait until Ray has started some processes."""
        return self.reached("starting Ray") and until(lambda: len(self.processes()) >= RAY_PROCESSES, STAGE_S)

    def row(self) -> dict[str, str]:
        """Return what the latest line says of the tide."""
        found = [said for line in list(self.lines) if (said := ROW.fullmatch(line))]
        return found[-1].groupdict() if found else {}

    def streams(self) -> list[psutil.Process]:
        """Return the senders of payments."""
        found = [psutil.Process(pid) for pid in self.processes()]
        return [one for one in found if "training.stream" in one.cmdline()]

    def bytes_idle(self) -> int:
        """Return the memory of all processes but the senders of payments, each shared page counted once."""
        found = [psutil.Process(pid) for pid in self.processes()]
        return sum(one.memory_full_info().pss for one in found if "training.stream" not in one.cmdline())


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A demo site in a folder of its own, on a free port."""
    made = tmp_path / "site.toml"
    made.write_text(
        f'profile = "demo"\ndata_dir = "{tmp_path}/site-1"\nmachine_mark = "{tmp_path}/mark"\n[door]\nport = 0\n'
    )
    return made


@pytest.fixture
def beside(tmp_path: Path) -> tuple[str, ...]:
    """Options for another site, and for a cloud of the test's own."""
    made = tmp_path / "site-2.toml"
    made.write_text(f'site = "site-2"\ndata_dir = "{tmp_path}/site-2"\n')
    cloud = ("--cloud-dir", str(tmp_path / "cloud"), "--cloud-port", str(free_port()))
    return ("--beside", str(made), *cloud, "--run-dir", str(tmp_path / "run"))


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


def _shelve(folder: Path, bundle_files: dict[str, bytes]) -> None:
    """Spare a site the training."""
    folder.mkdir()
    shelf = Shelf(folder=PosixFolder(folder / "bundles"))
    shelf.activate(shelf.put(bundle_files))


def _tidegate(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "edge_nodes.cli", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=STAGE_S, check=False)


def test_whatever_ends_up_while_it_starts_nothing_stays_behind(up: Callable[..., Up], beside: tuple[str, ...]) -> None:
    starting = up(*beside)
    assert starting.ray_is_starting(), starting.lines
    assert starting.end(signal.SIGINT) != 0

    training = up(*beside)
    assert training.reached("training: "), training.lines
    assert training.reached("cloud: starting ingest"), training.lines
    assert training.end(signal.SIGKILL) == -signal.SIGKILL


def test_two_sites_decide_cut_off_or_not_and_the_cloud_gets_all_of_it(
    up: Callable[..., Up], beside: tuple[str, ...], tmp_path: Path, bundle_files: dict[str, bytes]
) -> None:
    for name in ("site-1", "site-2"):
        _shelve(tmp_path / name, bundle_files)

    house = up(*beside)
    assert house.reached("decisions/s"), house.lines
    assert re.search(r"live page: http://127\.0\.0\.1:\d+/#key=tgk_\w+&beside=http://127", "".join(house.lines))
    assert until(lambda: {house.row().get(f"way{n}") for n in (1, 2)} == {"up"}, STAGE_S), house.lines

    _cut_off_and_back(house, str(tmp_path / "run"))
    _all_of_it(house, tmp_path, beside)
    assert house.bytes_idle() <= HOUSE_BYTES_MAX
    for stream in house.streams():
        stream.resume()

    before = set(Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*"))
    assert house.end(signal.SIGINT) == 0, house.lines
    assert len(before - set(Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*"))) >= CLUSTERS
    for name in ("site-1", "site-2"):
        assert verify(PosixDisk(tmp_path / name / "journal")).ok


def _cut_off_and_back(house: Up, run_dir: str) -> None:
    """One site goes on alone, and is behind; the other sees nothing of it; then nobody is."""
    assert _tidegate("wan", "cut", "site-2", "--run-dir", run_dir).returncode == 0
    assert until(lambda: house.row()["way2"] == "cut" and int(house.row()["behind2"]) > 200, STAGE_S), house.lines
    alone = house.row()
    assert int(alone["rate"]) > 60, house.lines
    assert float(alone["lag2"]) > 3
    assert (alone["way1"], int(alone["behind1"]) < 100) == ("up", True), house.lines
    assert _tidegate("wan", "restore", "site-2", "--run-dir", run_dir).returncode == 0
    assert until(lambda: house.row()["way2"] == "up" and int(house.row()["behind2"]) < 100, STAGE_S), house.lines


def _all_of_it(house: Up, folder: Path, beside: tuple[str, ...]) -> None:
    """Nobody pays for a moment: the cloud holds exactly what both sites journaled."""
    for stream in house.streams():
        stream.suspend()
    assert until(lambda: (house.row()["behind1"], house.row()["behind2"]) == ("0", "0"), STAGE_S), house.lines
    cloud = folder / "cloud"
    where = ("--against", f"https://127.0.0.1:{beside[beside.index('--cloud-port') + 1]}")
    trusted = ("--key-file", str(cloud / "operator.key"), "--authority", str(cloud / "tls" / "authority.pem"))
    for name in ("site-1", "site-2"):
        proof = _tidegate("journal", "verify", str(folder / name / "journal"), *where, *trusted)
        assert proof.stdout.endswith("ok: the cloud holds exactly what was journaled\n"), proof


def _proxies(run: Run) -> list[int]:
    return [pid for pid in run.processes() if b"haproxy\0" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_a_site_behind_ray_serve_that_is_killed_leaves_no_proxy_behind(
    up: Callable[..., Up], config: Path, tmp_path: Path, bundle_files: dict[str, bytes]
) -> None:
    config.write_text(f'{config.read_text()}via = "serve"\n')
    _shelve(tmp_path / "site-1", bundle_files)

    served = up("--no-cloud")

    assert served.reached("decisions/s"), served.lines
    assert _proxies(served)
    assert served.end(signal.SIGKILL) == -signal.SIGKILL
    assert verify(PosixDisk(tmp_path / "site-1" / "journal")).ok


@pytest.mark.parametrize("which", ["door", "cloud"])
def test_a_port_that_is_taken_is_told_in_a_sentence_before_anything_starts(
    up: Callable[..., Up], config: Path, which: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        if which == "door":
            config.write_text(config.read_text().replace("port = 0", f"port = {port}"))

        run = up("--cloud-port", str(port))
        code = run.ended()

    option, todo = {"door": ("door", "set door.port"), "cloud": ("--cloud-port", "name another")}[which]
    told = f"{option}: 127.0.0.1:{port} can't be listened on (Address already in use); stop who does, or {todo}"
    assert code == 1
    assert run.lines == [f"tidegate: {told}\n"]
