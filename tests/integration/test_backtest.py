"""A backtest of a small journal on a real Ray cluster: extracted, submitted, judged by tasks, told in three reports."""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol

import pytest

from actors.gate.gate import Gate
from actors.gate.orders import Orders
from actors.gate.start import open_gate
from actors.journal.disk import PosixDisk
from actors.scorer.disk import PosixFolder
from actors.scorer.model import Scorer
from actors.scorer.shelf import Shelf
from serve_apps.archive.__main__ import main as recompute
from serve_apps.archive.checked import kept_result
from tests.integration.archiving import archive
from tidegate.bundle import decode
from tidegate.clock import ManualClock, rfc3339
from tidegate.limits import MINUTE_US
from tidegate.lists import parse
from tidegate.payment import LabelRequest, PaymentRequest
from tidegate.policy.active import ActivePolicy
from tidegate.policy.check import read
from tidegate.policy.terms import policy_id
from tidegate.settings import SiteSettings, site_settings

ROOT = Path(__file__).resolve().parents[2]
DECISIONS = 400
STRICT = """
name = "strict"
[[rules]]
number = 1
id = "large"
state = "active"
when = "amount > 60000.0"
outcome = "decline"
reason = "RULE_AMOUNT"
text = "Large amounts."
[[rules]]
number = 2
id = "often"
state = "shadow"
when = "card_count_24h > 3.0"
outcome = "review"
reason = "RULE_VELOCITY"
text = "Often."
"""


class Cluster(Protocol):
    """What the fixture yields."""

    dashboard: str
    environment: dict[str, str]


def _payment(number: int, now_us: int, chance: random.Random) -> PaymentRequest:
    body = {"transaction_id": f"tx-{number}", "occurred_at": rfc3339(now_us), "channel": "card_present"}
    body |= {"card": f"card-{chance.randrange(30)}", "terminal": f"t-{chance.randrange(5)}", "merchant": "m-1"}
    return PaymentRequest.model_validate({**body, "amount": {"minor": chance.randrange(1, 90_000), "currency": "EUR"}})


def _lived(gate: Gate, orders: Orders, clock: ManualClock) -> None:
    """Decide under two policies and two sets of lists; every fifth payment was fraud."""
    chance = random.Random(5)
    for number in range(DECISIONS):
        clock.advance(MINUTE_US)
        gate.decide(_payment(number, clock.now_us(), chance))
        if number % 5 == 0:
            body = {"label_id": f"l-{number}", "merchant": "m-1", "transaction_id": f"tx-{number}", "source": "bank"}
            known = rfc3339(clock.now_us())
            gate.label(LabelRequest.model_validate({**body, "verdict": "fraud", "known_at": known}))
        if number == DECISIONS // 3:
            terms = read("strict", STRICT.replace("60000.0", "80000.0"))
            gate.activate_policy(ActivePolicy(policy_id(terms), terms, gate.now_us(), "test"))
        if number == DECISIONS // 2:
            content = parse("lists", ["list,entity,value", "soft_block,card,card-1", "watch,card,card-2"])
            before = gate.basis.lists.activation
            gate.activate_lists(orders.store(content, before, as_of_us=gate.now_us(), by="test", why=""))
        gate.journal.commit()


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, bundle_files: dict[str, bytes], now_us: int) -> SiteSettings:
    """The settings of a site that has decided a while and stands still."""
    folder = tmp_path_factory.mktemp("site")
    layer = {"data_dir": str(folder), "machine_mark": str(folder.parent / "mark"), "journal": {"segment_bytes": 65_536}}
    settings = site_settings([layer], names="test")
    shelf = Shelf(folder=PosixFolder(folder / "bundles"))
    bundle = decode(bundle_files)
    shelf.put(bundle_files)
    for name in ("journal", "window", "orders"):
        (folder / name).mkdir()
    orders, clock = Orders(PosixDisk(folder / "orders")), ManualClock(now_us)
    gate, _ = open_gate(
        settings=settings,
        machine_mark="machine",
        journal_disk=PosixDisk(folder / "journal"),
        checkpoint_disk=PosixDisk(folder / "window"),
        scorer=Scorer(bundle),
        orders=orders,
        clock=clock,
        entropy=random.Random(1).randbytes,
    )
    _lived(gate, orders, clock)
    gate.journal.close()
    (folder / "site.toml").write_text(f'data_dir = "{folder}"\nmachine_mark = "{folder.parent}/mark"\n')
    return settings


