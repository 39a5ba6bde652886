"""The composition root of a site on one machine: Ray, the first model, the gate; started in order, stopped in order."""

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from actors.scorer.disk import PosixFolder
from actors.scorer.shelf import Shelf
from edge_nodes import reaper
from edge_nodes.http.keys import KeyFile, Scope, dump_keys, make_key
from tidegate.errors import SettingsError, TemporaryError
from tidegate.ids import BundleId
from tidegate.settings import SiteSettings

if TYPE_CHECKING:
    from actors.spawn import GateClient

BUILD: Final = "edge_nodes.http.app:build"
_RAY_START_S: Final = 90.0
_READY_S: Final = 300.0
_POLL_S: Final = 0.2
_OBJECT_STORE_BYTES: Final = 200_000_000
_STOP_S: Final = 20.0
_NODE: Final = "127.0.0.2"
"""Ray replaces 127.0.0.1 by the machine's outside address; this loopback address it leaves alone."""

Say = Callable[[str], None]


def free_port() -> int:
    """Return a port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running Ray cluster of one machine."""

    address: str
    dashboard: str
    environment: dict[str, str]


@contextmanager
def reaped(mark: str) -> Iterator[None]:
    """Leave no process of this run behind, even where this one is killed."""
    guard = subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", "edge_nodes.reaper", mark], stdin=subprocess.PIPE, start_new_session=True
    )
    try:
        yield
    finally:
        if guard.stdin is not None:
            guard.stdin.close()
        guard.wait(timeout=_STOP_S)


def _environment(mark: str, token: str) -> dict[str, str]:
    """What every process of the cluster is started with; `PATH` first names this environment's Python."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    root = str(Path(__file__).resolve().parents[1])
    return {
        **os.environ,
        "PATH": path,
        "PYTHONPATH": root,
        reaper.VARIABLE: mark,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        "RAY_USAGE_STATS_ENABLED": "0",
    }


def _ray_command(port: int, dashboard: int, folder: str) -> list[str]:
    ports = {name: free_port() for name in ("ray-client-server-port", "dashboard-agent-listen-port")}
    options = {
        "node-ip-address": _NODE,
        "port": port,
        "dashboard-host": "127.0.0.1",
        "dashboard-port": dashboard,
        "num-cpus": max(os.cpu_count() or 1, 2),
        "object-store-memory": _OBJECT_STORE_BYTES,
        "temp-dir": folder,
        **ports,
    }
    flags = [f"--{name}={value}" for name, value in options.items()]
    ray_script = str(Path(sys.executable).parent / "ray")
    return [ray_script, "start", "--head", "--block", "--disable-usage-stats", *flags]


@contextmanager
def cluster(mark: str, log: Path) -> Iterator[Cluster]:
    """Run a Ray cluster for as long as the block lasts."""
    environment = _environment(mark, secrets.token_hex(32))
    port, dashboard = free_port(), free_port()
    with tempfile.TemporaryDirectory(prefix="tg-", ignore_cleanup_errors=True) as folder, log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own environment's Ray
            _ray_command(port, dashboard, folder),
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            _connect(f"{_NODE}:{port}", environment, process, log)
            yield Cluster(f"{_NODE}:{port}", f"http://127.0.0.1:{dashboard}", environment)
        finally:
            process.terminate()
            _wait(process)


def _wait(process: "subprocess.Popen[bytes]") -> None:
    try:
        process.wait(timeout=_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _connect(address: str, environment: dict[str, str], process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Join the cluster once it answers."""
    os.environ.update({name: environment[name] for name in environment if name.startswith("RAY_")})
    os.environ[reaper.VARIABLE] = environment[reaper.VARIABLE]
    host, port = address.split(":")
    deadline = time.monotonic() + _RAY_START_S
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex((host, int(port))) == 0 and b"Ray runtime started" in log.read_bytes():
                import ray  # noqa: PLC0415 - Ray reads its token when it is imported

                ray.init(address=address, log_to_driver=False, logging_level="warning", namespace="tidegate")
                return
        _pause()
    raise TemporaryError(f"Ray didn't start within {_RAY_START_S:.0f} s; read {log}")


def prepare_keys(settings: SiteSettings) -> tuple[bytes, str]:
    """Return the key file's content and the demo key; both are made where there are none."""
    folder = Path(settings.data_dir)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    stored, shown = folder / "keys.json", folder / "demo.key"
    if not (stored.exists() and shown.exists()):
        secret, key = make_key("demo", frozenset(Scope), os.urandom)
        shown.touch(mode=0o600)
        shown.write_text(secret)
        stored.touch(mode=0o600)
        stored.write_bytes(dump_keys(KeyFile(keys=(key,))))
    return stored.read_bytes(), shown.read_text()


def train_first(settings: SiteSettings, ray_cluster: Cluster, say: Say, *job: str) -> BundleId:
    """Train a model as a Ray job, put it on the site's shelf and make it the active one."""
    shelf = Path(settings.data_dir).resolve() / "bundles"
    command = [sys.executable, "-m", "training.submit", "--address", ray_cluster.dashboard]
    process = subprocess.Popen(  # noqa: S603 - our own module
        [*command, "--bundles", str(shelf), *job],
        env=ray_cluster.environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    last = ""
    for line in process.stdout or ():
        last = line.strip() or last
        if line.startswith("progress "):
            say(f"training: {line.removeprefix('progress ').strip()}")
    if process.wait() != 0:
        raise TemporaryError(f"the training job failed: {last}")
    told: dict[str, Any] = json.loads(last)
    bundle = BundleId(told["bundle"])
    Shelf(folder=PosixFolder(shelf)).activate(bundle)
    say(f"model {bundle}: {told['metrics']}")
    return bundle


@dataclass(frozen=True, slots=True)
class Site:
    """A site that decides."""

    url: str
    key: str
    gate: "GateClient"
    environment: dict[str, str]


def _pause() -> None:
    """Let another program get on; whoever waits has a deadline."""
    threading.Event().wait(_POLL_S)


def _ready(gate: "GateClient") -> None:
    deadline = time.monotonic() + _READY_S
    while (why := gate.why_not_ready()) is not None:
        if why.startswith("stopped") or time.monotonic() > deadline:
            raise SettingsError(f"the gate can't start: {why}")
        _pause()


@contextmanager
def site(settings: SiteSettings, say: Say, *job: str) -> Iterator[Site]:
    """Run a site for as long as the block lasts: Ray, a model where there is none, the gate."""
    mark = secrets.token_hex(8)
    keys, secret = prepare_keys(settings)
    with ExitStack() as stack:
        stack.enter_context(reaped(mark))
        say("starting Ray")
        running = stack.enter_context(cluster(mark, Path(settings.data_dir) / "ray.log"))
        if Shelf(folder=PosixFolder(Path(settings.data_dir) / "bundles")).active() is None:
            say("training the first model on generated payments (about a minute)")
            train_first(settings, running, say, *job)
        resolved = settings.model_copy(
            update={
                "data_dir": str(Path(settings.data_dir).resolve()),
                "machine_mark": str(Path(settings.machine_mark).resolve()),
            }
        )
        from actors.spawn import spawn_gate  # noqa: PLC0415 - imports Ray, which has to find its token

        gate = spawn_gate(resolved, build=BUILD, keys=keys)
        port = gate.start()
        _ready(gate)
        try:
            yield Site(f"http://{settings.door.host}:{port}", secret, gate, running.environment)
        finally:
            say("stopping: the gate makes everything durable")
            gate.stop()
