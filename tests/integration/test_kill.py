"""A gate killed with SIGKILL under load: every acknowledged decision is there afterwards, and retries find it."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from actors.gate.gate import Gate as DecidingGate
from actors.gate.orders import Orders
from actors.gate.start import open_gate
from actors.journal.disk import PosixDisk
from actors.journal.memory import MemoryDisk
from actors.journal.ports import Disk
from actors.journal.reader import Reader
from actors.journal.verify import verify
from actors.scorer.disk import PosixFolder
from actors.scorer.model import Scorer
from actors.scorer.shelf import Shelf
from actors.window.checkpoint import encode
from tidegate.bundle import decode
from tidegate.clock import ManualClock
from tidegate.decided import Decided, request_body
from tidegate.keys import KeyFile, Scope, dump_keys, make_key
from tidegate.payment import PaymentRequest
from tidegate.records import Kind
from tidegate.settings import site_settings

START_S = 90
CALLERS = 4
ACKNOWLEDGED_BEFORE_THE_KILL = 300
PROGRAM = """
import asyncio, sys
from pathlib import Path
from actors.gate.actor import GateActor

async def main() -> None:
    actor = GateActor(sys.argv[1], "edge_nodes.http.app:build", Path(sys.argv[2]).read_bytes())
    port = await actor.start()
    while actor.status() is not None:
        await asyncio.sleep(0.01)
    print(port, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


class Gate:
    """A gate in a process of its own, on one folder."""

    def __init__(self, folder: Path, bundle_files: dict[str, bytes]) -> None:
        shelf = Shelf(folder=PosixFolder(folder / "bundles"))
        shelf.activate(shelf.put(bundle_files))
        self.key, stored = make_key("all", frozenset(Scope), os.urandom)
        (folder / "keys.json").write_bytes(dump_keys(KeyFile(keys=(stored,))))
        self.headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        self.layer = {"data_dir": str(folder), "machine_mark": str(folder.parent / "mark"), "door": {"port": 0}}
        self._arguments = [json.dumps(self.layer), str(folder / "keys.json")]
        self.folder = folder

    def start(self) -> None:
        """Start, and wait until it is ready."""
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *self._arguments], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def kill(self) -> None:
        """End it without a word."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def ask(self, connection: http.client.HTTPConnection, body: dict[str, Any]) -> dict[str, Any]:
        """Send one payment; return the answer."""
        connection.request("POST", "/v1/decisions", json.dumps(body), self.headers)
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
        return answer


def _payment(caller: int, number: int) -> dict[str, Any]:
    return {
        "transaction_id": f"kill-{caller}-{number}",
        "occurred_at": datetime.now(UTC).isoformat(),
        "amount": {"minor": 100 + number, "currency": "EUR"},
        "card": f"card-{number % 17}",
        "terminal": f"t-{caller}",
        "merchant": "m-1",
        "channel": "online",
    }


@pytest.fixture
def gate(tmp_path: Path, bundle_files: dict[str, bytes]) -> Iterator[Gate]:
    folder = tmp_path / "site"
    folder.mkdir()
    made = Gate(folder, bundle_files)
    made.start()
    yield made
    made.kill()


def _opened(
    gate: Gate, bundle_files: dict[str, bytes], journal: Disk, checkpoints: Disk, clock: ManualClock
) -> DecidingGate:
    """Open a gate in this process on these disks, as the killed one was set up."""
    made, _ = open_gate(
        settings=site_settings([gate.layer], names="test"),
        machine_mark=(gate.folder.parent / "mark").read_text().strip(),
        journal_disk=journal,
        checkpoint_disk=checkpoints,
        scorer=Scorer(decode(bundle_files)),
        orders=Orders(MemoryDisk()),
        clock=clock,
        entropy=os.urandom,
    )
    return made


def _window(gate: DecidingGate) -> bytes:
    copy = gate.window.copy()
    while not copy.step():
        pass
    return encode("", 0, copy)


def _uninterrupted(gate: Gate, bundle_files: dict[str, bytes]) -> tuple[DecidingGate, list[bytes], list[bytes]]:
    """Decide what the journal holds in one go; return that gate, and the vectors as they were and as they come now."""
    records = [record for _, record in Reader(PosixDisk(gate.folder / "journal")).entries()]
    clock = ManualClock(records[0].time_us)
    again = _opened(gate, bundle_files, MemoryDisk(), MemoryDisk(), clock)
    then, now = [], []
    for record in records:
        if record.kind is Kind.DECISION:
            clock.advance(record.time_us - clock.now_us())
            decided = Decided.from_body(record.body)
            then.append(decided.features)
            now.append(again.decide(PaymentRequest.model_validate(request_body(decided))).decided.features)
            again.journal.commit()
    return again, then, now


def test_every_acknowledged_decision_survives_sigkill_and_its_retry_gets_the_first_answer(
    gate: Gate, bundle_files: dict[str, bytes]
) -> None:
    told: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}

    def call(caller: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", gate.port, timeout=20)
        try:
            for number in range(100_000):
                body = _payment(caller, number)
                told[body["transaction_id"]] = (body, gate.ask(connection, body))
        except (OSError, http.client.HTTPException, json.JSONDecodeError):
            connection.close()

    callers = [threading.Thread(target=call, args=(caller,)) for caller in range(CALLERS)]
    for thread in callers:
        thread.start()
    deadline = time.monotonic() + START_S
    while len(told) < ACKNOWLEDGED_BEFORE_THE_KILL and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    gate.kill()
    for thread in callers:
        thread.join()

    gate.start()

    assert len(told) >= ACKNOWLEDGED_BEFORE_THE_KILL
    connection = http.client.HTTPConnection("127.0.0.1", gate.port, timeout=20)
    for body, answer in told.values():
        assert gate.ask(connection, body) == answer | {"replayed": True}
    connection.request("POST", "/v1/decisions", json.dumps(_payment(9, 9)), gate.headers)  # by what the restart rebuilt
    assert connection.getresponse().status == 200
    connection.close()
    gate.kill()
    assert verify(PosixDisk(gate.folder / "journal")).ok
    through, then, now = _uninterrupted(gate, bundle_files)
    assert now == then
    after = _opened(
        gate, bundle_files, PosixDisk(gate.folder / "journal"), PosixDisk(gate.folder / "window"), ManualClock(0)
    )
    assert _window(after) == _window(through)
    after.journal.close()
