"""A running site changes its policy and its lists by command: swapped without a restart, or refused whole."""

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.scorer.disk import PosixFolder
from actors.scorer.shelf import Shelf
from tidegate.keys import KeyFile, Scope, dump_keys, make_key

ROOT = Path(__file__).resolve().parents[2]
DEFAULT = ROOT / "configs" / "policy" / "default.toml"
COMMAND_S = 120
STOP_ALL = """
[[rules]]
number = 64
id = "stop-all"
state = "active"
when = "amount > 0.0"
outcome = "decline"
reason = "RULE_OTHER"
text = "Everything."
"""


@dataclass
class Site:
    """A running site, its files, and a key for everything."""

    port: int
    folder: Path
    key: str
    decider: str
    paid: int = 0

    def ask(self, method: str, path: str, body: Any = None, key: str = "", kind: str = "application/json") -> Any:
        """Return status and JSON of one request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        try:
            connection.request(method, path, data, {"authorization": f"Bearer {key or self.key}", "content-type": kind})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def pay(self, **changes: Any) -> Any:
        """Decide one payment of now; return the answer."""
        self.paid += 1
        body = {
            "transaction_id": f"tx-{self.paid}",
            "occurred_at": datetime.now(UTC).isoformat(),
            "amount": {"minor": 1_250, "currency": "EUR"},
            "card": f"card-{self.paid}",
            "terminal": "t-1",
            "merchant": "m-1",
            "channel": "card_present",
        }
        return self.ask("POST", "/v1/decisions", body | changes)[1]

    def run(self, *words: str, door: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command of the house against this site."""
        to = ["--to", f"http://127.0.0.1:{self.port}", "--key-file", str(self.folder / "demo.key")]
        files = ["--config", str(self.folder / "site.toml")]
        return subprocess.run(
            [sys.executable, "-m", "edge_nodes.cli", *words, *(to if door else files)],
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )


@pytest.fixture
def site(tmp_path: Path, bundle_files: dict[str, bytes], open_gate: Callable[[dict[str, Any], bytes], int]) -> Site:
    folder = tmp_path / "site"
    folder.mkdir()
    shelf = Shelf(folder=PosixFolder(folder / "bundles"))
    shelf.activate(shelf.put(bundle_files))
    key, stored = make_key("anna", frozenset(Scope), os.urandom)
    decider, till = make_key("till", frozenset({Scope.DECIDE, Scope.READ}), os.urandom)
    layer = {"site": "site-1", "data_dir": str(folder), "machine_mark": str(tmp_path / "mark"), "profile": "demo"}
    port = open_gate(layer, dump_keys(KeyFile(keys=(stored, till))))
    (folder / "demo.key").write_text(key)
    (folder / "site.toml").write_text("".join(f'{name} = "{value}"\n' for name, value in layer.items()))
    return Site(port, folder, key, decider)


def test_a_policy_is_checked_activated_explained_and_names_every_decision_after(site: Site) -> None:
    before = site.pay()
    checked = site.run("policy", "check", str(DEFAULT), door=False)
    assert checked.returncode == 0, checked.stderr
    assert "µs at the 99th percentile of" in checked.stdout

    activated = site.run("policy", "activate", str(DEFAULT), "--why", "the first of our own")
    assert activated.returncode == 0, activated.stderr
    after = site.pay(amount={"minor": 2_000_000, "currency": "EUR"})

    assert activated.stdout.startswith(after["policy"])
    assert after["policy"] != before["policy"]
    assert site.ask("GET", "/v1/policy")[1]["by"] == "anna"
    told = site.run("policy", "explain", after["decision_id"], door=False).stdout
    assert "rule 9 new-terminal-large v1 [active]: true" in told
    assert "activated by anna: the first of our own" in site.run("policy", "explain", door=False).stdout
    replayed = site.run("decision", "replay", after["decision_id"], door=False)
    assert (replayed.returncode, replayed.stdout.count("equal to the bit")) == (0, 2)


