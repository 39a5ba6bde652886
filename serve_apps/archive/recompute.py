"""Computes features again from what is archived, as the gate did that served them. Pure: rows in, differences out.

One epoch of a gate is one state, which begins empty: its decisions, labels and evictions are counted in their order by
the gate's own kernel, and each vector is compared with the stored one, bit for bit.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

import numpy as np

from tidegate.archived import Rows
from tidegate.decision import Mark
from tidegate.events import LabelReceived, said
from tidegate.features.declarations import FEATURE_COUNT, FEATURES, FINGERPRINT
from tidegate.features.kernel import label, observe, token_hash
from tidegate.features.state import empty_cards, empty_terminals
from tidegate.records import FEATURE_SLOTS, Kind, json_of

COLUMNS: Final = (
    "seq", "pos", "time_us", "merchant", "transaction_id", "card", "terminal", "amount_minor", "feature_us", "marks",
    "feature_fingerprint", "features", "overlay_version",
)  # fmt: skip
"""What is read of a decision."""
TOLD: Final = (Kind.LABEL_RECEIVED, Kind.CARD_EVICTED, Kind.TERMINAL_EVICTED)
"""Events that change a state."""
_PLAIN: Final = frozenset({"amount", "hour", "weekday"})
_ALONE: Final = np.array([each.name in _PLAIN or each.name.startswith("terminal_") for each in FEATURES])
"""Features that no other site has a part in."""
_FIRST_ROWS: Final = 64
_MISSING: Final = -1


class Change(NamedTuple):
    """An event of `TOLD`."""

    pos: int
    time_us: int
    kind: int
    body: bytes


class Paid(NamedTuple):
    """What a label is counted by: the decision that its payment was first answered with."""

    card: str
    terminal: str
    feature_us: int
    marks: int


Payments = Mapping[tuple[str, str], Paid]
"""Of (merchant, transaction_id)."""


@dataclass(frozen=True, slots=True)
class Recomputed:
    """What came of one source, or of several together."""

    decisions: int = 0
    compared: int = 0
    """Whole vectors."""
    partly: int = 0
    """Vectors of which only what no other site has a part in was compared: they were read over an overlay."""
    differing: int = 0
    first: str = ""
    """The first that differed: its id and which features."""
    gap: str = ""
    """The first decision that can't be compared, since a record before it isn't here or is broken; empty: all can."""

    def plus(self, other: "Recomputed") -> "Recomputed":
        """Return both together."""
        return Recomputed(
            self.decisions + other.decisions,
            self.compared + other.compared,
            self.partly + other.partly,
            self.differing + other.differing,
            self.first or other.first,
            self.gap or other.gap,
        )


class _Slots:
    """States of tokens: rows of an array that grows; whoever is forgotten makes room for the next."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self._slot: dict[str, int] = {}
        self._free: list[int] = list(range(len(rows)))

    def find(self, token: str) -> int:
        """Return a token's row, -1 where there is none."""
        return self._slot.get(token, _MISSING)

    def use(self, token: str) -> int:
        """Return a token's row; an empty one where there is none."""
        slot = self.find(token)
        if slot == _MISSING:
            if not self._free:
                self._free = list(range(len(self.rows), 2 * len(self.rows)))
                self.rows = np.concatenate([self.rows, np.zeros_like(self.rows)])
            slot = self._slot[token] = self._free.pop()
        return slot

    def forget(self, token: str) -> None:
        """Empty a token's row."""
        slot = self._slot.pop(token, _MISSING)
        if slot != _MISSING:
            self.rows[slot : slot + 1] = 0
            self._free.append(slot)


