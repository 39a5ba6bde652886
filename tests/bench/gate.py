"""What a site's decisions cost beside its peers, for whoever changes the gate: `python -m tests.bench.gate`.

The same machine, booster and payments for every contender, over HTTP on the loopback, at 1 and at 32 connections:

- `gate`: a site as it is run by default. Key, checks, idempotency, features, score, lists, policy, journal flushed to
  the disk, answer with reasons.
- `gate_rules`: the same with twenty active rules and full lists (`tests/bench/rules.py`).
- `gate_serve`: the same behind Ray Serve (`door.via = "serve"`), with HAProxy where there is one; a cluster of its own.
- `floor`, `fastapi_xgb`, `fastapi_redis_xgb`: see `tests/bench/peer.py`. `bentoml`: see `tests/bench/bento.py`.
  `serve_default`: see `tests/bench/served.py`.

Contenders take turns within each round, so that what else the machine does meets all of them; ratios are what to quote.
`spin_ns` tells how fast the machine runs Python, and `flush_p50_ms` how fast its disk is: compare them before numbers.
Each payment is new. `cpu_us` is CPU time a request of all processes of a contender (of Serve the proxy and the replica,
not its controller; of no contender the load generator or the kernel's own threads). The gates' percentiles at one
connection are those of approvals, the others' those of all answers.
"""

import argparse
import json
import os
import secrets
import signal
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from actors.gate.actor import flush_us
from actors.gate.orders import Orders
from actors.journal.disk import PosixDisk
from edge_nodes.node import reaped
from tests.bench.contenders import (
    GATES,
    NAMES,
    Contender,
    Setting,
    contenders,
    environment,
    settings,
    started,
    unavailable,
)
from tests.bench.cpu import cpu_s, memory_mib
from tests.bench.model import put_on_shelves
from tests.bench.payments import batches, rests
from tests.bench.rules import full_lists, twenty_rules
from tidegate.lists import ListsActivation
from tidegate.policy.terms import Policy

CONNECTIONS: Final = (1, 32)
WARM_S: Final = 1.0
REQUESTS_MAX: Final = 200_000
"""Of one measurement: bounds the journal and the ids where a contender is faster than anybody thought."""
RATES: Final = ("rps", "cpu_us")

Numbers = dict[str, float]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to measure."""

    seconds: float
    rounds: int
    bodies: int
    cards: int


FULL: Final = Plan(seconds=3.0, rounds=3, bodies=20_000, cards=100_000)
QUICK: Final = Plan(seconds=0.5, rounds=1, bodies=1_000, cards=2_000)


@dataclass(slots=True)
class Cell:
    """What one contender did at one number of connections, over all rounds."""

    took_ns: list[np.ndarray[Any, np.dtype[np.int64]]] = field(default_factory=list)
    approved: list[np.ndarray[Any, np.dtype[np.bool_]]] = field(default_factory=list)
    rps: list[float] = field(default_factory=list)
    cpu_s: float = 0.0
    load_cpu_s: float = 0.0

    @property
    def count(self) -> int:
        """Answers, all of them checked."""
        return sum(map(len, self.took_ns))

    def numbers(self, *, approvals: bool) -> Numbers:
        """Return percentiles in milliseconds, the median round's rate, and CPU time a request."""
        took, approved = np.concatenate(self.took_ns), np.concatenate(self.approved)
        told = took[approved] if approvals and approved.any() else took  # a quick run may have none
        p50, p99, p999 = (np.percentile(told, [50, 99, 99.9]) / 1e6).round(3).tolist()
        rates = (statistics.median(self.rps), self.cpu_s / self.count * 1e6)
        return {
            "p50_ms": p50,
            "p99_ms": p99,
            "p999_ms": p999,
            **{k: round(v, 1) for k, v in zip(RATES, rates, strict=True)},
        }


class Generator:
    """The load generator's process, and the numbers of the payments it has sent."""

    def __init__(self, process: Any, out: Path) -> None:
        self._process = process
        self._out = out
        self._first = 1

    def load(self, contender: Contender, connections: int, seconds: float, cell: Cell) -> None:
        """Send to one contender for so long, and add what came of it to a cell."""
        order = {name: getattr(contender, name) for name in ("port", "path", "key", "needle")}
        bounds = {"connections": connections, "seconds": seconds, "requests": REQUESTS_MAX, "first": self._first}
        before = cpu_s(contender.pids)
        told = self._ask({**order, **bounds, "out": str(self._out)})
        cell.cpu_s += cpu_s(contender.pids) - before
        cell.load_cpu_s += told["cpu_s"]
        cell.rps.append(told["count"] / told["seconds"])
        took = np.fromfile(self._out, np.int64)
        cell.took_ns.append(took >> 1)
        cell.approved.append((took & 1).astype(np.bool_))
        self._first += int(told["count"])

    def _ask(self, order: dict[str, Any]) -> Numbers:
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the load generator ended while {order['path']} on port {order['port']} was measured")
        told: Numbers = json.loads(line)
        return told


