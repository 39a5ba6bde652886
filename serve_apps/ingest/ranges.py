"""What the cloud has of one lane of one epoch: committed ranges, how they join, and what is missing.

A range is a run of sequence numbers that is in the stream, with the lane's running hash before and after it. Two
ranges that touch must agree on the hash between them and become one; ranges that don't touch yet are pending: their
content is proven, that they continue each other is not. A site whose segment was damaged knows some ranges without
hashes; those never join, and a range beside them stays apart.
"""

from bisect import bisect_right
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Self

from tidegate.limits import TIDE_BORDERS_KEPT, TIDE_RANGES_MAX
from tidegate.passages import UNKNOWN, Span, missing
from tidegate.records import CHAIN_START


class Verdict(StrEnum):
    """What an offered range is to what is there."""

    NEW = "new"
    DUPLICATE = "duplicate"
    OVERLAP = "overlap"
    FORKED = "forked"
    OUT_OF_ORDER = "out_of_order"
    TOO_MANY = "too_many"


class Range(NamedTuple):
    """Records `first` through `last`, and the running hash before and after them."""

    first: int
    last: int
    before: bytes
    after: bytes


class Claim(NamedTuple):
    """What a site says it has: everything through `seq`, where the running hash is `chain`."""

    seq: int
    chain: bytes
    told_us: int


@dataclass(frozen=True, slots=True)
class Ranges:
    """The committed ranges of one lane of one epoch, ascending; a value: what changes it returns another.

    `borders` are running hashes known at single positions, newest last: what a second copy of a range is held against.
    """

    ranges: tuple[Range, ...] = ()
    borders: tuple[tuple[int, bytes], ...] = ((0, CHAIN_START),)
    in_order: bool = False

    @property
    def through(self) -> int:
        """The last number up to which nothing is missing; 0: not even the first."""
        reached = 0
        for each in self.ranges:
            if each.first != reached + 1:
                break
            reached = each.last
        return reached

    @property
    def last(self) -> int:
        """The highest number that is there; 0: none."""
        return self.ranges[-1].last if self.ranges else 0

    @property
    def pending(self) -> tuple[Range, ...]:
        """The ranges behind the first number that is missing."""
        return tuple(each for each in self.ranges if each.first > self.through)

    def count(self) -> int:
        """Return how many records are there."""
        return sum(each.last - each.first + 1 for each in self.ranges)

    def missing(self, through: int) -> tuple[Span, ...]:
        """Return what is not there of 1 through `through`, ascending."""
        return missing(tuple(Span(each.first, each.last) for each in self.ranges), through)

    def judge(self, offered: Range) -> Verdict:
        """Return what an offered range is to what is there."""
        place = bisect_right(self.ranges, offered.first, key=lambda each: each.first)
        left = self.ranges[place - 1] if place else None
        right = self.ranges[place] if place < len(self.ranges) else None
        if left is not None and left.last >= offered.last:
            return Verdict.FORKED if self._contradicts(offered) else Verdict.DUPLICATE
        if (left is not None and left.last >= offered.first) or (right is not None and right.first <= offered.last):
            return Verdict.FORKED if self._contradicts(offered) else Verdict.OVERLAP
        if self._torn(left, offered) or self._torn(offered, right):
            return Verdict.FORKED
        if self.in_order and offered.first != self.through + 1:
            return Verdict.OUT_OF_ORDER
        if len(self.ranges) >= TIDE_RANGES_MAX and not (_joins(left, offered) or _joins(offered, right)):
            return Verdict.TOO_MANY
        return Verdict.NEW

    def add(self, offered: Range) -> Self:
        """Return the ranges with a new one.

        Raises:
            ValueError: it is not new.
        """
        if self.judge(offered) is not Verdict.NEW:
            raise ValueError(f"{offered.first} through {offered.last} is not new here")
        place = bisect_right(self.ranges, offered.first, key=lambda each: each.first)
        made = [*self.ranges[:place], offered, *self.ranges[place:]]
        borders = (*self.borders, (offered.first - 1, offered.before), (offered.last, offered.after))
        known = dict.fromkeys(border for border in borders if border[1] != UNKNOWN)
        return type(self)(_joined(made), tuple(known)[-TIDE_BORDERS_KEPT:], self.in_order)

    def contradicts(self, claim: Claim) -> bool:
        """Tell whether a site's claim names another hash than the one that is known there: it has forked."""
        return any(at == claim.seq and chain != claim.chain for at, chain in self._known()) and claim.chain != UNKNOWN

    def _known(self) -> tuple[tuple[int, bytes], ...]:
        ends = ((each.last, each.after) for each in self.ranges if each.after != UNKNOWN)
        begins = ((each.first - 1, each.before) for each in self.ranges if each.before != UNKNOWN)
        return (*self.borders, *begins, *ends)

    def _contradicts(self, offered: Range) -> bool:
        told = {offered.first - 1: offered.before, offered.last: offered.after}
        return any(told.get(at, UNKNOWN) not in {UNKNOWN, chain} for at, chain in self._known())

    def _torn(self, left: Range | None, right: Range | None) -> bool:
        """Tell whether two ranges touch and name different hashes, or the first of all doesn't begin as it must."""
        if right is not None and right.first == 1 and right.before not in {UNKNOWN, CHAIN_START}:
            return True
        if left is None or right is None or left.last + 1 != right.first:
            return False
        return UNKNOWN not in {left.after, right.before} and left.after != right.before


def _joins(left: Range | None, right: Range | None) -> bool:
    """Tell whether two ranges are one: they touch, and agree on a hash that both know."""
    if left is None or right is None or left.last + 1 != right.first:
        return False
    return left.after == right.before != UNKNOWN


def _joined(ranges: list[Range]) -> tuple[Range, ...]:
    made: list[Range] = []
    for each in ranges:
        if made and _joins(made[-1], each):
            made[-1] = Range(made[-1].first, each.last, made[-1].before, each.after)
        else:
            made.append(each)
    return tuple(made)
