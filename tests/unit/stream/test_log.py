"""What is the same in every log: where keys go, and how far a topic may be trimmed."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from serve_apps.plumbing.stream import log
from tidegate.clock import ManualClock

PLACES = st.tuples(st.sampled_from(["L0", "L1"]), st.integers(0, 3))


def test_a_keys_partition_is_the_same_for_ever_and_in_any_language() -> None:
    keys = [b"shop-1/g0/01", b"shop-2/g0/01", b"\0", b"x" * 256]

    assert [log.partition(key, 12) for key in keys] == [4, 7, 8, 5]


def test_keys_spread_over_partitions() -> None:
    counts = Counter(log.partition(f"site-{number}/g0/0198".encode(), 8) for number in range(4_000))

    assert set(counts) == set(range(8))
    assert max(counts.values()) < 1.2 * 500


@given(st.lists(st.dictionaries(PLACES, st.integers(0, 100))))
def test_no_partition_is_trimmed_ahead_of_anybody_who_reads_it(consumers: list[dict[tuple[str, int], int]]) -> None:
    trimmed = log.trimmable(consumers)

    for offsets in consumers:
        assert all(trimmed[place] <= offset for place, offset in offsets.items())
    for place, offset in trimmed.items():
        assert offset in {offsets.get(place) for offsets in consumers}


def test_a_commit_is_stamped_in_whole_milliseconds() -> None:
    assert log.stamp_us(ManualClock(1_795_500_000_123_999)) == 1_795_500_000_123_000
