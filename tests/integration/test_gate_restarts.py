"""A gate in a real Ray cluster: killed or left by its disk it comes back by itself, on its port, with its answers."""

import http.client
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import pytest

from actors.scorer.disk import PosixFolder
from actors.scorer.shelf import Shelf
from edge_nodes.http.keys import KeyFile, Scope, dump_keys, make_key

READY_S = 120
CALLERS = 3
ANSWERS_BEFORE = 200
ANSWERS_AFTER = 50
ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import json, sys
from pathlib import Path
import ray
from actors.spawn import spawn_gate
from tidegate.errors import TidegateError
from tidegate.settings import SiteSettings

ray.init(address=sys.argv[1], namespace="tidegate", log_to_driver=False, logging_level="error")
gates = {}

def spawn(site, settings, keys):
    settings = SiteSettings.model_validate_json(settings)
    gates[site] = spawn_gate(settings, build="edge_nodes.http.app:build", keys=Path(keys).read_bytes())

def ready(site):
    told = []
    try:
        gates[site].wait_ready(told.append)
    except TidegateError as error:
        return {"error": error.message, "told": told}
    return {"error": None, "told": told}

def asked(name):
    return lambda site: getattr(gates[site], name)()

does = {"spawn": spawn, "ready": ready, "why": asked("why_not_ready"), "pid": asked("pid"), "stop": asked("stop")}
for line in sys.stdin:
    what, *given = json.loads(line)
    print("told", json.dumps(does[what](*given)), flush=True)
"""


class Cluster(Protocol):
    """What the fixture yields."""

    address: str
    environment: dict[str, str]


class Program:
    """A program of the cluster that makes gates and asks for them."""

    def __init__(self, cluster: Cluster) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, cluster.address],
            env={**cluster.environment, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, *what: str) -> Any:
        """Have the program do something; return its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("told "):  # Ray prints there, too
                return json.loads(line.removeprefix("told "))
        raise AssertionError(f"the program ended at {what!r}")

    def close(self) -> None:
        """End the program."""
        self._process.communicate(timeout=READY_S)
        assert self._process.returncode == 0


