"""The overlay: what other sites did to cards, as far as the cloud has told this gate.

A second table beside the gate's own one, read with it and never added to by the gate's own payments. Pure and
deterministic, as the window is: the same deltas and uses in the same order give the same bytes.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from actors.window.table import MISSING, Table, TableCopy
from tidegate.features import kernel
from tidegate.features.state import CARD, Cards
from tidegate.limits import KIB

if TYPE_CHECKING:  # a window alone needs nothing of how deltas come
    from tidegate.deltas import Rows

ROW: Final = np.dtype([("card", CARD), ("since", "<u4")])
"""A card's state at other sites, and `Reached.gaps` + 1 as of its first delta; 0: what came before isn't known."""
if ROW.itemsize > KIB:
    raise AssertionError("what other sites did to a card is bounded by 1 KiB")
_COLUMNS: Final = ("kind", "time_us", "event_us", "amount_minor", "terminal_hash")


class Reached(NamedTuple):
    """How far an overlay has come: all versions before `version` are in it; 0: there is none yet.

    `as_of_us` is the gate's or the origins' time up to which it tells of other sites. `gaps` counts how often versions
    were left out: rows from before are partial since. `whole` says that a card which it doesn't hold did nothing
    elsewhere: nothing was left out, and no row was forgotten.
    """

    version: int = 0
    as_of_us: int = 0
    gaps: int = 0
    whole: bool = True

    def then(self, version: int, as_of_us: int, *, gap: bool) -> "Reached":
        """Return where an overlay is at another version; `gap`: versions between are missing."""
        return Reached(version, as_of_us, self.gaps + gap, self.whole and not gap)


@dataclass(frozen=True, slots=True)
class OverlayCopy:
    """A copy of an overlay as of one moment, made as a table's."""

    reached: Reached
    cards: TableCopy


class Overlay:
    """Rows of other sites' cards, bounded; the least recently used one goes first, here or elsewhere."""

    def __init__(self, cards_max: int) -> None:
        self.cards = Table(np.zeros(cards_max, ROW))
        self.states: Cards = self.cards.state["card"]
        self.reached = Reached()
        self.begun = False
        """Whether any version is in it: asked on the hot path."""
        self.evictions = 0
        self._since = self.cards.state["since"]

    def go_on(self, reached: Reached) -> None:
        """Be where the rows have come to."""
        self.reached, self.begun = reached, reached.version > 0

    def use(self, card: str) -> int:
        """Return the row of a card that is decided on, the most recently used one from now on; -1 where it has none."""
        return MISSING if self.cards.find(card) == MISSING else self.cards.use(card)

    def knows(self, card: str, *, held: bool) -> bool:
        """Tell whether all that other sites did to a card is here; `held`: the gate has the card's own state."""
        slot = self.cards.find(card)
        if slot == MISSING:
            return held and self.reached.whole
        return bool(self._since[slot] == self.reached.gaps + 1)

    def apply(self, rows: "Rows", reached: Reached) -> None:
        """Count rows of cards, in their order, and be at another version."""
        self.go_on(reached)
        for begin in range(0, len(rows), self.cards.bound):
            self._count(rows[begin : begin + self.cards.bound])

    def _count(self, rows: "Rows") -> None:
        """Count no more rows than there is room for cards."""
        tokens = [token.decode("ascii") for token in rows["card"].tolist()]
        before = len(self.cards)
        slots, fresh = self.cards.use_all(dict.fromkeys(tokens))
        self._since[[slots[token] for token in fresh]] = self.reached.gaps + 1 if self.reached.whole else 0
        evicted = before + len(fresh) - len(self.cards)
        if evicted:
            self.evictions += evicted
            self.reached = self.reached._replace(whole=False)
        at = np.fromiter(map(slots.__getitem__, tokens), np.int64, len(tokens))
        kernel.fold(self.states, at, *(rows[name].astype(np.int64) for name in _COLUMNS))

    def copy(self) -> OverlayCopy:
        """Begin a copy of the overlay as it is now."""
        return OverlayCopy(self.reached, self.cards.copy())
