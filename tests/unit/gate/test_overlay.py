"""A gate decides with what other sites did, says how far it knows of them, and never counts its own twice."""

import asyncio
from random import Random
from typing import Any

import numpy as np
import pytest

from actors.gate.committer import Committer
from actors.gate.gate import Gate
from actors.gate.intake import Intake, overlay_answer
from actors.gate.orders import Orders
from actors.gate.replay import Replay
from actors.journal.memory import MemoryDisk
from tests.deltas import posted, used
from tidegate.clock import rfc3339
from tidegate.decision import REASONS
from tidegate.deltas import DeltaError, DeltaKind, Deltas, Verdict, uses, verdicts
from tidegate.errors import InvalidError, NotFoundError
from tidegate.features.declarations import NAMES
from tidegate.frames import Origin
from tidegate.ids import EpochId, GateId, RecordId, SiteId
from tidegate.limits import LABELS_AT_ONCE, MINUTE_US, OVERLAY_RECENT_US
from tidegate.records import DECISION, Kind

PARTIAL = "SYS_FEATURES_PARTIAL"


def reasons(gate: Gate, request: Any) -> list[str]:
    return [REASONS[number].code for number in gate.decide(request).decided.reasons]


def count_1h(gate: Gate, request: Any) -> float:
    vector = np.frombuffer(gate.decide(request).decided.features, np.float32)
    return float(vector[NAMES.index("card_count_1h")])


def intake(rig: Any, gate: Gate) -> Intake:
    committer = Committer(journal=gate.journal, inline=True, on_failure=pytest.fail, on_flush=lambda _: None)
    return Intake(gate=gate, committer=committer, packs=Orders(rig.orders).packs())


def test_a_card_that_was_used_elsewhere_is_counted_with_that_from_the_next_decision_on(rig: Any) -> None:
    gate = rig.open()
    assert count_1h(gate, rig.payment(1)) == 1
    rig.hear(gate, used("card-1", "card-1", at_us=rig.now_us), 7)
    assert count_1h(gate, rig.payment(2)) == 4


def test_a_decision_names_the_version_and_the_time_up_to_which_it_knows_other_sites(rig: Any) -> None:
    gate = rig.open()
    before = gate.decide(rig.payment(1)).decided
    rig.hear(gate, used("card-1", at_us=rig.now_us - 5), 7)
    rig.clock.advance(9)
    after = gate.decide(rig.payment(2))
    assert (before.overlay_version, before.features_as_of_us) == (0, rig.now_us)
    assert (after.decided.overlay_version, after.decided.features_as_of_us) == (7, rig.now_us - 5)
    assert gate.answer(after)["features_as_of"] == rfc3339(rig.now_us - 5)


def test_rows_of_its_own_epoch_are_left_out_and_those_of_its_epoch_before_are_counted(rig: Any) -> None:
    gate = rig.open()
    own = Origin(SiteId(gate.settings.site), GateId(gate.settings.gate), gate.epoch)
    rig.hear(gate, used("card-1", at_us=rig.now_us, origin=own), 1)
    assert count_1h(gate, rig.payment(1)) == 1
    rig.hear(gate, used("card-1", at_us=rig.now_us, origin=own._replace(epoch=EpochId("00000000000000bb"))), 2)
    assert count_1h(gate, rig.payment(2)) == 3


def test_a_card_that_was_used_elsewhere_only_is_no_longer_partial(rig: Any) -> None:
    gate = rig.open()
    rig.hear(gate, used("card-1", at_us=rig.now_us), 1)
    assert PARTIAL not in reasons(gate, rig.payment(1))
    assert PARTIAL in reasons(gate, rig.payment(2, card="card-2"))
    assert PARTIAL not in reasons(gate, rig.payment(3, card="card-2"))


def test_after_versions_that_were_never_seen_every_card_is_partial(rig: Any) -> None:
    gate = rig.open()
    rig.hear(gate, used("card-1", at_us=rig.now_us), 1)
    assert PARTIAL not in reasons(gate, rig.payment(1))
    rig.hear(gate, used("card-2", at_us=rig.now_us), 9, since=5)
    assert PARTIAL in reasons(gate, rig.payment(2))
    assert not overlay_answer(gate)["whole"]


def test_an_overlay_is_as_old_as_what_it_was_told_last_and_is_never_ahead_of_the_clock(rig: Any) -> None:
    gate = rig.open()
    rig.hear(gate, used("card-1", at_us=rig.now_us + MINUTE_US), 1)
    assert gate.window.overlay.reached.as_of_us == rig.now_us
    rig.hear(gate, used("card-1", at_us=rig.now_us - MINUTE_US), 2)
    assert gate.window.overlay.reached.as_of_us == rig.now_us


