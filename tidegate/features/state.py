"""The state that features are read from: integers only, and every piece a sum, a maximum or a bit-or.

So states of different sites merge in any order, and a copy of the bytes is a checkpoint. A ring holds a bucket a slot
(bucket number modulo slots): the past ones, the current one, and one ahead, since a device's clock may be a minute
ahead of the gate's. `head` is the bucket the gate's clock last advanced the ring to. All zeros is the empty state.
Counts and sums saturate at their type's largest value and stay there. Labels and what takes them back are counted
apart: a difference that is clamped at zero would depend on the order in which they arrive.
"""

from typing import Any, Final

import numpy as np

from tidegate.limits import DAY_US, HOUR_US, KIB, MINUTE_US

FIVE_US: Final = 5 * MINUTE_US
FIVE_SLOTS: Final = 12 + 1
HOUR_SLOTS: Final = 24 + 1
DAY_SLOTS: Final = 31 + 1
TERMINAL_DAY_SLOTS: Final = 39 + 1
"""Label delay of 7 days and a window of 28 before it, with room for the days between."""
HISTOGRAM_BINS: Final = 24

CARD: Final = np.dtype(
    [
        ("five_head", "<i4"),
        ("hour_head", "<i4"),
        ("day_head", "<i4"),
        ("last_us", "<i8"),
        ("five_count", "<u2", (FIVE_SLOTS,)),
        ("five_sum", "<u4", (FIVE_SLOTS,)),
        ("hour_count", "<u2", (HOUR_SLOTS,)),
        ("hour_sum", "<u4", (HOUR_SLOTS,)),
        ("hour_terminals", "<u4", (HOUR_SLOTS,)),
        ("day_count", "<u2", (DAY_SLOTS,)),
        ("day_sum", "<u4", (DAY_SLOTS,)),
        ("day_max", "<u4", (DAY_SLOTS,)),
        ("day_fraud", "u1", (DAY_SLOTS,)),
        ("day_cleared", "u1", (DAY_SLOTS,)),
        ("bin_count", "<u4", (HISTOGRAM_BINS,)),
        ("bin_sum", "<u8", (HISTOGRAM_BINS,)),
    ]
)
"""Own state of a card: counts, sums and maxima of minor units, terminals as bits, a histogram of log amounts."""

TERMINAL: Final = np.dtype(
    [
        ("hour_head", "<i4"),
        ("day_head", "<i4"),
        ("hour_count", "<u2", (HOUR_SLOTS,)),
        ("day_count", "<u2", (TERMINAL_DAY_SLOTS,)),
        ("day_fraud", "<u2", (TERMINAL_DAY_SLOTS,)),
        ("day_cleared", "<u2", (TERMINAL_DAY_SLOTS,)),
    ]
)
"""State of a terminal; it belongs to the one site that has the terminal."""

if CARD.itemsize > KIB:
    raise AssertionError("a card's own state is bounded by 1 KiB")

Cards = np.ndarray[Any, np.dtype[np.void]]
Terminals = np.ndarray[Any, np.dtype[np.void]]

RINGS: Final = {
    "card": (("five", FIVE_US, FIVE_SLOTS), ("hour", HOUR_US, HOUR_SLOTS), ("day", DAY_US, DAY_SLOTS)),
    "terminal": (("hour", HOUR_US, HOUR_SLOTS), ("day", DAY_US, TERMINAL_DAY_SLOTS)),
}


def empty_cards(count: int) -> Cards:
    """Return `count` empty card states."""
    return np.zeros(count, CARD)


def empty_terminals(count: int) -> Terminals:
    """Return `count` empty terminal states."""
    return np.zeros(count, TERMINAL)
