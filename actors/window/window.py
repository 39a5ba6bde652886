"""The window: feature state of the cards and terminals that a site has seen lately, for the gate.

Pure and deterministic: the same calls in the same order give the same bytes, which is what replay and checkpoints
rest on.
"""

from typing import Any, Final, NamedTuple

import numpy as np

from actors.window.overlay import Overlay, OverlayCopy
from actors.window.table import MISSING, Table, TableCopy
from tidegate.features import kernel
from tidegate.features.state import empty_cards, empty_terminals
from tidegate.records import FEATURE_SLOTS

Vector = np.ndarray[Any, np.dtype[np.float32]]
_SLICE_ROWS: Final = 1_024
"""About a megabyte: the loop that decides stands still for a quarter of a millisecond while it is copied."""


class Evicted(NamedTuple):
    """A token that was forgotten to make room."""

    entity: str
    token: str


class Window:
    """Feature state of one site; tables of fixed size: 1.1 KiB a card here and elsewhere each, 0.4 KiB a terminal."""

    def __init__(self, *, cards_max: int, terminals_max: int) -> None:
        self.cards = Table(empty_cards(cards_max))
        self.terminals = Table(empty_terminals(terminals_max))
        self.overlay = Overlay(cards_max)
        self._scratch = empty_cards(1)
        self._terminal_hash: dict[str, int] = {}
        self._vector: Vector = np.zeros(FEATURE_SLOTS, np.float32)

    def knows(self, card: str) -> bool:
        """Tell whether a card's history is at hand: what it did here, or all that it did elsewhere."""
        held = self.cards.find(card) != MISSING
        return self.overlay.knows(card, held=held) if self.overlay.begun else held

    def overdue(self, card: str, terminal: str) -> tuple[Evicted, ...]:
        """Return what has to be forgotten before this card and terminal can be counted; changes nothing."""
        old_card, old_terminal = self.cards.overdue(card), self.terminals.overdue(terminal)
        if old_card is None and old_terminal is None:
            return ()
        both = (("card", old_card), ("terminal", old_terminal))
        return tuple(Evicted(entity, token) for entity, token in both if token is not None)

    def evict(self, evicted: Evicted) -> None:
        """Forget a token; one that isn't held changes nothing."""
        if evicted.entity == "card":
            self.cards.evict(evicted.token)
        else:
            self.terminals.evict(evicted.token)
            self._terminal_hash.pop(evicted.token, None)

    def _hash(self, terminal: str) -> int:
        known = self._terminal_hash.get(terminal)
        if known is None:
            known = self._terminal_hash[terminal] = kernel.token_hash(terminal)
        return known

    def observe(self, *, card: str, terminal: str, now_us: int, feature_us: int, amount_minor: int) -> Vector:
        """Count a payment and return its vector, float32 of `FEATURE_SLOTS`, valid until the next call.

        What is `overdue` must have been evicted before.
        """
        elsewhere = self.overlay.use(card) if self.overlay.begun else MISSING
        if elsewhere != MISSING:
            return self._observe_over(elsewhere, card, terminal, now_us, feature_us, amount_minor)
        kernel.observe(
            self.cards.state,
            self.cards.use(card),
            self.terminals.state,
            self.terminals.use(terminal),
            self._hash(terminal),
            now_us,
            feature_us,
            amount_minor,
            self._vector,
        )
        return self._vector

    def _observe_over(
        self, elsewhere: int, card: str, terminal: str, now_us: int, feature_us: int, amount_minor: int
    ) -> Vector:
        kernel.observe_over(
            self.cards.state,
            self.cards.use(card),
            self.overlay.states,
            elsewhere,
            self._scratch,
            self.terminals.state,
            self.terminals.use(terminal),
            self._hash(terminal),
            now_us,
            feature_us,
            amount_minor,
            self._vector,
        )
        return self._vector

    def drop_overlay(self) -> None:
        """Forget all that is known of other sites."""
        self.overlay = Overlay(self.cards.bound)

    def label(self, *, card: str, terminal: str, now_us: int, event_us: int, delta: int) -> None:
        """Count a payment as known fraud (1) or take that back (-1); entities no longer held are left out."""
        card_slot, terminal_slot = self.cards.change(card), self.terminals.change(terminal)
        kernel.label(self.cards.state, card_slot, self.terminals.state, terminal_slot, now_us, event_us, delta)

    def fits(self, other: "Window") -> bool:
        """Tell whether another window has the same bounds: one stored under others is rebuilt, not stretched."""
        return (self.cards.bound, self.terminals.bound) == (other.cards.bound, other.terminals.bound)

    def copy(self) -> "WindowCopy":
        """Begin a copy of the window as it is now."""
        return WindowCopy(
            self.cards.bound, self.terminals.bound, self.cards.copy(), self.terminals.copy(), self.overlay.copy()
        )


class WindowCopy(NamedTuple):
    """A copy of a window as of one moment, made a slice at a time while the window goes on changing."""

    cards_max: int
    terminals_max: int
    cards: TableCopy
    terminals: TableCopy
    overlay: OverlayCopy

    def step(self) -> bool:
        """Copy one more slice; return whether the copy is whole."""
        tables = (self.terminals, self.cards, self.overlay.cards)
        return all(table.step(_SLICE_ROWS) for table in tables)
