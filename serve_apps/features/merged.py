"""States of cards: counted up from rows, and merged over origins. Pure, by the gates' own kernel."""

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np

from serve_apps.features.ports import Key, State
from tidegate.deltas import Rows
from tidegate.features.kernel import advance_cards, fold
from tidegate.features.merge import merge_cards
from tidegate.features.state import CARD, FIVE_US, Cards, empty_cards
from tidegate.frames import Origin
from tidegate.ids import EpochId, GateId, SiteId

EMPTY: Final[State] = bytes(CARD.itemsize)
_COUNTED: Final = ("kind", "time_us", "event_us", "amount_minor", "terminal_hash")


def keys_of(rows: Rows) -> list[Key]:
    """Return which state each row changes."""
    columns = zip(*(rows[name].tolist() for name in ("card", "site", "gate", "epoch")), strict=True)
    texts = (tuple(cell.decode("ascii") for cell in cells) for cells in columns)
    return [Key(card, Origin(SiteId(site), GateId(gate), EpochId(epoch))) for card, site, gate, epoch in texts]


def folded(before: Mapping[Key, State], keys: list[Key], rows: Rows) -> dict[Key, State]:
    """Return the states that rows change, as they are behind them; `keys` is `keys_of` the rows."""
    slot = {key: at for at, key in enumerate(dict.fromkeys(keys))}
    cards: Cards = np.frombuffer(b"".join(before.get(key, EMPTY) for key in slot), CARD).copy()
    slots = np.array([slot[key] for key in keys], np.int64)
    fold(cards, slots, *(rows[name].astype(np.int64) for name in _COUNTED))
    return {key: cards[at].tobytes() for key, at in slot.items()}


def touched(rows: Rows, keys: list[Key]) -> dict[Key, int]:
    """Return when each state was changed last, by the clock of its gate."""
    found: dict[Key, int] = {}
    for key, time_us in zip(keys, rows["time_us"].tolist(), strict=True):
        found[key] = max(time_us, found.get(key, time_us))
    return found


def reached(rows: Rows, keys: list[Key]) -> dict[Origin, int]:
    """Return the highest position of each origin among rows."""
    found: dict[Origin, int] = {}
    for key, pos in zip(keys, rows["pos"].tolist(), strict=True):
        found[key.origin] = max(pos, found.get(key.origin, 0))
    return found


def merged(states: Iterable[State]) -> State:
    """Return states of one card as one, all brought to the latest of their clocks; the order makes no difference."""
    cards: Cards = np.frombuffer(b"".join(states), CARD).copy()
    if not len(cards):
        return EMPTY
    advance_cards(cards, int(cards["five_head"].max()) * FIVE_US)
    whole = empty_cards(1)
    for at in range(len(cards)):
        merge_cards(whole, cards[at : at + 1])
    return whole.tobytes()
