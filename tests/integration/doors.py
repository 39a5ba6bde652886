"""The door of a site for tests, in this process or behind Ray Serve, and a good request to it."""

import asyncio
import contextlib
import http.client
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from actors.gate.actor import GateActor
from actors.journal.disk import PosixDisk
from actors.journal.verify import verify
from tests.integration.spawned import Cluster, Gate, shelved
from tidegate.keys import KeyFile, Scope, dump_keys, make_key, parse_keys
from tidegate.settings import site_settings

BUILD = "edge_nodes.http.app:build"
READY_S = 60


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    type: str
    body: Any
    headers: Message


@dataclass(frozen=True)
class Door:
    """A running site's door and the key to it."""

    port: int
    key: str
    merchant_key: str
    folder: Path
    via: str

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Send one request; `body` may be bytes, or anything that is sent as JSON."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        sent = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        sent.update({name.replace("_", "-"): value for name, value in headers.items()})
        try:
            connection.request(method, path, data, {name: value for name, value in sent.items() if value})
            response = connection.getresponse()
            raw = response.read()
        finally:
            connection.close()
        kind = response.headers.get("content-type", "")
        return Answer(response.status, kind, json.loads(raw) if "json" in kind and raw else raw, response.headers)

    def heads(self) -> Any:
        """Return the journal's heads: equal before and after where nothing was changed."""
        return self.ask("GET", "/v1/site").body["journal"]["heads"]


def _run(loop: asyncio.AbstractEventLoop, work: Any) -> Any:
    return asyncio.run_coroutine_threadsafe(work, loop).result(timeout=READY_S)


async def _ready(actor: GateActor) -> None:
    async with asyncio.timeout(READY_S):
        while actor.status() is not None:  # noqa: ASYNC110 - the actor's state is asked for, as Ray would
            await asyncio.sleep(0.01)


def _here(folder: Path, keys: bytes) -> Iterator[int]:
    """A gate in this process, with its own door."""
    layer = {"data_dir": str(folder), "machine_mark": str(folder.parent / "mark"), "door": {"port": 0}}
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    actor = GateActor(site_settings([layer], names="test").model_dump_json(), BUILD, keys)
    port = _run(loop, actor.start())
    _run(loop, _ready(actor))
    yield port
    _run(loop, actor.stop())
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def _served(folder: Path, keys: bytes, cluster: Cluster) -> Iterator[int]:
    """The same behind Ray Serve, in a cluster."""
    gate = Gate(cluster, folder, {"via": "serve"}, *parse_keys("keys", keys).keys)
    assert gate.tell("ready")["error"] is None
    yield gate.port
    gate.close()


@pytest.fixture(scope="module", params=["actor", "serve"])
def door(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, bundle_files: dict[str, bytes]
) -> Iterator[Door]:
    """The door of a site, one way and the other: a caller sees no difference."""
    folder = shelved(tmp_path_factory.mktemp("site") / request.param, bundle_files)
    key, stored = make_key("everything", frozenset(Scope), os.urandom)
    merchant_key, other = make_key("shop", frozenset({Scope.DECIDE, Scope.READ}), os.urandom, frozenset({"m-7"}))
    keys = dump_keys(KeyFile(keys=(stored, other)))
    if request.param == "serve":
        opened = _served(folder, keys, request.getfixturevalue("ray_cluster"))
    else:
        opened = _here(folder, keys)
    with contextlib.contextmanager(lambda: opened)() as port:
        yield Door(port, key, merchant_key, folder, request.param)
    assert verify(PosixDisk(folder / "journal")).ok


def payment(transaction_id: str, **changes: Any) -> dict[str, Any]:
    """Return a good request, with changes."""
    body = {
        "transaction_id": transaction_id,
        "occurred_at": datetime.now(UTC).isoformat(),
        "amount": {"minor": 1_250, "currency": "EUR"},
        "card": "card-1",
        "terminal": "t-1",
        "merchant": "m-1",
        "channel": "card_present",
        "entry_mode": "contactless",
    }
    return body | changes
