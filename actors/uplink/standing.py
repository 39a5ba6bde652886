"""How an uplink does, for whoever asks: what it says of itself each second in a small file, and what that means later.

A file, because the uplink must take nothing from a decision, and has to be told of when it hangs or is gone.
"""

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, NamedTuple

from tidegate.ids import EpochId
from tidegate.limits import SECOND_US, TIDE_LOOKS_KEPT
from tidegate.records import Lane

STANDING_FILE: Final = "uplink/standing.json"
"""In a site's data folder."""
_FORMAT: Final = 1

Key = tuple[EpochId, Lane]


class LaneStanding(NamedTuple):
    """Records of one lane, all epochs together."""

    journaled: int
    committed: int
    live: int
    """Made since the line is up, and not in the cloud yet."""
    backlog: int
    """Made before, and not in the cloud yet."""


@dataclass(slots=True)
class Standing:
    """How an uplink does."""

    connected: bool = False
    heard_us: int = 0
    """When the cloud answered last; 0: never."""
    oldest_us: int = 0
    """When the oldest record was first seen that the cloud lacks; 0: it lacks none."""
    trouble: str = ""
    """Why it is not connected, or what the cloud didn't want; empty: none."""
    restored: bool = False
    """The cloud has another history of the newest epoch than the journal: an older copy of that was put back."""
    sent_frames: int = 0
    sent_bytes: int = 0
    sent_records: int = 0
    unwanted_frames: int = 0
    behind: dict[Lane, int] = field(default_factory=dict)
    lanes: dict[Lane, LaneStanding] = field(default_factory=dict)


class Looks:
    """When what was durable first: tells since when the oldest record waits that the cloud lacks.

    The longer nothing arrives, the fewer looks are kept, so that a week's cut is told to within half an hour.
    """

    def __init__(self) -> None:
        self._kept: deque[tuple[int, Mapping[Key, int]]] = deque()
        self._stride, self._passed = 1, 0

    def look(self, now_us: int, durable: Mapping[Key, int]) -> None:
        """Take note of the last record of each lane that is durable by now."""
        if self._kept and self._kept[-1][1] == durable:
            return
        if self._passed < self._stride and len(self._kept) > 1:
            self._kept[-1] = (now_us, dict(durable))  # of looks between two that are kept the last stands for all
            self._passed += 1
            return
        self._kept.append((now_us, dict(durable)))
        self._passed = 1
        if len(self._kept) > TIDE_LOOKS_KEPT:
            self._kept = deque(list(self._kept)[::2])
            self._stride *= 2

    def oldest_us(self, lacking: Mapping[Key, int]) -> int:
        """Return since when the oldest record is durable that the cloud lacks; 0: it lacks none.

        `lacking` has the first such record of each lane that has one.
        """
        while self._kept and not any(seq <= self._kept[0][1].get(lane, 0) for lane, seq in lacking.items()):
            self._kept.popleft()
        if not self._kept:
            self._stride, self._passed = 1, 0
            return 0
        return self._kept[0][0]


def dump(standing: Standing, now_us: int) -> bytes:
    """Return a standing as it is told at `now_us`."""
    told = asdict(standing) | {"format": _FORMAT, "told_us": now_us}
    told["behind"] = {f"L{lane:d}": count for lane, count in standing.behind.items()}
    told["lanes"] = {f"L{lane:d}": one._asdict() for lane, one in standing.lanes.items()}
    return json.dumps(told).encode()


def seen(data: bytes, now_us: int) -> dict[str, Any] | None:
    """Return what an uplink told, as it looks at `now_us`: times are ages in seconds; None: it hasn't told yet."""
    try:
        told = json.loads(data)
        if told["format"] != _FORMAT:
            return None
        return {
            "told_s": _age_s(told["told_us"], now_us),
            "connected": told["connected"],
            "heard_s": _age_s(told["heard_us"], now_us) if told["heard_us"] else None,
            "lag_s": _age_s(told["oldest_us"], now_us) if told["oldest_us"] else 0.0,
            "behind": sum(told["behind"].values()),
            "trouble": told["trouble"],
            "restored": told["restored"],
            "lanes": told["lanes"],
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _age_s(then_us: int, now_us: int) -> float:
    return round(max(0, now_us - then_us) / SECOND_US, 1)
