"""How a roll-out goes: ring by ring, as far as sites' health lets it, and back from anywhere."""

import pytest

from serve_apps.models.course import Course, CourseError, Health, changed, health_of
from tidegate.limits import ROLLOUT_BUNDLES_MAX
from tidegate.rollout import Canaries, Change, Freeze, Offer, Pin, Promote, Report, Ring, RollBack, Thaw, Unpin

ONE, TWO, THREE = "b-000000000001", "b-000000000002", "b-000000000003"
NOBODY = Health(frozenset(), frozenset())
WELL = Health(frozenset({"c-1", "c-2"}), frozenset())
CANARIES = Canaries(sites=frozenset({"c-1", "c-2"}), why="two of ours")


def after(*changes: Change, health: Health = WELL, course: Course | None = None) -> Course:
    course = course or Course()
    for change in changes:
        course = changed(course, change, health)
    return course


def rolled_out(bundle: str, course: Course | None = None) -> Course:
    return after(CANARIES, Offer(bundle=bundle, why="new"), *[Promote(why="well")] * 3, course=course)


def test_a_bundle_goes_from_the_canaries_to_a_quarter_to_all_and_is_the_stable_one_then() -> None:
    course, rings = after(CANARIES, Offer(bundle=ONE, why="new")), []
    while course.assignments.candidate:
        rings.append(course.assignments.ring)
        course = after(Promote(why="well"), course=course)

    assert rings == [Ring.CANARY, Ring.QUARTER, Ring.ALL]
    assert (course.assignments.stable, course.previous) == (ONE, None)


@pytest.mark.parametrize(
    ("health", "told"),
    [
        (NOBODY, "not active yet at c-1, c-2"),
        (Health(frozenset({"c-1"}), frozenset()), "not active yet at c-2"),
        (Health(frozenset({"c-1"}), frozenset({"c-2"})), "failed at c-2"),
    ],
)
def test_a_ring_is_widened_only_where_every_canary_is_well(health: Health, told: str) -> None:
    course = after(CANARIES, Offer(bundle=ONE, why="new"))

    with pytest.raises(CourseError, match=told):
        changed(course, Promote(why="now"), health)
    assert changed(course, Promote(why="I answer for it", override=True), health).assignments.ring is Ring.QUARTER


def test_one_refusal_is_bad_among_few_and_none_among_hundreds() -> None:
    many = frozenset(f"s-{number}" for number in range(300))

    assert Health(WELL.active, frozenset({"c-3"})).bad
    assert not Health(many, frozenset({"x"})).bad
    assert Health(many, frozenset({"x", "y", "z", "w"})).bad


def test_back_is_first_the_candidate_and_then_the_stable_one_and_then_nothing() -> None:
    course = after(Offer(bundle=THREE, why="new"), course=rolled_out(TWO, rolled_out(ONE)))

    course = after(RollBack(why="bad"), course=course)
    assert (course.assignments.candidate, course.assignments.stable) == (None, TWO)
    course = after(RollBack(why="worse"), course=course)
    assert course.assignments.stable == ONE
    with pytest.raises(CourseError, match="none before it"):
        after(RollBack(why="again"), course=course)


def test_while_frozen_nothing_new_goes_out_and_back_goes() -> None:
    course = after(Offer(bundle=TWO, why="new"), Freeze(why="holidays"), course=rolled_out(ONE))

    for change in (Offer(bundle=TWO, why="new"), Promote(why="well", override=True)):
        with pytest.raises(CourseError, match="frozen"):
            after(change, course=course)
    assert after(RollBack(why="bad"), course=course).assignments.candidate is None
    assert after(Thaw(why="over"), Promote(why="well"), course=course).assignments.ring is Ring.QUARTER


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (Offer(bundle=TWO, why="x"), "canaries: there are none"),
        (Promote(why="x"), "candidate: there is none"),
        (RollBack(why="x"), "none before it"),
        (Unpin(site="s-1", why="x"), "s-1 has no pin"),
    ],
)
def test_what_does_not_follow_says_what_to_do_first(change: Change, told: str) -> None:
    with pytest.raises(CourseError, match=told):
        after(change)


def test_two_bundles_are_not_rolled_out_at_once_and_the_same_again_changes_nothing() -> None:
    course = after(Offer(bundle=TWO, why="new"), course=rolled_out(ONE))

    assert after(Offer(bundle=TWO, why="again"), course=course) == course
    with pytest.raises(CourseError, match="is being rolled out"):
        after(Offer(bundle=THREE, why="hurry"), course=course)
    with pytest.raises(CourseError, match="stable one already"):
        after(Offer(bundle=ONE, why="again"), course=rolled_out(ONE))


def test_pinned_sites_are_no_part_of_the_health_nor_those_that_speak_of_another_bundle() -> None:
    first = Canaries(sites=frozenset({"c-1", "c-2", "c-3"}), why="ours")
    course = after(first, Offer(bundle=TWO, why="new"), Pin(site="c-3", bundle=ONE, why="a demo"))
    reports = {
        "c-1": Report(bundle=TWO, state="active"),
        "c-2": Report(bundle=ONE, state="active"),
        "c-3": Report(bundle=TWO, state="refused"),
        "x": Report(bundle=TWO, state="refused"),
    }

    assert health_of(course, reports) == Health(frozenset({"c-1"}), frozenset())


def test_a_site_without_its_pin_has_what_all_have() -> None:
    course = after(Pin(site="s-1", bundle=TWO, why="a demo"), Unpin(site="s-1", why="over"), course=rolled_out(ONE))

    assert not course.assignments.pins
    assert course.bundles() == {ONE}


def test_bundles_in_use_are_bounded() -> None:
    course = Course()
    for number in range(ROLLOUT_BUNDLES_MAX):
        course = after(Pin(site=f"s-{number}", bundle=f"b-{number:012x}", why="each its own"), course=course)

    with pytest.raises(CourseError, match="unpin some"):
        after(Pin(site="s-x", bundle="b-ffffffffffff", why="one more"), course=course)
