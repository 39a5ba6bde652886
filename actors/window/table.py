"""A table of the window: tokens of one entity, a slot each, and a row of feature state in every slot.

At its bound the least recently used token has to go. All there is stands in arrays, so that a checkpoint copies rows;
the dictionary beside them only finds them fast.
"""

from collections import OrderedDict
from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from itertools import islice
from typing import Any, Final

import numpy as np

from tidegate.limits import TOKEN_BYTES_MAX

MISSING: Final = -1
HOLDER: Final = np.dtype([("token", f"S{TOKEN_BYTES_MAX}"), ("used", "<i8")])
"""Whose slot it is, empty where nobody's, and the number of its latest use."""

Rows = np.ndarray[Any, np.dtype[np.void]]


class Table:
    """One entity's rows; pure and deterministic: the same calls in the same order give the same bytes."""

    def __init__(self, state: Rows) -> None:
        self.state = state
        self.holders: Rows = np.zeros(len(state), HOLDER)
        self._used = self.holders["used"]
        self._bytes = tuple(rows.view(np.uint8).reshape(len(rows), rows.itemsize) for rows in (state, self.holders))
        self._slot: OrderedDict[str, int] = OrderedDict()
        self._free: list[int] = []
        self._next = 0
        self._uses = 0
        self._copy: TableCopy | None = None

    def __len__(self) -> int:
        return len(self._slot)

    @property
    def bound(self) -> int:
        """How many tokens fit."""
        return len(self.state)

    def find(self, token: str) -> int:
        """Return the slot of `token`, or -1."""
        return self._slot.get(token, MISSING)

    def overdue(self, token: str) -> str | None:
        """Return the token that has to go before `token` can be used, or None; changes nothing."""
        full = token not in self._slot and len(self._slot) >= self.bound
        return next(iter(self._slot)) if full else None

    def change(self, token: str) -> int:
        """Return the slot of `token`, about to be changed; -1 where it has none."""
        slot = self._slot.get(token, MISSING)
        if self._copy is not None and slot != MISSING:
            self._copy.put_aside(slot)
        return slot

    def use(self, token: str) -> int:
        """Return the slot of `token`, about to be changed, and make it the most recently used; a new one if need be."""
        slot = self.change(token)
        if slot == MISSING:
            slot = self._add(token)
        else:
            self._slot.move_to_end(token)
        self._uses += 1
        self._used[slot] = self._uses
        return slot

    def use_all(self, tokens: Iterable[str]) -> tuple[dict[str, int], list[str]]:
        """Use many tokens that differ, no more than the bound: those that are held, in order, then the others.

        Returns the slots of all, and which ones are new; for their sake the least recently used others were forgotten.
        """
        get, recent = self._slot.get, self._slot.move_to_end
        slots = {token: get(token, MISSING) for token in tokens}
        held = {token: slot for token, slot in slots.items() if slot != MISSING}
        fresh = [token for token, slot in slots.items() if slot == MISSING]
        for token in held:
            recent(token)
        self._put_aside(held.values())
        places = self._places(len(fresh))
        self.holders["token"][places] = [token.encode("ascii") for token in fresh]
        new = dict(zip(fresh, places, strict=True))
        self._slot.update(new)
        order = [*held.values(), *places]
        self._used[order] = np.arange(self._uses + 1, self._uses + len(order) + 1)
        self._uses += len(order)
        return held | new, fresh

    def _places(self, count: int) -> list[int]:
        """Return slots that nobody holds, their rows empty: first those of tokens that have to go."""
        overdue = max(len(self._slot) + count - self.bound, 0)
        places = [self._slot.pop(token) for token in list(islice(self._slot, overdue))]
        self._put_aside(places)
        for rows in self._bytes:
            rows[places] = 0
        return places + [self._free_slot() for _ in range(count - overdue)]

    def _put_aside(self, slots: Iterable[int]) -> None:
        if self._copy is not None:
            for slot in slots:
                self._copy.put_aside(slot)

    def evict(self, token: str) -> None:
        """Forget a token and its state; one that isn't held changes nothing."""
        slot = self.change(token)
        if slot == MISSING:
            return
        del self._slot[token]
        for rows in self._bytes:
            rows[slot] = 0
        heappush(self._free, slot)

    def _add(self, token: str) -> int:
        """Give a token the lowest free slot; there must be room."""
        slot = self._free_slot()
        self.holders["token"][slot] = token.encode("ascii")
        self._slot[token] = slot
        return slot

    def _free_slot(self) -> int:
        """Take the lowest slot that is free."""
        if not self._free:
            self._next += 1
            return self._next - 1
        slot = heappop(self._free)
        self._put_aside((slot,))
        return slot

    def copy(self) -> "TableCopy":
        """Begin a copy of the table as it is now; a copy begun before is no longer kept up."""
        self._copy = TableCopy(self.holders[: self._next], self.state[: self._next], self._uses)
        return self._copy

    def fill(self, holders: Rows, state: Rows, uses: int) -> None:
        """Become, from empty, the table that was copied."""
        count = len(holders)
        self.holders[:count], self.state[:count] = holders, state
        held = np.flatnonzero(holders["token"] != b"")
        order = held[np.argsort(holders["used"][held])]
        tokens = [token.decode("ascii") for token in holders["token"][order].tolist()]
        self._slot = OrderedDict(zip(tokens, order.tolist(), strict=True))
        self._free = np.flatnonzero(holders["token"] == b"").tolist()
        heapify(self._free)
        self._next, self._uses = count, uses


class TableCopy:
    """A copy of a table as of one moment, made a slice at a time while the table goes on changing.

    A row that is about to change before its slice was copied is put aside first.
    """

    def __init__(self, holders: Rows, state: Rows, uses: int) -> None:
        self._sources = (holders, state)
        self._copies = (np.empty_like(holders), np.empty_like(state))
        self._done = 0
        self._aside: dict[int, tuple[Any, Any]] = {}
        self.uses = uses

    def put_aside(self, slot: int) -> None:
        """Keep a row as it is: it is about to change."""
        if self._done <= slot < len(self._sources[0]) and slot not in self._aside:
            holders, state = self._sources
            self._aside[slot] = (holders[slot].copy(), state[slot].copy())

    def step(self, rows: int) -> bool:
        """Copy up to `rows` more rows; return whether all are."""
        total = len(self._sources[0])
        part = slice(self._done, min(self._done + rows, total))
        for source, copy in zip(self._sources, self._copies, strict=True):
            copy[part] = source[part]
        for slot in [slot for slot in self._aside if slot < part.stop]:
            self._copies[0][slot], self._copies[1][slot] = self._aside.pop(slot)
        self._done = part.stop
        return self._done == total

    def bytes(self) -> tuple[bytes, bytes]:
        """Return holders and state as bytes; all rows must have been copied."""
        holders, state = self._copies
        return holders.tobytes(), state.tobytes()
