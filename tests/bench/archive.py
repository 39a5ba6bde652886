"""What archiving costs: frames of a log into Delta tables, exactly once and synced, and what reading them takes.

`python -m tests.bench.archive` has two sites' decisions in a log in memory, in full frames, signed; the consumer
decodes and proves each frame, and writes batches with their offsets. Measured are CPU and wall time, since other
programs may be running, the bytes on disk, and the most memory that the process ever had.
"""

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from serve_apps.archive.archive import TOPICS
from serve_apps.archive.consumer import Consumer
from serve_apps.archive.delta import DeltaStore, open_store
from serve_apps.archive.query import Questions
from serve_apps.plumbing.stream.memory import MemoryStream
from serve_apps.plumbing.stream.ports import Message
from tests.bench.cpu import memory_mib
from tests.sent import decision_rows, frame, source
from tidegate.clock import SystemClock
from tidegate.history import BACKTEST_COLUMNS
from tidegate.limits import FRAME_RECORDS_MAX
from tidegate.records import Lane
from training.archive import PinnedArchive
from training.backtest.delta import DeltaArchive
from training.backtest.spans import Span

SITES = 2
CARDS = 10_000
QUESTION = "SELECT outcome, count(*) FROM decisions WHERE amount_minor > 5000 GROUP BY outcome"
Row = dict[str, float | str]


def decided(first: int, rng: np.random.Generator) -> bytes:
    """Return a full frame's decisions: features of few and of many digits, tokens of a stream of cards."""
    rows = decision_rows(first, FRAME_RECORDS_MAX)
    rows["features"] = np.where(
        rng.random(rows["features"].shape) < 0.5, rng.integers(0, 50, rows["features"].shape), rng.normal(size=40) * 100
    )
    rows["card"] = [f"card-{card:016x}" for card in rng.integers(0, CARDS, len(rows))]
    rows["terminal"] = [f"terminal-{at}" for at in rng.integers(0, 50, len(rows))]
    rows["merchant"], rows["currency"], rows["bundle"], rows["policy"] = (
        "m-1",
        "EUR",
        "b-0123456789ab",
        "p-0123456789ab",
    )
    rows["amount_minor"], rows["outcome"] = rng.integers(1, 20_000, len(rows)), rng.integers(0, 4, len(rows))
    rows["request_hash"] = [rng.bytes(16) for _ in range(len(rows))]
    rows["probability"], rows["margin"] = rng.random(len(rows)), rng.normal(size=len(rows))
    return rows.tobytes()


def log_of(frames: int) -> MemoryStream:
    """Return a log of so many full frames, shared out to the sites."""
    stream, rng = MemoryStream(SystemClock()), np.random.default_rng(11)
    for topic in TOPICS:
        stream.create(topic, SITES)
    writer = stream.writer("bench")
    for at in range(frames):
        of = source(at % SITES)
        data = frame(Lane.DECISIONS, decided(at // SITES * FRAME_RECORDS_MAX + 1, rng), of)
        writer.commit([Message("tidegate.L1", of.encode(), data)], {})
    return stream


@contextmanager
def timed(rows: list[Row], what: str, count: int) -> Iterator[None]:
    """Note what the block takes, for `count` decisions."""
    started_s, used_s = time.perf_counter(), time.process_time()
    yield
    wall_s, cpu_s = time.perf_counter() - started_s, time.process_time() - used_s
    rows.append({"what": what, "wall_s": wall_s, "cpu_s": cpu_s, "per_s": count / wall_s, "per_cpu_s": count / cpu_s})


def archived(stream: MemoryStream, store: DeltaStore) -> int:
    """Archive all of a log; return how many rows it had."""
    consumer = Consumer(reader=stream.reader(), consumers=stream.consumers(), store=store, clock=SystemClock())
    rows = 0
    while (step := consumer.step()).messages:
        rows += step.rows
    return rows + consumer.flush()


def measured(folder: Path, frames: int) -> dict[str, Any]:
    """Write, merge and read; return the numbers."""
    rows: list[Row] = []
    stream, store, count = log_of(frames), open_store(folder), frames * FRAME_RECORDS_MAX
    before_mib = memory_mib(os.getpid())[1]
    with timed(rows, "archive", count):
        if archived(stream, store) != count:
            raise AssertionError("a row is missing or there twice")
    after_mib = memory_mib(os.getpid())[1]
    bytes_each = sum(path.stat().st_size for path in (folder / "decisions").rglob("*.parquet")) / count
    with timed(rows, "ask in SQL", count):
        Questions(folder).ask(QUESTION, 100)
    history = DeltaArchive(PinnedArchive.of(str(folder)))
    with timed(rows, "read for a backtest", count):
        read = sum(
            batch.num_rows for batch in history.read("decisions", Span(0, 1 << 62), ("source", *BACKTEST_COLUMNS))
        )
    if read != count:
        raise AssertionError("a backtest reads other rows than were written")
    return {"decisions": count, "bytes_each": bytes_each, "memory_mib": [before_mib, after_mib], "steps": rows}


def table(told: dict[str, Any]) -> str:
    """Return the numbers for eyes."""
    lines = [f"{'':22}{'wall':>9}{'CPU':>9}{'a second':>12}{'a CPU-second':>14}"]
    for row in told["steps"]:
        times = f"{row['wall_s']:8.2f}s{row['cpu_s']:8.2f}s"
        lines.append(f"{row['what']:22}{times}{row['per_s']:12,.0f}{row['per_cpu_s']:14,.0f}")
    before, after = told["memory_mib"]
    lines.append(f"{told['decisions']:,} decisions, {told['bytes_each']:.0f} bytes each on disk")
    lines.append(f"the most memory: {before:,.0f} MiB with the log, {after:,.0f} MiB after archiving it")
    return "\n".join(lines)


def main() -> None:
    """Run the bench as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.archive", description=__doc__)
    parser.add_argument("--frames", type=int, default=160, help="full ones, 4,096 decisions each")
    folder = Path(tempfile.mkdtemp(prefix="tidegate-archive-"))
    try:
        told = measured(folder, parser.parse_args().frames)
    finally:
        shutil.rmtree(folder)
    print(table(told))
    print(json.dumps(told))


if __name__ == "__main__":
    main()
