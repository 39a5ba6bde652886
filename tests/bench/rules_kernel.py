"""What 20 rules over all features cost, by the kernel and by the CEL library, a payment and a column at a time.

CPU time of this process, in microseconds. `python -m tests.bench.rules_kernel` prints a table and a JSON object.
"""

import json
import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from tidegate.features.declarations import NAMES
from tidegate.policy.active import ActivePolicy
from tidegate.policy.columns import decide_columns
from tidegate.policy.oracle import Oracle
from tidegate.policy.terms import Policy, policy_id
from tidegate.policy.variables import Inputs
from tidegate.records import DECISION

RULES: Final = 20
ROWS: Final = 200_000
ROUNDS: Final = 2_000


def rule(number: int) -> dict[str, Any]:
    """Return one of the rules: three features, and for every second text."""
    a, b, c = (NAMES[(number * step + step) % len(NAMES)] for step in (3, 5, 7))
    text = " && channel == 'online' && country in ['US', 'GB']" if number % 2 else ""
    when = f"{a} > 3.0 && {b} < 10.0 || ({c} > 20{text})"
    base = {"number": number + 1, "id": f"r-{number}", "state": "active", "reason": "RULE_OTHER", "text": "t"}
    return base | {"when": when, "outcome": "review"}


def microseconds(function: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Return the CPU time of one call."""
    for _ in range(rounds // 10):
        function()
    started = time.process_time()
    for _ in range(rounds):
        function()
    return (time.process_time() - started) / rounds * 1e6


def rows(rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Return decisions of any features."""
    made = np.zeros(ROWS, DECISION)
    made["features"] = rng.normal(size=(ROWS, made["features"].shape[1])) * 10
    made["amount_minor"], made["channel"] = rng.integers(100, 50_000, ROWS), rng.integers(1, 4, ROWS)
    made["probability"], made["risk_score"] = rng.random(ROWS) ** 6, 10
    made["country"] = rng.choice([b"US", b"DE"], ROWS)
    return made


def main() -> None:
    """Measure and print."""
    rng = np.random.default_rng(1)
    terms = Policy.model_validate({"rules": [rule(number) for number in range(RULES)]})
    policy, oracle = ActivePolicy(policy_id(terms), terms, 0), Oracle([one.when for one in terms.rules])
    decisions = rows(rng)
    texts = ("card-1", "", "t-1", "m-1", "US", "", "EUR", "online", "")
    payment = Inputs(decisions["features"][0].copy(), 1_250, 0.01, 12, texts)
    modes = np.zeros((ROWS, 3), np.uint8)
    found = {
        "rules": RULES,
        "kernel_us": round(microseconds(lambda: policy.book.match(payment)), 2),
        "cel_library_us": round(microseconds(lambda: oracle.run(payment), ROUNDS // 10), 2),
        "columns_per_cpu_s": round(
            ROWS / (microseconds(lambda: decide_columns(policy, decisions, modes=modes), 10) / 1e6)
        ),
    }
    for name, value in found.items():
        print(f"{name:20} {value:>12,}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
