"""What an update and a read of features cost, by where the state lies: `python -m tests.bench.features`.

The same generated stream for each engine, one payment at a time, at several numbers of cards:

- `kernel`: the gate's own window in the process, by token: look-up, eviction order, the compiled kernel, 38 features.
- `redis_get`: the same state bytes and the same kernel, the state fetched by `MGET` and put back by `MSET` over a unix
  socket with redis-py and hiredis. One writer, so no check whether others wrote: the least that Redis can cost.
- `redis_lua`: a feature store as it is usually built: one script a payment (`EVALSHA`) that counts it in hash fields of
  an hour and a day, and reads counts and sums of 1 h, 24 h, 7 d and 30 d, mean, time since the last: 10 features.
- `pandas`: `groupby("card").rolling(window)` over a frame of all payments, as features are computed where a table is at
  hand: counts and sums of 1 h, 24 h, 7 d and 30 d. All rows in one batch, which is what pandas is good at; a payment's
  share of it. It can't answer one payment at a time.

Each engine runs in a process of its own, in turns at each number of cards. Each card has paid three times before; the
bytes a card are those of what is kept then, keys and index included; pandas' grow with each payment, and those of the
script until a card has paid in every hour and day. The last line is one JSON object; `--plot docs/features-cost.svg`
draws the picture of the documents.
"""

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import redis

from actors.window.window import Window
from tests.bench.cpu import memory_mib
from tests.servers import redis_server
from tidegate.features import kernel
from tidegate.features.state import CARD, TERMINAL
from tidegate.limits import DAY_US, HOUR_US, MIB, SECOND_US
from tidegate.records import FEATURE_SLOTS

CARDS: Final = (10_000, 100_000, 1_000_000)
TERMINALS: Final = 4_096
START_US: Final = 20_416 * DAY_US
HISTORY: Final = 3
"""Payments of each card before the measured ones."""
CALLS: Final = 10_000
PANDAS_CARDS_MAX: Final = 100_000
"""Beyond it pandas is given the payments of so many cards: it goes card by card, and all would take many minutes."""
PIPELINE: Final = 1_000
"""Commands in one round trip while Redis is filled."""
ROOT: Final = Path(__file__).resolve().parents[2]

Numbers = dict[str, float]
Microseconds = np.ndarray[Any, np.dtype[np.float64]]
Told = tuple[Microseconds, float]
"""Microseconds of each payment, or its share where only a batch can be asked; and bytes a card."""

SCRIPT: Final = """
local key, now, amount = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])
local hour, day = math.floor(now / 3600), math.floor(now / 86400)
local hs, ds = 'h' .. hour % 25, 'd' .. day % 32
local old = redis.call('HMGET', key, hs .. 'at', ds .. 'at', 'last', 'n', 's')
if tonumber(old[1]) ~= hour then redis.call('HSET', key, hs .. 'at', hour, hs .. 'n', 0, hs .. 's', 0) end
if tonumber(old[2]) ~= day then redis.call('HSET', key, ds .. 'at', day, ds .. 'n', 0, ds .. 's', 0) end
redis.call('HINCRBY', key, hs .. 'n', 1)
redis.call('HINCRBY', key, hs .. 's', amount)
redis.call('HINCRBY', key, ds .. 'n', 1)
redis.call('HINCRBY', key, ds .. 's', amount)
redis.call('HSET', key, 'last', now, 'n', (tonumber(old[4]) or 0) + 1, 's', (tonumber(old[5]) or 0) + amount)
local fields = {}
for back = 0, 23 do
  local slot = 'h' .. (hour - back) % 25
  fields[#fields + 1] = slot .. 'at'; fields[#fields + 1] = slot .. 'n'; fields[#fields + 1] = slot .. 's'
end
for back = 0, 29 do
  local slot = 'd' .. (day - back) % 32
  fields[#fields + 1] = slot .. 'at'; fields[#fields + 1] = slot .. 'n'; fields[#fields + 1] = slot .. 's'
end
local held = redis.call('HMGET', key, unpack(fields))
local sums = {0, 0, 0, 0, 0, 0, 0, 0}
local function add(at, n, s) sums[at] = sums[at] + n; sums[at + 1] = sums[at + 1] + s end
for back = 0, 23 do
  local at = back * 3
  if tonumber(held[at + 1]) == hour - back then
    if back < 1 then add(1, held[at + 2], held[at + 3]) end
    add(3, held[at + 2], held[at + 3])
  end
end
for back = 0, 29 do
  local at = 72 + back * 3
  if tonumber(held[at + 1]) == day - back then
    if back < 7 then add(5, held[at + 2], held[at + 3]) end
    add(7, held[at + 2], held[at + 3])
  end
end
local n = tonumber(old[4]) or 0
sums[9] = n > 0 and math.floor((tonumber(old[5]) or 0) / n) or 0
sums[10] = now - (tonumber(old[3]) or now)
return sums
"""


