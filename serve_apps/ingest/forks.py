"""Which alarm is new: a fork that is only told again, as sites do every ten minutes, wakes nobody a second time."""

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from serve_apps.ingest.ranges import Claim, Range, Ranges, Verdict
from tidegate.records import Lane
from tidegate.tide import FORKED

RIVAL: Final = "rival"
ALARMS: Final = (FORKED, RIVAL)
"""What an epoch's alarms are called, the graver first."""


class Look(NamedTuple):
    """Somebody has looked at an epoch's alarms, and said why they are none any more."""

    time_us: int
    by: str
    why: str
    alarms: tuple[str, ...]


def other_told(other: Ranges | None, offered: Range) -> tuple[Ranges, bool]:
    """Return what is known of an epoch's other history once a range of it was offered, and whether that is news."""
    known = other or Ranges()
    verdict = known.judge(offered)
    if verdict is Verdict.DUPLICATE or (verdict is Verdict.OVERLAP and offered.last <= known.last):
        return known, False
    if verdict is Verdict.NEW:
        return known.add(offered), True
    return Ranges((offered,), borders=()), True


def claims_anew(before: Mapping[Lane, Claim], claims: Mapping[Lane, Claim]) -> bool:
    """Tell whether one of the claims that contradict what is here wasn't made before."""
    return any(lane not in before or before[lane][:2] != claim[:2] for lane, claim in claims.items())


def raised(alarms: Collection[str]) -> list[str]:
    """Return alarms in their order."""
    return [alarm for alarm in ALARMS if alarm in alarms]
