"""A keeper asks for what comes next, gives it to the gate once, and waits longer the longer nothing goes well."""

from random import Random

from actors.keeper.follower import Follower
from actors.keeper.memory import MemoryOrders, MemorySource
from actors.keeper.ports import Found, Quiet
from tidegate.clock import ManualClock
from tidegate.limits import SECOND_US, TIDE_RETRY_US_MAX, TIDE_RETRY_US_MIN


class Life:
    """A follower between a log and a gate in memory."""

    def __init__(self) -> None:
        self.source, self.orders = MemorySource(), MemoryOrders()
        self.clock = ManualClock(1_795_500_000_000_000)
        self.start()

    def start(self) -> None:
        rng = Random(1)
        self.follower = Follower(source=self.source, orders=self.orders, clock=self.clock, entropy=rng.randbytes)

    def steps(self, count: int) -> list[float]:
        """Step so often, each as late as the step before asked for; return the pauses."""
        pauses = []
        for _ in range(count):
            pauses.append(self.follower.step())
            self.clock.advance(round(pauses[-1] * SECOND_US))
        return pauses


def test_batches_are_given_in_order_from_where_the_gate_is_and_numbers_may_be_left_out() -> None:
    life = Life()
    life.orders.at = 3
    life.source.batches = {1: b"old", 3: b"a", 4: b"b", 9: b"c"}
    assert life.steps(3) == [0.0, 0.0, 0.0]
    assert life.orders.taken == [Found(3, 4, b"a"), Found(4, 5, b"b"), Found(5, 10, b"c")]
    assert life.follower.following.version == 10


def test_where_nothing_comes_the_gate_is_told_up_to_when_that_holds() -> None:
    life = Life()
    life.source.as_of_us = 77
    life.steps(2)
    assert (life.orders.current, life.source.asked) == ([Quiet(77), Quiet(77)], [0, 0])


def test_who_is_told_at_once_that_nothing_came_asks_again_a_little_later() -> None:
    assert all(pause >= TIDE_RETRY_US_MIN / 2 / SECOND_US for pause in Life().steps(5))


def test_a_gate_that_came_back_at_the_beginning_is_given_all_from_there() -> None:
    life = Life()
    life.source.batches = {0: b"a", 1: b"b", 2: b"c"}
    life.steps(2)
    life.orders.at = 0  # a new epoch, while the keeper waited
    life.steps(4)
    assert [found.wire for found in life.orders.taken] == [b"a", b"b", b"a", b"b", b"c"]
    assert life.follower.following.gaps == 0


def test_where_the_log_began_again_the_gate_forgets_and_begins_with_it() -> None:
    life = Life()
    life.orders.at, life.source.end, life.source.batches = 50, 2, {0: b"a", 1: b"b"}
    life.steps(1)
    assert (life.orders.at, life.follower.following.trouble) == (0, "the log began again")
    life.steps(2)
    assert [found.wire for found in life.orders.taken] == [b"a", b"b"]


def test_a_clock_that_is_set_back_does_not_stop_it() -> None:
    life = Life()
    life.source.batches = {0: b"a", 1: b"b"}
    life.steps(1)
    life.clock.advance(-30 * 86_400 * SECOND_US)
    assert life.follower.step() == 0.0
    assert life.orders.at == 2


def test_each_failure_is_waited_out_longer_up_to_a_bound_and_told() -> None:
    life = Life()
    life.source.away = 60
    pauses = life.steps(40)
    assert all(pauses)
    assert max(pauses[:3]) < 2.0 < max(pauses[20:]) <= 1.1 * TIDE_RETRY_US_MAX / SECOND_US
    assert life.follower.following.trouble == "nobody answers"
    life.source.away = 0
    life.source.batches[0] = b"a"
    assert life.steps(1) == [0.0]
    assert (life.follower.following.trouble, life.follower.following.batches) == ("", 1)


def test_the_cloud_may_ask_for_a_longer_pause() -> None:
    life = Life()
    life.source.away, life.source.asked_s = 1, 30.0
    assert 30.0 <= life.steps(1)[0] <= 45.0


def test_before_its_time_a_step_asks_nobody() -> None:
    life = Life()
    life.source.away = 1
    life.follower.step()
    asked = len(life.source.asked)
    assert life.follower.step() > 0
    assert len(life.source.asked) == asked


def test_after_a_gate_that_did_not_answer_it_is_asked_where_it_is_and_nothing_is_left_out() -> None:
    life = Life()
    life.source.batches = {0: b"a", 1: b"b"}
    life.steps(1)
    life.orders.away = 1
    life.steps(1)
    life.orders.at = 0  # the gate came back without what it had taken
    life.steps(2)
    assert [found.wire for found in life.orders.taken] == [b"a", b"a", b"b"]


def test_what_the_cloud_has_let_go_is_a_gap_that_is_counted() -> None:
    life = Life()
    life.source.begin, life.source.batches = 7, {8: b"a", 9: b"b"}
    life.steps(2)
    assert life.orders.taken == [Found(7, 9, b"a"), Found(9, 10, b"b")]
    assert life.follower.following.gaps == 1


def test_a_keeper_that_starts_again_goes_on_where_the_gate_is() -> None:
    life = Life()
    life.source.batches = {0: b"a", 1: b"b"}
    life.steps(1)
    life.start()
    life.steps(1)
    assert life.source.asked == [0, 1]
