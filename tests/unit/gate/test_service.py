"""The service: durable before answered, pages and ids over epochs, merchants apart, and upkeep beside decisions."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from actors.gate.committer import Committer
from actors.gate.gate import Gate
from actors.gate.service import Service
from actors.gate.start import load_checkpoint
from actors.gate.upkeep import Upkeep
from tidegate.errors import InvalidError, JournalError, NotFoundError, NotReadyError
from tidegate.metrics import MEANINGS


def committer(gate: Gate, *, inline: bool = True, on_failure: Callable[[str], None] = lambda _why: None) -> Committer:
    return Committer(journal=gate.journal, inline=inline, on_failure=on_failure, on_flush=lambda _seconds: None)


def opened(gate: Gate, **options: Any) -> Service:
    service = Service(ticks=lambda: 0.0)
    service.opened(gate, committer(gate, **options))
    return service


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


def test_before_the_gate_is_open_and_after_it_failed_every_call_says_why(rig: Any) -> None:
    service = Service()
    with pytest.raises(NotReadyError, match="starting"):
        run(service.decide(rig.payment(), 0.0))
    service = opened(rig.open())
    service.failed("the disk is gone")
    with pytest.raises(NotReadyError, match="the disk is gone"):
        service.site()


@pytest.mark.parametrize("inline", [True, False])
def test_an_answer_is_durable_before_it_is_given(rig: Any, *, inline: bool) -> None:
    gate = rig.open()
    service = opened(gate, inline=inline)
    answer = run(service.decide(rig.payment(), 0.0))
    assert gate.journal.durable_pos == gate.journal.last_pos
    assert answer["replayed"] is False


@pytest.mark.parametrize("inline", [True, False])
def test_many_decisions_of_one_moment_share_a_flush(rig: Any, *, inline: bool) -> None:
    gate = rig.open()
    flushes: list[float] = []
    waits = Committer(journal=gate.journal, inline=inline, on_failure=lambda _why: None, on_flush=flushes.append)
    service = Service()
    service.opened(gate, waits)

    async def burst() -> list[Any]:
        return await asyncio.gather(*(service.decide(rig.payment(number), 0.0) for number in range(50)))

    answers = run(burst())
    assert len({answer["decision_id"] for answer in answers}) == 50
    assert len(flushes) <= 3


@pytest.mark.parametrize("inline", [True, False])
def test_a_failed_flush_answers_nobody_and_says_so_once(rig: Any, *, inline: bool) -> None:
    gate = rig.open()
    told: list[str] = []
    service = opened(gate, inline=inline, on_failure=told.append)
    rig.disk.fail_next_sync()

    async def burst() -> list[Any]:
        work = (service.decide(rig.payment(number), 0.0) for number in range(5))
        return await asyncio.gather(*work, return_exceptions=True)

    results = run(burst())
    assert all(isinstance(result, JournalError) for result in results)
    assert len(told) == 1


def test_a_duplicate_in_flight_awaits_the_same_flush(rig: Any) -> None:
    gate = rig.open()
    service = opened(gate)

    async def twice() -> Any:
        return await asyncio.gather(service.decide(rig.payment(), 0.0), service.decide(rig.payment(), 0.0))

    first, again = run(twice())
    assert again == first | {"replayed": True}


def test_a_batch_gives_a_result_each_and_one_wrong_payment_spoils_no_other(rig: Any) -> None:
    service = opened(rig.open())
    wrong = rig.payment(2, amount={"minor": 5, "currency": "USD"})
    results = run(service.decide_many([rig.payment(1), wrong, InvalidError("no"), rig.payment(1)], 0.0))
    assert [type(result).__name__ for result in results] == ["dict", "InvalidError", "InvalidError", "dict"]
    assert results[3] == results[0] | {"replayed": True}


def filled(rig: Any, count: int) -> tuple[Gate, Service]:
    gate = rig.open()
    for number in range(count):
        merchant, card = f"m-{number % 2}", f"card-{number % 3}"
        gate.decide(rig.payment(number, merchant=merchant, card=card))
    gate.journal.commit()
    return gate, opened(gate)


def pages(service: Service, **asked: Any) -> list[list[str]]:
    """Return the transaction ids of all pages."""
    found, cursor = [], None
    while True:
        page = service.page(cursor=cursor, **{"limit": 4, "filters": {}, **asked})
        found.append([item["transaction_id"] for item in page["data"]])
        cursor = page["next_cursor"]
        assert page["has_more"] is (cursor is not None)
        if cursor is None:
            return found


def test_pages_come_newest_first_and_give_each_decision_once(rig: Any) -> None:
    _, service = filled(rig, 10)
    assert pages(service) == [["tx-9", "tx-8", "tx-7", "tx-6"], ["tx-5", "tx-4", "tx-3", "tx-2"], ["tx-1", "tx-0"]]


def test_pages_go_on_into_older_epochs(rig: Any) -> None:
    gate, _ = filled(rig, 3)
    rig.mark = "another machine"
    gate = rig.reopen(gate)
    gate.decide(rig.payment(7))
    gate.journal.commit()
    service = opened(gate)
    assert [one for page in pages(service) for one in page] == ["tx-7", "tx-2", "tx-1", "tx-0"]


def test_filters_choose_and_a_page_of_no_match_still_leads_on(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, service = filled(rig, 10)
    assert pages(service, filters={"card": "card-1"}, limit=2) == [["tx-7", "tx-4"], ["tx-1"]]
    monkeypatch.setattr("actors.gate.service.PAGE_SCAN_RECORDS_MAX", 3)
    assert [one for page in pages(service, filters={"card": "card-0"}) for one in page] == [
        "tx-9",
        "tx-6",
        "tx-3",
        "tx-0",
    ]
    assert [one for page in pages(service, filters={"outcome": "decline"}) for one in page] == []


def test_what_is_not_durable_is_shown_to_nobody(rig: Any) -> None:
    gate, service = filled(rig, 2)
    waiting = gate.answer(gate.decide(rig.payment(9)))
    assert pages(service) == [["tx-1", "tx-0"]]
    with pytest.raises(NotFoundError, match="durable"):
        service.get(waiting["decision_id"])


def test_a_key_of_some_merchants_sees_only_theirs(rig: Any) -> None:
    gate, service = filled(rig, 6)
    assert pages(service, merchants=frozenset({"m-1"})) == [["tx-5", "tx-3", "tx-1"]]
    own, other = (gate.answer(gate.decide(rig.payment(n, merchant=f"m-{n % 2}", card=f"card-{n % 3}"))) for n in (1, 2))
    assert service.get(own["decision_id"], frozenset({"m-1"}))["request"]["merchant"] == "m-1"
    with pytest.raises(NotFoundError):
        service.get(other["decision_id"], frozenset({"m-1"}))


def test_a_decision_is_found_by_its_id_with_all_it_was_asked(rig: Any) -> None:
    gate = rig.open()
    request = rig.payment(1, country="DE", mcc="5411", entry_mode="chip", device="d-1")
    answer = gate.answer(gate.decide(request))
    gate.journal.commit()
    told = opened(gate).get(answer["decision_id"])
    assert {key: told[key] for key in answer} == answer
    sent = request.model_dump(mode="json", exclude={"occurred_at"})
    assert {key: told["request"][key] for key in sent} == sent


@pytest.mark.parametrize(
    "wanted", ["nonsense", "site-1.g0.{epoch}.L1.99", "site-1.g0.{epoch}.L2.1", "s2.g0.{epoch}.L1.1"]
)
def test_an_id_that_is_not_this_sites_is_not_found(rig: Any, wanted: str) -> None:
    gate, service = filled(rig, 2)
    with pytest.raises(NotFoundError):
        service.get(wanted.format(epoch=gate.epoch))


@pytest.mark.parametrize("cursor", ["x", "0123456789abcdef.5", "{epoch}.x"])
def test_a_cursor_that_no_page_gave_is_refused(rig: Any, cursor: str) -> None:
    gate, service = filled(rig, 2)
    with pytest.raises(InvalidError) as refused:
        service.page(limit=5, cursor=cursor.format(epoch=gate.epoch), filters={})
    assert refused.value.fields[0].field == "cursor"


def test_the_live_page_and_the_site_say_what_there_is(rig: Any) -> None:
    gate = rig.open()
    service = opened(gate)
    run(service.decide(rig.payment(), 0.0))
    live, site = service.live(), service.site()
    assert sum(live["outcomes"].values()) == 1
    assert live["recent"][0]["transaction_id"] == "tx-1"
    assert site["journal"]["heads"]["L1"] == 1
    assert site["offline_approvals"] is True


def test_every_metric_of_the_catalogue_is_exposed_with_its_meaning(rig: Any) -> None:
    service = opened(rig.open())
    service.meter.refused("INVALID_REQUEST")
    run(service.decide(rig.payment(), 0.0))
    text = service.meter.text().decode()
    for name, meaning in MEANINGS.items():
        assert f"# HELP {name} {meaning}" in text
    assert "# TYPE tidegate_replayed_total counter" in text


def test_a_checkpoint_taken_while_decisions_go_on_is_of_one_durable_position(rig: Any) -> None:
    gate = rig.open()
    waits = committer(gate)
    upkeep = Upkeep(gate=gate, committer=waits, disk=rig.checkpoints)
    service = Service()
    service.opened(gate, waits)

    async def both() -> None:
        saving = asyncio.ensure_future(upkeep.checkpoint())
        for number in range(40):
            await service.decide(rig.payment(number, card=f"card-{number % 20}"), 0.0)
        await saving

    run(both())
    found = load_checkpoint(rig.checkpoints, gate.epoch, through_pos=gate.journal.durable_pos)
    assert found is not None
    assert found.pos < gate.journal.last_pos
    again = rig.reopen(gate)
    assert again.state.window_pos == found.pos
    assert again.window.cards.state.tobytes() == gate.window.cards.state.tobytes()
    assert again.window.cards.holders.tobytes() == gate.window.cards.holders.tobytes()
