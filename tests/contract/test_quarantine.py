"""The quarantine on each of its stores: what is kept, in which order it goes, and what is counted."""

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from serve_apps.ingest.memory import MemoryQuarantine
from serve_apps.ingest.ports import Case, Quarantine, Refusal
from serve_apps.ingest.sqlite import SqliteQuarantine

CASES_MAX: Final = 5
BYTES_MAX: Final = 1_000
REFUSALS_MAX: Final = 3
_LARGEST_SEQ: Final = (1 << 64) - 1
Opening = Callable[[], Quarantine]


@pytest.fixture(params=["memory", "sqlite"])
def opening(request: pytest.FixtureRequest, tmp_path: Path) -> Opening:
    """Return what opens one and the same quarantine again and again."""
    if request.param == "sqlite":
        return lambda: SqliteQuarantine(tmp_path / "quarantine.sqlite", CASES_MAX, BYTES_MAX, REFUSALS_MAX)
    kept = MemoryQuarantine(CASES_MAX, BYTES_MAX, REFUSALS_MAX)
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


def test_a_site_takes_no_room_from_others_by_number(quarantine: Quarantine) -> None:
    quarantine.keep([case(b"evidence", site="s2"), case(b"more", site="s3")])

    for number in range(3 * CASES_MAX):
        quarantine.keep([case(b"%d" % number)])

    assert [each.site for each in quarantine.page(before=None, items=99)] == ["s1"] * (CASES_MAX - 2) + ["s3", "s2"]
    assert quarantine.frame(quarantine.page(before=None, items=1)[0].case_id) == b"14"


def test_a_site_takes_no_room_from_others_by_size(quarantine: Quarantine) -> None:
    quarantine.keep([case(b"a" * 100, site="s2"), case(b"b" * 100, site="s2"), case(b"c" * 100, site="s2")])

    quarantine.keep([case(b"d" * 500), case(b"e" * 600)])

    sizes = [(each.site, each.size) for each in quarantine.page(before=None, items=99)]
    assert sizes == [("s1", 600), ("s2", 100), ("s2", 100), ("s2", 100)]


def refusal(site: str, time_us: int, reason: str = "revoked_key", *, vouched: bool = True) -> Refusal:
    return Refusal(site, "f" * 16, reason, 1, time_us, time_us, vouched)


def test_refusals_are_told_by_name_and_reason_after_a_restart_too(opening: Opening, quarantine: Quarantine) -> None:
    quarantine.refuse([refusal("s1", 5), refusal("s2", 6), refusal("s1", 7, "signature")])
    quarantine.refuse([refusal("s1", 9)])

    first = refusal("s1", 5)._replace(times=2, last_us=9)
    assert opening().refusals(items=9) == [first, refusal("s1", 7, "signature"), refusal("s2", 6)]
    assert opening().refusals(items=1, site="s2") == [refusal("s2", 6)]


def test_strangers_flush_no_refusal_but_those_of_strangers(quarantine: Quarantine) -> None:
    quarantine.refuse([refusal("s1", 5)])

    for number in range(3 * REFUSALS_MAX):
        quarantine.refuse([refusal(f"x{number}", 10 + number, "unknown_key", vouched=False)])

    assert [each.site for each in quarantine.refusals(items=99)] == ["x8", "x7", "x6", "s1"]
    quarantine.refuse([refusal(f"s{number}", 100 + number) for number in range(2, 2 + REFUSALS_MAX)])
    assert [each.site for each in quarantine.refusals(items=3)] == ["s4", "s3", "s2"]
    assert "s1" not in {each.site for each in quarantine.refusals(items=99)}


def test_a_quarantine_of_before_takes_refusals(tmp_path: Path) -> None:
    path = tmp_path / "quarantine.sqlite"
    SqliteQuarantine(path).close()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute("DROP TABLE refusals")

    again = SqliteQuarantine(path)
    again.refuse([refusal("s1", 5)])

    assert again.refusals(items=9) == [refusal("s1", 5)]
    again.close()
