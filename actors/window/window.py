"""The window: feature state of the cards and terminals that a site has seen lately, for the gate.

Tokens are given slots in the kernel's arrays; at the bound the least recently used one is forgotten. Pure and
deterministic: the same calls in the same order give the same bytes, which is what replay and checkpoints rest on.
"""

from collections import OrderedDict
from typing import Any, Final, NamedTuple, Self

import numpy as np

from tidegate.errors import JournalFormatError
from tidegate.features import kernel
from tidegate.features.declarations import FEATURE_COUNT, FINGERPRINT
from tidegate.features.state import empty_cards, empty_terminals
from tidegate.records import FEATURE_SLOTS

Vector = np.ndarray[Any, np.dtype[np.float32]]
_MISSING: Final = -1


class Evicted(NamedTuple):
    """A token that was forgotten to make room."""

    entity: str
    token: str


class Slots:
    """Gives tokens slots of an array, least recently used first to go."""

    def __init__(self, bound: int) -> None:
        self.bound = bound
        self._slot: OrderedDict[str, int] = OrderedDict()
        self._free: list[int] = []
        self._next = 0

    def __len__(self) -> int:
        return len(self._slot)

    def find(self, token: str) -> int:
        """Return the slot of `token`, or -1."""
        return self._slot.get(token, _MISSING)

    def use(self, token: str) -> int:
        """Return the slot of `token` and make it the most recently used; -1 where it has none."""
        slot = self._slot.get(token, _MISSING)
        if slot != _MISSING:
            self._slot.move_to_end(token)
        return slot

    def oldest(self) -> str | None:
        """Return the token that has to go before another fits, or None while there is room."""
        return next(iter(self._slot)) if len(self._slot) >= self.bound else None

    def add(self, token: str) -> int:
        """Give a new token a slot; there must be room."""
        slot = self._free.pop() if self._free else self._next
        self._next = max(self._next, slot + 1)
        self._slot[token] = slot
        return slot

    def drop(self, token: str) -> int:
        """Take a token's slot back and return it; -1 where it has none."""
        slot = self._slot.pop(token, _MISSING)
        if slot != _MISSING:
            self._free.append(slot)
        return slot

    def dump(self) -> dict[str, Any]:
        """Return all there is, as JSON can carry it: order is kept."""
        return {"tokens": list(self._slot.items()), "free": self._free, "next": self._next}

    def load(self, dumped: dict[str, Any]) -> None:
        """Become what `dump` gave."""
        self._slot = OrderedDict((str(token), int(slot)) for token, slot in dumped["tokens"])
        self._free = [int(slot) for slot in dumped["free"]]
        self._next = int(dumped["next"])


class Window:
    """Feature state of one site; arrays of fixed size, 1 KiB a card and 0.2 KiB a terminal."""

    def __init__(self, *, cards_max: int, terminals_max: int) -> None:
        self.cards = Slots(cards_max)
        self.terminals = Slots(terminals_max)
        self.card_state = empty_cards(cards_max)
        self.terminal_state = empty_terminals(terminals_max)
        self._terminal_hash: dict[str, int] = {}
        self._vector: Vector = np.zeros(FEATURE_SLOTS, np.float32)

    def knows(self, card: str) -> bool:
        """Tell whether the window holds a card's history."""
        return self.cards.find(card) != _MISSING

    def overdue(self, card: str, terminal: str) -> tuple[Evicted, ...]:
        """Return what has to be forgotten before this card and terminal can be counted; changes nothing."""
        oldest = (
            Evicted("card", self.cards.oldest() or "") if self.cards.find(card) == _MISSING else Evicted("card", ""),
            Evicted("terminal", self.terminals.oldest() or "")
            if self.terminals.find(terminal) == _MISSING
            else Evicted("terminal", ""),
        )
        return tuple(evicted for evicted in oldest if evicted.token)

    def evict(self, evicted: Evicted) -> None:
        """Forget a token; one that isn't held changes nothing."""
        if evicted.entity == "card":
            slot = self.cards.drop(evicted.token)
            self.card_state[slot : slot + 1] = 0
        else:
            slot = self.terminals.drop(evicted.token)
            self._terminal_hash.pop(evicted.token, None)
            self.terminal_state[slot : slot + 1] = 0

    def _terminal_slot(self, terminal: str) -> int:
        slot = self.terminals.use(terminal)
        return slot if slot != _MISSING else self.terminals.add(terminal)

    def _card_slot(self, card: str) -> int:
        slot = self.cards.use(card)
        return slot if slot != _MISSING else self.cards.add(card)

    def _hash(self, terminal: str) -> int:
        known = self._terminal_hash.get(terminal)
        if known is None:
            known = self._terminal_hash[terminal] = kernel.token_hash(terminal)
        return known

    def observe(self, *, card: str, terminal: str, now_us: int, feature_us: int, amount_minor: int) -> Vector:
        """Count a payment and return its vector, float32 of `FEATURE_SLOTS`, valid until the next call.

        What is `overdue` must have been evicted before.
        """
        kernel.observe(
            self.card_state,
            self._card_slot(card),
            self.terminal_state,
            self._terminal_slot(terminal),
            self._hash(terminal),
            now_us,
            feature_us,
            amount_minor,
            self._vector,
        )
        return self._vector

    def label(self, *, card: str, terminal: str, now_us: int, event_us: int, delta: int) -> None:
        """Count a payment as known fraud (1) or take that back (-1); entities no longer held are left out."""
        card_slot, terminal_slot = self.cards.find(card), self.terminals.find(terminal)
        kernel.label(self.card_state, card_slot, self.terminal_state, terminal_slot, now_us, event_us, delta)

    def fits(self, other: "Window") -> bool:
        """Tell whether another window has the same bounds: one stored under others is rebuilt, not stretched."""
        return (self.cards.bound, self.terminals.bound) == (other.cards.bound, other.terminals.bound)

    def to_bytes(self) -> dict[str, bytes | dict[str, Any]]:
        """Return everything as parts: what a checkpoint stores."""
        return {
            "index": {
                "fingerprint": FINGERPRINT,
                "features": FEATURE_COUNT,
                "cards_max": self.cards.bound,
                "terminals_max": self.terminals.bound,
                "cards": self.cards.dump(),
                "terminals": self.terminals.dump(),
            },
            "cards": self.card_state.tobytes(),
            "terminals": self.terminal_state.tobytes(),
        }

    @classmethod
    def from_bytes(cls, index: dict[str, Any], cards: bytes, terminals: bytes) -> Self:
        """Return the window that `to_bytes` stored.

        Raises:
            JournalFormatError: it was stored by another feature kernel; it has to be rebuilt from the journal.
        """
        if index["fingerprint"] != FINGERPRINT:
            found = index["fingerprint"]
            raise JournalFormatError(f"checkpoint: features {found}, expected {FINGERPRINT}; rebuild from the journal")
        window = cls(cards_max=int(index["cards_max"]), terminals_max=int(index["terminals_max"]))
        window.cards.load(index["cards"])
        window.terminals.load(index["terminals"])
        window.card_state[:] = np.frombuffer(cards, window.card_state.dtype)
        window.terminal_state[:] = np.frombuffer(terminals, window.terminal_state.dtype)
        return window
