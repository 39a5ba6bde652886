"""Generated payments as Arrow tables and as plain values, under the names that people and mappings use."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tidegate.limits import DAY_US
from training.synth.days import days
from training.synth.world import (
    CATEGORIES,
    CHANNELS,
    COUNTRIES,
    ENTRY_MODES,
    KINDS,
    Rows,
    SynthConfig,
    World,
    build,
)

_TEXT: Final = pa.string()
SCHEMA: Final = pa.schema(
    [
        pa.field("transaction_id", _TEXT, nullable=False),
        pa.field("occurred_us", pa.int64(), nullable=False),
        pa.field("amount_minor", pa.int64(), nullable=False),
        *(
            pa.field(name, _TEXT, nullable=False)
            for name in (
                *("currency", "card", "terminal", "merchant", "site", "channel"),
                *("entry_mode", "country", "mcc"),
            )
        ),
        pa.field("fraud", pa.bool_(), nullable=False),
        pa.field("fraud_kind", _TEXT, nullable=False),
        pa.field("label_known_us", pa.int64()),
        pa.field("label_corrected_us", pa.int64()),
    ]
)
"""`fraud` and `fraud_kind` are the truth, never features; `label_known_us` is when somebody first calls it fraud."""


def generate(config: SynthConfig) -> pa.Table:
    """Return the payments of `config.days` days from `config.start_us` in time order, columns as `SCHEMA`."""
    return pa.concat_tables(islice(live_table(config, config.start_us), config.days))


def live_table(config: SynthConfig, from_us: int) -> Iterator[pa.Table]:
    """Yield the payments from `from_us` on without end, a table a day; `config.start_us` and `days` don't matter."""
    world = build(config)
    for day, made in days(config, from_us // DAY_US):
        first = int(np.searchsorted(made["occurred_us"], from_us))
        yield _table(world, config, day, made).slice(first)


def live(config: SynthConfig, from_us: int) -> Iterator[dict[str, object]]:
    """Yield the payments from `from_us` on without end, a dict of `SCHEMA`'s columns each."""
    for table in live_table(config, from_us):
        yield from table.to_pylist()


def _table(world: World, config: SynthConfig, day: int, made: Rows) -> pa.Table:
    terminal, card = made["terminal"], made["card"]
    columns = {
        "transaction_id": [f"synth-{config.seed}-{day}.{n}" for n in range(len(made))],
        "occurred_us": made["occurred_us"],
        "amount_minor": made["amount_minor"],
        "currency": _words(["EUR"], np.zeros(len(made), np.int8)),
        "card": _words([f"card-{n:06d}" for n in range(config.cards)], card),
        "terminal": _words([f"t-{n:05d}" for n in range(config.terminals)], terminal),
        "merchant": _words([f"m-{n:04d}" for n in range(config.terminals // 4)], world.terminal_merchant[terminal]),
        "site": _words([f"site-{n + 1}" for n in range(config.sites)], world.terminal_site[terminal]),
        "channel": _words(CHANNELS, made["channel"]),
        "entry_mode": _words(ENTRY_MODES, made["entry"]),
        "country": _words(COUNTRIES, world.card_country[card]),
        "mcc": _words([c.mcc for c in CATEGORIES], world.terminal_category[terminal]),
        "fraud": made["kind"] != 0,
        "fraud_kind": _words(KINDS, made["kind"]),
        "label_known_us": pa.array(made["known_us"], mask=made["known_us"] == 0),
        "label_corrected_us": pa.array(made["corrected_us"], mask=made["corrected_us"] == 0),
    }
    return pa.table(columns, schema=SCHEMA)


def _words(vocabulary: Sequence[str], slots: NDArray[np.integer]) -> pa.Array:
    return pa.array(vocabulary, _TEXT).take(pa.array(slots))
