"""Attempts: bounded, spread, patient where a site asks for it, and never another body."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_nodes.client.answers import GaveUpError
from edge_nodes.client.attempts import Lost, Patience, Reply, Result, Send, attempts

NO_ANSWER = st.one_of(
    st.just(Lost("ReadError")),
    st.builds(Reply, st.sampled_from([408, 429, 500, 502, 503, 504]), st.just(b""), st.just(0.0)),
)


class Life:
    """A clock that goes on while somebody sends or waits."""

    def __init__(self, patience: Patience, results: list[Result], chance: float = 1.0, send_s: float = 0.0) -> None:
        self.now, self.waits, self.sends = 0.0, list[float](), list[float]()
        self._course = attempts(patience, ticks=lambda: self.now, chance=lambda: chance)
        self._results, self._send_s = iter(results), send_s

    def run(self) -> Reply:
        """Live until there is an answer."""
        result: Result = None
        try:
            while True:
                step = self._course.send(result)
                if isinstance(step, Send):
                    self.sends.append(step.within_s)
                    self.now += min(self._send_s, step.within_s)
                    result = next(self._results)
                else:
                    self.waits.append(step.seconds)
                    self.now += step.seconds
                    result = None
        except StopIteration as end:
            reply: Reply = end.value
            return reply


@pytest.mark.parametrize("status", [200, 401, 403, 404, 413, 415, 422])
def test_an_answer_that_another_attempt_would_not_change_ends_it_at_once(status: int) -> None:
    life = Life(Patience(), [Reply(status, b"x")])
    assert life.run() == Reply(status, b"x")
    assert life.waits == []


@given(st.lists(NO_ANSWER, min_size=1, max_size=5), st.floats(0, 1))
@settings(max_examples=50)
def test_whatever_leaves_it_open_is_tried_again_and_the_answer_taken(results: list[Result], chance: float) -> None:
    life = Life(Patience(), [*results, Reply(200, b"decided")], chance)
    assert life.run().body == b"decided"
    assert len(life.waits) == len(results)


@given(st.floats(0, 1), st.floats(0, 10), st.integers(1, 12), st.floats(0.1, 60))
@settings(max_examples=50)
def test_patience_bounds_time_and_attempts(chance: float, send_s: float, most: int, total_s: float) -> None:
    patience = Patience(total_s=total_s, attempts_max=most)
    life = Life(patience, [Lost("ConnectError")] * 100, chance, send_s)
    with pytest.raises(GaveUpError) as caught:
        life.run()
    assert caught.value.attempts == len(life.sends) <= most
    assert life.now <= total_s + 0.002
    assert max(life.sends) <= patience.attempt_s


def test_waits_double_up_to_a_bound_and_are_spread_below_it() -> None:
    def waits(chance: float) -> list[float]:
        life = Life(Patience(total_s=1_000, attempts_max=10), [Lost("x")] * 10, chance)
        with pytest.raises(GaveUpError):
            life.run()
        return life.waits

    assert waits(1.0) == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert waits(0.5) == [wait / 2 for wait in waits(1.0)]


def test_a_site_that_says_how_long_to_wait_is_heeded() -> None:
    life = Life(Patience(), [Reply(503, b"", 3.0), Reply(200, b"")])
    life.run()
    assert life.waits == [3.0]


def test_who_would_have_to_wait_longer_than_the_patience_gives_up_at_once() -> None:
    life = Life(Patience(total_s=2.0), [Reply(503, b"", 3.0)])
    with pytest.raises(GaveUpError, match="ask again, unchanged") as caught:
        life.run()
    assert (life.now, caught.value.last) == (0.0, "status 503")


def test_unlike_a_wait_the_last_attempt_gets_only_the_time_that_is_left() -> None:
    life = Life(Patience(total_s=6.0, attempt_s=5.0), [Lost("ReadTimeout")] * 9, 0.0, send_s=5.0)
    with pytest.raises(GaveUpError):
        life.run()
    assert life.sends[:2] == [5.0, 1.0]