def test_while_other_sites_have_not_been_heard_of_for_long_every_card_is_partial(rig: Any) -> None:
    gate = rig.open()
    gate.decide(rig.payment(1))
    rig.hear(gate, used("card-2", at_us=rig.now_us), 1)
    rig.clock.advance(OVERLAY_RECENT_US)
    assert PARTIAL not in reasons(gate, rig.payment(2))
    rig.clock.advance(1)
    assert PARTIAL in reasons(gate, rig.payment(3))
    gate.nothing_came(rig.clock.now_us())
    assert PARTIAL not in reasons(gate, rig.payment(4))


@pytest.mark.parametrize(("since", "until"), [(0, 9), (4, 5), (7, 7), (8, 8)])
def test_versions_that_are_known_or_none_are_refused_and_change_nothing(rig: Any, since: int, until: int) -> None:
    gate = rig.open()
    rig.hear(gate, used("card-1", at_us=rig.now_us), 7)
    before = (gate.journal.last_pos, gate.window.overlay.states.tobytes())
    with pytest.raises(InvalidError, match="at 7"):
        gate.take_deltas(used("card-1", at_us=rig.now_us), since=since, until=until)
    assert (gate.journal.last_pos, gate.window.overlay.states.tobytes()) == before


def test_a_label_that_was_posted_in_the_cloud_is_the_gates_own_where_it_decided_the_payment(rig: Any) -> None:
    gate, alone = rig.open(), type(rig)(rig.scorer, rig.now_us, rig.clock).open()
    for one in (gate, alone):
        one.decide(rig.payment(1))
    rig.hear(gate, posted(1, 99, at_us=rig.now_us), 1)
    alone.label(rig.label(1, label_id="c-1"))
    assert gate.tally.fraud_labels == 1
    assert gate.window.cards.state.tobytes() == alone.window.cards.state.tobytes()
    gate.journal.commit()
    receipt = [record for _, record in gate.journal.scan() if record.kind is Kind.LABEL_RECEIVED]
    assert [record.values()["label_id"] for record in receipt] == ["c-1"]


def test_a_label_that_cannot_be_applied_holds_up_nothing(rig: Any) -> None:
    gate = rig.open()
    gate.decide(rig.payment(1))
    rig.hear(gate, posted(1, at_us=rig.now_us + 10 * MINUTE_US), 1)
    rig.hear(gate, posted(1, at_us=rig.now_us), 2)
    rig.hear(gate, posted(1, at_us=rig.now_us, verdict="legit"), 3)
    odds: list[dict[str, Any]] = [{"verdict": "perhaps"}, {"name": "no id"}, {"at_us": -(1 << 62)}]
    for number, odd in enumerate(odds, 4):
        rig.hear(gate, posted(1, **({"at_us": rig.now_us} | odd)), number)
    assert (gate.tally.fraud_labels, gate.tally.legit_labels) == (1, 0)
    assert gate.window.overlay.reached.version == 6


def told_on(gate: Gate) -> Deltas:
    """Return what the cloud makes of all that a gate journaled."""
    origin = Origin(SiteId(gate.settings.site), GateId(gate.settings.gate), gate.epoch)
    gate.journal.commit()
    records = [record for _, record in gate.journal.scan()]
    rows = [np.frombuffer(record.to_bytes(), DECISION) for record in records if record.kind is Kind.DECISION]
    said = [
        Verdict(record.pos, record.time_us, *(record.values()[name] for name in ("card", "feature_us", "delta")))
        for record in records
        if record.kind is Kind.LABEL_RECEIVED
    ]
    return Deltas(np.concatenate([uses(origin, np.concatenate(rows)), verdicts(origin, said)]))


def test_two_sites_that_heard_of_each_other_read_what_one_that_saw_all_reads(rig: Any) -> None:
    rng, clock = Random(7), rig.clock
    rigs = [type(rig)(rig.scorer, rig.now_us, clock, layer={"site": name}) for name in ("one", "two", "all")]
    one, two, both = gates = [made.open() for made in rigs]
    for number in range(60):
        clock.advance(rng.choice((1_000_000, 400_000_000, 7_200_000_000)))
        here = rng.randrange(2)
        late = rng.choice((0, 0, 3_600_000_000))
        occurred = rfc3339(clock.now_us() - late)
        request = rig.payment(
            number, card=f"card-{rng.randrange(6)}", terminal=f"t-{here}", occurred_at=occurred,
            amount={"minor": rng.randrange(1, 90_000), "currency": "EUR"},
        )  # fmt: skip
        for gate in (gates[here], both):
            gate.decide(request)
            if number % 4 == 0:
                gate.label(rig.label(number))
    for made, gate, other in ((rigs[0], one, two), (rigs[1], two, one)):
        made.hear(gate, told_on(other), 1)

    for number, here in enumerate((0, 1, 0, 1), 100):
        request = rig.payment(number, card=f"card-{number % 2}", terminal=f"t-{here}")
        vectors = [gate.decide(request).decided.features for gate in (gates[here], both)]
        assert vectors[0] == vectors[1]
        rigs[1 - here].hear(gates[1 - here], told_on_last(gates[here]), number)


