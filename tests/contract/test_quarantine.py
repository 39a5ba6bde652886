"""The quarantine on each of its stores: what is kept, in which order it goes, and what is counted."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from serve_apps.ingest.memory import MemoryQuarantine
from serve_apps.ingest.ports import Case, Quarantine
from serve_apps.ingest.sqlite import SqliteQuarantine

CASES_MAX: Final = 5
BYTES_MAX: Final = 1_000
_LARGEST_SEQ: Final = (1 << 64) - 1
Opening = Callable[[], Quarantine]


@pytest.fixture(params=["memory", "sqlite"])
def opening(request: pytest.FixtureRequest, tmp_path: Path) -> Opening:
    """Return what opens one and the same quarantine again and again."""
    if request.param == "sqlite":
        return lambda: SqliteQuarantine(tmp_path / "quarantine.sqlite", CASES_MAX, BYTES_MAX)
    kept = MemoryQuarantine(CASES_MAX, BYTES_MAX)
    return lambda: kept


@pytest.fixture
def quarantine(opening: Opening) -> Quarantine:
    return opening()


def case(data: bytes, reason: str = "chain", site: str = "s1") -> tuple[Case, bytes]:
    return Case(0, 17, site, "g0", "0" * 16, 1, 1, _LARGEST_SEQ, "f" * 16, reason, "why so", len(data)), data


def ids(quarantine: Quarantine) -> list[int]:
    return [each.case_id for each in quarantine.page(before=None, items=100)]


def test_what_is_kept_is_found_again_to_the_byte_by_whoever_opens_it(opening: Opening, quarantine: Quarantine) -> None:
    kept, data = case(bytes(range(256)))
    quarantine.keep([(kept, data)])

    (found,) = opening().page(before=None, items=10)
    assert found == kept._replace(case_id=found.case_id)
    assert opening().frame(found.case_id) == data
    assert opening().frame(found.case_id + 1) is None


def test_the_same_bytes_are_the_same_case(quarantine: Quarantine) -> None:
    quarantine.keep([case(b"a"), case(b"a", reason="sha256")])
    quarantine.keep([case(b"a"), case(b"b")])

    assert len(ids(quarantine)) == 2
    assert quarantine.counts() == {"chain": 2}


def test_the_oldest_go_where_there_are_too_many_and_no_number_is_given_twice(quarantine: Quarantine) -> None:
    for number in range(CASES_MAX + 3):
        quarantine.keep([case(b"%d" % number)])
    first = ids(quarantine)

    assert len(first) == CASES_MAX
    assert first == sorted(first, reverse=True)
    assert [quarantine.frame(each) for each in first] == [b"7", b"6", b"5", b"4", b"3"]
    quarantine.keep([case(b"0")])
    assert ids(quarantine)[0] == first[0] + 1
    assert quarantine.counts() == {"chain": CASES_MAX + 4}


def test_the_oldest_go_where_they_are_too_large(quarantine: Quarantine) -> None:
    quarantine.keep([case(b"a" * 400), case(b"b" * 400), case(b"c" * 200)])
    assert len(ids(quarantine)) == 3
    quarantine.keep([case(b"d")])

    assert [quarantine.frame(each) for each in ids(quarantine)] == [b"d", b"c" * 200, b"b" * 400]


def test_counts_are_by_reason_and_never_go_back(opening: Opening, quarantine: Quarantine) -> None:
    quarantine.keep([case(b"%d" % number, reason="forked" if number % 2 else "chain") for number in range(9)])

    assert opening().counts() == {"chain": 5, "forked": 4}


def test_cases_are_listed_newest_first_a_page_at_a_time_and_by_site(quarantine: Quarantine) -> None:
    quarantine.keep([case(b"%d" % number, site=f"s{number % 2}") for number in range(5)])
    first = quarantine.page(before=None, items=2)
    rest = quarantine.page(before=first[-1].case_id, items=9)

    assert [each.case_id for each in (*first, *rest)] == ids(quarantine)
    assert [each.site for each in quarantine.page(before=None, items=9, site="s1")] == ["s1", "s1"]
    assert quarantine.page(before=None, items=9, site="s7") == []
