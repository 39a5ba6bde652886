"""How long the kernel takes for one payment, for whoever changes it: `python -m tests.bench.features_kernel`."""

import argparse
import json
import time
from typing import Any

import numpy as np

from actors.window.overlay import Overlay
from tidegate.deltas import ROW, ROWS_MAX, DeltaKind
from tidegate.features.declarations import FEATURE_COUNT, FINGERPRINT
from tidegate.features.kernel import observe, observe_over, replay, warm
from tidegate.features.state import CARD, TERMINAL, Cards, Terminals, empty_cards, empty_terminals
from tidegate.limits import DAY_US

START_US = 20_416 * DAY_US
TERMINALS = 4_096
CALLS_WARM = 2_000
BATCHES = 100

Columns = tuple[np.ndarray[Any, np.dtype[np.int64]], ...]


def stream(payments: int, cards: int, step_us: int, seed: int) -> Columns:
    """Return card, terminal, time and amount of payments that come every `step_us`, int64 each."""
    chance = np.random.default_rng(seed)
    now_us = START_US + np.arange(payments, dtype=np.int64) * step_us
    amount = chance.lognormal(8, 1, payments).astype(np.int64) + 1
    return chance.integers(0, cards, payments), chance.integers(0, TERMINALS, payments), now_us, amount


def filled(cards: Cards, terminals: Terminals, columns: Columns) -> float:
    """Bring the state to where a busy site has it; return microseconds a payment in one batch."""
    card, terminal, now_us, amount = columns
    none, hashes = np.zeros(0, np.int64), np.arange(TERMINALS, dtype=np.int64)
    out = np.zeros((len(card), FEATURE_COUNT), np.float32)
    began_ns = time.perf_counter_ns()
    replay(cards, terminals, hashes, card, terminal, now_us, now_us, amount, none, none, none, out)
    return (time.perf_counter_ns() - began_ns) / len(card) / 1000


def each_us(cards: Cards, terminals: Terminals, columns: Columns) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return microseconds of each call from Python, the timer's own cost taken off."""
    out, took_ns, clock = np.zeros(FEATURE_COUNT, np.float32), [], time.perf_counter_ns
    for card, terminal, now_us, amount in zip(*(column.tolist() for column in columns), strict=True):
        began_ns = clock()
        observe(cards, card, terminals, terminal, terminal, now_us, now_us, amount, out)
        took_ns.append(clock() - began_ns)
    idle_ns = np.median([-(clock() - clock()) for _ in range(10_000)])
    return (np.array(took_ns[CALLS_WARM:], np.float64) - float(idle_ns)) / 1000


def each_over_us(cards: Cards, overlay: Cards, terminals: Terminals, columns: Columns) -> tuple[float, float]:
    """Return microseconds of a call, median and 99th percentile, where the card did something at other sites, too."""
    out, took_ns, clock = np.zeros(FEATURE_COUNT, np.float32), [], time.perf_counter_ns
    scratch = empty_cards(1)
    for card, terminal, now_us, amount in zip(*(column.tolist() for column in columns), strict=True):
        began_ns = clock()
        observe_over(cards, card, overlay, card, scratch, terminals, terminal, terminal, now_us, now_us, amount, out)
        took_ns.append(clock() - began_ns)
    p50, p99 = np.percentile(took_ns[CALLS_WARM:], [50, 99]) / 1000
    return float(p50), float(p99)


def each_batch_ms(cards: int, seed: int) -> float:
    """Return the median milliseconds in which a gate counts the largest batch.

    Cards are twice as many as it has room for, so that it has to forget one for every second row.
    """
    chance, took_ns, overlay = np.random.default_rng(seed), [], Overlay(cards)
    for version in range(1, BATCHES + 4 * cards // ROWS_MAX):
        rows = np.zeros(ROWS_MAX, ROW)
        rows["kind"], rows["amount_minor"] = DeltaKind.USE, chance.integers(1, 90_000, ROWS_MAX)
        rows["card"] = [b"card-%032d" % card for card in chance.integers(0, 2 * cards, ROWS_MAX).tolist()]
        rows["time_us"] = rows["event_us"] = START_US + version * 250_000
        began_ns = time.perf_counter_ns()
        overlay.apply(rows, overlay.reached.then(version, START_US, gap=False))
        took_ns.append(time.perf_counter_ns() - began_ns)
    return float(np.median(took_ns[-BATCHES:])) / 1_000_000


def measure(cards: int, payments: int, calls: int, seed: int) -> dict[str, float | int | str]:
    """Return one run's numbers, microseconds and bytes."""
    began = time.perf_counter()
    warm()
    warm_s = time.perf_counter() - began
    state, terminals = empty_cards(cards), empty_terminals(TERMINALS)
    step_us = 30 * DAY_US // payments
    batch_us = filled(state, terminals, stream(payments, cards, step_us, seed))
    card, terminal, now_us, amount = stream(calls + CALLS_WARM, cards, step_us, seed + 1)
    took_us = each_us(state, terminals, (card, terminal, now_us + 30 * DAY_US, amount))
    after_us = now_us + 30 * DAY_US + len(now_us) * step_us
    over_p50, over_p99 = each_over_us(state, state.copy(), terminals, (card, terminal, after_us, amount))
    p50, p99, p999 = np.percentile(took_us, [50, 99, 99.9]).round(2).tolist()
    return {
        "cards": cards,
        "p50_us": p50,
        "p99_us": p99,
        "p999_us": p999,
        "mean_us": round(float(took_us.mean()), 2),
        "over_p50_us": round(over_p50, 2),
        "over_p99_us": round(over_p99, 2),
        "largest_deltas_ms": round(each_batch_ms(cards, seed), 2),
        "batch_us": round(batch_us, 2),
        "card_bytes": CARD.itemsize,
        "terminal_bytes": TERMINAL.itemsize,
        "compile_or_load_s": round(warm_s, 1),
        "fingerprint": FINGERPRINT,
    }


def main() -> None:
    """Print a table and, as the last line, one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cards", type=int, default=100_000)
    parser.add_argument("--payments", type=int, default=1_000_000, help="payments of 30 days before the measured ones")
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    numbers = measure(chosen.cards, chosen.payments, chosen.calls, chosen.seed)
    for name, value in numbers.items():
        print(f"{name:>18}  {value}")
    print(json.dumps(numbers))


if __name__ == "__main__":
    main()