def told_on_last(gate: Gate) -> Deltas:
    """Return what the cloud makes of a gate's last decision."""
    batch = told_on(gate)
    rows = batch.of_cards()
    return Deltas(rows[rows["pos"] == rows["pos"][rows["kind"] == DeltaKind.USE].max()])


def lived(rig: Any) -> Gate:
    """Return a gate that heard of other sites between its decisions."""
    gate: Gate = rig.open()
    for number in range(1, 25):
        rig.clock.advance(30_000_000)
        gate.decide(rig.payment(number, card=f"card-{number % 18}"))
        if number % 3 == 0:
            cards = [f"card-{at % 20}" for at in range(number, number + 9)]
            rig.hear(gate, used(*cards, at_us=rig.clock.now_us()), 2 * number)
        if number % 5 == 0:
            rig.hear(gate, posted(number - 1, at_us=rig.clock.now_us()), 2 * number + 1)
    return gate


def test_a_gate_that_was_killed_knows_what_it_knew(rig: Any) -> None:
    gate = lived(rig)
    again = rig.reopen(gate)
    assert again.window.overlay.reached == gate.window.overlay.reached
    for table, other in (
        (again.window.overlay.cards, gate.window.overlay.cards),
        (again.window.cards, gate.window.cards),
    ):
        assert table.state.tobytes() == other.state.tobytes()
        assert table.holders.tobytes() == other.holders.tobytes()
    assert gate.window.overlay.evictions


def test_a_decision_is_computed_again_with_what_was_known_then(rig: Any) -> None:
    gate = lived(rig)
    for number in (2, 7, 24):
        rig.hear(gate, used(f"card-{number % 18}", at_us=rig.clock.now_us()), 100 + number)
        gate.journal.commit()
        found = replay_of(rig, gate, number)
        assert found.stored().differences == ()
        assert found.recompute().differences == ()


def replay_of(rig: Any, gate: Gate, number: int) -> Replay:
    place = gate.state.places_of(gate.epoch).find(number)
    assert place is not None
    wanted = RecordId.parse(f"{gate.settings.site}.{gate.settings.gate}.{gate.epoch}.L1.{number}")
    assert wanted is not None
    disks = {"journal": rig.disk, "checkpoints": rig.checkpoints, "orders": rig.orders}
    return Replay(wanted=wanted, load=lambda _: rig.scorer, **disks)


def without_packs(rig: Any) -> None:
    for name in list(rig.orders.sizes()):
        if name.startswith("deltas/"):
            rig.orders.remove(name)


def test_without_its_packs_a_decision_is_not_computed_again_and_it_is_said_why(rig: Any) -> None:
    gate = lived(rig)
    gate.journal.commit()
    without_packs(rig)
    found = replay_of(rig, gate, 24)
    assert found.stored().equal
    with pytest.raises(NotFoundError, match=r"not kept at this site any more.*--stored"):
        found.recompute()
    assert replay_of(rig, gate, 2).recompute().equal


def test_without_its_packs_a_start_forgets_other_sites_by_a_record_and_asks_anew(rig: Any) -> None:
    gate = lived(rig)
    gate.journal.commit()
    without_packs(rig)
    again = rig.reopen(gate)
    assert overlay_answer(again) == {"version": 0, "as_of": None, "cards": 0, "whole": True}
    assert again.window.cards.state.tobytes() == gate.window.cards.state.tobytes()
    rig.hear(again, used("card-1", at_us=rig.clock.now_us()), 90)
    third = rig.reopen(again)
    assert third.window.overlay.states.tobytes() == again.window.overlay.states.tobytes()
    assert [record.kind for _, record in third.journal.scan()].count(Kind.OVERLAY_DROPPED) == 1


def test_the_intake_keeps_counts_and_makes_durable_and_a_batch_given_twice_counts_once(rig: Any) -> None:
    gate, wire = rig.open(), used("card-1", at_us=rig.now_us).to_bytes()
    door = intake(rig, gate)
    for _ in range(2):
        told = asyncio.run(door.take(0, since=0, until=3, wire=wire))
        assert (told["version"], told["cards"]) == (3, 1)
        assert gate.journal.durable_pos == gate.journal.last_pos
    assert gate.tally.deltas == 1
    assert count_1h(gate, rig.payment(1)) == 2


