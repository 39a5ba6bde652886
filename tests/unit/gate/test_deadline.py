"""Deadlines: what there is no time for is left out visibly, never approved for that, and replayed as it was decided."""

from itertools import chain, repeat
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.gate.deadline import Deadline, Pace
from actors.gate.replay import Replay
from tidegate.decision import NUMBERS, Mark, Outcome
from tidegate.errors import DeadlineError
from tidegate.ids import GateId, RecordId, SiteId
from tidegate.limits import DEADLINE_FLUSH_READINGS
from tidegate.records import Lane

SCORE_LEFT_OUT = NUMBERS["SYS_DEADLINE_SCORE"]


def at(*readings: float) -> Any:
    """Return ticks that give these readings and then the last one again."""
    each = chain(readings, repeat(readings[-1]))
    return lambda: next(each)


def pressed(now_s: float = 0.0095) -> Deadline:
    """Return a deadline of 10 ms with 1 ms kept back, of which only that is left when the score's turn comes."""
    return Deadline(10, 0.0, 0.001, at(0.0, now_s))


@given(st.integers(1, 60_000), st.floats(0, 100), st.floats(0, 1_000))
@settings(max_examples=50)
def test_a_deadline_presses_before_it_passes_and_leaves_half_of_itself_to_decide_in(
    milliseconds: int, flush_s: float, arrived_s: float
) -> None:
    half, end = arrived_s + milliseconds / 2_001, arrived_s + milliseconds / 999

    assert not Deadline(milliseconds, arrived_s, flush_s, lambda: half).presses()
    late = Deadline(milliseconds, arrived_s, flush_s, lambda: end)
    assert late.passed()
    assert late.presses()


def test_what_is_kept_back_is_what_all_but_one_in_a_hundred_waited_for() -> None:
    pace = Pace()
    assert pace.p99_s == 0.0
    for number in range(DEADLINE_FLUSH_READINGS):
        pace.waited(0.5 if number % 200 == 0 else 0.001)
    assert pace.p99_s == 0.001
    for _ in range(DEADLINE_FLUSH_READINGS):
        pace.waited(0.02)
    assert pace.p99_s == 0.02


@pytest.mark.parametrize(("minor", "outcome"), [(1, Outcome.REVIEW), (5_000, Outcome.REVIEW), (5_001, Outcome.DECLINE)])
def test_a_payment_without_a_score_is_reviewed_or_declined_and_says_why(rig: Any, minor: int, outcome: Outcome) -> None:
    gate = rig.open()
    free = gate.decide(rig.payment(1)).decided
    hurried = gate.decide(rig.payment(2, amount={"minor": minor, "currency": "EUR"}), pressed()).decided

    assert (free.outcome < Outcome.REVIEW, free.marks) == (True, 0)
    assert (hurried.outcome, hurried.marks) == (outcome, Mark.SCORE_LEFT_OUT)
    assert hurried.reasons[:2] == (NUMBERS["LIMIT_UNSCORED"], SCORE_LEFT_OUT)
    told = gate.answer(gate.decide(rig.payment(2, amount={"minor": minor, "currency": "EUR"})))
    assert (told["risk_score"], told["probability"], told["risk_level"]) == (None, None, "not_assessed")


def test_a_payment_in_a_hurry_is_counted_like_any_other(rig: Any) -> None:
    gate = rig.open()
    gate.decide(rig.payment(1), pressed())
    after = gate.decide(rig.payment(2)).decided.features
    rig.disk = type(rig.disk)()
    gate = rig.open()
    gate.decide(rig.payment(1))
    assert gate.decide(rig.payment(2)).decided.features == after


def test_a_list_speaks_where_the_model_has_no_time(rig: Any) -> None:
    gate = rig.open()
    rig.list(gate, "hard_block,card,card-1")
    decided = gate.decide(rig.payment(1), pressed()).decided
    assert decided.outcome is Outcome.DECLINE
    assert SCORE_LEFT_OUT in decided.reasons


def test_a_deadline_that_passed_decides_nothing_and_the_retry_is_the_first(rig: Any) -> None:
    gate = rig.open()
    before = gate.journal.last_pos
    with pytest.raises(DeadlineError, match="more time"):
        gate.decide(rig.payment(1), Deadline(10, 0.0, 0.0, lambda: 0.011))
    assert gate.journal.last_pos == before
    assert not gate.window.knows("card-1")
    assert not gate.decide(rig.payment(1)).replayed


def test_a_first_answer_is_given_again_whatever_the_deadline(rig: Any) -> None:
    gate = rig.open()
    first = gate.decide(rig.payment(1), pressed())
    again = gate.decide(rig.payment(1), Deadline(1, 0.0, 0.0, lambda: 9.0))
    assert (again.record, again.replayed) == (first.record, True)
    assert gate.decide(rig.payment(1)).record == first.record


def test_what_was_left_out_is_left_out_in_a_replay_to_the_bit(rig: Any) -> None:
    gate = rig.open()
    for number in range(5):
        gate.decide(rig.payment(number), pressed() if number % 2 else None)
    gate.journal.commit()
    for seq in range(1, 6):
        wanted = RecordId(SiteId("site-1"), GateId("g0"), gate.epoch, Lane.DECISIONS, seq)
        replay = Replay(
            wanted=wanted, journal=rig.disk, checkpoints=rig.checkpoints, orders=rig.orders, load=lambda _: rig.scorer
        )
        assert replay.stored().differences == ()
        assert replay.recompute().differences == ()
