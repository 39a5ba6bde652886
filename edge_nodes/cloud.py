"""The cloud on this machine: a Ray cluster of its own, its applications on Ray Serve. A composition root.

What runs is told to Serve as a declarative configuration, over Ray's own API, as a cluster on Kubernetes is told it:
edge and cloud know each other by import path and by protocol alone.
"""

import json
import secrets
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edge_nodes.keyfile import add_to, cloud_keys, stored_in, write_private
from edge_nodes.node import Cluster, Say, cluster, reaped, refused
from tidegate.cloudsettings import CloudSettings, checked
from tidegate.errors import SettingsError, TemporaryError
from tidegate.keys import ANY_MERCHANT, Scope
from tidegate.limits import SERVED_HEALTH_S
from tidegate.settings import parse

HOST: Final = "127.0.0.1"
APPLICATIONS: Final = {"ingest": "/", "archive": "/archive", "features": "/v1/features", "models": "/v1/models"}
"""The cloud's applications, and under which path each answers."""
OPERATOR: Final = "operator"
SITES: Final = "sites"
_READY_S: Final = 120.0
_SERVE: Final = "/api/serve/applications/"


@dataclass(frozen=True, slots=True)
class Cloud:
    """A running cloud: where it listens, and who vouches for it."""

    url: str
    authority: Path | None
    """None: who vouches for the certificate that was given."""


def operator_key(folder: Path) -> str:
    """Return the operator's key of a cloud's folder, for all scopes; it is made where there is none.

    Raises:
        SettingsError: the file of keys is broken, or its operator's key isn't beside it.
    """
    return _kept_key(folder, OPERATOR, frozenset(Scope))


def sites_key(folder: Path) -> Path:
    """Return the file of a key by which the sites beside a cloud learn of each other; it is made where there is none.

    Raises:
        SettingsError: the file of keys is broken, or that key isn't beside it.
    """
    _kept_key(folder, SITES, frozenset({Scope.FEATURES}))
    return _shown(folder, SITES)


def _shown(folder: Path, name: str) -> Path:
    return folder / f"{name}.key"


def _kept_key(folder: Path, name: str, scopes: frozenset[Scope]) -> str:
    keys, shown = cloud_keys(folder), _shown(folder, name)
    if name in {key.name for key in stored_in(keys).keys}:
        if not shown.exists():
            raise SettingsError(f"{shown}: the key is gone; remove the key {name!r} from {keys}")
        return shown.read_text()
    secret = add_to(keys, name, scopes, frozenset({ANY_MERCHANT}))
    write_private(shown, secret.encode())
    return secret


def cloud_settings(path: Path | None) -> CloudSettings:
    """Return the settings that a TOML file says, or those of a cloud on one machine; files that it names are absolute.

    Raises:
        SettingsError: the file can't be read, or a field of it is wrong.
    """
    if path is None:
        return CloudSettings()
    try:
        told = checked(CloudSettings, parse(str(path), path.read_text()), name=str(path))
    except OSError as error:
        raise SettingsError(f"{path}: can't be read ({error.strerror})") from error
    named = (told.log.client, told.features.redis_password, told.models.signing_keys)
    client, password, signing = (_beside(path, name) for name in named)
    log = told.log.model_copy(update={"client": client})
    features = told.features.model_copy(update={"redis_password": password})
    models = told.models.model_copy(update={"signing_keys": signing})
    return told.model_copy(update={"log": log, "features": features, "models": models})


def _beside(path: Path, name: str) -> str:
    """Return a file that another one names, as an absolute path; an empty name names none."""
    return str((path.parent / name).resolve()) if name else ""


def configuration(
    folder: Path, port: int, server: Path, python_path: str, settings: CloudSettings | None = None
) -> dict[str, Any]:
    """Return what Serve is told to run; `server` is a PEM file with key and certificate."""
    told = (settings or CloudSettings()).model_dump()
    place = {"data_dir": str(folder), "keys": str(cloud_keys(folder)), "log": told["log"]}
    applications = [
        {
            "name": name,
            "import_path": f"serve_apps.{name}.build:app",
            "route_prefix": APPLICATIONS[name],
            "args": place | told.get(name, {}),
            "runtime_env": {"env_vars": {"OMP_NUM_THREADS": "1", "PYTHONPATH": python_path}},
        }
        for name in APPLICATIONS
    ]
    return {
        "proxy_location": "HeadOnly",
        "http_options": {"host": HOST, "port": port, "ssl_certfile": str(server), "ssl_keyfile": str(server)},
        "logging_config": {"encoding": "JSON", "enable_access_log": False},
        "applications": applications,
    }


