"""Starts and stops what the gate's bench measures, and says which processes each contender's work is done in."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import psutil

from edge_nodes import reaper
from edge_nodes.keyfile import prepare_keys
from edge_nodes.node import BUILD, Site, cluster, free_port, site
from tests.bench import venv
from tests.bench.cpu import named
from tests.bench.scoring import MODEL, ROUTE
from tests.servers import redis_server
from tidegate.settings import SiteSettings, site_settings

JOINED: Final = ("gate", "gate_rules")
"""Gates that share a cluster."""
GATES: Final = (*JOINED, "gate_serve")
NAMES: Final = (*GATES, "floor", "fastapi_xgb", "fastapi_redis_xgb", "bentoml", "serve_default")
OUTCOME: Final = '"outcome":"'
"""What an answer holds that decides something; an answer without it isn't counted but ends the bench."""
_START_S: Final = 60.0
_STOP_S: Final = 10.0
_SITE_S: Final = 180.0
_SERVING: Final = ("ray::ServeReplica:gate", "ray::ProxyActor", "haproxy")
"""In the command lines of what answers behind Serve: the replica, and whichever proxy there is."""
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


def settings(folder: Path, name: str = "gate") -> SiteSettings:
    """Return a site's settings as they are by default, on a free port and in the bench's folder."""
    layer = {
        "site": name.replace("_", "-"),
        "profile": "demo",
        "data_dir": str(folder / name),
        "machine_mark": str(folder / f"{name}.mark"),
        "door": {"port": free_port(), "via": "serve" if name == "gate_serve" else "actor"},
    }
    return site_settings([layer], names="bench")


def unavailable(name: str) -> str:
    """Return why a contender can't run in this environment, and what to do; empty where it can."""
    if name in {"serve_default", "gate_serve"} and find_spec("grpc_reflection") is None:
        return "this environment lacks ray[serve]; to get it: make setup"
    if name == "fastapi_redis_xgb" and redis_server.PROGRAM is None:
        return f"no redis-server; to get it: {redis_server.ENABLE}"
    return venv.missing() if name == "bentoml" else ""


