"""Batches of deltas for tests: one with a row of each kind, and such as other sites or the cloud would cause."""

from typing import Final

import numpy as np

from tidegate.deltas import Deltas, Label, Verdict, labels, uses, verdicts
from tidegate.frames import Origin
from tidegate.ids import EpochId, GateId, SiteId
from tidegate.records import DECISION

ORIGIN: Final = Origin(SiteId("s1"), GateId("g0"), EpochId("0123456789abcdef"))
OTHER: Final = Origin(SiteId("far"), GateId("g0"), EpochId("00000000000000aa"))
US: Final = 1_795_000_000_000_000


def batch() -> Deltas:
    """Return two uses of cards, a fraud, what takes it back, and a label that was posted in the cloud."""
    rows = np.zeros(2, DECISION)
    rows["pos"], rows["time_us"], rows["feature_us"] = [7, 9], [US, US + 500_000], [US, US - 1_000_000]
    rows["amount_minor"], rows["card"], rows["terminal"] = [1250, 99], ["card-1", "card-2"], ["till-1", "till-2"]
    said = [Verdict(11, US + 1_000_000, "card-1", US, 1), Verdict(12, US + 2_000_000, "card-1", US, -1)]
    posted = [Label("l-1", "m1", "t-1", "fraud", "chargeback", US + 3_000_000, US + 4_000_000)]
    return Deltas(np.concatenate([uses(ORIGIN, rows), verdicts(ORIGIN, said), labels(posted)]))


def used(*cards: str, at_us: int, origin: Origin = OTHER) -> Deltas:
    """Return a batch in which each card was used once."""
    rows = np.zeros(len(cards), DECISION)
    rows["card"], rows["terminal"], rows["amount_minor"] = [card.encode() for card in cards], b"far-till", 5_000
    rows["pos"], rows["time_us"], rows["feature_us"] = np.arange(1, len(cards) + 1), at_us, at_us
    return Deltas(uses(origin, rows))


def posted(*numbers: int, at_us: int, verdict: str = "fraud", name: str = "c") -> Deltas:
    """Return a batch of labels on payments of these numbers."""
    told = [Label(f"{name}-{n}", "m-1", f"tx-{n}", verdict, "chargeback", at_us, at_us) for n in numbers]
    return Deltas(labels(told))
