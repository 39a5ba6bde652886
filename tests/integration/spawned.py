"""A gate in a real Ray cluster, behind either door, and the program that made it and asks for it."""

import http.client
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol

from actors.scorer.disk import PosixFolder
from actors.scorer.shelf import Shelf
from edge_nodes.node import free_port
from tidegate.keys import KeyFile, Scope, StoredKey, dump_keys, make_key

STOP_S = 120
ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import json, sys
from pathlib import Path
import ray
from actors.client import GateOrders
from actors.spawn import found_gate, spawn_gate, spawn_keeper, spawn_uplink
from tidegate.errors import TidegateError
from tidegate.settings import SiteSettings

ray.init(address=sys.argv[1], namespace="tidegate", log_to_driver=False, logging_level="error")
settings = SiteSettings.model_validate_json(sys.argv[2])
gate = spawn_gate(settings, build="edge_nodes.http.app:build", keys=Path(sys.argv[3]).read_bytes())
uplink = spawn_uplink(settings) if settings.uplink.url else None
keeper = spawn_keeper(settings) if settings.uplink.features_key else None

def ready():
    told = []
    try:
        gate.wait_ready(told.append)
    except TidegateError as error:
        return {"error": error.message, "told": told}
    return {"error": None, "told": told}

def stop():
    for actor in (keeper, uplink):
        if actor is not None:
            actor.stop()
    gate.stop()

def uplink_pid():
    return uplink.pid()

def keeper_pid():
    return keeper.pid()

def overlay():
    return GateOrders(lambda: found_gate(settings)).version()

asked = {"keeper_pid": keeper_pid, "overlay": overlay}
asked |= {"ready": ready, "why": gate.why_not_ready, "pid": gate.pid, "uplink_pid": uplink_pid, "stop": stop}
for line in sys.stdin:
    print("told", json.dumps(asked[line.strip()]()), flush=True)
"""


class Cluster(Protocol):
    """What the fixture yields."""

    address: str
    environment: dict[str, str]


class Gate:
    """A gate of the cluster; `door` and `uplink` are laid over its settings, `keys` beside its own key."""

    def __init__(
        self,
        cluster: Cluster,
        folder: Path,
        door: dict[str, Any] | None = None,
        *keys: StoredKey,
        uplink: dict[str, Any] | None = None,
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self.key, stored = make_key("all", frozenset(Scope), os.urandom)
        (folder / "keys.json").write_bytes(dump_keys(KeyFile(keys=(stored, *keys))))
        layer: dict[str, Any] = {
            "site": folder.name,
            "data_dir": str(folder),
            "machine_mark": str(folder.parent / "mark"),
        }
        if uplink:
            layer["uplink"] = uplink
        if uplink:
            layer["profile"] = "demo"  # the cloud of these tests speaks plain HTTP
        settings = json.dumps(layer | {"door": {"port": self.port, **(door or {})}})
        self._program = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, cluster.address, settings, str(folder / "keys.json")],
            env={**cluster.environment, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, what: str) -> Any:
        """Have the program do something; return its answer."""
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._program.stdin.write(f"{what}\n")
        self._program.stdin.flush()
        for line in self._program.stdout:
            if line.startswith("told "):  # Ray prints there, too
                return json.loads(line.removeprefix("told "))
        raise AssertionError(f"the program ended at {what!r}")

    def ask(self, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
        """Send one request to the door; a proxy that finds no gate behind it answers in no JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        try:
            connection.request("POST" if body else "GET", path, json.dumps(body) if body else None, headers)
            response = connection.getresponse()
            raw = response.read()
            return response.status, json.loads(raw) if "json" in response.headers.get("content-type", "") else raw
        finally:
            connection.close()

    def close(self) -> None:
        """Stop gate and program."""
        try:
            self.tell("stop")
        finally:
            self._program.communicate(timeout=STOP_S)
        assert self._program.returncode == 0


def shelved(folder: Path, bundle_files: dict[str, bytes]) -> Path:
    """Return the folder of a site that has this bundle."""
    folder.mkdir()
    shelf = Shelf(folder=PosixFolder(folder / "bundles"))
    shelf.activate(shelf.put(bundle_files))
    return folder
