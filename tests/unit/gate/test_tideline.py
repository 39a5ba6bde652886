"""What a gate makes of the files that its uplink writes: a witness is believed where the journal bears it out."""

from typing import Any

import pytest

from actors.gate.tideline import RestoredError, Tideline
from actors.journal.memory import MemoryDisk
from tidegate.records import Lane
from tidegate.tideline import WITNESS, Witness, witness_bytes


@pytest.fixture
def tide() -> MemoryDisk:
    return MemoryDisk()


def decided(rig: Any, count: int) -> Any:
    gate = rig.open()
    for number in range(count):
        gate.decide(rig.payment(number))
    gate.journal.commit()
    return gate


def test_a_gate_is_told_that_its_journal_is_an_older_copy_and_begins_a_new_epoch(rig: Any, tide: MemoryDisk) -> None:
    gate = decided(rig, 3)
    old, tideline = gate.epoch, Tideline(tide, rig.disk)
    tideline.check(old)
    tide.replace(WITNESS, witness_bytes(Witness(old, Lane.DECISIONS, 5, b"\x01" * 32)))

    with pytest.raises(RestoredError, match=f"another history of epoch {old}, through L1 5"):
        tideline.check(old)

    rig.tideline = tideline
    again = rig.reopen(gate)
    tideline.check(again.epoch)
    assert again.epoch != old
    assert again.state.epoch_began == "restored"
    assert again.offline_approvals
    assert again.decide(rig.payment(1)).replayed  # what it holds of the old epoch still answers


def test_a_witness_that_the_journal_bears_out_is_looked_at_once(rig: Any, tide: MemoryDisk) -> None:
    gate = decided(rig, 3)
    seq, chain = gate.journal.head(Lane.DECISIONS)
    tide.replace(WITNESS, witness_bytes(Witness(gate.epoch, Lane.DECISIONS, seq, chain)))
    gate.decide(rig.payment(9))
    gate.journal.commit()
    tideline = Tideline(tide, rig.disk)

    tideline.check(gate.epoch)
    rig.disk.garble(rig.disk.sizes().__iter__().__next__(), 0, b"\xff" * 4)
    tideline.check(gate.epoch)


def test_a_torn_witness_says_nothing(rig: Any, tide: MemoryDisk) -> None:
    gate = decided(rig, 1)
    tide.replace(WITNESS, b'{"format": 1, "epoch": "')

    Tideline(tide, rig.disk).check(gate.epoch)