class Gate:
    """A gate of the cluster, which a program makes and asks for."""

    def __init__(self, program: Program, folder: Path) -> None:
        self.folder = folder
        self.port = _free_port()
        self.key, stored = make_key("all", frozenset(Scope), os.urandom)
        (folder / "keys.json").write_bytes(dump_keys(KeyFile(keys=(stored,))))
        layer = {"site": folder.name, "data_dir": str(folder), "machine_mark": str(folder.parent / "mark")}
        settings = json.dumps(layer | {"door": {"port": self.port}})
        self._program = program
        program.tell("spawn", folder.name, settings, str(folder / "keys.json"))

    def tell(self, what: str) -> Any:
        """Have the program do something with this gate; return its answer."""
        return self._program.tell(what, self.folder.name)

    def ask(self, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
        """Send one request to the door."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        try:
            connection.request("POST" if body else "GET", path, json.dumps(body) if body else None, headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _until(done: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + READY_S
    while not (met := done()) and time.monotonic() < deadline:
        threading.Event().wait(0.05)
    return met


def _site(folder: Path, bundle_files: dict[str, bytes]) -> Path:
    folder.mkdir()
    shelf = Shelf(folder=PosixFolder(folder / "bundles"))
    shelf.activate(shelf.put(bundle_files))
    return folder


@pytest.fixture(scope="module")
def program(ray_cluster: Cluster) -> Iterator[Program]:
    made = Program(ray_cluster)
    yield made
    made.close()


@pytest.fixture(scope="module")
def gate(program: Program, tmp_path_factory: pytest.TempPathFactory, bundle_files: dict[str, bytes]) -> Iterator[Gate]:
    made = Gate(program, _site(tmp_path_factory.mktemp("restarts") / "comes-back", bundle_files))
    assert made.tell("ready")["error"] is None
    yield made
    made.tell("stop")


def _payment(caller: int, number: int) -> dict[str, Any]:
    return {
        "transaction_id": f"back-{caller}-{number}",
        "occurred_at": datetime.now(UTC).isoformat(),
        "amount": {"minor": 100 + number, "currency": "EUR"},
        "card": f"card-{number % 17}",
        "terminal": f"t-{caller}",
        "merchant": "m-1",
        "channel": "online",
    }


def test_a_gate_killed_under_load_answers_again_on_its_port_and_its_first_answers_stand(gate: Gate) -> None:
    told: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
    over = threading.Event()

    def call(caller: int) -> None:
        number = 0
        while not over.is_set():
            body = _payment(caller, number)
            try:
                status, answer = gate.ask("/v1/decisions", body)
            except (OSError, http.client.HTTPException):
                continue  # the same payment again, as a till does
            if status == 200:
                told[body["transaction_id"]] = (body, answer)
                number += 1

    callers = [threading.Thread(target=call, args=(caller,)) for caller in range(CALLERS)]
    for thread in callers:
        thread.start()
    try:
        assert _until(lambda: len(told) >= ANSWERS_BEFORE)
        killed = gate.tell("pid")
        os.kill(killed, signal.SIGKILL)
        why = gate.tell("why")
        ready = gate.tell("ready")
        before = len(told)
        assert _until(lambda: len(told) >= before + ANSWERS_AFTER)
    finally:
        over.set()
        for thread in callers:
            thread.join()

    assert why is None or why.startswith(("the gate restarts", "starting"))
    assert ready["error"] is None
    assert gate.tell("pid") != killed
    for body, answer in told.values():
        assert gate.ask("/v1/decisions", body) == (200, answer | {"replayed": True})


def test_a_gate_whose_disk_fails_answers_503_ends_itself_and_comes_back(gate: Gate) -> None:
    pid = gate.tell("pid")
    body = _payment(9, 1)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, 0))  # from now on each write of that process fails

    status, problem = gate.ask("/v1/decisions", body)

    assert (status, problem["code"]) == (503, "JOURNAL_FAILED")
    assert gate.tell("why").startswith("the gate restarts")
    assert gate.tell("ready")["error"] is None
    assert gate.tell("pid") != pid
    assert gate.ask("/v1/decisions", body)[0] == 200


def _break_bundle(folder: Path) -> None:
    for part in (folder / "bundles").glob("b-*/*"):
        part.write_bytes(part.read_bytes()[:-1])


def _forget_bundle(folder: Path) -> None:
    (folder / "bundles" / "active").unlink()


def _spoil_mark(folder: Path) -> None:
    (folder.parent / "mark").write_text("short")


@pytest.mark.parametrize(
    ("spoil", "said"), [(_break_bundle, "b-"), (_forget_bundle, "no bundle is active"), (_spoil_mark, "machine mark")]
)
def test_a_gate_that_only_a_person_can_mend_stays_up_and_says_why(
    program: Program,
    tmp_path: Path,
    bundle_files: dict[str, bytes],
    spoil: Callable[[Path], None],
    said: str,
) -> None:
    folder = _site(tmp_path / "stays", bundle_files)
    spoil(folder)
    gate = Gate(program, folder)

    error = gate.tell("ready")["error"]
    pid = gate.tell("pid")

    assert error.startswith("the gate can't decide: ")
    assert said in error
    status, body = gate.ask("/readyz")
    assert (status, body["ready"]) == (503, False)
    assert said in body["why"]
    assert gate.tell("pid") == pid
    gate.tell("stop")


def test_a_gate_whose_port_is_taken_says_who_has_to_do_what(
    program: Program, tmp_path: Path, bundle_files: dict[str, bytes]
) -> None:
    gate = Gate(program, _site(tmp_path / "taken", bundle_files))
    with socket.create_server(("127.0.0.1", gate.port)):
        error = gate.tell("ready")["error"]

    assert f"door: 127.0.0.1:{gate.port} can't be listened on" in error
    assert "set door.port" in error
    gate.tell("stop")