@dataclass(frozen=True, slots=True)
class Stream:
    """Payments as columns: card, terminal, time, amount; int64 each."""

    card: np.ndarray[Any, np.dtype[np.int64]]
    terminal: np.ndarray[Any, np.dtype[np.int64]]
    now_us: np.ndarray[Any, np.dtype[np.int64]]
    amount: np.ndarray[Any, np.dtype[np.int64]]

    def rows(self) -> Iterator[tuple[int, int, int, int]]:
        """Yield the payments as Python's integers."""
        return zip(*(column.tolist() for column in (self.card, self.terminal, self.now_us, self.amount)), strict=True)


def history(cards: int) -> Stream:
    """Return `HISTORY` payments of every card, over 30 days, in order of time."""
    chance, count = np.random.default_rng(1), cards * HISTORY
    now_us = START_US + np.arange(count, dtype=np.int64) * (30 * DAY_US // count)
    amount = chance.lognormal(8, 1, count).astype(np.int64) + 1
    card = np.concatenate([chance.permutation(cards) for _ in range(HISTORY)])
    return Stream(card, chance.integers(0, TERMINALS, count), now_us, amount)


def asked(cards: int, count: int) -> Stream:
    """Return the payments that are measured: cards by chance, within the hour after the history."""
    chance = np.random.default_rng(2)
    now_us = START_US + 30 * DAY_US + np.arange(count, dtype=np.int64) * (HOUR_US // count)
    amount = chance.lognormal(8, 1, count).astype(np.int64) + 1
    return Stream(chance.integers(0, cards, count), chance.integers(0, TERMINALS, count), now_us, amount)


def each_us(stream: Stream, observe: Callable[[int, int, int, int], object]) -> Microseconds:
    """Return microseconds of each call."""
    took_ns, clock = [], time.perf_counter_ns
    gc.disable()  # a collection in the middle would be taken for a slow engine
    try:
        for row in stream.rows():
            began_ns = clock()
            observe(*row)
            took_ns.append(clock() - began_ns)
    finally:
        gc.enable()
    return np.array(took_ns, np.float64) / 1000


def of_kernel(cards: int, stream: Stream) -> Told:
    """Ask the gate's window; its bytes are those of this process, once all rows have been touched."""
    kernel.warm()
    tokens = [f"card-{number:09d}" for number in range(cards)]
    before_mib, _ = memory_mib(os.getpid())
    window = Window(cards_max=cards, terminals_max=TERMINALS)

    def observe(card: int, terminal: int, now_us: int, amount: int) -> None:
        window.observe(
            card=tokens[card], terminal=f"t-{terminal}", now_us=now_us, feature_us=now_us, amount_minor=amount
        )

    for row in history(cards).rows():
        observe(*row)
    held_mib, _ = memory_mib(os.getpid())
    return each_us(stream, observe), (held_mib - before_mib) * MIB / cards


def _states(cards: int) -> Any:
    """Return every card's state after its history, as the kernel leaves it."""
    states, terminals = np.zeros(cards, CARD), np.zeros(TERMINALS, TERMINAL)
    out: Any = np.zeros(FEATURE_SLOTS, np.float32)
    for card, terminal, now_us, amount in history(cards).rows():
        kernel.observe(states, card, terminals, terminal, terminal, now_us, now_us, amount, out)
    return states


def _sent(client: "redis.Redis", commands: Iterator[tuple[Any, ...]]) -> None:
    """Send many commands, a thousand in one round trip."""
    while batch := list(islice(commands, PIPELINE)):
        with client.pipeline(transaction=False) as pipe:
            for command in batch:
                pipe.execute_command(*command)  # type: ignore[no-untyped-call]
            pipe.execute()


@contextmanager
def a_redis() -> Iterator["redis.Redis"]:
    """Run a Redis of its own, and talk to it."""
    with (
        tempfile.TemporaryDirectory() as folder,
        redis_server.redis_server(Path(folder)) as server,
        redis_server.client(server) as client,
    ):
        yield client


def _used(client: "redis.Redis") -> int:
    return int(client.info("memory")["used_memory"])


def of_redis_get(cards: int, stream: Stream) -> Told:
    """Fetch both states, compute here, put both back."""
    kernel.warm()
    out: Any = np.zeros(FEATURE_SLOTS, np.float32)
    with a_redis() as client:
        empty = _used(client)
        states = _states(cards)
        _sent(client, (("SET", f"c:{card}", states[card].tobytes()) for card in range(cards)))
        held = _used(client) - empty
        none = bytes(TERMINAL.itemsize)
        _sent(client, (("SET", f"t:{terminal}", none) for terminal in range(TERMINALS)))

        def observe(card: int, terminal: int, now_us: int, amount: int) -> None:
            names = (f"c:{card}", f"t:{terminal}")
            found: Any = client.mget(names)
            one, at = np.frombuffer(bytearray(found[0]), CARD), np.frombuffer(bytearray(found[1]), TERMINAL)
            kernel.observe(one, 0, at, 0, terminal, now_us, now_us, amount, out)
            client.mset({names[0]: one.tobytes(), names[1]: at.tobytes()})

        return each_us(stream, observe), held / cards


def _fields(payments: Iterator[tuple[int, int]]) -> list[Any]:
    """Return what the script leaves in a card's hash after these payments, each second and amount."""
    fields: dict[str, int] = {"n": 0, "s": 0}
    for second, amount in payments:
        for letter, span_s, slots in (("h", 3_600, 25), ("d", 86_400, 32)):
            number = second // span_s
            slot = f"{letter}{number % slots}"
            if fields.get(f"{slot}at") != number:
                fields |= {f"{slot}at": number, f"{slot}n": 0, f"{slot}s": 0}
            fields[f"{slot}n"] += 1
            fields[f"{slot}s"] += amount
        fields["last"] = second
        fields["n"] += 1
        fields["s"] += amount
    return [part for pair in fields.items() for part in pair]


def _hashes(cards: int) -> Iterator[tuple[Any, ...]]:
    past = history(cards)
    order = np.argsort(past.card, kind="stable").reshape(cards, HISTORY)
    for card, rows in enumerate(order):
        seconds, amounts = (past.now_us[rows] // SECOND_US).tolist(), past.amount[rows].tolist()
        yield ("HSET", f"f:{card}", *_fields(zip(seconds, amounts, strict=True)))


def of_redis_lua(cards: int, stream: Stream) -> Told:
    """Let a script count and read."""
    with a_redis() as client:
        empty = _used(client)
        _sent(client, _hashes(cards))
        held = _used(client) - empty
        script = client.register_script(SCRIPT)

        def observe(card: int, _terminal: int, now_us: int, amount: int) -> None:
            script([f"f:{card}"], [now_us // SECOND_US, amount])

        return each_us(stream, observe), held / cards


def frame_of(*streams: Stream) -> pd.DataFrame:
    """Return payments as a frame."""
    columns = {name: np.concatenate([getattr(one, name) for one in streams]) for name in ("card", "now_us", "amount")}
    at = pd.to_datetime(columns.pop("now_us"), unit="us")
    return pd.DataFrame({**columns, "at": at}).astype({"amount": np.float64})


def of_pandas(cards: int, _stream: Stream) -> Told:
    """Compute all rows at once; a payment's share is told."""
    past = history(cards)
    held = frame_of(past).memory_usage(deep=True).sum() / cards
    few = past.card < PANDAS_CARDS_MAX
    frame = frame_of(Stream(past.card[few], past.terminal[few], past.now_us[few], past.amount[few]))
    began_ns = time.perf_counter_ns()
    for window in ("1h", "24h", "7D", "30D"):
        rolling = frame.groupby("card", sort=False).rolling(window, on="at")["amount"]
        if len(rolling.count()) != len(frame) or len(rolling.sum()) != len(frame):
            raise RuntimeError("pandas left rows out")
    return np.array([(time.perf_counter_ns() - began_ns) / len(frame) / 1000]), float(held)


ENGINES: Final[dict[str, Callable[[int, Stream], Told]]] = {
    "kernel": of_kernel,
    "redis_get": of_redis_get,
    "redis_lua": of_redis_lua,
    "pandas": of_pandas,
}


def measured(engine: str, cards: int, calls: int) -> Numbers:
    """Return what one engine does, in this process: microseconds, and bytes a card."""
    took_us, card_bytes = ENGINES[engine](cards, asked(cards, calls))
    warm = took_us[len(took_us) // 10 :]
    p50, p99 = np.percentile(warm, (50, 99)).round(2).tolist()
    return {
        "p50_us": p50,
        "p99_us": p99,
        "mean_us": round(float(warm.mean()), 2),
        "card_bytes": round(card_bytes),
    }


def in_a_process(engine: str, cards: int, calls: int) -> Numbers:
    """Measure one engine in a process of its own: none finds the memory of another."""
    command = [sys.executable, "-m", "tests.bench.features", "--one", engine, "--cards", str(cards)]
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--calls", str(calls)], env=variables, stdout=subprocess.PIPE, text=True, check=True
    )
    told: Numbers = json.loads(done.stdout.splitlines()[-1])
    return told


def plot(table: dict[str, dict[str, Numbers]], path: Path) -> None:
    """Draw cost against cards, both logarithmic."""
    import matplotlib as mpl  # noqa: PLC0415 - takes a second, and only whoever draws needs it

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "tidegate"  # the same numbers give the same file
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(figsize=(7, 4))
    for name, row in table.items():
        axes.plot([int(cards) for cards in row], [numbers["p50_us"] for numbers in row.values()], "o-", label=name)
    axes.set(xscale="log", yscale="log", xlabel="cards", ylabel="update and read, µs (median)")
    axes.set_title("What the features of a payment cost")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    figure.savefig(path, metadata={"Date": None, "Description": "python -m tests.bench.features"})


def show(table: dict[str, dict[str, Numbers]]) -> None:
    """Print the numbers for people."""
    print(f"{'':<12}{'cards':>12}{'p50_us':>12}{'p99_us':>12}{'mean_us':>12}{'card_bytes':>12}")
    for name, row in table.items():
        for cards, numbers in row.items():
            print(f"{name:<12}{int(cards):>12,}" + "".join(f"{value:>12,}" for value in numbers.values()))


def _choice(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if set(names) - set(ENGINES):
        raise argparse.ArgumentTypeError(f"a comma-separated choice of {', '.join(ENGINES)}")
    return names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cards", type=lambda text: tuple(map(int, text.split(","))), default=CARDS)
    parser.add_argument("--engines", type=_choice, help=",".join(ENGINES))
    parser.add_argument("--calls", type=int, default=CALLS, help="measured payments of each engine")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw cost against cards as SVG")
    parser.add_argument("--one", choices=list(ENGINES), help=argparse.SUPPRESS)
    return parser


def _available() -> tuple[str, ...]:
    if redis_server.PROGRAM is not None:
        return tuple(ENGINES)
    print(f"redis_get and redis_lua are left out: no redis-server; to get it: {redis_server.ENABLE}", file=sys.stderr)
    return ("kernel", "pandas")


def main() -> None:
    """Print a table and, as the last line, one JSON object."""
    chosen = _parser().parse_args()
    if chosen.one:
        print(json.dumps(measured(chosen.one, chosen.cards[0], chosen.calls)))
        return
    names = chosen.engines or _available()
    table: dict[str, dict[str, Numbers]] = {name: {} for name in names}
    for cards in chosen.cards:
        for name in names:
            print(f"{name}, {cards:,} cards", file=sys.stderr)
            table[name][str(cards)] = in_a_process(name, cards, chosen.calls)
    show(table)
    if chosen.plot is not None:
        plot(table, chosen.plot)
    print(json.dumps({"engines": table, "history": HISTORY, "calls": chosen.calls}))


if __name__ == "__main__":
    main()