def test_a_policy_that_would_decline_too_much_is_refused_and_the_active_one_goes_on(site: Site, tmp_path: Path) -> None:
    wide = tmp_path / "wide.toml"
    wide.write_text(STOP_ALL)
    for _ in range(5):
        site.pay()
    active = site.pay()["policy"]

    refused = site.run("policy", "activate", str(wide), "--why", "panic")
    assert refused.returncode == 1
    assert "would decline 6 of the last day's 6 decisions" in refused.stderr
    assert site.pay()["policy"] == active

    taken = site.run("policy", "activate", str(wide), "--why", "panic", "--override")
    assert taken.returncode == 0, taken.stderr
    assert site.pay()["outcome"] == "decline"


def test_a_broken_policy_fails_with_its_line_before_it_is_sent(site: Site, tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text(STOP_ALL.replace("amount > 0.0", "[1].all(x, x > 0)"))
    for command in (("policy", "check", str(broken)), ("policy", "activate", str(broken), "--why", "x")):
        failed = site.run(*command, door=command[1] == "activate")
        assert failed.returncode == 1
        assert "line 6: rules.0.when: stop-all: character 1" in failed.stderr
        assert "Traceback" not in failed.stderr


def test_the_door_refuses_keys_of_another_scope_and_bodies_that_are_no_policy(site: Site) -> None:
    order = {"terms": {"rules": []}, "why": "x"}
    assert site.ask("PUT", "/v1/policy", order, key=site.decider)[0] == 403
    assert site.ask("PUT", "/v1/lists?why=x", b"list,entity,value\n", key=site.decider, kind="text/csv")[0] == 403
    before = site.ask("GET", "/v1/policy")[1]
    for body, kind in (
        ({"terms": {"colour": 1}, "why": "x"}, "application/json"),
        ({"terms": {}}, "application/json"),
        (b"{", "application/json"),
        (order, "text/plain"),
        (b" " * 300_000, "application/json"),
    ):
        status, problem = site.ask("PUT", "/v1/policy", body, kind=kind)
        assert status in {413, 415, 422}
        assert problem["code"]
    assert site.ask("GET", "/v1/policy")[1] == before


def test_lists_are_loaded_in_bulk_from_csv_and_parquet_and_decide_at_once(site: Site, tmp_path: Path) -> None:
    rows = 120_000
    columns = {"list": ["hard_block"] * rows, "entity": ["card"] * rows, "value": [f"bad-{n}" for n in range(rows)]}
    pq.write_table(pa.table(columns), tmp_path / "lists.parquet")
    started = time.monotonic()
    loaded = site.run("lists", "load", str(tmp_path / "lists.parquet"), "--why", "the network's list")
    assert loaded.returncode == 0, loaded.stderr
    assert f"{rows} entries decide" in loaded.stdout
    assert time.monotonic() - started < COMMAND_S / 2

    blocked = site.pay(card=f"bad-{rows - 1}")
    assert (blocked["outcome"], blocked["lists"]) == ("decline", 1)
    assert site.pay(card="good")["outcome"] != "decline"
    assert site.ask("GET", "/v1/lists")[1]["by_list"] == {"hard_block": rows}

    (tmp_path / "lists.csv").write_text("list,entity,value\nallow,card,bad-1\nallow,card,4111111111111111\n")
    refused = site.run("lists", "load", str(tmp_path / "lists.csv"), "--why", "wrong")
    assert refused.returncode == 1
    assert "line 3: value: an id must not be 13 to 19 digits" in refused.stderr
    assert site.pay(card="bad-1")["lists"] == 1
    assert f"version 1: {rows} entries" in site.run("lists", "show", door=False).stdout

    entry = ("allow", "card", "bad-1", "--why", "the payer proved to be who it is")
    assert site.run("lists", "add", *entry, "--until", "2999-01-01T00:00:00Z").returncode == 0
    assert (site.pay(card="bad-1")["lists"], site.pay(card="bad-2")["outcome"]) == (2, "decline")
    assert site.run("lists", "remove", *entry).returncode == 0
    assert "stands on no such list" in site.run("lists", "remove", *entry).stderr
    change = {"why": "x", "remove": [{"list": "hard_block", "entity": "card", "value": "bad-2"}]}
    assert site.ask("POST", "/v1/lists/changes", change, key=site.decider)[0] == 403
    assert site.ask("POST", "/v1/lists/changes", change)[1]["by_list"] == {"hard_block": rows - 1}
    assert site.pay(card="bad-2")["outcome"] != "decline"