@contextmanager
def generator(setting: Setting, plan: Plan, now_us: int) -> Iterator[Generator]:
    """Run a load generator for as long as the block lasts."""
    bodies = setting.folder / "bodies"
    bodies.write_bytes(rests(plan.bodies, now_us))
    with started(["tests.bench.load", str(bodies)], setting) as process:
        yield Generator(process, setting.folder / "took")


Cells = dict[str, dict[int, Cell]]


def spin_ns() -> float:
    """Return CPU nanoseconds of one turn of an empty loop: how fast this machine runs Python at the moment."""
    turns, began_ns = 200_000, time.process_time_ns()
    for _ in range(turns):
        pass
    return (time.process_time_ns() - began_ns) / turns


def measure(running: dict[str, Contender], sender: Generator, plan: Plan, say: Say) -> Cells:
    """Warm every contender up, then let them take turns."""
    for contender in running.values():
        for connections in CONNECTIONS:
            sender.load(contender, connections, min(WARM_S, plan.seconds), Cell())
    cells = {name: {connections: Cell() for connections in CONNECTIONS} for name in running}
    for number in range(plan.rounds):
        say(f"round {number + 1} of {plan.rounds}")
        for connections in CONNECTIONS:
            for name, contender in running.items():
                sender.load(contender, connections, plan.seconds, cells[name][connections])
    return cells


