"""Journals in words, and the verdict that exits."""

from random import Random
from typing import Any

from actors.journal.memory import MemoryDisk
from actors.journal.report import show_lines, verify_lines
from actors.journal.verify import verify
from tidegate import records as vocabulary
from tidegate.records import Lane


def test_a_whole_journal_is_ok_with_its_counts_and_heads(rig: Any) -> None:
    journal, _ = rig.open()
    rig.decide(journal, 3)
    head = journal.head(Lane.DECISIONS)
    journal.close()

    verdict = verify(rig.disk)

    assert verdict.ok
    lines = list(verify_lines(verdict))
    assert lines[0] == f"epoch 0001-{journal.epoch}: 4 records, began because of first_start"
    assert lines[1] == f"  L1 decisions: 3 records, last seq 3, chain {head.chain.hex()[:16]}"
    assert lines[-1] == "ok: every durable record is there"


def test_a_loss_is_not_ok_and_says_what_and_where(rig: Any) -> None:
    journal, _ = rig.open()
    rig.decide(journal, 3)
    journal.close()
    name = rig.segments()[0]
    rig.disk.garble(name, 1_400, b"rotten")
    before = {file: rig.disk.read(file) for file in rig.disk.sizes()}

    verdict = verify(rig.disk)

    assert not verdict.ok
    assert f"LOST positions 3..3 (L1 2..2): {name} byte" in "\n".join(verify_lines(verdict))
    assert {file: rig.disk.read(file) for file in rig.disk.sizes()} == before


def test_a_recorded_loss_of_an_old_epoch_stays_a_loss(rig: Any) -> None:
    journal, _ = rig.open()
    rig.decide(journal, 3)
    journal.close()
    rig.disk.garble(rig.segments()[0], 1_400, b"rotten")
    rig.open()[0].close()

    verdict = verify(rig.disk)

    assert [epoch.ok for epoch in verdict.epochs] == [False, True]
    assert not verdict.ok


def test_a_tear_is_told_and_no_loss(rig: Any) -> None:
    journal, _ = rig.open()
    rig.decide(journal, 3)
    journal.close()
    rig.disk.garble(rig.segments()[0], 60_000, b"torn")

    verdict = verify(rig.disk)

    assert verdict.ok
    assert "torn tail" in "\n".join(verify_lines(verdict))
    assert "torn tail" not in "\n".join(verify_lines(verdict, in_use=True))
    assert "in use: " in "\n".join(verify_lines(verdict, in_use=True))


def test_an_epoch_that_this_program_cannot_read_is_refused_and_the_others_are_verified(
    rig: Any, monkeypatch: Any
) -> None:
    monkeypatch.setitem(vocabulary.SCHEMAS, Lane.DECISIONS, "00112233445566ff")
    rig.open()[0].close()
    monkeypatch.undo()
    other = type(rig)()
    other.rng = Random(99)
    other.open()[0].close()
    for name in other.disk.sizes():
        if "/" in name:
            data = other.disk.read(name)
            rig.disk.create(name.replace("0001-", "0002-"), len(data)).pwrite(data, 0)

    verdict = verify(rig.disk)

    assert not verdict.ok
    assert [epoch.ok for epoch in verdict.epochs] == [False, True]
    assert "REFUSED" in next(verify_lines(verdict))


def test_an_empty_folder_has_no_journal() -> None:
    assert next(verify_lines(verify(MemoryDisk()))) == "no journal here"


def test_records_are_shown_one_a_line_by_lane_position_and_number(rig: Any) -> None:
    journal, _ = rig.open()
    rig.decide(journal, 3)
    rig.evict(journal, 5)
    rig.decide(journal)
    journal.close()

    assert len(list(show_lines(rig.disk))) == 6
    events = list(show_lines(rig.disk, lane=Lane.EVENTS))
    assert events[1] == '1 5 L2.2 2026-11-18T11:06:40.000000Z CARD_EVICTED {"card":"ccccc"}'
    (second,) = show_lines(rig.disk, lane=Lane.DECISIONS, from_pos=3, limit=1)
    assert second.startswith("1 3 L1.2 2026-11-18T11:06:40.000000Z DECISION transaction_id=")
