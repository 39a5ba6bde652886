"""What commits to the cloud's log cost, and reading it back: `python -m tests.bench.stream`.

The same frames of random bytes, which nothing compresses, into a SQLite file and into a Kafka broker (one, on this
machine, its log in the same folder). A backlog's commit is eight frames of 400 KB, each 4,096 decisions as they travel;
a live one is a frame of 1.5 KB. Each commit notes cursors, and is measured from its call to its return.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np

from serve_apps.plumbing.stream.kafka.stream import KafkaStream
from serve_apps.plumbing.stream.ports import Message, Stream
from serve_apps.plumbing.stream.sqlite import SqliteStream
from tests.bench.cpu import cpu_s
from tests.servers import kafka_broker
from tidegate.clock import SystemClock

TOPIC: Final = "tidegate.L1"
PARTITIONS: Final = 4
ROWS_A_FRAME: Final = 4_096
FRAME_BYTES: Final = 400_000
LIVE_BYTES: Final = 1_500
FRAMES_A_COMMIT: Final = 8
SITES: Final = 8
WARM: Final = 5
READ_BYTES_MAX: Final = 8 * 1024 * 1024

Numbers = dict[str, float]


@contextmanager
def in_sqlite(folder: Path) -> Iterator[tuple[Stream, tuple[int, ...]]]:
    """Give a log in a file, and no process but this one."""
    stream = SqliteStream(folder / "log.sqlite", SystemClock())
    yield stream, ()
    stream.close()


@contextmanager
def in_kafka(folder: Path) -> Iterator[tuple[Stream, tuple[int, ...]]]:
    """Give a log in a broker, and its process."""
    broker = kafka_broker.Broker(folder)
    broker.start()
    try:
        yield KafkaStream(broker.address, SystemClock(), replicas=1), (broker.pid,)
    finally:
        broker.stop()


KINDS: Final = {"sqlite": in_sqlite, "kafka": in_kafka}


def commits(count: int, frames: int, size: int) -> Iterator[tuple[list[Message], dict[str, bytes]]]:
    """Yield what a committer commits: frames of many sites in turn, each with its site's cursor."""
    for number in range(count):
        sites = [f"site-{(number * frames + frame) % SITES}/g0/0198" for frame in range(frames)]
        cursor = json.dumps({"committed": [[1, number * ROWS_A_FRAME]], "chain": "0" * 64}).encode()
        yield [Message(TOPIC, site.encode(), os.urandom(size)) for site in sites], dict.fromkeys(sites, cursor)


def committing(stream: Stream, count: int, frames: int, size: int, cpu: Callable[[], float]) -> Numbers:
    """Return milliseconds a commit, and what that makes a second."""
    writer = stream.writer("bench")
    took_ms: list[float] = []
    spent = 0.0
    for number, (messages, cursors) in enumerate(commits(count + WARM, frames, size)):
        before, began = cpu(), time.perf_counter()
        writer.commit(messages, cursors)
        if number >= WARM:
            took_ms.append((time.perf_counter() - began) * 1_000)
            spent += cpu() - before
    writer.close()
    total_s = sum(took_ms) / 1_000
    p50, p99 = np.percentile(took_ms, [50, 99]).round(2).tolist()
    return {
        "p50_ms": p50,
        "p99_ms": p99,
        "mb_per_s": round(count * frames * size / total_s / 1e6, 2),
        "frames_per_s": round(count * frames / total_s, 1),
        "cpu_ms": round(spent / count * 1_000, 2),
    }


def reading(stream: Stream) -> Numbers:
    """Return how fast one reader reads all there is."""
    reader = stream.reader()
    size, began = 0, time.perf_counter()
    for partition in range(PARTITIONS):
        offset = reader.begin(TOPIC, partition)
        while found := reader.read(TOPIC, partition, offset, messages_max=500, bytes_max=READ_BYTES_MAX):
            size += sum(len(stored.value) for stored in found)
            offset = found[-1].offset + 1
    took_s = time.perf_counter() - began
    reader.close()
    return {"mb_per_s": round(size / took_s / 1e6, 1)}


def measure(kind: str, folder: Path, count: int) -> dict[str, Numbers]:
    """Return one log's numbers: a backlog's commits, reading those, live commits."""
    with KINDS[kind](folder) as (stream, servers):
        pids = (os.getpid(), *servers)
        stream.create(TOPIC, PARTITIONS)
        backlog = committing(stream, count, FRAMES_A_COMMIT, FRAME_BYTES, lambda: cpu_s(pids))
        read = reading(stream)
        live = committing(stream, 4 * count, 1, LIVE_BYTES, lambda: cpu_s(pids))
    return {"backlog": backlog, "read": read, "live": live}


def show(found: dict[str, dict[str, Numbers]]) -> None:
    """Print the table."""
    print(f"{'log':8}{'commit':10}{'p50 ms':>9}{'p99 ms':>9}{'MB/s':>9}{'frames/s':>10}{'CPU ms':>9}{'read MB/s':>11}")
    for kind, numbers in found.items():
        for name in ("backlog", "live"):
            row = numbers[name]
            read = f"{numbers['read']['mb_per_s']:11.1f}" if name == "backlog" else ""
            print(
                f"{kind:8}{name:10}{row['p50_ms']:9.2f}{row['p99_ms']:9.2f}{row['mb_per_s']:9.2f}"
                f"{row['frames_per_s']:10.1f}{row['cpu_ms']:9.2f}{read}"
            )


def main() -> None:
    """Print a table and, as the last line, one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commits", type=int, default=100, help="of eight frames each; four times as many live ones")
    parser.add_argument("--folder", type=Path, default=None, help="on the disk that is measured")
    chosen = parser.parse_args()
    kinds = list(KINDS)
    if why := kafka_broker.missing():
        print(f"without Kafka: {why}", file=sys.stderr)
        kinds.remove("kafka")
    found = {}
    for kind in kinds:
        with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
            found[kind] = measure(kind, Path(folder), chosen.commits)
    show(found)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
