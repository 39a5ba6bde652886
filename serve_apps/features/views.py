"""What is read of a store for a gate or a person: cards merged over all origins but one."""

import numpy as np

from serve_apps.features.merged import merged
from serve_apps.features.ports import States, Store
from tidegate.errors import InvalidError
from tidegate.features.state import CARD
from tidegate.frames import Origin
from tidegate.limits import FEATURES_SNAPSHOT_CARDS_MAX
from tidegate.snapshots import Snapshot


def snapshot_of(store: Store, but: Origin | None, card: str | None = None) -> Snapshot:
    """Return the cards of an origin's site, or one card, merged over all other origins; nobody folds meanwhile.

    A card that no other origin knows is left out.

    Raises:
        UnavailableError: the store can't be asked.
        InvalidError: more cards than a snapshot may have.
    """
    found: dict[str, bytes] = {}
    pages = [[card]] if card is not None or but is None else store.cards_of(but.site)
    for page in pages:
        asked = [token for token in page if token is not None]
        found |= {token: state for token, states in store.states(asked).items() if (state := _merged(states, but))}
        if len(found) > FEATURES_SNAPSHOT_CARDS_MAX:
            raise InvalidError(f"site: more than {FEATURES_SNAPSHOT_CARDS_MAX} cards; ask for each as it is used")
    states = np.frombuffer(b"".join(found.values()), CARD)
    own = 0 if but is None else store.reached(but)
    return Snapshot(tuple(found), states, store.next() - 1, own)


def _merged(states: States, but: Origin | None) -> bytes | None:
    others = [state for origin, state in states.items() if origin != but]
    return merged(others) if others else None
