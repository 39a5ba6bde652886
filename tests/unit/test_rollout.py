"""Which bundle a site should have: rings hold each other, a pin wins, and the bytes say the same each time."""

import pytest

from tidegate.errors import BundleError
from tidegate.ids import SiteId
from tidegate.rollout import Assignments, Ring, in_quarter

OLD, NEW, PINNED = "b-000000000001", "b-000000000002", "b-000000000003"
SITES = [SiteId(f"site-{number}") for number in range(1_000)]


def reached(ring: Ring) -> set[SiteId]:
    said = Assignments(stable=OLD, candidate=NEW, ring=ring, canaries=frozenset({"site-1"}))
    return {site for site in SITES if said.bundle_of(site) == NEW}


def test_each_ring_holds_the_one_before() -> None:
    assert reached(Ring.CANARY) == {"site-1"}
    assert reached(Ring.CANARY) < reached(Ring.QUARTER) < reached(Ring.ALL) == set(SITES)
    assert 200 < len(reached(Ring.QUARTER)) < 300


def test_a_quarter_is_the_same_quarter_each_time() -> None:
    assert [site for site in SITES[:20] if in_quarter(site)] == [
        site for site in SITES[:20] if site in reached(Ring.QUARTER) - {SiteId("site-1")}
    ]


def test_a_pinned_site_keeps_its_bundle_whatever_rolls_out() -> None:
    said = Assignments(stable=OLD, candidate=NEW, ring=Ring.ALL, pins={"site-7": PINNED})

    assert said.bundle_of(SiteId("site-7")) == PINNED
    assert said.bundle_of(SiteId("site-8")) == NEW


def test_without_a_candidate_all_have_the_stable_one_and_without_any_nothing_is_asked_for() -> None:
    assert {Assignments(stable=OLD, ring=Ring.ALL).bundle_of(site) for site in SITES} == {OLD}
    assert Assignments().bundle_of(SITES[0]) is None


def test_its_bytes_are_the_same_for_the_same_and_are_read_back() -> None:
    one = Assignments(stable=OLD, canaries=frozenset({"b", "a", "c"}), pins={"y": OLD, "x": NEW})
    two = Assignments(stable=OLD, canaries=frozenset({"c", "b", "a"}), pins={"x": NEW, "y": OLD})

    assert one.canonical() == two.canonical()
    assert Assignments.parse(one.canonical()) == one
    assert one.canonical() == (
        b'{"canaries":["a","b","c"],"candidate":null,"pins":{"x":"b-000000000002","y":"b-000000000001"},'
        b'"ring":"canary","stable":"b-000000000001","version":1}'
    )


@pytest.mark.parametrize("data", [b"", b"[]", b'{"stable":"../../x"}', b'{"version":2}', b'{"more":1}'])
def test_what_is_no_assignment_is_refused(data: bytes) -> None:
    with pytest.raises(BundleError, match=r"assignments\.json"):
        Assignments.parse(data)
