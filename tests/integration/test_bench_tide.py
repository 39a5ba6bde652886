"""The tide's bench in its quick form: it runs, and tells what it found and each promise, in words and as JSON."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.bench.tide_promises import PROMISES

ROOT = Path(__file__).resolve().parents[2]


def test_the_bench_tells_each_promise_and_ends_with_one_json_object() -> None:
    command = [sys.executable, "-m", "tests.bench.tide", "--quick"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=180, check=False)

    assert done.returncode == 0, done.stderr
    *table, last = done.stdout.splitlines()
    told = json.loads(last)
    assert {"sqlite", "frames", "json_rows", "promises"} <= set(told)
    assert min(told["sqlite"]["live"], told["sqlite"]["lone"]) >= 1
    assert told["frames"]["bytes_of_1024"] <= 120
    assert told["frames"]["bytes_of_1_max"] <= 1_536
    assert [promise["what"] for promise in told["promises"]] == [promise.what for promise in PROMISES]
    measured = {promise["what"] for promise in told["promises"] if promise["kept"] is not None}
    assert measured == {promise.what for promise in PROMISES if promise.part in {"sqlite", "frames"}}
    for promise in PROMISES:
        assert any(line.startswith(promise.what) for line in table)
