"""What `tidegate up` prints: a line a second of what the sites decide and how far the cloud is behind, under a head."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

_HEAD_EVERY: Final = 20
_SILENT_S: Final = 10.0
_OUTCOMES: Final = ("approve", "challenge", "review", "decline")
_FIRST: Final = ("decisions/s", " p50 ms", " p99 ms", "  approve", " challenge", " review", " decline", " refused")
_OF_SITE: Final = ("  behind", " lag s", "  up/s", " way")
_BETWEEN: Final = " |"


class Told(NamedTuple):
    """What a site's door said of it: `/v1/live`, and `tide` of `/v1/site`; None: it has no cloud, or none yet."""

    live: Mapping[str, Any]
    tide: Mapping[str, Any] | None


class _Before(NamedTuple):
    at_s: float
    counts: Mapping[str, tuple[int, int]]
    """Of each site what it had decided, and what the cloud had of it."""


class Lines:
    """Of one run: rates are by what was told the last time."""

    def __init__(self, sites: Sequence[str]) -> None:
        self._sites = tuple(sites)
        self._before: _Before | None = None
        self._rows = 0
        self._shown: list[str] = []

    def of(self, at_s: float, told: Mapping[str, Told]) -> Iterator[str]:
        """Yield what to print of what all sites told at a moment: a row, and the head where one is due.

        Nothing, before there is anything to tell.
        """
        counts = {name: (_decided(one.live), _committed(one.tide)) for name, one in told.items()}
        before, self._before = self._before, _Before(at_s, counts)
        if not any(decided or told[name].live["refused"] for name, (decided, _) in counts.items()):
            return
        shown = [name for name in self._sites if told[name].tide]
        if self._rows % _HEAD_EVERY == 0 or shown != self._shown:
            yield from self._head(shown)
        self._shown = shown
        self._rows += 1
        yield self._row(told, self._before, before or _Before(at_s - 1, {}))

    def _head(self, sites: Sequence[str]) -> Iterator[str]:
        first, of_site = "".join(_FIRST), "".join(_OF_SITE)
        if sites:
            yield " " * len(first) + "".join(f"{_BETWEEN}{name[: len(of_site)]:>{len(of_site)}}" for name in sites)
        yield first + f"{_BETWEEN}{of_site}" * len(sites)

    def _row(self, told: Mapping[str, Told], now: _Before, before: _Before) -> str:
        seconds = max(now.at_s - before.at_s, 0.001)
        rates = {name: _rates(now.counts[name], before.counts.get(name, (0, 0)), seconds) for name in self._sites}
        lives = [told[name].live for name in self._sites]
        outcomes = [sum(live["outcomes"][name] for live in lives) for name in _OUTCOMES]
        cells = [
            f"{sum(decided for decided, _ in rates.values()):.0f}",
            *(_milliseconds(lives, name) for name in ("p50_ms", "p99_ms")),
            *map(str, outcomes),
            str(sum(live["refused"] for live in lives)),
        ]
        row = _laid(cells, _FIRST)
        for name in self._sites:
            if tide := told[name].tide:
                row += _BETWEEN + _laid(_tide_cells(tide, rates[name][1]), _OF_SITE)
        return row


def _laid(cells: Sequence[str], heads: Sequence[str]) -> str:
    return "".join(f"{cell:>{len(head)}}" for cell, head in zip(cells, heads, strict=True))


def _tide_cells(tide: Mapping[str, Any], committed_per_s: float) -> list[str]:
    way = "?" if tide["told_s"] > _SILENT_S else "up" if tide["connected"] else "cut"
    return [str(tide["behind"]), f"{tide['lag_s']:.1f}", f"{committed_per_s:.0f}", way]


def _rates(now: tuple[int, int], before: tuple[int, int], seconds: float) -> tuple[float, float]:
    """Return decisions and records a second; a gate that restarted counts its decisions anew."""
    decided = now[0] - before[0] if now[0] >= before[0] else now[0]
    committed = max(now[1] - before[1], 0) if before[1] else 0
    return decided / seconds, committed / seconds


def _decided(live: Mapping[str, Any]) -> int:
    return sum(live["outcomes"].values())


def _committed(tide: Mapping[str, Any] | None) -> int:
    return sum(lane["committed"] for lane in tide["lanes"].values()) if tide else 0


def _milliseconds(lives: Sequence[Mapping[str, Any]], name: str) -> str:
    """Return the slowest site's figure, short enough for its column."""
    known = [live[name] for live in lives if live[name] is not None]
    return f"{max(known):.3g}" if known else "-"