@dataclass
class Recount:
    """One source: its state, and what came of it so far. Decisions come in pieces, in the order of `pos`.

    Positions are counted without a gap over all lanes, so that what is missing shows.
    """

    source: str
    positions: Rows
    """Those of all its events, ascending."""
    changes: list[Change]
    """Its events of `TOLD`, in the order of `pos`."""
    payments: Payments
    told: Recomputed = Recomputed()
    _cards: _Slots = field(default_factory=lambda: _Slots(empty_cards(_FIRST_ROWS)))
    _terminals: _Slots = field(default_factory=lambda: _Slots(empty_terminals(_FIRST_ROWS)))
    _hashes: dict[str, int] = field(default_factory=dict)
    _standing: dict[tuple[str, str], tuple[int, str, str]] = field(default_factory=dict)
    _next_change: int = 0

    def take(self, rows: Rows) -> None:
        """Count decisions, dtype `records.DECISION`, and compare their vectors."""
        for row in rows:
            pos = int(row["pos"])
            self._until(pos)
            if self.told.decisions + int(np.searchsorted(self.positions, pos)) + 1 != pos and not self.told.gap:
                self.told = replace(self.told, gap=f"{self.source}.L1.{int(row['seq'])}")
            self._decision(row)

    def _until(self, pos: int) -> None:
        """Count what happened before a position."""
        while self._next_change < len(self.changes) and self.changes[self._next_change].pos < pos:
            self._change(self.changes[self._next_change])
            self._next_change += 1

    def _change(self, change: Change) -> None:
        if change.kind == Kind.LABEL_RECEIVED:
            found = said(Kind.LABEL_RECEIVED, change.body)
            if isinstance(found, LabelReceived):
                self._label(change, found)
        else:
            told, of = json_of(change.body), self._cards if change.kind == Kind.CARD_EVICTED else self._terminals
            of.forget(str(told.get("token")) if isinstance(told, dict) else "")

    def _label(self, change: Change, told: LabelReceived) -> None:
        """Count a label as a gate does: of several of a payment that one stands which was known last."""
        key = told.merchant, told.transaction_id
        old, new = self._standing.get(key), (told.known_us, told.label_id, told.verdict)
        stands = self._standing[key] = new if old is None else max(old, new)
        delta = int(stands[2] == "fraud") - int(old is not None and old[2] == "fraud")
        paid = self.payments.get(key)
        if delta and paid is not None and not paid.marks & Mark.SANDBOX:
            slots = self._cards.find(paid.card), self._terminals.find(paid.terminal)
            where = self._cards.rows, slots[0], self._terminals.rows, slots[1]
            label(*where, change.time_us, paid.feature_us, delta)

    def _decision(self, row: Any) -> None:  # noqa: ANN401 - numpy's own void
        self.told = replace(self.told, decisions=self.told.decisions + 1)
        if int(row["marks"]) & Mark.SANDBOX:
            return
        if not _countable(row):
            self.told = replace(self.told, gap=self.told.gap or f"{self.source}.L1.{int(row['seq'])}")
            return
        vector = self._observed(row)
        if not self.told.gap and row["feature_fingerprint"].decode() == FINGERPRINT:
            self._compare(row, vector)

    def _observed(self, row: Any) -> Rows:  # noqa: ANN401 - as above
        terminal, out = row["terminal"].decode(), np.zeros(FEATURE_SLOTS, np.float32)
        if terminal not in self._hashes:
            self._hashes[terminal] = token_hash(terminal)
        card, at = self._cards.use(row["card"].decode()), self._terminals.use(terminal)
        times = int(row["time_us"]), int(row["feature_us"])
        where = self._cards.rows, card, self._terminals.rows, at, self._hashes[terminal]
        observe(*where, *times, int(row["amount_minor"]), out)
        return out

    def _compare(self, row: Any, vector: Rows) -> None:  # noqa: ANN401 - as above
        stored, computed = (each[:FEATURE_COUNT].view(np.uint32) for each in (row["features"], vector))
        over = int(row["overlay_version"]) != 0
        differ = (stored != computed) & (_ALONE if over else True)
        told = replace(self.told, compared=self.told.compared + (not over), partly=self.told.partly + over)
        if differ.any():
            names = ", ".join(FEATURES[at].name for at in np.flatnonzero(differ))
            told = replace(told, differing=told.differing + 1)
            told = replace(told, first=told.first or f"{self.source}.L1.{int(row['seq'])}: {names}")
        self.told = told


def _countable(row: Any) -> bool:  # noqa: ANN401 - as above
    """Tell whether the kernel may be given a row: a site that is broken may send anything."""
    tokens = bytes(row["card"]), bytes(row["terminal"])
    return all(token and token.isascii() for token in tokens) and row["amount_minor"] >= 1 and row["time_us"] >= 0


def keys_of(changes: Iterable[Change]) -> set[tuple[str, str]]:
    """Return the payments that labels are of."""
    found = (said(Kind.LABEL_RECEIVED, change.body) for change in changes if change.kind == Kind.LABEL_RECEIVED)
    return {(told.merchant, told.transaction_id) for told in found if isinstance(told, LabelReceived)}