def see_cards(gate: Contender, cards: int, now_us: int) -> float:
    """Send a payment of each of so many cards through the batch route; return decisions a second."""
    headers = {"authorization": f"Bearer {gate.key}", "content-type": "application/json"}
    began = time.perf_counter()
    for body in batches(cards, now_us):
        request = urllib.request.Request(f"http://127.0.0.1:{gate.port}{gate.path}/batch", body, headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            results = json.load(answer)["data"]
        if not all("decision" in result for result in results):
            raise RuntimeError(f"a batch was refused: {next(r for r in results if 'decision' not in r)}")
    return cards / (time.perf_counter() - began)


def of_gate(cells: dict[int, Cell], gate: Contender, plan: Plan, now_us: int) -> dict[str, float]:
    """Return what is told of the gate alone."""
    approved = np.concatenate([part for cell in cells.values() for part in cell.approved])
    per_s = see_cards(gate, plan.cards, now_us)
    busy = cells[CONNECTIONS[-1]]
    now_mib, peak_mib = memory_mib(gate.pids[0])
    return {
        "decisions_per_cpu_second": round(busy.count / busy.cpu_s),
        "approve_share": round(float(approved.mean()), 4),
        "batch_decisions_per_second": round(per_s),
        "gate_cards": plan.cards,
        "gate_rss_mib": round(now_mib, 1),
        "gate_peak_rss_mib": round(peak_mib, 1),
    }


def ratios(table: dict[str, dict[str, Numbers]]) -> Numbers:
    """Return how many times better the gate is than each peer: c32 rps, c1 p50, c32 CPU."""
    if "gate" not in table:
        return {}
    ours, found = table["gate"], {}
    for name, theirs in table.items():
        if name != "gate":
            found[f"{name}_c32_rps"] = round(ours["c32"]["rps"] / theirs["c32"]["rps"], 3)
            found[f"{name}_c1_p50"] = round(theirs["c1"]["p50_ms"] / ours["c1"]["p50_ms"], 3)
            found[f"{name}_c32_cpu"] = round(theirs["c32"]["cpu_us"] / ours["c32"]["cpu_us"], 3)
    return found


def unwind_on_signals() -> None:
    """Let SIGTERM do what Ctrl-C does: stop everything that was started, in order."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


def furnish(folder: Path, now_us: int) -> Path:
    """Give each gate its folder: the model with its policy, and its lists. Return the booster's file."""
    sites = {name: Path(settings(folder, name).data_dir) for name in GATES}
    for path in sites.values():
        path.mkdir()
    orders = Orders(PosixDisk(sites["gate_rules"] / "orders"))
    lists = orders.store(full_lists(), ListsActivation(), as_of_us=now_us, by="bench", why="full lists")
    orders.keep_lists(lists.activation)
    policies = dict.fromkeys(GATES, Policy()) | {"gate_rules": twenty_rules()}
    return put_on_shelves({path / "bundles": policies[name] for name, path in sites.items()}, now_us)


def run(names: Sequence[str], plan: Plan, folder: Path, say: Say) -> dict[str, Any]:
    """Do the whole bench in a folder; return its result."""
    mark, now_us = secrets.token_hex(8), time.time_ns() // 1000
    with reaped(mark):
        say("training the model")
        model = furnish(folder, now_us)
        setting = Setting(folder=folder, model=model, environment=environment(mark), say=say)
        flush_ms = flush_us(folder) / 1000
        with contenders(names, setting) as running, generator(setting, plan, now_us) as sender:
            unwind_on_signals()  # joining a Ray cluster puts Ray's own handler there, which aborts
            spins = [spin_ns()]
            cells = measure(running, sender, plan, say)
            spins.append(spin_ns())
            say("counting cards")
            alone = of_gate(cells["gate"], running["gate"], plan, now_us) if "gate" in running else {}
    machine = {"flush_p50_ms": round(flush_ms, 4), "spin_ns": round(statistics.mean(spins), 1), "cores": os.cpu_count()}
    return {**result(cells), **machine, **alone, "seconds": plan.seconds, "rounds": plan.rounds}


def result(cells: Cells) -> dict[str, Any]:
    """Return the contenders' numbers, their ratios, and what the load generator itself took a request."""
    table = {
        name: {f"c{n}": cell.numbers(approvals=name in GATES and n == 1) for n, cell in row.items()}
        for name, row in cells.items()
    }
    load = {
        name: {f"c{n}": round(cell.load_cpu_s / cell.count * 1e6, 1) for n, cell in row.items()}
        for name, row in cells.items()
    }
    return {"contenders": table, "ratios": ratios(table), "load_cpu_us": load}


GOALS: Final = (
    ("p50 at c1, ms", ("contenders", "gate", "c1", "p50_ms"), "<=", 0.25),
    ("p99 at c1, ms", ("contenders", "gate", "c1", "p99_ms"), "<=", 1.0),
    ("decisions per CPU-second", ("decisions_per_cpu_second",), ">=", 8_000),
    ("c32 rps over Ray Serve's", ("ratios", "serve_default_c32_rps"), ">=", 40),
    ("c1 p50 of Ray Serve over ours", ("ratios", "serve_default_c1_p50"), ">=", 25),
    ("times c1 p50 with 20 rules", ("ratios", "gate_rules_c1_p50"), "<=", 1.4),
    ("MiB of the gate", ("gate_rss_mib",), "<=", 700),
)


def goal_lines(told: dict[str, Any]) -> Iterator[str]:
    """Yield a line for each goal that this run says something of."""
    for text, path, sign, bound in GOALS:
        value: Any = told
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        if value is not None:
            met = value <= bound if sign == "<=" else value >= bound
            yield f"{text:<32}{value:>12,}  goal {sign} {bound:<8,} {'met' if met else 'MISSED'}"


def show(told: dict[str, Any]) -> None:
    """Print the result for people."""
    columns = ("p50_ms", "p99_ms", "p999_ms", *RATES)
    print(f"{'':<22}" + "".join(f"{column:>12}" for column in columns))
    for name, row in told["contenders"].items():
        for at, numbers in row.items():
            print(f"{name:<17}{at:>5}" + "".join(f"{numbers[column]:>12,}" for column in columns))
    print()
    for name, value in told.items():
        if isinstance(value, float | int):
            print(f"{name:<32}{value:>12,}")
    for name, value in told["ratios"].items():
        print(f"times {name:<26}{value:>12,}")
    print("\n".join(goal_lines(told)))


def _chosen(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if not names or set(names) - set(NAMES):
        raise argparse.ArgumentTypeError(f"a comma-separated choice of {', '.join(NAMES)}")
    return names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, help=f"of each measurement ({FULL.seconds:g}; {FULL.rounds} rounds)")
    parser.add_argument("--contenders", type=_chosen, help=",".join(NAMES))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the JSON object to a file, too")
    parser.add_argument("--quick", action="store_true", help="one short round: shows that it works, measures little")
    return parser


def _default() -> tuple[str, ...]:
    """Return all contenders that can run in this environment; tell of the others."""
    why = {name: unavailable(name) for name in NAMES}
    for name, reason in why.items():
        if reason:
            print(f"{name} is left out: {reason}", file=sys.stderr)
    return tuple(name for name in NAMES if not why[name])


def main() -> None:
    """Print a table and, as the last line, one JSON object."""
    chosen = _parser().parse_args()
    plan = QUICK if chosen.quick else FULL
    plan = Plan(chosen.seconds or plan.seconds, plan.rounds, plan.bodies, plan.cards)
    unwind_on_signals()
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {text}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="tgb-", ignore_cleanup_errors=True) as folder:
        told = run(chosen.contenders or _default(), plan, Path(folder), say)
    say("stopped")
    show(told)
    line = json.dumps(told)
    if chosen.json is not None:
        chosen.json.write_text(line + "\n")
    print(line)


if __name__ == "__main__":
    main()
