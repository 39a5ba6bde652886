"""What is read of a store for a gate or a person: cards merged over all origins but one."""

from collections.abc import Iterator

import numpy as np

from serve_apps.features.merged import merged
from serve_apps.features.ports import Held, States, Store
from tidegate.features.state import CARD
from tidegate.frames import Origin
from tidegate.limits import FEATURES_READ_CARDS
from tidegate.snapshots import Snapshot


def snapshot_of(store: Store, but: Origin) -> Snapshot:
    """Return the cards that an origin's site used last, merged over all other origins.

    It is read some cards at a time, while others fold on, so that each card says which version it is of. A card that
    no other origin knows is left out.

    Raises:
        UnavailableError: the store can't be asked.
    """
    through, own = store.next() - 1, store.reached(but)
    cards = store.cards_of(but.site)
    pages = (cards[start : start + FEATURES_READ_CARDS] for start in range(0, len(cards), FEATURES_READ_CARDS))
    return _snapshot((store.states(page) for page in pages), but, through, own)


def card_of(store: Store, but: Origin | None, card: str) -> Snapshot:
    """Return one card merged over all origins, or all but one.

    Raises:
        UnavailableError: the store can't be asked.
    """
    own, held = store.reached(but) if but else 0, store.states([card])
    return _snapshot([held], but, held.next - 1, own)


def _snapshot(pages: Iterator[Held] | list[Held], but: Origin | None, through: int, own: int) -> Snapshot:
    cards: list[str] = []
    states: list[bytes] = []
    versions: list[int] = []
    for page in pages:
        found = {card: state for card, of in page.states.items() if (state := _merged(of, but)) is not None}
        cards += found
        states += found.values()
        versions += [page.next - 1] * len(found)
    rows = np.frombuffer(b"".join(states), CARD)
    return Snapshot(tuple(cards), rows, np.array(versions, np.int64), through, own)


def _merged(states: States, but: Origin | None) -> bytes | None:
    others = [state for origin, state in states.items() if origin != but]
    return merged(others) if others else None
