"""A cloud on Ray Serve: sites enrol and send; replicas are killed under load: each row, once, archived and counted."""

import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from actors.scorer.disk import PosixFolder
from actors.scorer.shelf import Shelf
from actors.uplink.memory import MemoryTexts
from edge_nodes.cli import app
from edge_nodes.node import free_port
from edge_nodes.reaper import members
from serve_apps.archive.delta import opened
from tests.integration import tides
from tests.integration.tides import Site
from tidegate.archived import Kept, restored
from tidegate.artifacts import Artifact
from tidegate.deltas import Deltas
from tidegate.enrolment import enrolment
from tidegate.history import rows_of
from tidegate.records import DECISION, HEAD_BYTES, Kind, Lane
from tidegate.snapshots import Snapshot

ROOT = Path(__file__).resolve().parents[2]
START_S = 180
STOP_S = 90
ARCHIVED_S = 120


@dataclass
class Cloud:
    """`tidegate cloud run`, and the operator's key."""

    process: "subprocess.Popen[str]"
    port: int
    folder: Path
    mark: str

    def ask(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, key: str | None = None
    ) -> tuple[int, Any]:
        status, told = self.text(path, method, body, key)
        return status, json.loads(told)

    def text(
        self, path: str, method: str = "GET", body: dict[str, Any] | None = None, key: str | None = None
    ) -> tuple[int, str]:
        key = (self.folder / "operator.key").read_text() if key is None else key
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        context = ssl.create_default_context(cafile=self.authority)
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=20, context=context)
        connection.request(method, path, json.dumps(body) if body else None, headers)
        response = connection.getresponse()
        told = response.status, response.read().decode()
        connection.close()
        return told

    @property
    def authority(self) -> str:
        return str(self.folder / "tls" / "authority.pem")

    def site(self, name: str, folder: Path) -> Site:
        return tides.opened(name, folder / name, f"https://127.0.0.1:{self.port}", self.authority)

    def enrol(self, name: str, site: Site) -> None:
        status, made = self.ask("POST", "/v1/sites", {"site": name})
        assert status == 201, made
        asked = enrolment(name, made["token"], site.public, site.signer).model_dump()
        status, told = self.ask("POST", f"/v1/sites/{name}/enrolment", asked)
        assert status == 200, told

    def models(self, *words: str) -> str:
        """Return what a command of `tidegate models` says."""
        where = ["--cloud", f"https://127.0.0.1:{self.port}", "--authority", str(self.authority)]
        done = CliRunner().invoke(app, ["models", *words, *where, "--key-file", str(self.folder / "operator.key")])
        assert done.exit_code == 0, (done.output, done.exception)
        return done.output

    def offered(self, folder: Path, files: dict[str, bytes]) -> str:
        """Publish a bundle of a machine's shelf, and roll it out to a canary."""
        config = folder / "trainer.toml"
        config.write_text(f'data_dir = "{folder / "trainer"}"\nmachine_mark = "{folder / "mark"}"\n')
        (folder / "trainer").mkdir()
        bundle = Shelf(folder=PosixFolder(folder / "trainer" / "bundles")).put(files)
        assert self.models("publish", bundle, "--config", str(config)).startswith(f"{bundle}: passed")
        assert "canaries s1" in self.models("canaries", "s1", "--why", "ours")
        assert bundle in self.models("offer", bundle, "--why", "new")
        assert "nodes.npy" in self.models("show", bundle)
        self.fetched(folder, bundle)
        return bundle

    def fetched(self, folder: Path, bundle: str) -> None:
        """Have the canary fetch its bundle, proven from the first root."""
        (folder / "canary").mkdir()
        config = folder / "canary.toml"
        config.write_text(f'site = "s1"\ndata_dir = "{folder / "canary"}"\nmachine_mark = "{folder / "mark-c"}"\n')
        root, key = self.folder / "models" / "catalogue" / "1.root.json", str(self.folder / "operator.key")
        door = ["--door", "http://127.0.0.1:9", "--door-key-file", key]
        told = self.models("fetch", "--pinned", str(root), *door, "--config", str(config))
        assert told.startswith(f"{bundle} is active from the next start")
        assert Shelf(folder=PosixFolder(folder / "canary" / "bundles")).active() == bundle

    def bytes(self, path: str) -> tuple[int, str | None, bytes]:
        """Return a status, where to go on, and a body of features."""
        context = ssl.create_default_context(cafile=self.authority)
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=60, context=context)
        key = (self.folder / "operator.key").read_text()
        connection.request("GET", f"/v1/features/{path}", headers={"authorization": f"Bearer {key}"})
        response = connection.getresponse()
        told = response.status, response.headers.get("tidegate-next"), response.read()
        connection.close()
        return told

    def deltas(self) -> list[Deltas]:
        """Return all batches that the log of deltas has."""
        found, at = [], "0"
        while (told := self.bytes(f"deltas?from={at}"))[0] == 200:
            at = told[1] or ""
            found.append(Deltas.from_bytes(told[2]))
        assert told[0] == 204
        return found

    def until_folded(self) -> None:
        """Return once all batches of the log are in the states of cards."""
        deadline = time.monotonic() + ARCHIVED_S
        while time.monotonic() < deadline:
            status, told = self.ask("GET", "/v1/features/status")
            if status == 200 and not told["trouble"] and self.bytes(f"deltas?from={told['next']}")[0] == 204:
                return
            threading.Event().wait(0.2)
        raise AssertionError(told)

    def replica(self, application: str) -> int:
        name = f"ray::ServeReplica:{application}".encode()
        found = [pid for pid in members(self.mark, {}) if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(name)]
        return found[0]

    def until_archived(self, messages: int) -> dict[str, Any]:
        """Return the archive's standing once nothing is behind, and a replica begun anew has taken so many frames."""
        deadline = time.monotonic() + ARCHIVED_S
        while time.monotonic() < deadline:
            status, told = self.ask("GET", "/archive/v1/status")
            if status == 200 and told["messages"] >= messages and not any(told["behind"].values()):
                return dict(told)
            threading.Event().wait(0.2)
        raise AssertionError(told)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(STOP_S) == 0

    def archived(self, table: Kept) -> pa.Table:
        return opened(self.folder / "archive")[table].to_pyarrow_dataset().to_table()