def deploy(running: Cluster, told: dict[str, Any]) -> None:
    """Tell a cluster's Serve what to run; the same again changes nothing.

    Raises:
        TemporaryError: it didn't take it.
    """
    _asked(running, "PUT", json.dumps(told).encode())


def wait_running(running: Cluster) -> None:
    """Return once Serve says that its applications run.

    Raises:
        TemporaryError: they don't, with what Serve says.
    """
    deadline = time.monotonic() + _READY_S
    while True:
        said = _states(running)
        states = {str(one["status"]) for one in said.values()}
        if states == {"RUNNING"}:
            return
        if "DEPLOY_FAILED" in states or time.monotonic() > deadline:
            told = "; ".join(f"{name}: {_state(one)}" for name, one in said.items())
            raise TemporaryError(f"the cloud's applications don't run: {told}; see Ray's logs of Serve")
        threading.Event().wait(SERVED_HEALTH_S / 5)


def _states(running: Cluster) -> dict[str, dict[str, Any]]:
    """Return what Serve says of each application."""
    applications: dict[str, dict[str, Any]] = json.loads(_asked(running, "GET"))["applications"]
    return applications


def _state(said: dict[str, Any]) -> str:
    """Return an application's state, and the end of what Serve says of it where it doesn't run."""
    lines = str(said.get("message") or "").strip().splitlines()
    return ": ".join([str(said["status"]), *lines[-1:]])


def _asked(running: Cluster, method: str, body: bytes | None = None) -> bytes:
    headers = {"authorization": f"Bearer {running.environment['RAY_AUTH_TOKEN']}", "content-type": "application/json"}
    request = urllib.request.Request(running.dashboard + _SERVE, body, headers, method=method)  # noqa: S310 - ours
    try:
        with urllib.request.urlopen(request, timeout=_READY_S) as response:  # noqa: S310 - our cluster's dashboard
            return bytes(response.read())
    except urllib.error.HTTPError as error:
        raise TemporaryError(f"Serve refuses: {error.read().decode(errors='replace')[:500]}") from error
    except OSError as error:
        raise TemporaryError(f"Serve can't be asked: {error}") from error


def certificates(folder: Path) -> tuple[Path, Path]:
    """Return the files of a cloud's own authority: who vouches for it, and its server's key and certificate.

    Raises:
        SettingsError: what is there can't be used.
    """
    command = [
        sys.executable,
        "-m",
        "serve_apps.plumbing.authority",
        str(folder),
    ]  # edge and cloud don't import each other
    root = str(Path(__file__).resolve().parents[1])
    done = subprocess.run(  # noqa: S603 - our own module
        command, cwd=root, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SettingsError(f"cloud: {done.stderr.strip().splitlines()[-1]}")
    authority, server = done.stdout.splitlines()
    return Path(authority), Path(server)


@contextmanager
def cloud(
    folder: Path, port: int, certificate: Path | None, say: Say, settings: CloudSettings | None = None
) -> Iterator[Cloud]:
    """Run a cloud for as long as the block lasts.

    `certificate` is a PEM file with key and certificate; without one, the cloud's own authority makes it.

    Raises:
        SettingsError: its port is taken, or its keys are broken.
        TemporaryError: Ray or Serve didn't start.
    """
    why = refused(HOST, port)
    if why:
        raise SettingsError(f"--port: {HOST}:{port} can't be listened on ({why}); stop who does, or name another")
    folder = folder.resolve()
    operator_key(folder)
    authority, server = (None, certificate.resolve()) if certificate else certificates(folder / "tls")
    mark = secrets.token_hex(8)
    with ExitStack() as stack:
        stack.enter_context(reaped(mark))
        say("cloud: starting Ray")
        running = stack.enter_context(cluster(mark))
        say(f"cloud: starting {', '.join(APPLICATIONS)}")
        deploy(running, configuration(folder, port, server, running.environment["PYTHONPATH"], settings))
        wait_running(running)
        yield Cloud(f"https://{HOST}:{port}", authority)
        say("cloud: stopping")