@contextmanager
def started(
    command: Sequence[str], setting: Setting, python: str = sys.executable, stop_s: float = _STOP_S
) -> Iterator["subprocess.Popen[str]"]:
    """Run a process of ours in a group of its own, talked to over pipes, for as long as the block lasts."""
    process = subprocess.Popen(
        [python, "-m", *command],
        env=setting.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        _stop(process, stop_s)


def _stop(process: "subprocess.Popen[str]", stop_s: float) -> None:
    process.terminate()
    try:
        process.wait(stop_s)
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
    command, more = ["tests.bench.peer", name, "--port", str(port), "--model", str(setting.model)], tuple[int, ...]()
    if name == "fastapi_redis_xgb":
        server = stack.enter_context(redis_server.redis_server(setting.folder))
        command, more = [*command, "--redis", server.socket], (server.pid,)
    process = stack.enter_context(started(command, setting))
    _listening(port, process)
    return Contender(name, port, (process.pid, *more), needle="" if name == "floor" else OUTCOME)


def _bento(setting: Setting, stack: ExitStack) -> Contender:
    setting.say("making the environment of bentoml, where there is none yet")
    port, python = free_port(), str(venv.python_of("bentoml"))
    variables = {"BENTOML_HOME": str(setting.folder / "bento"), "BENTOML_DO_NOT_TRACK": "1", MODEL: str(setting.model)}
    given = replace(setting, environment=setting.environment | variables)
    command = ["bentoml", "serve", "tests.bench.bento:Bench", "--host", "127.0.0.1", "--port", str(port)]
    process = stack.enter_context(started(command, given, python))
    _listening(port, process)
    children = psutil.Process(process.pid).children(recursive=True)
    return Contender("bentoml", port, (process.pid, *(child.pid for child in children)))


def _served(setting: Setting) -> Contender:
    from tests.bench import served  # noqa: PLC0415 - imports Ray, which has to find its token

    port = free_port()
    served.start(str(setting.model), port)
    run = list(reaper.members(os.environ[reaper.VARIABLE], {}))
    return Contender("serve_default", port, named(run, "ray::ProxyActor", f"ray::ServeReplica:{served.NAME}"))


def _ready(port: int, process: "subprocess.Popen[str]") -> None:
    """Wait until a site decides."""
    deadline = time.monotonic() + _SITE_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                return
        except OSError:
            threading.Event().wait(0.2)
    raise RuntimeError(f"the site on port {port} isn't ready: it ended with {process.poll()}")


def _behind_serve(setting: Setting, stack: ExitStack) -> Contender:
    """Run a whole site by its command, with a cluster of its own, whose Serve has the proxy that the site chooses."""
    chosen = settings(setting.folder, "gate_serve")
    config = setting.folder / "gate_serve.toml"
    layer = chosen.model_dump(mode="json", include={"site", "profile", "data_dir", "machine_mark", "door"})
    config.write_text(_toml(layer))
    command = ["edge_nodes.cli", "run", "--config", str(config)]
    process = stack.enter_context(started(command, setting, stop_s=_SITE_S))
    _ready(chosen.door.port, process)
    key = (Path(chosen.data_dir) / "demo.key").read_text()
    run = [each.pid for each in psutil.Process(process.pid).children(recursive=True)]
    pids = tuple(pid for pid in run if any(part in _command(pid) for part in _SERVING))
    return Contender("gate_serve", chosen.door.port, pids, key=key)


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def _toml(layer: dict[str, Any]) -> str:
    """Return a flat layer with one table as TOML, whose strings and numbers are JSON's."""
    door = layer.pop("door")
    lines = [f"{name} = {json.dumps(value)}" for name, value in layer.items()]
    return "\n".join([*lines, "[door]", *(f"{name} = {json.dumps(value)}" for name, value in door.items())])


@contextmanager
def _beside(name: str, setting: Setting) -> Iterator[Contender]:
    """Run another gate in the cluster that this process is part of."""
    from actors.spawn import spawn_gate  # noqa: PLC0415 - imports Ray, as above

    chosen = settings(setting.folder, name)
    keys, secret = prepare_keys(chosen)
    gate = spawn_gate(chosen, build=BUILD, keys=keys)
    try:
        gate.wait_ready(setting.say)
        yield Contender(name, chosen.door.port, (gate.pid(),), key=secret)
    finally:
        gate.stop()


def _gates(names: Sequence[str], setting: Setting, stack: ExitStack) -> Iterator[Contender]:
    """Yield the gates: the first comes with a cluster, the others join it."""
    for number, name in enumerate(names):
        if number:
            yield stack.enter_context(_beside(name, setting))
            continue
        running: Site = stack.enter_context(site(settings(setting.folder, name), setting.say))
        yield Contender(name, int(running.url.rsplit(":", 1)[1]), (running.gate.pid(),), key=running.key)


def _other(name: str, setting: Setting, stack: ExitStack) -> Contender:
    if name == "serve_default":
        return _served(setting)
    if name == "gate_serve":
        return _behind_serve(setting, stack)
    return _bento(setting, stack) if name == "bentoml" else _alone(name, setting, stack)


@contextmanager
def contenders(names: Sequence[str], setting: Setting) -> Iterator[dict[str, Contender]]:
    """Run the named contenders side by side for as long as the block lasts; idle ones cost next to nothing.

    Ray Serve shares the site's cluster; without a site it has one of its own.
    """
    found: dict[str, Contender] = {}
    with ExitStack() as stack:
        gates = [name for name in names if name in JOINED]
        if not gates and "serve_default" in names:
            stack.enter_context(cluster(setting.environment[reaper.VARIABLE]))
        found |= {gate.name: gate for gate in _gates(gates, setting, stack)}
        for name in names:
            if name not in JOINED:
                setting.say(f"starting {name}")
                found[name] = _other(name, setting, stack)
        yield {name: found[name] for name in names}
