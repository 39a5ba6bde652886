"""Payments as sites decided them, read from an archive: features as they were served, labels as they were received.

A row's time is when its gate decided it, by which its features were read; a label counts from when a gate received it.
So nothing that wasn't known at a site at a time has a part in a row, wherever the payment or the label came from.
"""

from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tidegate.decision import Mark, Outcome
from tidegate.features.declarations import FEATURE_COUNT, FINGERPRINT
from tidegate.features.kernel import Vector
from tidegate.payment import CHANNELS, ENTRY_MODES
from tidegate.records import FEATURE_SLOTS
from training.archive import PinnedArchive
from training.dataset import NEVER, Events, Ints, Words
from training.mapping import DatasetError

_TEXTS: Final = ("currency", "merchant", "country", "mcc", "device")
_COLUMNS: Final = [
    "source", "pos", "time_us", "transaction_id", "card", "terminal", "amount_minor", "outcome", "marks",
    "feature_fingerprint", "features", "channel", "entry_mode", *_TEXTS,
]  # fmt: skip
_LABELS: Final = ["received_us", "merchant", "transaction_id", "label_id", "verdict", "known_us"]
_KEY: Final = "\n"
"""Between merchant and transaction: neither may hold it."""


def served(archive: PinnedArchive, history_us: int = NEVER) -> tuple[Events, Vector]:
    """Return the payments of an archive in the order of time, and their features, float32 [n, FEATURE_COUNT].

    Left out: what is older than the newest by more than `history_us`, what test cards forced, and what was decided with
    other features than this program's.

    Raises:
        ArchiveError: a file can't be read.
        DatasetError: nothing is left.
    """
    last_us = max((file.last_us for file in archive.files("decisions")), default=0)
    rows = archive.rows("decisions", _COLUMNS, (max(last_us - history_us, 0), last_us + 1))
    sandbox = pc.not_equal(pc.bit_wise_and(rows["marks"], int(Mark.SANDBOX)), 0)
    ours = rows.filter(pc.and_not(pc.equal(rows["feature_fingerprint"], FINGERPRINT), sandbox))
    if not len(ours):
        told = f"{len(rows):,} decisions, none with this program's features ({FINGERPRINT})"
        raise DatasetError(f"--archive: {told}; train on what was decided since it was installed")
    ours = ours.sort_by([(name, "ascending") for name in ("time_us", "source", "pos")]).combine_chunks()
    known, corrected, fraud = _verdicts(ours, archive.rows("labels", _LABELS))
    cards, terminals = _words(ours["card"]), _words(ours["terminal"])
    texts = {name: _words(ours[name]) for name in _TEXTS}
    texts |= {"channel": _named(ours["channel"], CHANNELS), "entry_mode": _named(ours["entry_mode"], ENTRY_MODES)}
    texts["site"] = _words(pc.list_element(pc.split_pattern(ours["source"], "."), 0))
    events = Events(
        transaction_ids=_one(ours["transaction_id"]),
        occurred_us=_ints(ours["time_us"]),
        amount_minor=_ints(ours["amount_minor"]),
        card_slot=cards.slots,
        terminal_slot=terminals.slots,
        fraud=fraud,
        label_known_us=known,
        label_corrected_us=corrected,
        declined=_ints(ours["outcome"]) == Outcome.DECLINE,
        cards=cards.vocabulary,
        terminals=terminals.vocabulary,
        texts={name: words for name, words in texts.items() if words.vocabulary},
    )
    return events, _vectors(ours)


def _vectors(rows: pa.Table) -> Vector:
    flat = np.asarray(_one(rows["features"]).flatten(), np.float32)
    return np.ascontiguousarray(flat.reshape(len(rows), FEATURE_SLOTS)[:, :FEATURE_COUNT])


def _verdicts(rows: pa.Table, labels: pa.Table) -> tuple[Ints, Ints, np.ndarray[Any, np.dtype[np.bool_]]]:
    """Return for each payment when it was first called fraud, when that was taken back, and what stands.

    A payment that was only ever called good was known from then on, and taken back at once: nobody called it fraud.
    """
    told = _standing(labels)
    names = pa.array(list(told), pa.string())
    times = np.array([*told.values(), (NEVER, NEVER, 0)], np.int64)
    keys = pc.binary_join_element_wise(rows["merchant"], rows["transaction_id"], _KEY)
    at = np.asarray(pc.fill_null(pc.index_in(_one(keys), names), len(told)))
    found = times[at]
    return found[:, 0].copy(), found[:, 1].copy(), found[:, 2] == 1


def _standing(labels: pa.Table) -> dict[str, tuple[int, int, int]]:
    """Return (known, corrected, fraud) of each labelled payment; the verdict known last stands, as at a gate."""
    told: dict[str, tuple[int, int, int]] = {}
    latest: dict[str, tuple[int, str]] = {}
    for row in labels.sort_by([("received_us", "ascending"), ("label_id", "ascending")]).to_pylist():
        key, order = f"{row['merchant']}{_KEY}{row['transaction_id']}", (row["known_us"], row["label_id"])
        if order < latest.get(key, order):
            continue  # an older verdict that came late
        latest[key] = order
        at_us = row["received_us"]
        first_us, back_us, fraud = told.get(key, (at_us, at_us, 0))
        if row["verdict"] == "fraud":
            told[key] = (at_us if key in told and not fraud and first_us == back_us else first_us, NEVER, 1)
        else:
            told[key] = (first_us, at_us if fraud else back_us, 0)
    return told


def _one(column: pa.ChunkedArray) -> pa.Array:
    """Return a column in one piece."""
    made = column.combine_chunks()
    return made.chunk(0) if isinstance(made, pa.ChunkedArray) else made


def _ints(column: pa.ChunkedArray) -> Ints:
    return np.asarray(column.to_numpy(), np.int64)


def _words(column: pa.ChunkedArray) -> Words:
    """Return a column of texts; an empty one says nothing."""
    coded = _one(pc.if_else(pc.equal(column, ""), None, column)).dictionary_encode()
    slots = pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False)
    return Words(np.asarray(slots, np.int32), tuple(coded.dictionary.to_pylist()))


def _named(column: pa.ChunkedArray, words: dict[Any, int]) -> Words:
    """Return a column of numbers by the words that they stand for; None stands for nothing."""
    vocabulary = tuple(word for word in words if word is not None)
    slots = np.full(max(words.values()) + 1, -1, np.int32)
    slots[[words[word] for word in vocabulary]] = np.arange(len(vocabulary))
    return Words(slots[_ints(column)], vocabulary)
