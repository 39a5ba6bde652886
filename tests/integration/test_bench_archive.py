"""The archive's bench in its quick form: it runs, and its last line is what it found."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_bench_archives_and_reads_what_it_sent_and_tells_it_in_one_json_line() -> None:
    command = [sys.executable, "-m", "tests.bench.archive", "--frames", "4"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["decisions"] == 4 * 4_096
    assert [step["what"] for step in told["steps"]] == ["archive", "ask in SQL", "read for a backtest"]
    assert all(step["per_cpu_s"] > 0 for step in told["steps"])
