"""Which payments may be trained on, and as what, by what was known at a moment: nothing known later has a part."""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from tidegate.features.declarations import LABEL_DELAY_DAYS
from tidegate.limits import DAY_US
from training.dataset import Events, Flags, Ints

DELAY_US: Final = LABEL_DELAY_DAYS * DAY_US
"""A payment that nobody called fraud for this long counts as good."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of `Events` to train on, ascending, and their targets: 1 fraud, 0 good."""

    index: Ints
    target: NDArray[np.uint8]

    def where(self, chosen: Flags) -> Self:
        """Return the rows for which `chosen`, a flag each, is set."""
        return type(self)(self.index[chosen], self.target[chosen])


def training_rows(events: Events, *, cut_us: int, delay_us: int = DELAY_US, from_us: int = 0) -> Rows:
    """Return what may be trained on as known at `cut_us`, of the payments from `from_us` on.

    Fraud that is known by then is 1. What isn't known as fraud is 0 once it is `delay_us` old; a verdict that was
    taken back by then leaves it good. All else is left out, and so are declines without a verdict: nobody knows how
    they would have turned out.
    """
    known = events.label_known_us <= cut_us
    fraud = known & (events.label_corrected_us > cut_us)
    good = ~fraud & (events.occurred_us <= cut_us - delay_us) & (known | ~events.declined)
    span = (events.occurred_us >= from_us) & (events.occurred_us <= cut_us)
    index = np.flatnonzero(span & (fraud | good))
    return Rows(index, fraud[index].astype(np.uint8))
