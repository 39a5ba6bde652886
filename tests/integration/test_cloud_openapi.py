"""What the OpenAPI documents of ingest, features and models allow or forbid is never answered with a server error."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn
from fastapi import FastAPI

from serve_apps.ingest.app import build
from serve_apps.ingest.backend import Backend
from serve_apps.ingest.committer import Committer
from serve_apps.ingest.desk import Desk, labels_router
from serve_apps.ingest.identity import identity_router
from serve_apps.ingest.labels import Labels
from serve_apps.ingest.memory import MemoryBook, MemoryQuarantine, MemoryRegister
from serve_apps.ingest.registry import Registry
from serve_apps.plumbing.stream.configured import TOPICS
from serve_apps.plumbing.stream.log import DELTAS
from serve_apps.plumbing.stream.memory import MemoryStream
from tests.unit.cloudfeatures.test_door import OPERATOR, House
from tests.unit.cloudfeatures.test_extractor import decided
from tests.unit.models import test_door
from tidegate.clock import SystemClock
from tidegate.keys import KeyFile, Keyring, Scope, make_key
from tidegate.records import Lane

CLOCK = SystemClock()
START_S = 30
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=["ingest", "features", "models"])
def running(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, str]]:
    """Where an application in memory listens, and a key for all of it."""
    if request.param == "ingest":
        with ingesting() as told:
            yield told
    elif request.param == "models":
        models = test_door.House()
        with listening(models.app) as url:
            yield url, test_door.OPERATOR
    else:
        monkeypatch.setattr("serve_apps.features.app.DELTAS_WAIT_S", 0.01)  # else each one waits that long
        house = House()
        house.cloud.send(Lane.DECISIONS, decided(1, 1))
        house.live(3)
        with listening(house.app) as url:
            yield url, OPERATOR


@contextmanager
def ingesting() -> Iterator[tuple[str, str]]:
    """Run an ingest in memory."""
    stream, (secret, stored) = MemoryStream(CLOCK), make_key("operator", frozenset(Scope), os.urandom)
    for topic in TOPICS:
        stream.create(topic, 2)
    registry, keyring = Registry(MemoryRegister(), CLOCK, os.urandom), Keyring(KeyFile(keys=(stored,)))
    committers = [Committer(stream, "c0", CLOCK)]
    backend = Backend(keys=registry, quarantine=MemoryQuarantine(), committers=committers, clock=CLOCK)
    stream.create(DELTAS, 1)
    desk = Desk(Labels(stream, MemoryBook(), CLOCK), CLOCK)
    beside = identity_router(registry, keyring, backend.meter), labels_router(desk, keyring)
    with listening(build(backend, keyring, *beside)) as url:
        yield url, secret
    desk.close()
    backend.close()


@contextmanager
def listening(app: FastAPI) -> Iterator[str]:
    """Serve an application on a free port."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    waiting = threading.Event()
    for _ in range(START_S * 100):
        if server.started:
            break
        waiting.wait(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.mark.slow
def test_no_request_that_the_document_allows_or_forbids_is_answered_with_a_server_error(
    running: tuple[str, str], tmp_path: Path
) -> None:
    url, key = running
    command = [str(Path(sys.executable).parent / "schemathesis"), "run", f"{url}/openapi.json"]
    options = ["--checks=not_a_server_error", "--max-examples=8", "--seed=7", "--no-color"]
    options += ["--generation-database=none", "--phases=examples,coverage,fuzzing"]
    header = f"--header=Authorization: Bearer {key}"

    hooks = {"SCHEMATHESIS_HOOKS": "tests.integration.binary_bodies", "PYTHONPATH": str(ROOT)}

    run = subprocess.run(
        [*command, *options, header],
        env=os.environ | hooks,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=tmp_path,
    )

    assert run.returncode == 0, run.stdout[-4_000:] + run.stderr[-1_000:]
