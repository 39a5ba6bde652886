"""What the cloud has of a lane: whatever order ranges come in, they join to one, and a forked history is seen."""

import itertools
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_apps.ingest.ranges import Claim, Range, Ranges, Verdict
from tidegate.limits import TIDE_RANGES_MAX
from tidegate.passages import UNKNOWN, Span
from tidegate.records import CHAIN_START, chain


def history(length: int, secret: bytes = b"") -> list[bytes]:
    """Return the running hashes after 0, 1, … records."""
    made = [CHAIN_START]
    for number in range(length):
        made.append(chain(made[-1], secret + number.to_bytes(4, "big")))
    return made


CHAINS = history(400)


def span(first: int, last: int, chains: list[bytes] = CHAINS) -> Range:
    return Range(first, last, chains[first - 1], chains[last])


def holding(*spans: tuple[int, int]) -> Ranges:
    ranges = Ranges()
    for first, last in spans:
        ranges = ranges.add(span(first, last))
    return ranges


@given(data=st.data(), cuts=st.sets(st.integers(1, 199), max_size=20))
def test_ranges_in_any_order_join_to_one_and_nothing_is_missing(data: st.DataObject, cuts: set[int]) -> None:
    borders = [0, *sorted(cuts), 200]
    spans = [(first + 1, last) for first, last in itertools.pairwise(borders)]

    ranges = holding(*data.draw(st.permutations(spans)))

    assert ranges.ranges == (span(1, 200),)
    assert (ranges.through, ranges.last, ranges.count(), ranges.pending) == (200, 200, 200, ())
    assert ranges.missing(200) == ()


@given(seed=st.integers(0, 2**32))
def test_whatever_is_offered_what_is_there_is_never_offered_as_new_again(seed: int) -> None:
    rng, ranges, there = Random(seed), Ranges(), set[int]()
    for _ in range(40):
        first = rng.randrange(1, 100)
        offered = span(first, min(100, first + rng.randrange(20)))
        wanted = set(range(offered.first, offered.last + 1))
        verdict = ranges.judge(offered)
        assert verdict is (Verdict.DUPLICATE if wanted <= there else Verdict.OVERLAP if wanted & there else Verdict.NEW)
        if verdict is Verdict.NEW:
            ranges = ranges.add(offered)
            there |= wanted
    assert {n for gap in ranges.missing(100) for n in range(gap.first, gap.last + 1)} == set(range(1, 101)) - there


def test_what_does_not_touch_is_pending_until_the_gap_is_closed() -> None:
    ranges = holding((1, 10), (21, 30), (41, 50))

    assert (ranges.through, ranges.last) == (10, 50)
    assert ranges.pending == (span(21, 30), span(41, 50))
    assert ranges.missing(60) == (Span(11, 20), Span(31, 40), Span(51, 60))
    assert ranges.add(span(11, 20)).through == 30


@pytest.mark.parametrize("offered", [(11, 20), (5, 8), (9, 12), (51, 60), (31, 40), (28, 33)])
def test_another_history_is_seen_where_it_meets_the_one_that_is_there(offered: tuple[int, int]) -> None:
    ranges = holding((1, 4), (5, 8), (9, 10), (28, 30), (41, 50))
    other = history(400, b"other")

    assert ranges.judge(span(*offered, other)) is Verdict.FORKED


def test_a_first_range_begins_with_the_start_of_all_chains() -> None:
    assert Ranges().judge(Range(1, 5, b"x" * 32, CHAINS[5])) is Verdict.FORKED


def test_a_range_without_hashes_is_taken_and_never_joined() -> None:
    ranges = holding((1, 10)).add(Range(11, 20, UNKNOWN, UNKNOWN)).add(span(21, 30))

    assert len(ranges.ranges) == 3
    assert (ranges.through, ranges.missing(30), ranges.pending) == (30, (), ())
    assert ranges.judge(Range(15, 18, UNKNOWN, UNKNOWN)) is Verdict.DUPLICATE


def test_a_lane_in_order_takes_nothing_behind_a_gap() -> None:
    ranges = Ranges(in_order=True)

    assert ranges.judge(span(2, 3)) is Verdict.OUT_OF_ORDER
    assert ranges.add(span(1, 3)).judge(span(4, 4)) is Verdict.NEW


def test_ranges_apart_are_bounded_and_one_that_joins_is_always_taken() -> None:
    far = 2 * TIDE_RANGES_MAX + 3
    chains, ranges = history(far), Ranges()
    for number in range(1, 2 * TIDE_RANGES_MAX, 2):
        ranges = ranges.add(span(number, number, chains))

    assert ranges.judge(span(far, far, chains)) is Verdict.TOO_MANY
    assert ranges.judge(span(2, 2, chains)) is Verdict.NEW


@pytest.mark.parametrize(("seq", "of", "forked"), [(10, b"", False), (10, b"other", True), (7, b"other", False)])
def test_a_claim_is_held_against_the_hashes_that_are_known(seq: int, of: bytes, *, forked: bool) -> None:
    claim = Claim(seq, history(40, of)[seq], 0)

    assert holding((1, 10), (21, 30)).contradicts(claim) is forked
