"""What operators see of the tide: sites, lanes, ranges, gaps, lag."""

from collections.abc import Iterable, Mapping
from typing import Any

from serve_apps.ingest.committer import Holding, Origin, sites
from serve_apps.ingest.forks import RIVAL, raised
from serve_apps.ingest.ports import Refusal
from serve_apps.ingest.ranges import Ranges
from tidegate.clock import rfc3339
from tidegate.limits import SECOND_US, TIDE_SPANS_TOLD_MAX
from tidegate.records import Lane
from tidegate.tide import FORKED, LaneAnswer, RangeAnswer

Holdings = Mapping[Origin, Holding]


def sites_view(holdings: Holdings, now_us: int) -> list[dict[str, Any]]:
    """Return one row a site: how far it is behind, lane by lane, and whether anything is wrong."""
    return [_summary(holdings, site, now_us) for site in sites(holdings)]


def site_view(holdings: Holdings, site: str, now_us: int) -> dict[str, Any] | None:
    """Return all that is known of a site; None: nothing came of it."""
    mine = {origin: held for origin, held in holdings.items() if origin.site == site}
    if not mine:
        return None
    epochs = [_epoch(origin, held, now_us) for origin, held in sorted(mine.items(), key=lambda one: one[1].told_us)]
    return _summary(mine, site, now_us) | {"epochs": epochs}


def lane_view(ranges: Ranges) -> LaneAnswer:
    """Return the ranges of a lane with their hashes."""
    told = [
        RangeAnswer(first=one.first, last=one.last, before=one.before.hex(), after=one.after.hex())
        for one in ranges.ranges
    ]
    return LaneAnswer(through=ranges.through, last=ranges.last, ranges=told)


def forks_view(holdings: Holdings, site: str | None = None) -> list[dict[str, str]]:
    """Return the epochs that raise an alarm, or those of one site, and why.

    `forked`: another history was told under the same numbers. `rival`: it went on after a later epoch had begun.
    """
    mine = ((origin, held) for origin, held in holdings.items() if site in {None, origin.site})
    return [{**origin._asdict(), "reason": raised(held.alarms)[0]} for origin, held in mine if held.alarms]


def looks_view(holdings: Holdings, site: str | None = None) -> list[dict[str, Any]]:
    """Return who has looked at alarms, and why they are none any more, the latest first."""
    mine = ((origin, look) for origin, held in holdings.items() if site in {None, origin.site} for look in held.looks)
    return [
        {
            **origin._asdict(),
            "reasons": [*look.alarms],
            "at": rfc3339(look.time_us),
            "by": look.by,
            "why": look.why,
        }
        for origin, look in sorted(mine, key=lambda each: each[1].time_us, reverse=True)
    ]


def refusals_view(refused: Iterable[Refusal]) -> list[dict[str, Any]]:
    """Return in whose name something was refused, and why."""
    return [
        {
            "site": each.site,
            "key": each.key,
            "reason": each.reason,
            "count": each.times,
            "first_at": rfc3339(each.first_us),
            "last_at": rfc3339(each.last_us),
            "vouched": each.vouched,
        }
        for each in refused
    ]


def _latest(mine: list[Holding]) -> Holding:
    """Return the epoch that was heard of last."""
    return max(mine, key=lambda held: held.told_us)


def _summary(holdings: Holdings, site: str, now_us: int) -> dict[str, Any]:
    mine = [held for origin, held in holdings.items() if origin.site == site]
    told_us = max(held.told_us for held in mine)
    return {
        "site": site,
        "heard_at": rfc3339(told_us) if told_us else None,
        "silent_s": (now_us - told_us) // SECOND_US if told_us else None,
        "behind": {f"L{lane:d}": sum(_behind(held, lane) for held in mine) for lane in Lane},
        "gaps": sum(len(held.gaps(lane, now_us)) for held in mine for lane in Lane),
        "forked": any(FORKED in held.alarms for held in mine),
        "rivals": sum(RIVAL in held.alarms for held in mine),
        "clock_ahead_s": _latest(mine).ahead_us // SECOND_US,
        "versions": dict(_latest(mine).versions),
    }


def _epoch(origin: Origin, held: Holding, now_us: int) -> dict[str, Any]:
    lanes = {f"L{lane:d}": _lane(held, lane, now_us) for lane in sorted({*held.lanes, *held.claims})}
    return {
        "gate": origin.gate,
        "epoch": origin.epoch,
        "durable_pos": held.durable_pos,
        "forked": held.forked,
        "rival": held.rival,
        "alarms": raised(held.alarms),
        "lanes": lanes,
    }


def _lane(held: Holding, lane: Lane, now_us: int) -> dict[str, Any]:
    ranges, claim = held.ranges(lane), held.claims.get(lane)
    return {
        "through": ranges.through,
        "last": ranges.last,
        "records": ranges.count(),
        "claimed": claim.seq if claim else None,
        "behind": _behind(held, lane),
        "pending": [[each.first, each.last] for each in ranges.pending[:TIDE_SPANS_TOLD_MAX]],
        "gaps": [[gap.first, gap.last] for gap in held.gaps(lane, now_us)[:TIDE_SPANS_TOLD_MAX]],
    }


def _behind(held: Holding, lane: Lane) -> int:
    """Return how many records a site has claimed that aren't here."""
    claim = held.claims.get(lane)
    return sum(gap.last - gap.first + 1 for gap in held.ranges(lane).missing(claim.seq)) if claim else 0
