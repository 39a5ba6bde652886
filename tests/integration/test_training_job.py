"""The training job on a real Ray cluster: submitted, followed, found again, refused with a reason."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol

import pytest

from actors.scorer.disk import PosixFolder
from actors.scorer.model import Scorer
from actors.scorer.shelf import Shelf

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
    bundles = tmp_path_factory.mktemp("bundles")
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


def test_a_job_that_fails_says_why_and_may_be_submitted_again(ray_cluster: Cluster, tmp_path: Path) -> None:
    for _ in range(2):
        done = _submit(ray_cluster, tmp_path, "--days", "9", "--cards", "50")

        assert done.returncode == 1
        assert "DATASET_INVALID: the payments span" in done.stderr
