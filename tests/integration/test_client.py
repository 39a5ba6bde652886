"""The client against a real door, over a network that fails: exactly one decision, whatever it takes to hear of it."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from edge_nodes.client.answers import ConflictingError, GaveUpError, NotAllowedError, RefusedError, UnknownError
from edge_nodes.client.attempts import Patience
from edge_nodes.client.door import AsyncClient, Client
from tests.integration.doors import Door
from tests.integration.network import (
    Fault,
    Network,
    cut_after_it_was_answered,
    cut_before_it_was_sent,
    cut_within_the_answer,
    slow,
    unavailable,
)
from tidegate.payment import LabelRequest

QUICK = Patience(first_delay_s=0.01, attempt_s=5.0)


@pytest.fixture
def network(door: Door) -> Iterator[Callable[..., Network]]:
    made: list[Network] = []

    def between(*faults: Fault) -> Network:
        made.append(Network(door.port, *faults))
        return made[-1]

    yield between
    for each in made:
        each.close()


def fields(card: str) -> dict[str, Any]:
    amount = {"minor": 1_250, "currency": "EUR"}
    return {"amount": amount, "card": card, "terminal": "t-1", "merchant": "m-1", "channel": "online"}


def decisions(door: Door, card: str) -> list[Any]:
    found: list[Any] = door.ask("GET", f"/v1/decisions?card={card}").body["data"]
    return found


FAULTS = [cut_after_it_was_answered, cut_within_the_answer, cut_before_it_was_sent, unavailable, slow]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_one_decision_is_made_and_heard_of_whatever_the_network_does(
    door: Door, network: Callable[..., Network], fault: Fault
) -> None:
    between = network(fault, fault)
    card = f"card-{fault.__name__}"
    patience = Patience(attempt_s=1.0) if fault is slow else QUICK
    with Client(f"http://127.0.0.1:{between.port}", door.key, patience=patience) as client:
        decision = client.decide(client.payment(**fields(card)))

    assert between.connections >= 3  # more where this machine, too, took longer than an attempt
    assert [made["decision_id"] for made in decisions(door, card)] == [decision.decision_id]
    heard_late = fault in {cut_after_it_was_answered, cut_within_the_answer, slow}
    assert decision.replayed is heard_late


def test_the_client_that_awaits_gets_many_decisions_each_once_over_a_bad_network(
    door: Door, network: Callable[..., Network]
) -> None:
    between = network(*FAULTS[:4])

    async def ask() -> list[Any]:
        async with AsyncClient(f"http://127.0.0.1:{between.port}", door.key, patience=QUICK) as client:
            payments = [client.payment(**fields("card-await")) for _ in range(6)]
            return [await client.decide(payment) for payment in payments]

    told = asyncio.run(ask())

    assert {made["decision_id"] for made in decisions(door, "card-await")} == {one.decision_id for one in told}
    assert len(told) == len(decisions(door, "card-await")) == 6


def test_who_gives_up_may_ask_again_later_and_hears_what_was_decided(
    door: Door, network: Callable[..., Network]
) -> None:
    between = network(cut_after_it_was_answered)
    once = Patience(attempts_max=1)
    with Client(f"http://127.0.0.1:{between.port}", door.key, patience=once) as client:
        payment = client.payment(**fields("card-again"))
        with pytest.raises(GaveUpError):
            client.decide(payment)
        assert client.decide(payment).replayed is True
    assert len(decisions(door, "card-again")) == 1


def test_connections_are_kept_and_each_call_has_its_answer(door: Door) -> None:
    with Client(f"http://127.0.0.1:{door.port}", door.key) as client:
        payment = client.payment(**fields("card-calls"))
        made = client.decide(payment, deadline_ms=60_000)
        again, other = client.decide_many([payment, client.payment(**fields("card-x"))])
        label = LabelRequest(
            label_id="l-client",
            merchant="m-1",
            transaction_id=payment.transaction_id,
            verdict="fraud",
            source="chargeback",
            known_at=payment.occurred_at,
        )
        assert client.get(made.decision_id).decision_id == made.decision_id
        assert client.label(label).replayed is False
        assert client.label(label).replayed is True
        with pytest.raises(ConflictingError):
            client.decide(payment.model_copy(update={"card": "card-other"}))
        with pytest.raises(RefusedError) as refused:
            client.decide(payment, deadline_ms=0)
        with pytest.raises(UnknownError):
            client.get(made.decision_id[:-1] + "999999")
    assert refused.value.fields[0].field == "X-Deadline-Ms"
    assert again == made.model_copy(update={"replayed": True})
    assert getattr(other, "transaction_id", None)


def test_a_wrong_key_is_told_apart(door: Door) -> None:
    with Client(f"http://127.0.0.1:{door.port}", "tgk_wrong") as client, pytest.raises(NotAllowedError):
        client.decide(client.payment(**fields("card-key")))