def test_the_intake_applies_the_labels_of_a_batch_a_few_at_a_time(rig: Any) -> None:
    gate, many = rig.open(), LABELS_AT_ONCE + 3
    for number in range(many):
        gate.decide(rig.payment(number))
    wire = posted(*range(many), at_us=rig.now_us).to_bytes()
    asyncio.run(intake(rig, gate).take(0, since=0, until=1, wire=wire))
    assert gate.tally.fraud_labels == many


def test_the_intake_refuses_what_is_no_batch_and_keeps_nothing_of_it(rig: Any) -> None:
    gate = rig.open()
    with pytest.raises(DeltaError):
        asyncio.run(intake(rig, gate).take(0, since=0, until=3, wire=b"TGD1 or not"))
    assert rig.orders.sizes() == {}
    assert not gate.window.overlay.begun


def test_a_batch_that_the_disk_did_not_take_is_not_counted_and_may_be_given_again(rig: Any) -> None:
    gate, wire = rig.open(), used("card-1", at_us=rig.now_us).to_bytes()
    door = intake(rig, gate)
    rig.orders.fail_next_sync()
    with pytest.raises(OSError, match="sync"):
        asyncio.run(door.take(0, since=0, until=3, wire=wire))
    assert not gate.window.overlay.begun
    assert asyncio.run(door.take(0, since=0, until=3, wire=wire))["version"] == 3


def test_a_gate_that_came_back_elsewhere_takes_nothing_that_was_asked_for_before(rig: Any) -> None:
    gate, wire = rig.open(), used("card-1", at_us=rig.now_us).to_bytes()
    with pytest.raises(InvalidError, match="the overlay is at 0 by now, and not at 5: ask for what begins there"):
        asyncio.run(intake(rig, gate).take(5, since=5, until=6, wire=wire))
    assert rig.orders.sizes() == {}
    assert asyncio.run(intake(rig, gate).take(0, since=5, until=6, wire=wire))["whole"] is False


def test_that_there_is_nothing_holds_no_longer_than_the_cloud_says(rig: Any) -> None:
    gate = rig.open()
    door = intake(rig, gate)
    asyncio.run(door.take(0, since=0, until=3, wire=used("card-1", at_us=rig.now_us).to_bytes()))
    heard_us, before = gate.window.overlay.reached.as_of_us, gate.journal.last_pos
    rig.clock.advance(10 * MINUTE_US)
    asyncio.run(door.nothing_came(3, heard_us))
    assert gate.journal.last_pos == before
    asyncio.run(door.nothing_came(3, heard_us + 2 * MINUTE_US))
    assert gate.window.overlay.reached.as_of_us == heard_us + 2 * MINUTE_US


def test_a_log_that_began_again_takes_along_what_came_of_it(rig: Any) -> None:
    gate = rig.open()
    door = intake(rig, gate)
    asyncio.run(door.take(0, since=0, until=3, wire=used("card-1", at_us=rig.now_us).to_bytes()))
    assert asyncio.run(door.began_again(7))["version"] == 3
    assert asyncio.run(door.began_again(3)) == {"version": 0, "as_of": None, "cards": 0, "whole": True}
    assert rig.reopen(gate).window.overlay.reached.version == 0


def test_that_nothing_came_is_noted_once_a_minute_and_only_of_where_the_overlay_is(rig: Any) -> None:
    gate = rig.open()
    door = intake(rig, gate)

    def told(version: int) -> int:
        before = gate.journal.last_pos
        asyncio.run(door.nothing_came(version, rig.clock.now_us()))
        return int(gate.journal.last_pos - before)

    assert told(0) == 0
    asyncio.run(door.take(0, since=0, until=3, wire=used("card-1", at_us=rig.now_us).to_bytes()))
    rig.clock.advance(MINUTE_US)
    assert [told(2), told(3), told(3)] == [0, 1, 0]
    assert gate.decide(rig.payment(1)).decided.features_as_of_us == rig.clock.now_us()
    assert rig.reopen(gate).window.overlay.reached == gate.window.overlay.reached


def test_an_epoch_that_begins_anew_knows_nothing_of_other_sites(rig: Any) -> None:
    gate = rig.open()
    rig.hear(gate, used("card-1", at_us=rig.now_us), 3)
    gate.journal.commit()
    rig.disk = MemoryDisk()
    assert not rig.open().window.overlay.begun
