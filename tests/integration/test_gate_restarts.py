"""A gate in a real Ray cluster: killed or left by its disk it comes back by itself, on its port, with its answers."""

import http.client
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.integration.spawned import Cluster, Gate, shelved

READY_S = 120
CALLERS = 3
ANSWERS_BEFORE = 200
ANSWERS_AFTER = 50


def _until(done: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + READY_S
    while not (met := done()) and time.monotonic() < deadline:
        threading.Event().wait(0.05)
    return met


@pytest.fixture(scope="module", params=["actor", "serve"])
def gate(
    request: pytest.FixtureRequest,
    ray_cluster: Cluster,
    tmp_path_factory: pytest.TempPathFactory,
    bundle_files: dict[str, bytes],
) -> Iterator[Gate]:
    folder = shelved(tmp_path_factory.mktemp("restarts") / f"comes-back-{request.param}", bundle_files)
    made = Gate(ray_cluster, folder, {"via": request.param})
    assert made.tell("ready")["error"] is None
    yield made
    made.close()


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
    assert gate.tell("overlay") == 0  # as a keeper asks, behind either door
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
    ray_cluster: Cluster,
    tmp_path: Path,
    bundle_files: dict[str, bytes],
    spoil: Callable[[Path], None],
    said: str,
) -> None:
    folder = shelved(tmp_path / "stays", bundle_files)
    spoil(folder)
    gate = Gate(ray_cluster, folder)

    error = gate.tell("ready")["error"]
    pid = gate.tell("pid")

    assert error.startswith("the gate can't decide: ")
    assert said in error
    status, body = gate.ask("/readyz")
    assert (status, body["ready"]) == (503, False)
    assert said in body["why"]
    assert gate.tell("pid") == pid
    gate.close()


def test_a_gate_whose_port_is_taken_says_who_has_to_do_what(
    ray_cluster: Cluster, tmp_path: Path, bundle_files: dict[str, bytes]
) -> None:
    gate = Gate(ray_cluster, shelved(tmp_path / "taken", bundle_files))
    with socket.create_server(("127.0.0.1", gate.port)):
        error = gate.tell("ready")["error"]

    assert f"door: 127.0.0.1:{gate.port} can't be listened on" in error
    assert "set door.port" in error
    gate.close()
