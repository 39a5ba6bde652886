"""Opening a journal with what the cloud is known to have: a copy that was put back begins a new epoch."""

from random import Random
from typing import Any

import pytest

from actors.journal.journal import Journal
from actors.journal.memory import PowerCut
from actors.journal.recovery import Reason
from tidegate.ids import EpochId
from tidegate.records import Lane
from tidegate.tideline import Witness


def witness_of(journal: Journal, lane: Lane = Lane.DECISIONS) -> Witness:
    head = journal.head(lane)
    return Witness(journal.epoch, lane, head.seq, head.chain)


def put_back(rig: Any, before: int, lost: int, since: int) -> Witness:
    """Let a copy be put back that lacks `lost` decisions, and go on with `since` others; return what the cloud has."""
    journal, _ = rig.open()
    rig.decide(journal, before)
    journal.commit()
    copy = rig.disk.copy()
    rig.decide(journal, lost)
    journal.commit()
    witness, rig.disk = witness_of(journal), copy
    journal, _ = rig.open()
    rig.decide(journal, since)
    journal.commit()
    return witness


@pytest.mark.parametrize("since", [0, 3, 5, 40], ids=["at once", "shorter", "as long", "longer"])
def test_a_copy_that_was_put_back_begins_a_new_epoch_and_keeps_what_it_has(rig: Any, since: int) -> None:
    witness = put_back(rig, 10, 5, since)
    kept = rig.entries()

    rig.witness = witness
    journal, recovery = rig.reopen()

    assert (recovery.new_epoch, recovery.reason) == (True, Reason.RESTORED)
    assert recovery.offline_approvals
    assert journal.epoch != witness.epoch
    started = next(journal.scan())[1].values()
    assert (started["reason"], started["previous"]) == ("restored", witness.epoch)
    assert started["cloud"] == {"lane": 1, "seq": 15}
    assert rig.entries()[: len(kept)] == kept


def test_a_witness_that_agrees_or_is_of_another_epoch_changes_nothing(rig: Any) -> None:
    journal, _ = rig.open()
    rig.decide(journal, 7)
    journal.commit()
    agreeing, epoch = witness_of(journal), journal.epoch
    rig.decide(journal, 2)
    journal.commit()

    for witness in (agreeing, agreeing._replace(epoch=EpochId("f" * 16), seq=99), agreeing._replace(chain=b"")):
        rig.witness = witness
        journal, recovery = rig.reopen()
        assert (journal.epoch, recovery.new_epoch) == (epoch, False)


def test_the_epoch_behind_a_copy_that_was_put_back_goes_on_under_the_same_witness(rig: Any) -> None:
    rig.witness = put_back(rig, 10, 5, 3)
    journal, _ = rig.reopen()
    rig.decide(journal, 30)
    journal.commit()
    epoch = journal.epoch

    journal, recovery = rig.reopen()

    assert (journal.epoch, recovery.new_epoch, recovery.reason) == (epoch, False, Reason.RESTORED)


def test_a_power_cut_at_any_step_of_a_new_epoch_leaves_what_the_next_start_begins_again(rig: Any) -> None:
    rig.witness = put_back(rig, 4, 2, 1)
    rig.disk.kill()
    base, step = rig.disk.copy(), 0
    while True:
        step += 1
        rig.disk = base.copy()
        rig.disk.cut_at(step)
        try:
            journal, recovery = rig.open()
        except PowerCut:
            rig.disk.crash(Random(step))
            journal, recovery = rig.open()
            assert (recovery.reason, journal.epoch_index) == (Reason.RESTORED, 2)
            continue
        assert recovery.reason is Reason.RESTORED
        assert step > 10
        return
