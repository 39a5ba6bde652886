"""The bench of model quality on a small generated file with the handbook's columns: its protocol, and its last line."""

import datetime as dt
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tidegate.limits import DAY_US
from training.synth import SynthConfig, generate

ROOT = Path(__file__).resolve().parents[2]
FIRST = dt.date(2018, 6, 20)
DAYS = 85  # to 2018-09-12: the fourth week and the days in which its labels come


@pytest.fixture(scope="module")
def handbook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as the Fraud Detection Handbook's joined one, of generated payments."""
    start_us = (FIRST - dt.date(1970, 1, 1)).days * DAY_US
    made = generate(SynthConfig(seed=3, days=DAYS, cards=500, terminals=150, start_us=start_us))
    columns = {
        "transaction_id": np.arange(len(made), dtype=np.int32),
        "ts": pa.array(made["occurred_us"].to_numpy() // 1_000_000, pa.timestamp("s")),
        "customer_id": made["card"].dictionary_encode().combine_chunks().indices,
        "terminal_id": made["terminal"].dictionary_encode().combine_chunks().indices,
        "amount": made["amount_minor"].to_numpy() / 100,
        "fraud": made["fraud"].cast(pa.int8()),
        "fraud_scenario": made["fraud"].cast(pa.int8()),
    }
    file = tmp_path_factory.mktemp("data") / "handbook.parquet"
    pq.write_table(pa.table(columns), file)
    return file


def _bench(file: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "tests.bench.model_quality", "--data", str(file), "--trees", "30", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


def test_the_bench_walks_four_weeks_and_its_last_line_holds_their_numbers_and_means(handbook: Path) -> None:
    done = _bench(handbook)

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert [week["start"] for week in told["weeks"]] == ["2018-08-08", "2018-08-15", "2018-08-22", "2018-08-29"]
    assert {name for week in told["weeks"] for name in week} == {"start", "auc", "ap", "cp100"}
    for name, mean in told["mean"].items():
        assert mean == pytest.approx(np.mean([week[name] for week in told["weeks"]]), abs=1e-4)
    assert told["mean"]["auc"] > 0.8
    assert told["mean"]["ap"] > 0.2


def test_a_file_that_ends_before_the_last_weeks_labels_is_refused_with_the_week(handbook: Path) -> None:
    done = _bench(handbook, "--start", "2018-08-15")

    assert done.returncode == 1
    assert "DATASET_INVALID: the week of 2018-09-05 has not settled" in done.stderr
