"""What an uplink says of itself, and what a door makes of it: who is behind, by how much, and since when."""

import json

from actors.uplink.lanes import Lanes
from actors.uplink.ports import NoWayError
from actors.uplink.standing import LaneStanding, Looks, Standing, dump, seen
from tests.unit.uplink.test_uplink import Site
from tidegate.ids import EpochId
from tidegate.limits import SECOND_US, TIDE_LOOKS_KEPT
from tidegate.passages import Span
from tidegate.records import Lane

OLD, NEW = EpochId("0" * 16), EpochId("1" * 16)
DECISIONS = (NEW, Lane.DECISIONS)


def test_a_record_waits_since_the_first_look_that_found_it_durable() -> None:
    looks = Looks()
    looks.look(10, {DECISIONS: 5})
    looks.look(20, {DECISIONS: 5})
    looks.look(30, {DECISIONS: 9})

    assert looks.oldest_us({DECISIONS: 4}) == 10
    assert looks.oldest_us({DECISIONS: 6}) == 30
    assert looks.oldest_us({}) == 0


def test_live_records_that_arrived_first_make_no_backlog_look_younger() -> None:
    looks = Looks()
    looks.look(10, {(OLD, Lane.DECISIONS): 3, DECISIONS: 1})
    looks.look(90, {(OLD, Lane.DECISIONS): 3, DECISIONS: 2})

    assert looks.oldest_us({(OLD, Lane.DECISIONS): 2}) == 10


def test_a_cut_of_any_length_is_dated_to_within_a_part_of_it_in_bounded_memory() -> None:
    looks = Looks()
    for now in range(1, 100_000):
        looks.look(now, {DECISIONS: now})

    assert looks.oldest_us({DECISIONS: 1}) == 1
    assert 60_000 <= looks.oldest_us({DECISIONS: 60_000}) <= 60_000 + 100_000 // (TIDE_LOOKS_KEPT // 2) + 1


def test_lanes_count_what_is_live_apart_from_what_a_cut_left() -> None:
    lanes = Lanes()
    lanes.durable([OLD, NEW], {(OLD, Lane.DECISIONS): 10, DECISIONS: 4})
    lanes.connected()
    lanes.durable([OLD, NEW], {(OLD, Lane.DECISIONS): 10, DECISIONS: 9})
    lanes.has((OLD, Lane.DECISIONS), (Span(1, 6),))
    lanes.has(DECISIONS, (Span(1, 2), Span(5, 6)))

    assert lanes.standing(line_is_up=True) == {
        Lane.DECISIONS: LaneStanding(journaled=19, committed=10, live=3, backlog=6)
    }
    assert lanes.standing(line_is_up=False) == {
        Lane.DECISIONS: LaneStanding(journaled=19, committed=10, live=0, backlog=9)
    }
    assert lanes.lacking() == {(OLD, Lane.DECISIONS): 7, DECISIONS: 3}


def test_what_cannot_be_read_any_more_is_neither_there_nor_waited_for() -> None:
    lanes = Lanes()
    lanes.durable([NEW], {DECISIONS: 9})
    lanes.lose(DECISIONS, Span(1, 4))
    lanes.has(DECISIONS, (Span(5, 9),))

    assert lanes.standing(line_is_up=True) == {Lane.DECISIONS: LaneStanding(9, 5, 0, 0)}
    assert lanes.lacking() == {}


def test_a_door_sees_ages_that_grow_while_the_uplink_hangs() -> None:
    standing = Standing(connected=True, heard_us=3 * SECOND_US, oldest_us=4 * SECOND_US, behind={Lane.DECISIONS: 7})
    standing.lanes = {Lane.DECISIONS: LaneStanding(10, 3, 2, 5)}

    told = seen(dump(standing, 5 * SECOND_US), 65 * SECOND_US)

    assert told is not None
    assert (told["told_s"], told["heard_s"], told["lag_s"], told["behind"]) == (60.0, 62.0, 61.0, 7)
    assert told["lanes"] == {"L1": {"journaled": 10, "committed": 3, "live": 2, "backlog": 5}}


def test_who_has_not_told_anything_readable_is_not_seen() -> None:
    later = json.dumps(json.loads(dump(Standing(), 1)) | {"format": 2}).encode()

    assert [seen(data, 9) for data in (b"", b"[]", b"null", b'{"format": 1}', later)] == [None] * 5
    assert seen(dump(Standing(), 1), 1) is not None


def test_what_is_journaled_while_it_waits_to_try_again_is_told_at_once() -> None:
    site = Site()
    site.decide(3)
    site.line.answers.append(NoWayError("cut"))
    site.uplink.step()
    site.clock.advance(1_000)
    site.decide(5)

    assert site.uplink.step() > 0

    assert site.uplink.standing.lanes[Lane.DECISIONS].journaled == 8
    assert site.uplink.standing.oldest_us == site.clock.now_us() - 1_000
