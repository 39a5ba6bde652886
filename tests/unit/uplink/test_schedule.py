"""Whose turn it is: shares as weights say, whatever the sizes; who is alone has the whole line; nobody starves."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.uplink.schedule import QUEUES, Queue, Schedule, weight
from tidegate.limits import FRAME_BYTES_MAX
from tidegate.records import Lane


@given(seed=st.integers(0, 2**32), waiting=st.sets(st.sampled_from(QUEUES), min_size=1))
def test_queues_that_always_have_something_share_the_line_by_weight(seed: int, waiting: set[Queue]) -> None:
    rng, schedule, sent = Random(seed), Schedule(), dict.fromkeys(waiting, 0)
    while sum(sent.values()) < 300 * FRAME_BYTES_MAX:
        queue = schedule.pick(waiting)
        size = rng.randrange(1, FRAME_BYTES_MAX)
        schedule.sent(queue, size)
        sent[queue] += size

    total = sum(weight(queue) for queue in waiting)
    for queue, size in sent.items():
        assert size / sum(sent.values()) == pytest.approx(weight(queue) / total, abs=0.05)


def test_who_was_silent_saves_nothing_up_and_has_a_turn_soon() -> None:
    schedule = Schedule()
    backlog, live = Queue(Lane.DECISIONS, live=False), Queue(Lane.DECISIONS, live=True)
    for _ in range(100):
        schedule.sent(schedule.pick({backlog}), FRAME_BYTES_MAX)

    turns = []
    for _ in range(12):
        turns.append(schedule.pick({backlog, live}))
        schedule.sent(turns[-1], FRAME_BYTES_MAX)

    assert live in turns[:2]
    assert turns.count(backlog) == 3


def test_the_least_of_all_has_its_share_beside_the_greatest() -> None:
    schedule, least = Schedule(), Queue(Lane.TRACES, live=False)
    greatest = Queue(Lane.MONEY, live=True)
    turns = 0
    while schedule.pick({least, greatest}) != least:
        schedule.sent(greatest, FRAME_BYTES_MAX)
        turns += 1

    assert turns <= weight(greatest) + 1


def test_nothing_to_send_is_nobodys_turn() -> None:
    with pytest.raises(ValueError, match="no queue"):
        Schedule().pick(set())
