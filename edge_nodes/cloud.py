"""The cloud on this machine: a Ray cluster of its own with ingest on Ray Serve. A composition root, beside the site's.

What runs is told to Serve as a declarative configuration, over Ray's own API, as a cluster on Kubernetes is told it:
edge and cloud know each other by import path and by protocol alone.
"""

import http.client
import json
import secrets
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
from tidegate.errors import SettingsError, TemporaryError
from tidegate.keys import ANY_MERCHANT, Scope
from tidegate.limits import SERVED_HEALTH_S

HOST: Final = "127.0.0.1"
INGEST: Final = "serve_apps.ingest.build:app"
OPERATOR: Final = "operator"
_READY_S: Final = 120.0
_APPLICATIONS: Final = "/api/serve/applications/"


@dataclass(frozen=True, slots=True)
class Cloud:
    """A running cloud: where it listens, and the operator's key."""

    url: str
    key: str


def operator_key(folder: Path) -> str:
    """Return the operator's key of a cloud's folder, for all scopes; it is made where there is none.

    Raises:
        SettingsError: the file of keys is broken, or its operator's key isn't beside it.
    """
    keys, shown = cloud_keys(folder), folder / "operator.key"
    if OPERATOR in {key.name for key in stored_in(keys).keys}:
        if not shown.exists():
            raise SettingsError(f"{shown}: the operator's key is gone; remove the key {OPERATOR!r} from {keys}")
        return shown.read_text()
    secret = add_to(keys, OPERATOR, frozenset(Scope), frozenset({ANY_MERCHANT}))
    write_private(shown, secret.encode())
    return secret


def configuration(folder: Path, port: int, python_path: str) -> dict[str, Any]:
    """Return what Serve is told to run."""
    arguments = {"data_dir": str(folder), "keys": str(cloud_keys(folder))}
    ingest = {
        "name": "ingest",
        "import_path": INGEST,
        "route_prefix": "/",
        "args": arguments,
        "runtime_env": {"env_vars": {"OMP_NUM_THREADS": "1", "PYTHONPATH": python_path}},
    }
    return {
        "proxy_location": "HeadOnly",
        "http_options": {"host": HOST, "port": port},
        "logging_config": {"encoding": "JSON", "enable_access_log": False},
        "applications": [ingest],
    }


def deploy(running: Cluster, told: dict[str, Any]) -> None:
    """Tell a cluster's Serve what to run; the same again changes nothing.

    Raises:
        TemporaryError: it didn't take it.
    """
    headers = {"authorization": f"Bearer {running.environment['RAY_AUTH_TOKEN']}", "content-type": "application/json"}
    request = urllib.request.Request(  # noqa: S310 - our own cluster's dashboard
        running.dashboard + _APPLICATIONS, json.dumps(told).encode(), headers, method="PUT"
    )
    try:
        with urllib.request.urlopen(request, timeout=_READY_S):  # noqa: S310 - as above
            return
    except urllib.error.HTTPError as error:
        raise TemporaryError(f"Serve doesn't take its configuration: {error.read().decode()[:500]}") from error
    except OSError as error:
        raise TemporaryError(f"Serve can't be told what to run: {error}") from error


def why_not_ready(port: int) -> str | None:
    """Return why ingest takes no frames, or None."""
    connection = http.client.HTTPConnection(HOST, port, timeout=SERVED_HEALTH_S * 5)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        raw = response.read()
    except (OSError, http.client.HTTPException) as error:
        return str(error)
    finally:
        connection.close()
    return None if response.status == http.client.OK else raw.decode(errors="replace")[:200]


def wait_ready(port: int) -> None:
    """Return once ingest takes frames.

    Raises:
        TemporaryError: it doesn't.
    """
    deadline = time.monotonic() + _READY_S
    while (why := why_not_ready(port)) is not None:
        if time.monotonic() > deadline:
            raise TemporaryError(f"ingest isn't ready after {_READY_S:.0f} s: {why}")
        threading.Event().wait(SERVED_HEALTH_S / 5)


@contextmanager
def cloud(folder: Path, port: int, say: Say) -> Iterator[Cloud]:
    """Run a cloud for as long as the block lasts.

    Raises:
        SettingsError: its port is taken, or its keys are broken.
        TemporaryError: Ray or Serve didn't start.
    """
    why = refused(HOST, port)
    if why:
        raise SettingsError(f"--port: {HOST}:{port} can't be listened on ({why}); stop who does, or name another")
    folder = folder.resolve()
    key, mark = operator_key(folder), secrets.token_hex(8)
    with ExitStack() as stack:
        stack.enter_context(reaped(mark))
        say("cloud: starting Ray")
        running = stack.enter_context(cluster(mark))
        say("cloud: starting ingest")
        deploy(running, configuration(folder, port, running.environment["PYTHONPATH"]))
        wait_ready(port)
        yield Cloud(f"http://{HOST}:{port}", key)
        say("cloud: stopping")
