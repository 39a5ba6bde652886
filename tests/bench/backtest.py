"""How many decisions a second a backtest judges: in one process, and as two Ray tasks by parts of the history.

`python -m tests.bench.backtest` makes decisions of made-up payments, with the default policy as the one of then and as
the one that is tried, lists of a thousand cards and labels; each is decided twice, since what was decided is checked.
The work is measured from Arrow in memory, as CPU time beside wall time: other programs may be running.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray

from tidegate.features.declarations import FEATURE_COUNT, FINGERPRINT
from tidegate.history import BACKTEST_COLUMNS, TABLES, batch_of, decisions_batch, schema_of
from tidegate.lists import ListIndex, ListsActivation, listings, parse
from tidegate.payment import Channel, EntryMode
from tidegate.policy.active import ActivePolicy
from tidegate.policy.check import read
from tidegate.policy.columns import decide_columns
from tidegate.policy.terms import policy_id
from tidegate.records import DECISION
from training.backtest.memory import MemoryArchive
from training.backtest.parquet import ParquetArchive
from training.backtest.ports import Archive
from training.backtest.spans import Span
from training.backtest.tally import Tally
from training.backtest.trial import try_policy

ROOT = Path(__file__).resolve().parents[2]
START_US = 1_795_500_000_000_000
STEP_US = 1_000_000
BATCH = 65_536
SOURCE = "site-1.g0.0123456789abcdef"
LISTED = 1_000
LABELLED = 50  # one of so many has a label

Rows = np.ndarray[Any, np.dtype[np.void]]


def policy() -> ActivePolicy:
    """Return the default policy, its brakes taken off: with brakes a backtest is one run in order."""
    terms = read("default.toml", (ROOT / "configs" / "policy" / "default.toml").read_text())
    rules = tuple(rule.model_copy(update={"brake": None}) for rule in terms.rules)
    terms = terms.model_copy(update={"rules": rules})
    return ActivePolicy(policy_id(terms), terms, START_US)


def lists(cards: int) -> tuple[ListIndex, str]:
    """Return lists of some cards, and their text."""
    lines = ["list,entity,value", *(f"watch,card,card-{at}" for at in range(0, cards, max(cards // LISTED, 1)))]
    content = parse("bench", lines)
    told = ListsActivation(version=1, lists=content.id(), entries=content.entries, as_of_us=START_US)
    return ListIndex(told, content.index), "".join(content.lines())


def decided(active: ActivePolicy, listed: ListIndex, first: int, count: int, cards: int) -> Rows:
    """Return decisions as a site under this policy would have made them."""
    chance = np.random.default_rng(first)
    rows = np.zeros(count, DECISION)
    rows["seq"] = rows["pos"] = first + np.arange(count)
    rows["time_us"] = START_US + (first + np.arange(count)) * STEP_US
    rows["transaction_id"] = [b"tx-%d" % at for at in range(first, first + count)]
    rows["card"] = [b"card-%d" % at for at in chance.integers(0, cards, count)]
    rows["terminal"] = [b"t-%d" % at for at in chance.integers(0, 3_000, count)]
    rows["merchant"], rows["currency"], rows["country"], rows["mcc"] = b"m-1", b"EUR", b"DE", b"5411"
    rows["channel"], rows["entry_mode"] = Channel.CARD_PRESENT, chance.choice(list(EntryMode), count)
    rows["amount_minor"] = np.minimum(chance.lognormal(8, 1, count), 1e8).astype(np.int64) + 1
    rows["features"][:, :FEATURE_COUNT] = chance.lognormal(0, 1.5, (count, FEATURE_COUNT))
    rows["feature_fingerprint"], rows["policy"], rows["lists_version"] = FINGERPRINT.encode(), active.id.encode(), 1
    rows["probability"] = chance.random(count) ** 12
    rows["risk_score"] = (rows["probability"] * 99).astype(np.uint8)
    found = decide_columns(active, rows, modes=np.zeros((count, 3), np.uint8), listings=listings(listed, rows, active))
    rows["outcome"], rows["rules_hit"], rows["rules_deciding"] = found.outcome, found.hit, found.deciding
    return rows


def history(active: ActivePolicy, decisions: int, cards: int) -> MemoryArchive:
    """Return a history of so many decisions."""
    listed, text = lists(cards)
    batches = [
        decisions_batch(SOURCE, decided(active, listed, first, min(BATCH, decisions - first), cards))
        for first in range(0, decisions, BATCH)
    ]
    label = {"source": SOURCE, "received_us": START_US, "merchant": "m-1", "verdict": "fraud", "known_us": START_US}
    labels = [{**label, "transaction_id": f"tx-{at}", "label_id": f"l-{at}"} for at in range(0, decisions, LABELLED)]
    one = {"source": SOURCE, "version": 1, "from_us": START_US, "to_us": 1 << 62, "as_of_us": 1 << 60}
    held = {"source": SOURCE, "policy": active.id, "from_us": START_US, "terms": active.terms.model_dump_json()}
    return MemoryArchive(
        {
            "decisions": batches,
            "labels": [batch_of("labels", labels)],
            "lists": [batch_of("lists", [{**one, "lists": listed.activation.lists, "text": text}])],
            "policies": [batch_of("policies", [held])],
            "bundles": [],
        }
    )


def span(decisions: int) -> Span:
    """Return the time that so many decisions took."""
    return Span(START_US, START_US + decisions * STEP_US)


def part(archive: Archive, active: ActivePolicy, of: Span) -> tuple[Tally, float]:
    """Return what a part came to, and the CPU seconds it took."""
    began = time.process_time()
    tally = try_policy(archive, active, of, of.to_us, lambda _: None)
    return tally, time.process_time() - began


def proven(tally: Tally, decisions: int) -> None:
    """Refuse to measure what is wrong: all was decided by the policy that is tried."""
    cells = sum(int(cells[0].sum()) for cells in tally.cells.values())
    if (cells, tally.checked["equal"]) != (decisions, decisions):
        raise AssertionError(f"{decisions} decisions, {cells} counted, {dict(tally.checked)} checked")


def alone(archive: MemoryArchive, active: ActivePolicy, decisions: int) -> dict[str, float]:
    """Measure one process."""
    began = time.perf_counter()
    tally, cpu = part(archive, active, span(decisions))
    proven(tally, decisions)
    return numbers(decisions, time.perf_counter() - began, cpu)


def shared(archive: MemoryArchive, active: ActivePolicy, decisions: int) -> dict[str, float]:
    """Measure two tasks of a Ray cluster of this machine, started before."""
    task, placed = ray.remote(num_cpus=1)(part), ray.put(archive)
    small = span(BATCH)
    ray.get([task.remote(placed, active, small) for _ in range(2)])  # imports, compiled code
    began, whole = time.perf_counter(), Tally()
    done = ray.get([task.remote(placed, active, of) for of in archive.split(span(decisions), 2)])
    for tally, _ in done:
        whole.merge(tally)
    took = time.perf_counter() - began
    proven(whole, decisions)
    return numbers(decisions, took, sum(cpu for _, cpu in done))


def held(archive: MemoryArchive, decisions: int) -> dict[str, float]:
    """Measure what one task holds that reads the history from Parquet, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        for table in TABLES:
            schema = schema_of(table, ("source", *BACKTEST_COLUMNS) if table == "decisions" else None)
            batches = list(archive.read(table, Span(-(1 << 62), 1 << 62), schema.names))
            whole = pa.Table.from_batches(batches, schema)
            pq.write_table(whole, Path(folder) / f"{table}.parquet", row_group_size=BATCH, compression="zstd")
        command = [sys.executable, "-m", "tests.bench.backtest", "--read", folder, "--decisions", str(decisions)]
        told: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return told


