"""A cloud on Ray Serve: sites enrol and send; its replica killed under load, nothing is lost and nothing doubled."""

import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edge_nodes.reaper import members
from serve_apps.ingest.committer import TOPICS
from serve_apps.plumbing.stream.sqlite import SqliteStream
from tests.integration.tides import CLOCK, Site, opened
from tidegate.enrolment import enrolment
from tidegate.frames import parse, records
from tidegate.records import Lane

ROOT = Path(__file__).resolve().parents[2]
START_S = 180
STOP_S = 90


@dataclass
class Cloud:
    """`tidegate cloud run`, and the operator's key."""

    process: "subprocess.Popen[str]"
    port: int
    folder: Path
    mark: str

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
        key = (self.folder / "operator.key").read_text()
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        context = ssl.create_default_context(cafile=self.authority)
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=20, context=context)
        connection.request(method, path, json.dumps(body) if body else None, headers)
        response = connection.getresponse()
        told = response.status, json.loads(response.read())
        connection.close()
        return told

    @property
    def authority(self) -> str:
        return str(self.folder / "tls" / "authority.pem")

    def site(self, name: str, folder: Path) -> Site:
        return opened(name, folder / name, f"https://127.0.0.1:{self.port}", self.authority)

    def enrol(self, name: str, site: Site) -> None:
        status, made = self.ask("POST", "/v1/sites", {"site": name})
        assert status == 201, made
        asked = enrolment(name, made["token"], site.public, site.signer).model_dump()
        status, told = self.ask("POST", f"/v1/sites/{name}/enrolment", asked)
        assert status == 200, told

    def replica(self) -> int:
        found = [
            pid
            for pid in members(self.mark, {})
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::ServeReplica:ingest")
        ]
        return found[0]

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(STOP_S) == 0

    def held(self, lane: Lane) -> list[bytes]:
        stream = SqliteStream(self.folder / "log.sqlite", CLOCK)
        reader = stream.reader()
        found = []
        for partition in range(reader.partitions(TOPICS[lane])):
            offset = reader.begin(TOPICS[lane], partition)
            while page := reader.read(TOPICS[lane], partition, offset, messages_max=100, bytes_max=1 << 26):
                found += [record for stored in page for record in records(parse(stored.value)).each()]
                offset = page[-1].offset + 1
        reader.close()
        stream.close()
        return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    port, folder = _free_port(), tmp_path / "cloud"
    command = [sys.executable, "-m", "edge_nodes.cli", "cloud", "run", "--data-dir", str(folder), "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TIDEGATE_TEST_CLOUD": str(folder)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    watch = threading.Timer(START_S, process.kill)
    watch.start()
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("ingest: "):
            break
    watch.cancel()
    assert lines[-1:] == [f"ingest: https://127.0.0.1:{port}\n"], lines
    yield Cloud(process, port, folder, str(folder))
    if process.poll() is None:
        process.kill()
    process.stdout.close()
    process.wait()


@pytest.mark.slow
def test_sites_enrol_and_a_killed_replica_loses_nothing_and_doubles_nothing(cloud: Cloud, tmp_path: Path) -> None:
    sites = [cloud.site(name, tmp_path) for name in ("s1", "s2")]
    stranger = cloud.site("s3", tmp_path)
    for name, site in zip(("s1", "s2"), sites, strict=True):
        cloud.enrol(name, site)
        site.decide(500)
        site.until_sent()
    stranger.decide(1)
    stranger.uplink.step()
    assert "UNKNOWN_KEY" in stranger.uplink.standing.trouble

    killed = cloud.replica()
    for site in sites:
        site.decide(3_000)
        site.uplink.step()
    os.kill(killed, signal.SIGKILL)
    for site in sites:
        site.decide(2_000)
        site.until_sent()
    assert cloud.replica() != killed
    rows = cloud.ask("GET", "/v1/sites")[1]["data"]
    assert [(row["site"], row["forked"], row["gaps"]) for row in rows] == [("s1", False, 0), ("s2", False, 0)]
    cloud.stop()

    for lane in (Lane.DECISIONS, Lane.EVENTS):
        held = cloud.held(lane)
        assert sorted(held) == sorted(record for site in sites for record in site.own(lane))
    assert members(cloud.mark, {}) == {}
    for site in (*sites, stranger):
        site.close()
