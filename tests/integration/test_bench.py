"""The gate's bench runs and says what it promises to say; what the numbers are is not a test's to judge."""

import json
import os
import subprocess
import sys
from pathlib import Path

from edge_nodes.reaper import members

ROOT = Path(__file__).resolve().parents[2]
MARK = "TIDEGATE_BENCH_TEST"
LIMIT_S = 480  # a busy machine takes minutes for what takes half of one


def test_the_bench_measures_each_contender_and_ends_with_one_json_object_and_no_process(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "tests.bench.gate",
        "--quick",
        "--contenders",
        "gate,gate_rules,floor,serve_default",
    ]
    wanted = {"p50_ms", "p99_ms", "p999_ms", "rps", "cpu_us"}
    environment = {**os.environ, MARK: str(tmp_path)}

    done = subprocess.run(
        [*command, "--json", str(tmp_path / "told.json")],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told == json.loads((tmp_path / "told.json").read_text())
    assert set(told["contenders"]) == {"gate", "gate_rules", "floor", "serve_default"}
    assert all(set(row) == {"c1", "c32"} for row in told["contenders"].values())
    numbers = [cell for row in told["contenders"].values() for cell in row.values()]
    assert all(set(cell) == wanted and min(cell.values()) > 0 for cell in numbers)
    assert all(cell["p50_ms"] <= cell["p99_ms"] <= cell["p999_ms"] for cell in numbers)
    assert min(told[name] for name in ("flush_p50_ms", "gate_rss_mib", "decisions_per_cpu_second", "spin_ns")) > 0
    assert 0 < told["approve_share"] <= 1
    assert members(str(tmp_path), {}) == {}
