"""Runs the tide for as long as somebody likes: `python -m tests.soak --minutes N`, or `make soak MINUTES=N`.

Two parts, each for so long: a hundred sites at once, each with a journal on the disk and the real uplink, against the
real ingest in another process (its application under uvicorn, without Ray, over a SQLite log): in the end the counts
must be exact, and memory flat. And the whole house under ever new seeds (`tests/simulation/test_tide.py`); a seed that
fails is named with its commit. The last line is one JSON object; the status is 1 where something failed.
"""

import argparse
import json
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from serve_apps.ingest.committer import TOPICS
from serve_apps.plumbing.stream.sqlite import SqliteStream
from tests.bench.cpu import memory_mib
from tests.bench.tide import Cloud
from tests.integration.tides import CLOCK, Site, opened
from tidegate.frames import parse
from tidegate.records import Lane

LANES: Final = (Lane.DECISIONS, Lane.EVENTS)
SEEDS_A_RUN: Final = 200
THREADS: Final = 4
DECISIONS_A_TURN: Final = 2
TURN_S: Final = 1.0
SAMPLE_S: Final = 5.0
GROWTH_MAX: Final = 1.10  # of the last third's median over the second's: allocators wander by less
ROOT: Final = Path(__file__).resolve().parents[1]
Told = dict[str, Any]


# --- A hundred sites. ---


@dataclass
class Memory:
    """What two processes hold, sampled."""

    cloud: int
    samples: list[tuple[float, float]] = field(default_factory=list)

    def watch(self, over: threading.Event) -> None:
        """Sample until it is over."""
        while not over.wait(SAMPLE_S):
            self.samples.append((memory_mib(os.getpid())[0], memory_mib(self.cloud)[0]))

    def told(self) -> Told:
        """Return how much it was, and how much more in the last third than in the second."""
        third = max(1, len(self.samples) // 3)
        told: Told = {}
        for at, who in enumerate(("sites", "ingest")):
            column = [sample[at] for sample in self.samples] or [0.0]
            second, last = column[third : 2 * third] or column, column[-third:]
            told[f"{who}_mib"] = round(statistics.median(last), 1)
            told[f"{who}_growth"] = round(statistics.median(last) / max(statistics.median(second), 1.0), 4)
        return told


def live(sites: Sequence[Site], over: threading.Event) -> None:
    """Let some sites decide and send until it is over, then send what is left."""
    due = time.monotonic()
    while not over.is_set():
        for site in sites:
            site.decide(DECISIONS_A_TURN)
            site.uplink.step()
        due += TURN_S
        while (left := due - time.monotonic()) > 0 and not over.is_set():
            pauses = [site.uplink.step() for site in sites]
            over.wait(min(left, max(0.02, *pauses)))
    for site in sites:
        site.until_sent()


def logged(log: Path) -> dict[tuple[str, str, int], list[tuple[int, int]]]:
    """Return the ranges of each lane of each site's epoch that the log has, one a frame, ascending."""
    found: dict[tuple[str, str, int], list[tuple[int, int]]] = {}
    stream = SqliteStream(log, CLOCK)
    with closing(stream), closing(stream.reader()) as reader:
        for topic in [TOPICS[lane] for lane in LANES]:
            for partition in range(reader.partitions(topic)):
                offset = reader.begin(topic, partition)
                while page := reader.read(topic, partition, offset, messages_max=1_000, bytes_max=1 << 26):
                    for stored in page:
                        said = parse(stored.value).header
                        found.setdefault((said.site, said.epoch, said.lane), []).append((said.first, said.last))
                    offset = page[-1].offset + 1
    return {key: sorted(spans) for key, spans in found.items()}


def count(names: Sequence[str], sites: Sequence[Site], log: Path) -> Told:
    """Return how many records were journaled, and how many of them the log has, lacks, or has twice."""
    found = logged(log)
    told = {"journaled": 0, "logged": 0, "missing": 0, "twice": 0}
    for name, site in zip(names, sites, strict=True):
        for lane in LANES:
            last = site.journal.head(lane).seq
            there = [seq for a, b in found.get((name, site.journal.epoch, int(lane)), []) for seq in range(a, b + 1)]
            told["journaled"] += last
            told["logged"] += len(there)
            told["twice"] += len(there) - len(set(there))
            told["missing"] += len(set(range(1, last + 1)) - set(there))
    return told


def crowd(minutes: float, number: int) -> Told:
    """Run so many sites against one ingest; return counts, memory and CPU."""
    folder = Path(tempfile.mkdtemp(prefix="tgs-"))
    names = [f"site-{each}" for each in range(1, number + 1)]
    cloud = Cloud(folder, "sqlite")
    try:
        sites = [opened(name, folder / name, f"http://127.0.0.1:{cloud.port}") for name in names]
        for name, site in zip(names, sites, strict=True):
            cloud.enrol(site.signer.key, site.public, name)
        memory, over, own, began = Memory(cloud.process.pid), threading.Event(), time.process_time(), time.monotonic()
        parts = [threading.Thread(target=live, args=(sites[at::THREADS], over)) for at in range(THREADS)]
        for thread in (watch := threading.Thread(target=memory.watch, args=(over,))), *parts:
            thread.start()
        over.wait(minutes * 60)
        over.set()
        for thread in (watch, *parts):
            thread.join()
        took = time.monotonic() - began
        told = {"sites": number, "seconds": round(took, 1), **memory.told()}
        told |= {"ingest_cpu_s": round(cloud.cpu_s(), 1), "sites_cpu_s": round(time.process_time() - own, 1)}
        cloud.stop()
        told |= count(names, sites, cloud.log)
        for site in sites:
            site.close()
        return told
    finally:
        cloud.stop()
        shutil.rmtree(folder)


def sound(told: Told) -> bool:
    """Tell whether counts are exact and memory is flat."""
    exact = told["logged"] == told["journaled"] > 0 and not told["missing"] and not told["twice"]
    return exact and max(told["sites_growth"], told["ingest_growth"]) <= GROWTH_MAX


# --- The house under seeds. ---


def simulate(minutes: float, first: int) -> Told:
    """Run ever new seeds from `first` on, until the time is over or one fails, which is shown."""
    until, seed = time.monotonic() + minutes * 60, first
    while time.monotonic() < until:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TIDEGATE_SEEDS": f"{seed}:{seed + SEEDS_A_RUN}"}
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:xdist", "tests/simulation/test_tide.py"]
        run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if run.returncode:
            sys.stdout.write(run.stdout)
            return {"first": first, "went_well": seed - first, "failed": True}
        seed += SEEDS_A_RUN
    return {"first": first, "went_well": seed - first, "failed": False}


def main() -> int:
    """Run both parts, tell what came of them, and whether all went well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10, help="of each part")
    parser.add_argument("--sites", type=int, default=100, help="at once; 0: leave that part out")
    parser.add_argument(
        "--seed", type=int, default=secrets.randbelow(1 << 30), help="the first; -1: leave that part out"
    )
    options = parser.parse_args()
    told: Told = {}
    if options.sites:
        told["crowd"] = crowd(options.minutes, options.sites)
    if options.seed >= 0:
        told["seeds"] = simulate(options.minutes, options.seed)
    for part, numbers in told.items():
        for what, value in numbers.items():
            sys.stdout.write(f"{part:>6}  {what:<14} {value:>14}\n")
    sys.stdout.write(f"{json.dumps(told)}\n")
    well = all(sound(numbers) if part == "crowd" else not numbers["failed"] for part, numbers in told.items())
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
