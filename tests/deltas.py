"""A batch of deltas with a row of each kind, for tests."""

from typing import Final

import numpy as np

from tidegate.deltas import Deltas, Label, Verdict, labels, uses, verdicts
from tidegate.frames import Origin
from tidegate.ids import EpochId, GateId, SiteId
from tidegate.records import DECISION

ORIGIN: Final = Origin(SiteId("s1"), GateId("g0"), EpochId("0123456789abcdef"))
US: Final = 1_795_000_000_000_000


def batch() -> Deltas:
    """Return two uses of cards, a fraud, what takes it back, and a label that was posted in the cloud."""
    rows = np.zeros(2, DECISION)
    rows["pos"], rows["time_us"], rows["feature_us"] = [7, 9], [US, US + 500_000], [US, US - 1_000_000]
    rows["amount_minor"], rows["card"], rows["terminal"] = [1250, 99], ["card-1", "card-2"], ["till-1", "till-2"]
    said = [Verdict(11, US + 1_000_000, "card-1", US, 1), Verdict(12, US + 2_000_000, "card-1", US, -1)]
    posted = [Label("l-1", "m1", "t-1", "fraud", "chargeback", US + 3_000_000, US + 4_000_000)]
    return Deltas(np.concatenate([uses(ORIGIN, rows), verdicts(ORIGIN, said), labels(posted)]))