def holds(folder: Path, decisions: int) -> dict[str, float]:
    """Return the most that this process holds while it judges, and what it held before."""
    archive, active = ParquetArchive(folder), policy()
    part(archive, active, span(BATCH))  # imports, compiled code
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = peak_mib()
    tally, _ = part(archive, active, span(decisions))
    proven(tally, decisions)
    return {"peak_mib": peak_mib(), "before_mib": before}


def numbers(decisions: int, took_s: float, used_s: float) -> dict[str, float]:
    """Return what is told of a run."""
    return {
        "decisions_per_s": round(decisions / took_s),
        "cpu_s_per_million": round(used_s / decisions * 1e6, 2),
        "decisions_per_cpu_s": round(decisions / used_s),
        "wall_s": round(took_s, 2),
    }


def main() -> None:
    """Print a table and, as the last line, one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decisions", type=int, default=1_000_000)
    parser.add_argument("--cards", type=int, default=100_000)
    parser.add_argument("--read", type=Path, help="folder of Parquet files; only say what reading them holds")
    chosen = parser.parse_args()
    if chosen.read is not None:
        print(json.dumps(holds(chosen.read, chosen.decisions)))
        return
    active = policy()
    archive = history(active, chosen.decisions, chosen.cards)
    part(archive, active, span(BATCH))
    found = {"one process": alone(archive, active, chosen.decisions)}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    found["two Ray tasks"] = shared(archive, active, chosen.decisions)
    ray.shutdown()
    found["one from disk"] = held(archive, chosen.decisions)
    for name, told in found.items():
        print(f"{name:>14}  " + "  ".join(f"{key} {value:,}" for key, value in told.items()))
    load = os.getloadavg()[0]
    print(json.dumps({"decisions": chosen.decisions, "load": load, **found, "peak_mib": peak_mib()}))


def peak_mib() -> int:
    """Return the most memory that this process held."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


if __name__ == "__main__":
    main()
