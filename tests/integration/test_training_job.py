"""The training job on a real Ray cluster: submitted, followed, found again, refused with a reason."""

import datetime as dt
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow.parquet as pq
import pytest

from actors.scorer.disk import PosixFolder
from actors.scorer.model import Scorer
from actors.scorer.shelf import Shelf
from serve_apps.archive.delta import open_store
from serve_apps.archive.ports import Piece
from tests.sent import SOURCE, decision_rows
from tidegate import archived
from tidegate.bundle import GateVerdict
from tidegate.decision import Outcome
from tidegate.features.declarations import FEATURE_COUNT, FINGERPRINT
from tidegate.limits import DAY_US
from tidegate.payment import CHANNELS
from training.dataset import NEVER, features, load_mapping, read
from training.synth import SynthConfig, generate

ROOT = Path(__file__).resolve().parents[2]
SMALL = ("--days", "45", "--cards", "500", "--trees", "20")


class Cluster(Protocol):
    """What the fixture yields."""

    address: str
    dashboard: str
    environment: dict[str, str]


def _run(environment: dict[str, str], *command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def _submit(cluster: Cluster, bundles: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    where = ("--address", cluster.dashboard, "--bundles", str(bundles))
    return _run(cluster.environment, "-m", "training.submit", *where, *options)


def _result(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


@pytest.fixture(scope="module")
def trained(ray_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A shelf with the bundle of one job, and what the call that followed it to its end printed.

    The call before gave up at its deadline, and left the job running.
    """
    bundles = tmp_path_factory.mktemp("site") / "bundles"
    bundles.mkdir()
    hasty = _submit(ray_cluster, bundles, *SMALL, "--deadline-s", "0.1")
    assert hasty.returncode == 1
    assert "still runs after 0 s; the same call follows it again" in hasty.stderr
    done = _submit(ray_cluster, bundles, *SMALL)
    assert done.returncode == 0, done.stderr
    return bundles, done.stdout


def test_a_submitted_job_shows_its_progress_and_puts_a_bundle_that_scores_on_the_shelf(
    trained: tuple[Path, str],
) -> None:
    bundles, printed = trained
    lines = printed.splitlines()
    told = json.loads(lines[-1])
    shelf = Shelf(folder=PosixFolder(bundles))

    assert all(line.startswith("progress step=") for line in lines[:-1])
    assert lines[-2] == "progress step=done done=1.00"
    assert shelf.ids() == (told["bundle"],)
    assert Scorer(shelf.load(told["bundle"])).bundle.manifest.data.frauds == told["frauds"]
    assert told["metrics"]["average_precision"] > 0
    assert told["gate"]["passed"]
    card = (bundles / told["bundle"] / "card.md").read_text()
    assert f"# Model {told['bundle']}" in card
    assert (bundles / told["bundle"] / "card.html").is_file()
    assert shelf.load(told["bundle"]).manifest.gate == GateVerdict.model_validate(told["gate"])


def test_the_same_call_again_finds_the_same_job_and_trains_nothing(
    ray_cluster: Cluster, trained: tuple[Path, str]
) -> None:
    bundles, printed = trained

    again = _submit(ray_cluster, bundles, *SMALL)

    assert _result(again) == json.loads(printed.splitlines()[-1])
    assert len(Shelf(folder=PosixFolder(bundles)).ids()) == 1


def test_a_wrong_token_is_refused_with_what_to_do(ray_cluster: Cluster, tmp_path: Path) -> None:
    environment = {**ray_cluster.environment, "RAY_AUTH_TOKEN": "0" * 64}
    where = ("--address", ray_cluster.dashboard, "--bundles", str(tmp_path))

    done = _run(environment, "-m", "training.submit", *where)

    assert done.returncode == 1
    assert "RAY_AUTH_TOKEN isn't its token" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_job_that_fails_says_why_and_may_be_submitted_again(ray_cluster: Cluster, tmp_path: Path) -> None:
    for _ in range(2):
        done = _submit(ray_cluster, tmp_path, "--days", "9", "--cards", "50")

        assert done.returncode == 1
        assert "DATASET_INVALID: the payments span" in done.stderr


@pytest.mark.slow
def test_a_search_finds_settings_that_a_training_takes(ray_cluster: Cluster, tmp_path: Path) -> None:
    small = ("--days", "80", "--cards", "500", "--trees", "10", "--weeks", "1")
    found = tmp_path / "found.json"

    told = _result(_submit(ray_cluster, tmp_path, *small, "--trials", "2", "--params-out", str(found)))
    trained = _result(_submit(ray_cluster, tmp_path, *small, "--params", str(found)))

    assert told["average_precision"] >= told["average_precision_before"]
    parameters = Shelf(folder=PosixFolder(tmp_path)).load(trained["bundle"]).manifest.parameters
    assert parameters["max_depth"] == told["parameters"]["depth"]
    assert parameters["trees"] == told["parameters"]["trees"]


@pytest.mark.slow
def test_plain_ray_job_submit_runs_the_same_job(ray_cluster: Cluster, tmp_path: Path) -> None:
    job = ("--", sys.executable, "-m", "training.job", "--bundles", str(tmp_path), *SMALL)
    where = ("--address", ray_cluster.dashboard)
    code = json.dumps({"env_vars": {"PYTHONPATH": str(ROOT)}})

    done = _run(
        ray_cluster.environment, "-m", "ray.scripts.scripts", "job", "submit", *where, "--runtime-env-json", code, *job
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert len(Shelf(folder=PosixFolder(tmp_path)).ids()) == 1


@pytest.mark.slow
def test_a_real_ray_train_worker_trains_the_same_kind_of_bundle(ray_cluster: Cluster, tmp_path: Path) -> None:
    told = _result(_submit(ray_cluster, tmp_path, *SMALL, "--workers", "1"))

    assert Scorer(Shelf(folder=PosixFolder(tmp_path)).load(told["bundle"]))


def test_the_command_trains_on_a_running_cluster_and_says_how_to_activate_the_bundle(
    ray_cluster: Cluster, trained: tuple[Path, str], tmp_path: Path
) -> None:
    bundles, printed = trained  # the job of the same call, so that nothing is trained twice
    config = tmp_path / "site.toml"
    config.write_text(f'data_dir = "{bundles.parent}"\nmachine_mark = "{tmp_path}/mark"\n')
    cli, named = ("-m", "edge_nodes.cli"), ("--config", str(config))

    done = _run(ray_cluster.environment, *cli, "train", *named, "--address", ray_cluster.dashboard, *SMALL)

    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "training: data 0%"
    assert "training: done 100%" in lines
    shelf = Shelf(folder=PosixFolder(bundles))
    (bundle,) = shelf.ids()
    assert bundle == json.loads(printed.splitlines()[-1])["bundle"]
    assert lines[-1] == f"next: tidegate bundle activate {bundle} --config {config}"
    assert shelf.active() is None
    assert _run(ray_cluster.environment, *cli, "bundle", "activate", bundle, *named).returncode == 0
    assert shelf.active() == bundle
    listed = _run(ray_cluster.environment, *cli, "bundle", "list", *named).stdout
    assert listed == f"* {bundle}  gate passed\n"
    answer = ("--by", "Ada Lovelace", "--why", "to be sure")
    refused = _run(ray_cluster.environment, *cli, "bundle", "override", bundle, *named, *answer)
    assert refused.returncode == 1
    assert "nothing to override" in refused.stderr


def _archived(folder: Path, today: dt.date) -> None:
    """Archive the payments that the generator makes for `SMALL`, as if a site had decided each of them at once."""
    config = SynthConfig(seed=7, days=45, cards=500, start_us=((today - dt.date(1970, 1, 1)).days - 45) * DAY_US)
    pq.write_table(generate(config), folder / "synth.parquet")
    events = read(folder / "synth.parquet", load_mapping(ROOT / "configs" / "datasets" / "synth.toml"))
    rows = decision_rows(1, len(events))
    rows["time_us"] = rows["occurred_us"] = events.occurred_us
    rows["transaction_id"] = ids = events.transaction_ids.to_pylist()
    rows["card"] = [events.cards[slot] for slot in events.card_slot]
    rows["terminal"] = [events.terminals[slot] for slot in events.terminal_slot]
    rows["amount_minor"], rows["outcome"] = events.amount_minor, np.where(events.declined, Outcome.DECLINE, 0)
    for name in ("merchant", "currency"):
        rows[name] = events.texts[name].of(slice(0, len(events)))
    rows["channel"] = [CHANNELS[word or ""] for word in events.texts["channel"].of(slice(0, len(events)))]
    rows["feature_fingerprint"] = FINGERPRINT
    rows["features"][:, :FEATURE_COUNT] = features(events)
    told = []
    for verdict, times in (("fraud", events.label_known_us), ("legit", events.label_corrected_us)):
        for row in np.flatnonzero(times != NEVER).tolist():
            made = {"source": SOURCE, "merchant": rows["merchant"][row].decode(), "transaction_id": ids[row]}
            at_us = int(times[row])
            told.append({**made, "label_id": f"{verdict}-{row}", "verdict": verdict, "received_us": at_us})
            told[-1]["known_us"] = at_us
    store = open_store(folder / "archive")
    store.append("decisions", [Piece("test", 0, archived.decisions(SOURCE, rows))])
    store.append("labels", [Piece("test", 0, archived.batch_of("labels", told))])


def test_a_training_on_the_archive_learns_to_the_bit_what_one_on_the_payments_learns(
    ray_cluster: Cluster, trained: tuple[Path, str], tmp_path: Path
) -> None:
    of_payments = Shelf(folder=PosixFolder(trained[0])).load(json.loads(trained[1].splitlines()[-1])["bundle"])
    first_us = of_payments.manifest.data.first_us
    _archived(tmp_path, dt.date(1970, 1, 1) + dt.timedelta(days=first_us // DAY_US + 45))

    told = _result(_submit(ray_cluster, tmp_path / "bundles", "--archive", str(tmp_path / "archive"), *SMALL))

    data = Shelf(folder=PosixFolder(tmp_path / "bundles")).load(told["bundle"]).manifest.data
    assert data.source == "archive archive@1.0.1.0.0.0.0"
    assert data.sha256 == of_payments.manifest.data.sha256
    assert data.source in (tmp_path / "bundles" / told["bundle"] / "card.md").read_text()
