"""Ingest over HTTP in this process, its log in a file: a cloud for tests of the tide that need no Ray there."""

import http.client
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI

from serve_apps.ingest.app import build
from serve_apps.ingest.backend import Backend
from serve_apps.ingest.committer import TOPICS, Committer
from serve_apps.ingest.memory import MemoryKeys, MemoryQuarantine
from serve_apps.plumbing.stream.sqlite import SqliteStream
from tests.integration.tides import CLOCK
from tidegate.frames import MEDIA_TYPE, parse, records
from tidegate.keys import KeyFile, Keyring, Scope, make_key
from tidegate.records import Lane

START_S = 30


@dataclass
class Cloud:
    """Ingest on a free port, and what it works with."""

    port: int
    key: str
    keys: MemoryKeys
    stream: SqliteStream

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, key: str | None = None) -> tuple[int, Any]:
        headers = {"authorization": f"Bearer {key or self.key}"}
        return self.send("GET", path, b"", headers)

    def post(self, path: str, body: bytes, media_type: str = MEDIA_TYPE) -> tuple[int, Any]:
        return self.send("POST", path, body, {"content-type": media_type})

    def send(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        data = response.read()
        connection.close()
        return response.status, json.loads(data) if "json" in response.headers.get("content-type", "") else data

    def records(self, lane: Lane) -> list[bytes]:
        reader = self.stream.reader()
        found = []
        for partition in range(reader.partitions(TOPICS[lane])):
            offset = reader.begin(TOPICS[lane], partition)
            for stored in reader.read(TOPICS[lane], partition, offset, messages_max=1_000, bytes_max=1 << 30):
                found += list(records(parse(stored.value)).each())
        reader.close()
        return found


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    (tmp_path / "cloud").mkdir()
    with serving(tmp_path / "cloud") as made:
        yield made


@contextmanager
def serving(folder: Path, features: FastAPI | None = None) -> Iterator[Cloud]:
    """Give a cloud whose log lies in a folder; where they are given, with features beside."""
    stream = SqliteStream(folder / "log.sqlite", CLOCK)
    for lane in (Lane.DECISIONS, Lane.EVENTS):
        stream.create(TOPICS[lane], 4)
    keys, (secret, stored) = MemoryKeys(), make_key("operator", frozenset(Scope), os.urandom)
    committer = Committer(stream, "c0", CLOCK)
    backend = Backend(keys=keys, quarantine=MemoryQuarantine(), committers=[committer], clock=CLOCK)
    app = build(backend, Keyring(KeyFile(keys=(stored,))))
    if features is not None:
        app.mount("/v1/features", features)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    ready = threading.Event()
    for _ in range(START_S * 100):
        if server.started:
            break
        ready.wait(0.01)
    yield Cloud(server.servers[0].sockets[0].getsockname()[1], secret, keys, stream)
    server.should_exit = True
    thread.join()
    backend.close()
    stream.close()
