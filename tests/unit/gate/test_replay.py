"""A replay reads of the journal what it needs, once."""

from typing import Any

import pytest

from actors.gate.replay import Replay
from tidegate.errors import NotFoundError
from tidegate.ids import RecordId


def replay(rig: Any, decision: str) -> Replay:
    wanted = RecordId.parse(decision)
    assert wanted is not None
    return Replay(
        wanted=wanted, journal=rig.disk, checkpoints=rig.checkpoints, orders=rig.orders, load=lambda _bundle: rig.scorer
    )


def test_a_stored_replay_is_done_with_the_journal_once_the_decision_is_found(rig: Any) -> None:
    gate = rig.open()
    rig.list(gate, "watch,card,card-1")
    rig.obey(gate, {"id": "all", "when": "true", "outcome": "challenge"})
    decided = gate.decide(rig.payment(1))
    rig.obey(gate, {"id": "none", "when": "false", "outcome": "decline"})
    gate.decide(rig.payment(2))
    gate.journal.commit()

    found = replay(rig, gate.answer(decided)["decision_id"])
    for name in list(rig.disk.sizes()):
        rig.disk.remove(name)

    assert found.stored().equal
    assert [rule.id for rule in found.basis().policy.terms.rules] == ["all"]


def test_decisions_of_either_epoch_are_found_and_come_out_again(rig: Any) -> None:
    gate = rig.open()
    ids = [gate.answer(gate.decide(rig.payment(1)))["decision_id"]]
    gate.journal.commit()
    rig.mark = "another machine"
    gate = rig.reopen(gate)
    ids += [gate.answer(gate.decide(rig.payment(number)))["decision_id"] for number in (2, 3)]
    gate.journal.commit()

    assert len({decision.split(".")[2] for decision in ids}) == 2
    for decision in ids:
        assert replay(rig, decision).stored().equal
        assert replay(rig, decision).recompute().equal
    with pytest.raises(NotFoundError, match="no such decision"):
        replay(rig, ids[0].rpartition(".")[0] + ".9")
