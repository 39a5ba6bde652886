"""The line a second of `tidegate up`: what was decided since the last one, and how far the cloud is behind."""

from typing import Any

from edge_nodes.line import Lines, Told

SITES = ("site-1", "site-2")


def told(approved: int = 0, declined: int = 0, refused: int = 0, p50: float | None = 0.2, **tide: Any) -> Told:
    outcomes = {"approve": approved, "challenge": 0, "review": 0, "decline": declined}
    live = {"outcomes": outcomes, "refused": refused, "p50_ms": p50, "p99_ms": 1.25}
    if not tide:
        return Told(live, None)
    lane = {"journaled": 0, "committed": tide.pop("committed", 0), "live": 0, "backlog": 0}
    said = {"told_s": 0.4, "connected": True, "lag_s": 0.0, "behind": 0, "lanes": {"L1": lane}}
    return Told(live, said | tide)


def says(line: str, text: str) -> bool:
    return line.split() == text.split()


def rows(lines: Lines, at_s: float, **sites: Told) -> list[str]:
    named = {name.replace("_", "-"): one for name, one in sites.items()}
    return [line.rstrip() for line in lines.of(at_s, named)]


def test_a_line_says_what_was_decided_since_the_last_one_and_what_of_it_the_cloud_has() -> None:
    lines = Lines(SITES)
    rows(lines, 10.0, site_1=told(50, committed=40), site_2=told(10, connected=True, committed=5))
    (row,) = rows(
        lines,
        12.0,
        site_1=told(240, 10, refused=3, committed=140, behind=4, lag_s=0.1),
        site_2=told(60, p50=7.125, connected=False, committed=5, behind=1_234, lag_s=61.5),
    )

    assert says(row, "125 7.12 1.25 300 0 0 10 3 | 4 0.1 50 up | 1234 61.5 0 cut")


def test_the_head_stands_over_its_columns_fits_a_terminal_and_comes_again() -> None:
    lines = Lines(SITES)
    printed = [
        line
        for second in range(45)
        for line in rows(lines, second, site_1=told(second + 1, committed=9), site_2=told(second + 1, committed=9))
    ]
    sites, columns, first, *_ = printed

    assert [at for at, line in enumerate(printed) if "decisions/s" in line] == [1, 23, 45]
    assert sites.split() == ["|", "site-1", "|", "site-2"]
    assert len(columns) == len(first) <= 120
    assert [at for at, sign in enumerate(columns) if sign == "|"] == [
        at for at, sign in enumerate(first) if sign == "|"
    ]


def test_a_site_without_a_cloud_has_no_columns_of_it() -> None:
    head, row = rows(Lines(("site-1",)), 1.0, site_1=told(5, 1, 3))

    assert says(head, "decisions/s p50 ms p99 ms approve challenge review decline refused")
    assert says(row, "6 0.2 1.25 5 0 0 1 3")


def test_the_head_comes_again_where_an_uplink_begins_to_tell() -> None:
    lines = Lines(("site-1",))
    assert len(rows(lines, 1.0, site_1=told(5))) == 2

    *head, row = rows(lines, 2.0, site_1=told(6, committed=3))

    assert says(head[0], "| site-1")
    assert len(head[1]) == len(row)


def test_nothing_is_told_before_there_is_anything() -> None:
    lines = Lines(("site-1",))

    assert rows(lines, 1.0, site_1=told(p50=None)) == []
    assert says(rows(lines, 2.0, site_1=told(refused=1, p50=None))[-1], "0 - 1.25 0 0 0 0 1")


def test_a_gate_that_restarted_counts_anew_and_an_uplink_that_says_nothing_is_not_called_connected() -> None:
    lines = Lines(("site-1",))
    rows(lines, 1.0, site_1=told(500, committed=400))

    (row,) = rows(lines, 2.0, site_1=told(30, committed=410, told_s=60.0))

    assert says(row, "30 0.2 1.25 30 0 0 0 0 | 0 0.0 10 ?")
