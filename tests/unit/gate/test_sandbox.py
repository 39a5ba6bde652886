"""Test cards at a gate: they force answers in a sandbox, are refused elsewhere, and leave but their records."""

import asyncio
from typing import Any

import pytest

from actors.gate.committer import Committer
from actors.gate.replay import Replay
from actors.gate.service import Service
from tidegate.decision import NUMBERS, Mark, Outcome
from tidegate.errors import InvalidError, TemporaryError
from tidegate.ids import GateId, RecordId, SiteId
from tidegate.limits import SANDBOX_LATE_S
from tidegate.records import Lane
from tidegate.sandbox import CARDS

DECIDED = [card for card in CARDS.values() if card.refusal() is None]
REFUSED = [card for card in CARDS.values() if card.refusal() is not None]


@pytest.fixture
def sandbox(rig: Any) -> Any:
    rig.layer = {"profile": "sandbox"}
    return rig


def test_each_card_forces_its_answer_and_the_answer_is_marked(sandbox: Any) -> None:
    gate = sandbox.open()
    for number, card in enumerate(DECIDED):
        told = gate.answer(gate.decide(sandbox.payment(number, card=card.token)))
        wanted = (card.outcome.word, card.mode.name.lower(), card.level.name.lower())
        assert (told["outcome"], told["mode"], told["risk_level"]) == wanted
        numbers = [NUMBERS[reason["code"]] for reason in told["reasons"]]
        assert numbers == [*card.reasons, NUMBERS["SYS_SANDBOX"]]


@pytest.mark.parametrize("card", REFUSED, ids=lambda card: card.token)
def test_a_card_that_forces_a_refusal_is_refused_each_time_and_changes_nothing(sandbox: Any, card: Any) -> None:
    gate = sandbox.open()
    before = gate.journal.last_pos
    for _ in range(2):
        with pytest.raises(TemporaryError, match=card.token):
            gate.decide(sandbox.payment(1, card=card.token))
    assert gate.journal.last_pos == before


@pytest.mark.parametrize(
    ("profile", "token"), [("demo", "test_approve"), ("production", "test_x"), ("sandbox", "test_x")]
)
def test_a_token_of_test_cards_is_refused_where_it_forces_nothing(rig: Any, profile: str, token: str) -> None:
    rig.layer = {"profile": profile}
    with pytest.raises(InvalidError, match="card: ") as caught:
        rig.open().decide(rig.payment(1, card=token))
    assert caught.value.fields[0].field == "card"


def test_test_cards_change_no_answer_to_a_real_card_and_no_count(sandbox: Any) -> None:
    gate = sandbox.open()
    for number in range(20, 40):
        gate.decide(sandbox.payment(number, card="test_decline"))
    gate.label(sandbox.label(20))
    real = gate.decide(sandbox.payment(1)).decided
    assert (len(gate.window.cards), gate.tally.sandbox, real.marks) == (1, 20, 0)

    sandbox.disk = type(sandbox.disk)()
    assert sandbox.open().decide(sandbox.payment(1)).decided.features == real.features


def test_a_restart_rebuilds_the_state_without_test_cards(sandbox: Any) -> None:
    gate = sandbox.open()
    gate.decide(sandbox.payment(1))
    gate.decide(sandbox.payment(2, card="test_approve"))
    gate.label(sandbox.label(2))
    again = sandbox.reopen(gate)
    assert len(again.window.cards) == 1
    first = again.decide(sandbox.payment(2, card="test_approve"))
    assert (first.replayed, first.decided.marks) == (True, Mark.SANDBOX)


def test_forced_answers_are_replayed_to_the_bit(sandbox: Any) -> None:
    gate = sandbox.open()
    for number, card in enumerate(DECIDED):
        gate.decide(sandbox.payment(number, card=card.token))
    gate.journal.commit()
    for seq in range(1, len(DECIDED) + 1, 5):
        wanted = RecordId(SiteId("site-1"), GateId("g0"), gate.epoch, Lane.DECISIONS, seq)
        replay = Replay(
            wanted=wanted,
            journal=sandbox.disk,
            checkpoints=sandbox.checkpoints,
            orders=sandbox.orders,
            load=lambda _: sandbox.scorer,
        )
        assert replay.stored().differences == ()
        assert replay.recompute().differences == ()


def test_the_card_of_a_timeout_keeps_the_first_caller_waiting_and_answers_the_retry_at_once(sandbox: Any) -> None:
    gate, waits = sandbox.open(), list[float]()

    async def pause(seconds: float) -> None:
        assert gate.journal.durable_pos == gate.journal.last_pos
        waits.append(seconds)

    service = Service(pause=pause)
    service.opened(gate, Committer(journal=gate.journal, inline=True, on_failure=print, on_flush=print))
    payment = sandbox.payment(1, card="test_timeout")
    first = asyncio.run(service.decide(payment, 0.0))
    assert waits == [SANDBOX_LATE_S]
    assert asyncio.run(service.decide(payment, 0.0)) == first | {"replayed": True}
    assert waits == [SANDBOX_LATE_S]


def test_forced_outcomes_are_counted_apart(sandbox: Any) -> None:
    gate = sandbox.open()
    service = Service()
    service.opened(gate, Committer(journal=gate.journal, inline=True, on_failure=print, on_flush=print))
    asyncio.run(service.decide(sandbox.payment(1, card="test_decline"), 0.0))
    text = service.meter.text().decode()
    assert 'tidegate_decisions_total{outcome="decline"} 0.0' in text
    assert "tidegate_sandbox_total 1.0" in text
    assert service.live()["outcomes"][Outcome.DECLINE.word] == 0
