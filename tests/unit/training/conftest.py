"""Payments for the tests of training: evenly spread, with frauds that a model can find."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from tidegate.features.declarations import FEATURE_COUNT
from tidegate.limits import DAY_US
from training.dataset import NEVER, Events, Words

A_DAY = 200
CARDS, TERMINALS = 977, 31  # primes, so that payments go round them


def even_events(days: int, fraud_every: int = 25, known_days: int = 1) -> Events:
    """Payments at even intervals, each n-th a fraud that is known after some days."""
    count = days * A_DAY
    at = np.arange(count, dtype=np.int64)
    occurred = at * (DAY_US // A_DAY)
    fraud = at % fraud_every == 0
    return Events(
        transaction_ids=pa.array([""] * count),
        occurred_us=occurred,
        amount_minor=100 + at % 7 * 4_000,
        card_slot=(at % CARDS).astype(np.int32),
        terminal_slot=(at % TERMINALS).astype(np.int32),
        fraud=fraud,
        label_known_us=np.where(fraud, occurred + known_days * DAY_US, NEVER),
        label_corrected_us=np.full(count, NEVER),
        declined=np.zeros(count, np.bool_),
        cards=tuple(f"c{n}" for n in range(CARDS)),
        terminals=tuple(f"t{n}" for n in range(TERMINALS)),
        texts={"channel": Words((at % 2).astype(np.int32), ("online", "moto"))},
    )


def noisy_vectors(events: Events, seed: int = 1, signal: float = 2.0) -> np.ndarray:
    """Vectors of noise, in whose first column frauds stand out."""
    rows = np.random.default_rng(seed).normal(size=(len(events), FEATURE_COUNT)).astype(np.float32)
    rows[:, 0] += signal * events.fraud
    return rows


@pytest.fixture(scope="session")
def events_of() -> Callable[..., Events]:
    return even_events


@pytest.fixture(scope="session")
def vectors_of() -> Callable[..., np.ndarray]:
    return noisy_vectors
