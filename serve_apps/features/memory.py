"""States in this process, bounded: for a cloud on one machine, and as the twin of Redis in tests.

Nothing is kept on a disk: a start counts the log up again, which is kept for longer than any window of a card. A card
that hasn't changed for longest makes room at the bound.
"""

from collections import OrderedDict
from collections.abc import Collection
from itertools import islice
from threading import Lock

from serve_apps.features.merged import folded, keys_of, reached
from serve_apps.features.ports import Held, Key, State
from tidegate.deltas import Rows
from tidegate.frames import Origin
from tidegate.limits import FEATURES_ROWS_MAX, FEATURES_SNAPSHOT_CARDS_MAX


class MemoryStore:
    """See the port."""

    def __init__(self, *, rows_max: int = FEATURES_ROWS_MAX) -> None:
        self._rows_max = rows_max
        self._lock = Lock()  # nobody reads a half of a batch
        self._cards: OrderedDict[str, dict[Origin, State]] = OrderedDict()
        self._reached: dict[Origin, int] = {}
        self._rows = 0
        self._next = 0

    def next(self) -> int:
        """Return the offset at which the log goes on; see the port."""
        return self._next

    def fold(self, offset: int, rows: Rows) -> bool:
        """Count a batch's rows and note its offset; see the port."""
        if offset < self._next:
            return False
        keys = keys_of(rows)
        before = {key: state for key in keys if (state := self._cards.get(key.card, {}).get(key.origin))}
        changed = folded(before, keys, rows)
        with self._lock:
            for key, state in changed.items():
                self._put(key, state)
            for origin, pos in reached(rows, keys).items():
                self._reached[origin] = max(pos, self._reached.get(origin, 0))
            self._next = offset + 1
            self._trim()
        return True

    def states(self, cards: Collection[str]) -> Held:
        """Return the states of cards; see the port."""
        with self._lock:
            return Held(self._next, {card: dict(found) for card in cards if (found := self._cards.get(card))})

    def cards_of(self, site: str) -> list[str]:
        """Return the cards of a site that changed last; see the port."""
        with self._lock:
            latest = reversed(self._cards.items())
            used = (card for card, states in latest if any(origin.site == site for origin in states))
            return list(islice(used, FEATURES_SNAPSHOT_CARDS_MAX))

    def reached(self, origin: Origin) -> int:
        """Return the highest position of an origin; see the port."""
        return self._reached.get(origin, 0)

    def close(self) -> None:
        """Nothing is held."""

    def _put(self, key: Key, state: State) -> None:
        states = self._cards.setdefault(key.card, {})
        self._rows += key.origin not in states
        states[key.origin] = state
        self._cards.move_to_end(key.card)

    def _trim(self) -> None:
        while self._rows > self._rows_max and len(self._cards) > 1:
            _, states = self._cards.popitem(last=False)
            self._rows -= len(states)
