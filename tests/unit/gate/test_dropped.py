"""A gate whose oldest segments were dropped behind the cloud: it decides, replays, answers what it still can."""

from typing import Any

import pytest

from actors.gate.places import Places
from actors.gate.replay import Replay
from actors.gate.start import line_of, store_checkpoint
from actors.gate.state import State
from actors.gate.tideline import Tideline
from actors.journal.layout import epoch_names
from actors.journal.memory import MemoryDisk
from actors.journal.trim import trim
from tidegate.clock import rfc3339
from tidegate.errors import NotFoundError
from tidegate.ids import RecordId
from tidegate.limits import REPLAY_WINDOW_US
from tidegate.passages import Span
from tidegate.records import Lane
from tidegate.tideline import COMMITTED, committed_bytes

COUNT = 200


def decide(rig: Any, gate: Any, numbers: range) -> None:
    for number in numbers:
        gate.decide(rig.payment(number, card=f"card-{number % 9}"))
        gate.journal.commit()


def checkpoint(rig: Any, gate: Any) -> None:
    copy = gate.window.copy()
    while not copy.step():
        pass
    store_checkpoint(rig.checkpoints, gate.epoch, gate.journal.durable_pos, copy)


@pytest.fixture
def dropped(rig: Any) -> Any:
    """A gate of three segments, old, in the cloud, under two checkpoints, of which the first was dropped."""
    gate, tide = rig.open(), MemoryDisk()
    rig.obey(gate, {"id": "all", "when": "true", "outcome": "challenge"})
    rig.list(gate, "watch,card,card-1")
    decide(rig, gate, range(COUNT))
    checkpoint(rig, gate)
    decide(rig, gate, range(COUNT, COUNT + 3))
    checkpoint(rig, gate)
    rig.clock.advance(REPLAY_WINDOW_US + 2)
    spans = {(gate.epoch, lane): (Span(1, gate.journal.head(lane).seq),) for lane in (Lane.DECISIONS, Lane.EVENTS)}
    tide.replace(COMMITTED, committed_bytes(spans))
    rig.tideline = Tideline(tide, rig.disk)
    line = line_of(rig.tideline, rig.checkpoints, gate.epoch, gate.now_us())
    assert line is not None
    name = epoch_names(rig.disk.sizes())[0]
    assert trim(rig.disk, name, 99, line, current=True) == 2
    return rig.reopen(gate)


def test_it_starts_with_what_it_was_and_decides_under_the_same_policy(rig: Any, dropped: Any) -> None:
    again = rig.reopen(dropped)

    assert again.epoch == dropped.epoch
    assert again.basis.policy == dropped.basis.policy
    assert [rule.id for rule in again.basis.policy.terms.rules] == ["all"]
    assert again.basis.lists.version == 1
    assert again.state.epoch_began == "first_start"
    assert again.window.cards.state.tobytes() == dropped.window.cards.state.tobytes()


def test_a_payment_of_what_was_dropped_is_a_new_one_and_what_is_kept_has_its_first_answer(
    rig: Any, dropped: Any
) -> None:
    then = rfc3339(rig.now_us)

    assert dropped.decide(rig.payment(COUNT, card=f"card-{COUNT % 9}", occurred_at=then)).replayed
    assert not dropped.decide(rig.payment(0, card="card-0", occurred_at=then)).replayed


def replay(rig: Any, gate: Any, seq: int) -> Replay:
    wanted = RecordId(gate.settings.site, gate.settings.gate, gate.epoch, int(Lane.DECISIONS), seq)
    return Replay(
        wanted=wanted, journal=rig.disk, checkpoints=rig.checkpoints, orders=rig.orders, load=lambda _: rig.scorer
    )


def test_what_is_kept_replays_and_is_computed_again_where_a_checkpoint_covers_what_was_dropped(
    rig: Any, dropped: Any
) -> None:
    places = dropped.state.places[dropped.epoch]
    latest = replay(rig, dropped, places.last)
    oldest = replay(rig, dropped, next(seq for seq in range(1, COUNT) if places.find(seq)))

    assert latest.stored().equal
    assert latest.recompute().equal
    assert oldest.stored().equal
    with pytest.raises(NotFoundError, match="were dropped here once the cloud had them"):
        oldest.recompute()


def test_a_gate_that_goes_on_finds_no_answer_where_a_record_was_dropped(rig: Any) -> None:
    gate = rig.open()
    decide(rig, gate, range(COUNT))
    places = gate.state.places[gate.epoch]
    first = places.find(1)
    state: State = gate.state

    places.forget(places.find(50))

    assert first is not None
    assert [places.find(seq) for seq in (1, 49)] == [None, None]
    assert places.find(50) is not None
    assert [seq for seq, _ in places.before(60, 100)] == list(range(59, 49, -1))
    assert state.places[gate.epoch] is places


def test_places_forget_over_several_blocks_and_go_on() -> None:
    places = Places()
    for seq in range(1, 140_001):
        places.put(seq, 10 * seq)

    places.forget(10 * 70_000)
    places.forget(10 * 139_999)
    places.put(140_001, 1_400_010)

    assert [places.find(seq) for seq in (1, 65_536, 70_000, 139_998)] == [None] * 4
    assert [places.find(seq) for seq in (139_999, 140_001)] == [1_399_990, 1_400_010]
