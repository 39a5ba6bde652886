"""A real Ray cluster for the tests that need one: started once, apart from any other, and gone without a trace."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge_nodes import haproxy
from edge_nodes.node import free_port
from tests.integration.clouds import cloud
from tests.integration.doors import door

__all__ = ["cloud", "door"]

START_S = 120
STOP_S = 60
ATTEMPTS = 3  # Ray gives its own raylet 30 s, which a busy machine may not keep
NODE = "127.0.0.2"  # Ray replaces 127.0.0.1 by the machine's outside address
MARK = "TIDEGATE_TEST_CLUSTER"
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class RayCluster:
    """Where a cluster is, and what a process needs in its environment to use it."""

    address: str
    dashboard: str
    token: str
    environment: dict[str, str]


def _until(done: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not (met := done()) and time.monotonic() < deadline:
        threading.Event().wait(0.1)
    return met


def _marked(mark: str) -> list[int]:
    """Return the processes that have the mark in their environment, but those that have ended already."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    return found


def _environment(mark: str, token: str, folder: str) -> dict[str, str]:
    return {
        **os.environ,
        **haproxy.environment(Path(folder), free_port, haproxy=haproxy.installed()),
        MARK: mark,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_prestart_worker_first_driver": "0",  # as at a site: nothing of ours could take them over
    }


def _command(port: int, dashboard: int, folder: str) -> list[str]:
    flags = {
        "node-ip-address": NODE,
        "port": port,
        "dashboard-host": "127.0.0.1",
        "dashboard-port": dashboard,
        "ray-client-server-port": free_port(),
        "dashboard-agent-listen-port": free_port(),
        "metrics-export-port": free_port(),
        "num-cpus": 2,
        "object-store-memory": 200_000_000,
        "temp-dir": folder,
        "include-log-monitor": "false",  # nobody reads what it hands on
    }
    ray = str(Path(sys.executable).parent / "ray")
    return [
        ray,
        "start",
        "--head",
        "--block",
        "--disable-usage-stats",
        "--no-monitor",
        *(f"--{k}={v}" for k, v in flags.items()),
    ]


def _runs(command: list[str], log: Path) -> bool:
    """Return whether Ray says so and its client server listens, which takes the cluster with it where it fails."""
    client = next(int(flag.partition("=")[2]) for flag in command if flag.startswith("--ray-client-server-port="))
    with socket.socket() as probe:
        return b"Ray runtime started" in log.read_bytes() and probe.connect_ex((NODE, client)) == 0


def _start(command: list[str], environment: dict[str, str], log: Path) -> "subprocess.Popen[bytes]":
    """Return the running `ray start`, which ends when the cluster does."""
    for _ in range(ATTEMPTS):
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, env=environment, cwd=log.parent, stdout=output, stderr=output, start_new_session=True
            )
        try:
            runs_or_ended = _until(lambda: _runs(command, log) or process.poll() is not None, START_S)  # noqa: B023
            if runs_or_ended and process.poll() is None:
                return process
        except KeyboardInterrupt:
            _stop(process, environment[MARK])
            raise
        _stop(process, environment[MARK])
    raise AssertionError(log.read_text())


def _stop(process: "subprocess.Popen[bytes]", mark: str) -> list[int]:
    """Stop a cluster in order; return the processes that had to be killed."""
    process.terminate()  # it alone: it asks the others to leave, and would wait half a minute for one that is gone
    _until(lambda: process.poll() is not None, STOP_S)
    _until(lambda: not _marked(mark), STOP_S)
    left = _marked(mark)
    for each in left:
        with suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)
    process.wait(STOP_S)
    return left


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[RayCluster]:
    """A one-node cluster with token auth on free ports; at the end no process of it may be left."""
    mark, token = secrets.token_hex(8), secrets.token_hex(32)
    port, dashboard = free_port(), free_port()
    # A short path: Ray's sockets lie in it, and a socket's path has 107 bytes at most.
    with tempfile.TemporaryDirectory(prefix="tgt-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        environment = _environment(mark, token, folder)
        process = _start(_command(port, dashboard, folder), environment, Path(folder) / "start.log")
        try:
            yield RayCluster(f"{NODE}:{port}", f"http://127.0.0.1:{dashboard}", token, environment)
        finally:
            left = _stop(process, mark)
        assert left == [], "processes of the cluster outlived it"
