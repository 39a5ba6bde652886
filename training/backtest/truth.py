"""What became of payments, as known when the history ends: joined to decisions by the payment's identity."""

from enum import IntEnum
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa

from tidegate.decision import Outcome
from tidegate.features.declarations import LABEL_DELAY_DAYS
from tidegate.limits import DAY_US, LABEL_ID_BYTES_MAX
from tidegate.records import DECISION

Rows = np.ndarray[Any, np.dtype[np.void]]
Truths = np.ndarray[Any, np.dtype[np.uint8]]
Keys = np.ndarray[Any, np.dtype[np.uint64]]
COLUMNS: Final = ("merchant", "transaction_id", "label_id", "verdict", "known_us")
DELAY_US: Final = LABEL_DELAY_DAYS * DAY_US
"""An approval that nobody called fraud for this long is presumed good, as in training."""


class Truth(IntEnum):
    """What is known of a payment."""

    FRAUD = 0
    GOOD = 1
    PRESUMED = 2
    UNKNOWN = 3


_IDENTITY: Final = np.dtype([("merchant", DECISION["merchant"]), ("transaction_id", DECISION["transaction_id"])])
_NAMES: Final = ("merchant", "transaction_id")
_LABEL: Final = np.dtype(
    [*_IDENTITY.descr, ("label_id", f"S{LABEL_ID_BYTES_MAX}"), ("known_us", np.int64), ("legit", np.bool_)]
)
_WORDS: Final = _IDENTITY.itemsize // 8
# Odd 64-bit multipliers, from the digits of the golden ratio onwards (SplitMix64): any spread-out odd numbers do.
_MULTIPLIERS: Final = np.array(
    [(0x9E3779B97F4A7C15 * (2 * at + 1)) & 0xFFFFFFFFFFFFFFFF | 1 for at in range(_WORDS)], np.uint64
)


def _identities(merchants: Rows, transactions: Rows) -> Rows:
    made = np.zeros(len(merchants), _IDENTITY)
    made["merchant"], made["transaction_id"] = merchants, transactions
    return made


def _keys(identities: Rows) -> Keys:
    """Return a 64-bit hash of each identity; equal ones are told apart from colliding ones by comparing them."""
    words = identities.view(np.uint64).reshape(len(identities), _WORDS)
    mixed = (words ^ words >> np.uint64(29)) * _MULTIPLIERS
    keys: Keys = np.bitwise_xor.reduce(mixed ^ mixed >> np.uint64(32), axis=1)
    return keys


def _labels(batch: pa.RecordBatch) -> Rows:
    rows = np.zeros(batch.num_rows, _LABEL)
    for name in (*_NAMES, "label_id", "known_us"):
        rows[name] = batch.column(name).to_pylist()
    rows["legit"] = [verdict == "legit" for verdict in batch.column("verdict").to_pylist()]
    return rows


class Labels:
    """The verdict that stands for each labelled payment: the one known last, as at the gate."""

    def __init__(self, identities: Rows, fraud: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
        keys = _keys(identities)
        order = np.argsort(keys, kind="stable")
        self._keys, self._identities, self._fraud = keys[order], identities[order], fraud[order]

    def __len__(self) -> int:
        return len(self._keys)

    @classmethod
    def of(cls, batches: list[pa.RecordBatch]) -> Self:
        """Return the standing verdicts of label rows, corrections among them."""
        told = [np.zeros(0, _LABEL), *map(_labels, batches)]
        rows: Rows = np.concatenate(told)
        rows = rows[np.lexsort([rows[name] for name in ("legit", "label_id", "known_us", *_NAMES)])]
        last = np.ones(len(rows), np.bool_)
        last[:-1] = (rows["merchant"][1:] != rows["merchant"][:-1]) | (
            rows["transaction_id"][1:] != rows["transaction_id"][:-1]
        )
        standing = rows[last]
        return cls(_identities(standing["merchant"], standing["transaction_id"]), ~standing["legit"])

    def truths(self, rows: Rows, known_until_us: int) -> Truths:
        """Return a `Truth` for each decision, as known at a time."""
        quiet = (rows["outcome"] == Outcome.APPROVE) & (rows["time_us"] <= known_until_us - DELAY_US)
        found = np.where(quiet, Truth.PRESUMED, Truth.UNKNOWN).astype(np.uint8)
        asked = _identities(rows["merchant"], rows["transaction_id"])
        keys = _keys(asked)
        places = np.searchsorted(self._keys, keys)
        open_ = np.flatnonzero(places < len(self))
        while len(open_):  # once, but where two identities share a hash
            open_ = open_[self._keys[places[open_]] == keys[open_]]
            same = self._identities[places[open_]] == asked[open_]
            told = open_[same]
            found[told] = np.where(self._fraud[places[told]], Truth.FRAUD, Truth.GOOD)
            open_ = open_[~same]
            places[open_] += 1
            open_ = open_[places[open_] < len(self)]
        return found
