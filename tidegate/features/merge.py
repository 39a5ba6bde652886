"""Two states of the same cards or terminals made one: for columns, beside the kernel, whose laws it shares."""

from typing import Final

import numpy as np

from tidegate.features.state import Cards, Terminals


def _merge(into: Cards, other: Cards, *, maxima: frozenset[str], bits: frozenset[str]) -> None:
    for name in into.dtype.names or ():
        mine, theirs = into[name], other[name]
        if name in bits:
            into[name] = mine | theirs
        elif name in maxima:
            into[name] = np.maximum(mine, theirs)
        else:
            top = np.iinfo(mine.dtype.base).max
            into[name] = np.where(theirs > top - mine, top, mine + theirs)


_MAXIMA: Final = frozenset({"five_head", "hour_head", "day_head", "last_us", "day_max"})


def merge_cards(into: Cards, other: Cards) -> None:
    """Merge the same cards' states of another site into `into`, in place; both advanced to the same clock."""
    _merge(into, other, maxima=_MAXIMA, bits=frozenset({"hour_terminals"}))


def merge_terminals(into: Terminals, other: Terminals) -> None:
    """Merge terminal states in place; both advanced to the same clock."""
    _merge(into, other, maxima=_MAXIMA, bits=frozenset())
