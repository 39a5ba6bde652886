"""Starts and stops what the gate's bench measures, and says which processes each contender's work is done in."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_nodes import reaper
from edge_nodes.node import Site, cluster, free_port, site
from tests.bench.cpu import named
from tests.bench.peer import ROUTE
from tidegate.settings import SiteSettings, site_settings

NAMES: Final = ("gate", "floor", "fastapi_xgb", "serve_default")
OUTCOME: Final = '"outcome":"'
"""What an answer holds that decides something; an answer without it isn't counted but ends the bench."""
_START_S: Final = 60.0
_STOP_S: Final = 10.0
_ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Contender:
    """Where one contender answers, and its processes."""

    name: str
    port: int
    pids: tuple[int, ...]
    key: str = "none"
    needle: str = OUTCOME
    path: str = ROUTE


@dataclass(frozen=True, slots=True)
class Setting:
    """What all contenders are given."""

    folder: Path
    model: Path
    environment: dict[str, str]
    say: Callable[[str], None]


def environment(mark: str) -> dict[str, str]:
    """Return what our own processes are started with: this tree's code, one thread a library, the reaper's mark."""
    return {**os.environ, reaper.VARIABLE: mark, "PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": "1"}


def settings(folder: Path) -> SiteSettings:
    """Return a site's settings as they are by default, on a free port and in the bench's folder."""
    layer = {
        "profile": "demo",
        "data_dir": str(folder / "site"),
        "machine_mark": str(folder / "mark"),
        "door": {"port": 0},
    }
    return site_settings([layer], names="bench")


@contextmanager
def started(command: Sequence[str], setting: Setting) -> Iterator["subprocess.Popen[str]"]:
    """Run a process of ours in a group of its own, talked to over pipes, for as long as the block lasts."""
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        env=setting.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        _stop(process)


def _stop(process: "subprocess.Popen[str]") -> None:
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def _listening(port: int, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        threading.Event().wait(0.05)
    raise RuntimeError(f"nobody listens on port {port}: the contender ended with {process.poll()}")


def _alone(name: str, setting: Setting, stack: ExitStack) -> Contender:
    port = free_port()
    command = ["tests.bench.peer", name, "--port", str(port), "--model", str(setting.model)]
    process = stack.enter_context(started(command, setting))
    _listening(port, process)
    return Contender(name, port, (process.pid,), needle="" if name == "floor" else OUTCOME)


def _served(setting: Setting) -> Contender:
    from tests.bench import served  # noqa: PLC0415 - imports Ray, which has to find its token

    port = free_port()
    served.start(str(setting.model), port)
    run = reaper.marked(os.environ[reaper.VARIABLE])
    return Contender("serve_default", port, named(run, "ray::ProxyActor", f"ray::ServeReplica:{served.NAME}"))


def _gate(running: Site) -> Contender:
    return Contender("gate", int(running.url.rsplit(":", 1)[1]), (running.gate.pid(),), key=running.key)


@contextmanager
def contenders(names: Sequence[str], setting: Setting) -> Iterator[dict[str, Contender]]:
    """Run the named contenders side by side for as long as the block lasts; idle ones cost next to nothing.

    Ray Serve shares the site's cluster; without a site it has one of its own.
    """
    found: dict[str, Contender] = {}
    with ExitStack() as stack:
        if "gate" in names:
            found["gate"] = _gate(stack.enter_context(site(settings(setting.folder), setting.say)))
        elif "serve_default" in names:
            stack.enter_context(cluster(setting.environment[reaper.VARIABLE]))
        for name in names:
            setting.say(f"starting {name}")
            if name == "serve_default":
                found[name] = _served(setting)
            elif name != "gate":
                found[name] = _alone(name, setting, stack)
        yield {name: found[name] for name in names}
