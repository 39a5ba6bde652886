"""Passages of a journal: contiguous records of one lane of one epoch, as an uplink reads them for its frames."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from tidegate.ids import EpochId
from tidegate.records import Lane

UNKNOWN: Final = b""
"""The running hash of a lane where damage hides it."""


class Head(NamedTuple):
    """Where a lane stands: its last `seq` (0: no record yet) and its running hash there."""

    seq: int
    chain: bytes


class Passage(NamedTuple):
    """Records `first` through `last`; `pos` is the first one's position, `before` and `after` the running hashes.

    `canonical` are the records' canonical bytes, one behind the other.
    """

    epoch: EpochId
    lane: Lane
    first: int
    last: int
    pos: int
    before: bytes
    after: bytes
    canonical: bytes


class Span(NamedTuple):
    """Sequence numbers `first` through `last`, both included."""

    first: int
    last: int


def missing(covered: tuple[Span, ...], through: int, since: int = 1) -> tuple[Span, ...]:
    """Return what `covered` (ascending, apart from each other) leaves out of `since` through `through`."""
    gaps, expected = [], since
    for each in covered:
        if each.first > through:
            break
        if each.first > expected:
            gaps.append(Span(expected, each.first - 1))
        expected = max(expected, each.last + 1)
    if expected <= through:
        gaps.append(Span(expected, through))
    return tuple(gaps)


def united(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Return what any spans cover together, ascending and apart from each other."""
    made: list[Span] = []
    for each in sorted(spans):
        if made and each.first <= made[-1].last + 1:
            made[-1] = Span(made[-1].first, max(made[-1].last, each.last))
        else:
            made.append(each)
    return tuple(made)