def use(site: Site, card: str) -> None:
    """Journal a decision of which features can be counted, as a gate does."""
    row = np.zeros(1, DECISION)
    row["card"], row["terminal"], row["amount_minor"] = card, "till-1", 1_250
    row["feature_us"] = tides.CLOCK.now_us()
    site.journal.append([(Lane.DECISIONS, Kind.DECISION, row.tobytes()[HEAD_BYTES:])], tides.CLOCK.now_us())
    site.journal.commit()


def decisions_of(rows: pa.Table) -> list[bytes]:
    """Return archived decisions as their sites journaled them, to the bit."""
    batches = rows.combine_chunks().to_batches()
    return [row.tobytes() for batch in batches for row in rows_of(restored(batch, DECISION.names or ()))]


def assert_counted_once(cloud: Cloud, sites: dict[str, Site]) -> None:
    """Hold that each use and each label is in the log of deltas once, and in the states of the other sites."""
    cloud.until_folded()
    posted = {"label_id": "l-1", "merchant": "m-1", "transaction_id": "t-1", "verdict": "fraud", "source": "bank"}
    for replayed in (False, True):
        status, told = cloud.ask("POST", "/v1/labels", posted | {"known_at": "2026-11-24T09:30:00Z"})
        assert (status, told) == (202, posted | {"applied": False, "replayed": replayed})
    batches = cloud.deltas()
    assert [label.label_id for batch in batches for label in batch.labels()] == ["l-1"]
    uses = np.concatenate([batch.of_cards() for batch in batches])
    assert sorted(uses["site"].tolist()) == [b"s1", b"s1", b"s2"]
    for (name, site), others in zip(sites.items(), (1, 2), strict=True):
        status, _, data = cloud.bytes(f"snapshots/{name}/g0/{site.journal.epoch}")
        made = Snapshot.from_bytes(data)
        assert (status, made.cards, made.states["day_count"].sum()) == (200, ("card-7",), others)


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    port, folder, told = free_port(), tmp_path / "cloud", tmp_path / "cloud.toml"
    told.write_text((ROOT / "configs" / "cloud" / "cloud.toml").read_text().replace("committers = 1", "committers = 2"))
    command = [sys.executable, "-m", "edge_nodes.cli", "cloud", "run", "--data-dir", str(folder), "--port", str(port)]
    command += ["--settings", str(told)]
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
def test_what_sites_send_is_archived_once_though_ingest_and_archive_are_killed(
    cloud: Cloud, tmp_path: Path, bundle_files: dict[str, bytes]
) -> None:
    sites = [cloud.site(name, tmp_path) for name in ("s1", "s2")]
    stranger = cloud.site("s3", tmp_path)
    for name, site in zip(("s1", "s2"), sites, strict=True):
        cloud.enrol(name, site)
        site.decide(500)
        site.until_sent()
    stranger.decide(1)
    stranger.uplink.step()
    assert "UNKNOWN_KEY" in stranger.uplink.standing.trouble

    lists = Artifact("lists", "list,entity,value,expires_at,rule\n" + "watch,card,card-1,,\n" * 9_000)
    for site in sites:  # both have it, and the cloud wants it once
        texts = MemoryTexts()
        texts.of = {lists.name: lists.text.encode()}
        site.uplink.offer(texts)
        site.uplink.standing.connected = False
    assert cloud.until_archived(1)["trouble"] is None
    bundle = cloud.offered(tmp_path, bundle_files)
    killed = {name: cloud.replica(name) for name in ("ingest", "archive", "features", "models")}
    with ThreadPoolExecutor(1) as waiting:  # nothing of the above can be counted: no log has a batch yet
        first = waiting.submit(cloud.bytes, "deltas?from=0&live=1")
        use(sites[0], "card-7")
        sites[0].until_sent()
        assert (first.result()[0], len(Deltas.from_bytes(first.result()[2]).rows)) == (200, 1)
    for site in sites:
        use(site, "card-7")
        site.decide(3_000)
        site.uplink.step()
    for pid in killed.values():
        os.kill(pid, signal.SIGKILL)
    for site in sites:
        site.decide(2_000)
        site.until_sent()
    told = cloud.until_archived(1)
    assert {name: cloud.replica(name) for name in killed}.items().isdisjoint(killed.items())
    assert [row for row in told["partitions"] if row["halted"]] == []
    rows = cloud.ask("GET", "/v1/sites")[1]["data"]
    assert [(row["site"], row["forked"], row["gaps"]) for row in rows] == [("s1", False, 0), ("s2", False, 0)]
    status, text = cloud.text("/archive/metrics")
    assert (status, 'tidegate_archive_halted{topic="tidegate.L1"} 0.0' in text) == (200, True)
    assert cloud.ask("GET", "/archive/v1/status", key="tg_nobody")[0] == 401
    assert cloud.ask("GET", "/archive/readyz", key="")[1] == {"ready": True, "why": None}
    assert_counted_once(cloud, dict(zip(("s1", "s2"), sites, strict=True)))
    assert f"candidate {bundle} at canary: active at 0, refused at 0" in cloud.models("list")
    cloud.stop()

    decisions, events = cloud.archived("decisions"), cloud.archived("events")
    assert sorted(decisions_of(decisions)) == sorted(record for site in sites for record in site.own(Lane.DECISIONS))
    assert events.num_rows == sum(len(site.own(Lane.EVENTS)) for site in sites)
    assert len(set(zip(events["source"].to_pylist(), events["seq"].to_pylist(), strict=True))) == events.num_rows
    parts = cloud.archived("artifacts").sort_by("part").to_pylist()
    assert "".join(row["text"] for row in parts) == lists.text
    assert members(cloud.mark, {}) == {}
    for site in (*sites, stranger):
        site.close()
