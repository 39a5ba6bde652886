"""`tidegate run --address`: a site in a cluster that was there before; killed, the next run takes over."""

import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from actors.journal.disk import PosixDisk
from actors.journal.verify import verify
from tests.integration.spawned import shelved

ROOT = Path(__file__).resolve().parents[2]
ENDED_S = 120


class Cluster(Protocol):
    """What the fixture yields."""

    address: str
    environment: dict[str, str]


@pytest.fixture
def config(tmp_path: Path, bundle_files: dict[str, bytes]) -> Path:
    """A site with a model, on a port that is free."""
    folder = shelved(tmp_path / "joined", bundle_files)
    made = tmp_path / "site.toml"
    made.write_text(
        f'profile = "demo"\nsite = "joined"\ndata_dir = "{folder}"\n'
        f'machine_mark = "{tmp_path}/mark"\n[door]\nport = 0\n'
    )
    return made


@pytest.fixture
def run(config: Path) -> Iterator[Callable[[str, dict[str, str]], "subprocess.Popen[str]"]]:
    """Starts the command; whatever a failed test leaves is ended."""
    runs: list[subprocess.Popen[str]] = []

    def start(address: str, environment: dict[str, str]) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "edge_nodes.cli", "run", "--config", str(config), "--address", address]
        told = {"env": {**environment, "PYTHONPATH": str(ROOT)}, "cwd": config.parent, "start_new_session": True}
        both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        runs.append(subprocess.Popen(command, text=True, **both, **told))  # type: ignore[call-overload]
        return runs[-1]

    yield start
    for each in runs:
        each.kill()
        each.communicate()


def _door(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if found := re.match(r"door: (http://\S+)", line):
            return found[1]
    raise AssertionError("".join(lines))


def _ready(door: str) -> bool:
    with urllib.request.urlopen(f"{door}/readyz", timeout=10) as answer:
        return bool(answer.status == 200)


def test_a_killed_run_leaves_a_gate_that_the_next_one_stops_and_replaces(
    ray_cluster: Cluster, config: Path, run: Callable[[str, dict[str, str]], "subprocess.Popen[str]"]
) -> None:
    first = run(ray_cluster.address, ray_cluster.environment)
    left = _door(first)
    os.kill(first.pid, signal.SIGKILL)
    assert first.wait(ENDED_S) == -signal.SIGKILL
    assert _ready(left), "it lives in the cluster, not in the process that started it"

    second = run(ray_cluster.address, ray_cluster.environment)
    taken = _door(second)
    assert _ready(taken)
    with pytest.raises(OSError, match="refused"):
        _ready(left)
    second.send_signal(signal.SIGTERM)
    rest, _ = second.communicate(timeout=ENDED_S)
    assert second.returncode == 0, rest
    assert verify(PosixDisk(config.parent / "joined" / "journal")).ok


def test_a_cluster_that_is_not_there_is_told_in_a_sentence(
    run: Callable[[str, dict[str, str]], "subprocess.Popen[str]"],
) -> None:
    process = run("127.0.0.2:9", dict(os.environ))

    told, _ = process.communicate(timeout=ENDED_S)
    assert process.returncode == 1
    assert (
        told
        == "tidegate: --address 127.0.0.2:9: no Ray cluster there ([Errno 111] Connection refused); is it started?\n"
    )
