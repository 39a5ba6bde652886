"""`tidegate replay` against a real gate: every payment decided, every label told when due, and a report to read."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from actors.journal.disk import PosixDisk
from actors.journal.report import show_lines
from actors.scorer.disk import PosixFolder
from actors.scorer.shelf import Shelf
from tidegate.clock import rfc3339
from tidegate.keys import KeyFile, Scope, dump_keys, make_key
from tidegate.limits import HOUR_US
from tidegate.records import Lane

ROOT = Path(__file__).resolve().parents[2]
FIRST_US = 1_700_000_000_000_000
ROWS = 400  # an hour apart: 16 days, so that the frauds of the first nine become known in time
FRAUD_EVERY = 20
MAPPING = ROOT / "configs" / "datasets" / "example-csv.toml"
OpenGate = Callable[[dict[str, Any], bytes], int]


@dataclass(frozen=True)
class Site:
    """Where a gate listens, and the files around it."""

    url: str
    folder: Path

    @property
    def key_file(self) -> Path:
        """Holds the API key."""
        return self.folder / "demo.key"

    def shown(self, lane: Lane) -> list[str]:
        """Return the journal's lines of a lane."""
        return list(show_lines(PosixDisk(self.folder / "journal"), lane=lane, from_pos=1, limit=5_000))


def _site(folder: Path, bundle_files: dict[str, bytes], open_gate: OpenGate, source: str) -> Site:
    folder.mkdir()
    shelf = Shelf(folder=PosixFolder(folder / "bundles"))
    shelf.activate(shelf.put(bundle_files))
    secret, stored = make_key("all", frozenset(Scope), os.urandom)
    layer = {"site": folder.name, "data_dir": str(folder), "machine_mark": str(folder.parent / "mark")}
    port = open_gate(layer | {"profile": "demo", "clock": {"source": source}}, dump_keys(KeyFile(keys=(stored,))))
    (folder / "demo.key").write_text(secret)
    return Site(f"http://127.0.0.1:{port}", folder)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV file as `configs/datasets/example-csv.toml` describes it."""
    lines = ["id,paid_at,euros,card_token,till,mcc,decided,chargeback,chargeback_at,cashier"]
    for n in range(ROWS):
        at_us = FIRST_US + n * HOUR_US
        fraud = n % FRAUD_EVERY == 0
        known = rfc3339(at_us + 7 * 24 * HOUR_US) if fraud else ""
        lines.append(
            f"{n},{rfc3339(at_us)},{10 + n % 90}.50,tok-{n % 31},{n % 5},5411,approve,{int(fraud)},{known},ann"
        )
    file = tmp_path_factory.mktemp("recorded") / "payments.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.fixture(scope="module")
def following(tmp_path_factory: pytest.TempPathFactory, bundle_files: dict[str, bytes], open_gate: OpenGate) -> Site:
    """A site that follows the events it is sent."""
    return _site(tmp_path_factory.mktemp("replay") / "follows", bundle_files, open_gate, "events")


@pytest.fixture(scope="module")
def ordinary(tmp_path_factory: pytest.TempPathFactory, bundle_files: dict[str, bytes], open_gate: OpenGate) -> Site:
    """A site that follows the wall clock."""
    return _site(tmp_path_factory.mktemp("replay") / "now", bundle_files, open_gate, "system")


def _replay(site: Site, file: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "edge_nodes.cli", "replay", str(file), "--mapping", str(MAPPING)]
    where = ["--to", site.url, "--key-file", str(site.key_file)]
    return subprocess.run(
        [*command, *where, *options], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


def _report(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])["report"]
    return told


def test_a_file_in_its_own_time_is_decided_whole_and_its_labels_come_when_due(following: Site, recorded: Path) -> None:
    report = _report(_replay(following, recorded, "--keep-times", "--connections", "4", "--json"))

    due = sum(n + 7 * 24 < ROWS for n in range(0, ROWS, FRAUD_EVERY))
    assert (report["sent"], sum(report["outcomes"].values()), report["errors"]) == (ROWS, ROWS, {})
    assert (report["labels"], report["labels_not_due"]) == (due, ROWS // FRAUD_EVERY - due)
    assert report["frauds"] == ROWS // FRAUD_EVERY
    assert 0 < report["p50_ms"] <= report["p99_ms"]
    labels = [line for line in following.shown(Lane.EVENTS) if "LABEL_RECEIVED" in line.upper()]
    known = [re.search(r"shop-(\d+)", line) for line in labels]
    told = [int(found[1]) for found in known if found]
    assert told == sorted(told)
    assert len(told) == due


def test_a_file_shifted_to_now_can_be_sent_again_and_its_report_is_for_a_person(ordinary: Site, recorded: Path) -> None:
    for _ in range(2):
        done = _replay(ordinary, recorded, "--limit", "50")

        assert done.returncode == 0, done.stderr
        assert "payments sent" in done.stdout
        assert re.search(r"errors +│ none", done.stdout)
    assert len(ordinary.shown(Lane.DECISIONS)) == 100


def test_a_replay_of_which_all_is_refused_fails_and_says_why(ordinary: Site, recorded: Path, tmp_path: Path) -> None:
    stranger = tmp_path / "key"
    stranger.write_text("tgk_stranger")

    done = _replay(ordinary, recorded, "--limit", "5", "--key-file", str(stranger))

    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("REFUSED: UNAUTHENTICATED 5; of 5 payments 0 were decided")
    assert "nothing was decided" in done.stdout


def test_what_is_no_address_is_a_sentence(ordinary: Site, recorded: Path) -> None:
    done = _replay(ordinary, recorded, "--to", "not-a-host")

    assert done.returncode == 1
    assert "is no address of a door" in done.stderr
    assert "Traceback" not in done.stderr


def test_own_times_are_refused_by_a_site_that_follows_the_wall_before_the_first_payment(
    ordinary: Site, recorded: Path
) -> None:
    before = len(ordinary.shown(Lane.DECISIONS))

    done = _replay(ordinary, recorded, "--keep-times")

    assert done.returncode == 1
    assert "leave --keep-times out" in done.stderr
    assert len(ordinary.shown(Lane.DECISIONS)) == before


def test_a_file_is_shifted_to_the_now_of_a_site_that_follows_events(following: Site, recorded: Path) -> None:
    before = len(following.shown(Lane.DECISIONS))

    done = _replay(following, recorded, "--limit", "30")

    assert done.returncode == 0, done.stderr
    assert re.search(r"errors +│ none", done.stdout)
    assert len(following.shown(Lane.DECISIONS)) == before + 30


def test_nobody_at_the_address_is_told_and_not_waited_for(ordinary: Site, recorded: Path) -> None:
    nobody = Site("http://127.0.0.1:9", ordinary.folder)

    done = _replay(nobody, recorded)

    assert done.returncode == 1
    assert "no site answers at http://127.0.0.1:9" in done.stderr