def _backtest(
    cluster: Cluster, settings: SiteSettings, policy: str, *span: str, archived: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    folder = Path(settings.data_dir)
    (folder / "tried.toml").write_text(policy)
    options = ["--config", str(folder / "site.toml"), "--policy", str(folder / "tried.toml"), "--out", f"{folder}/out"]
    options += ["--from", span[0], "--to", span[1], "--address", cluster.dashboard, "--tasks", "2"]
    options += [] if archived is None else ["--archive", str(archived)]
    return subprocess.run(
        [sys.executable, "-m", "edge_nodes.cli", "backtest", *options],
        cwd=ROOT,
        env=cluster.environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def _report(settings: SiteSettings) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((Path(settings.data_dir) / "out" / "report.json").read_text())
    return told


def test_a_backtest_on_ray_tells_what_a_policy_would_have_done_with_parts_that_add_up(
    ray_cluster: Cluster, settings: SiteSettings, now_us: int
) -> None:
    whole = rfc3339(now_us), rfc3339(now_us + 1_000 * MINUTE_US)
    done = _backtest(ray_cluster, settings, STRICT, *whole)

    assert done.returncode == 0, done.stderr
    assert f"{DECISIONS} decisions, {DECISIONS // 5} labels" in done.stdout
    told = _report(settings)
    assert told["decisions"]["judged"] == DECISIONS
    assert told["check"] == {"equal": DECISIONS, "differing": 0, "braked": 0, "policy_lost": 0, "examples": []}
    assert told["confusion"]["now"]["frauds"] == DECISIONS // 5
    assert [rule["id"] for rule in told["rules"]] == ["large", "often"]
    assert told["rules"][0]["deciding"] == told["rules"][0]["hits"] > 0
    assert told["rules"][1]["deciding"] == 0
    page = (Path(settings.data_dir) / "out" / "report.html").read_text()
    assert "<script" not in page
    assert f"{DECISIONS} of {DECISIONS} decisions came out as they were" in page
    assert not (Path(settings.data_dir) / "out" / "history").exists()


def test_a_backtest_of_the_archive_tells_what_the_sites_own_journal_tells(
    ray_cluster: Cluster, settings: SiteSettings, now_us: int, tmp_path: Path
) -> None:
    whole = rfc3339(now_us), rfc3339(now_us + 1_000 * MINUTE_US)
    own = _backtest(ray_cluster, settings, STRICT, *whole)
    assert own.returncode == 0, own.stderr
    by_journal = _report(settings)
    archive(settings, tmp_path)
    assert recompute(["recompute", "--archive", str(tmp_path)]) == 0
    kept = kept_result(tmp_path)
    assert kept is not None
    assert (kept.told.compared > 0, kept.told.gap) == (True, "")

    done = _backtest(ray_cluster, settings, STRICT, *whole, archived=tmp_path)

    assert done.returncode == 0, done.stderr
    by_archive = _report(settings)
    assert by_archive.pop("past").startswith(f"archive {tmp_path.name}@")
    assert by_journal.pop("past") == "the site's journal"
    assert by_archive == by_journal


def test_what_cannot_be_tried_is_refused_with_what_to_change(
    ray_cluster: Cluster, settings: SiteSettings, now_us: int
) -> None:
    empty = rfc3339(now_us + 2_000 * MINUTE_US), rfc3339(now_us + 3_000 * MINUTE_US)
    span = rfc3339(now_us), rfc3339(now_us + 1_000 * MINUTE_US)

    nothing = _backtest(ray_cluster, settings, STRICT, *empty)
    wrong = _backtest(ray_cluster, settings, STRICT.replace("amount >", "amuont >"), *span)
    turned = _backtest(ray_cluster, settings, STRICT, *reversed(span))
    undated = _backtest(ray_cluster, settings, STRICT, "yesterday", span[1])

    assert "no decision was made in that time; the journal's go from 2026-11-24T06:01:00.000000Z to" in nothing.stderr
    assert "line 7: rules.0.when: large:" in wrong.stderr
    assert "amuont" in wrong.stderr
    assert "--to: must come after --from" in turned.stderr
    assert "--from: RFC 3339 is expected" in undated.stderr
    assert {done.returncode for done in (nothing, wrong, turned, undated)} == {1}
