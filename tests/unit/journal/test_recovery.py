"""Opening a journal: what is torn, what is damaged, whose it is, and what an epoch remembers."""

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from actors.journal.journal import Journal
from actors.journal.layout import (
    APPEND_BYTES,
    FORMAT_VERSION,
    HEADER_BYTES,
    append_seed,
    located,
    pack_append,
    parse_append,
)
from actors.journal.log import Entry
from actors.journal.recovery import Reason, Recovery
from tidegate import records as vocabulary
from tidegate.errors import JournalError, JournalFormatError
from tidegate.ids import GateId, SiteId
from tidegate.limits import LOST_RANGES_TOLD_MAX
from tidegate.records import Kind, Lane, Record


def scanned(journal: Journal) -> list[Record]:
    return [record for _, record in journal.scan()]


def start_of(entry: Entry) -> int:
    """Where the append of a single record begins."""
    return located(entry[0])[2] - APPEND_BYTES


def lost_positions(recovery: Recovery) -> list[int]:
    return [pos for lost in recovery.lost for pos in range(lost.first_pos, lost.last_pos + 1)]


# --- Epochs. ---


def test_the_first_start_begins_an_epoch_and_says_so_in_its_first_record(rig: Any) -> None:
    journal, recovery = rig.open()

    assert recovery.new_epoch
    assert recovery.reason is Reason.FIRST_START
    assert recovery.offline_approvals
    assert recovery.last_pos == journal.durable_pos == 1
    assert [record.kind for record in scanned(journal)] == [Kind.EPOCH_STARTED]
    assert scanned(journal)[0].values() == {
        "epoch": journal.epoch,
        "previous": "",
        "reason": "first_start",
        "site": "s1",
        "gate": "g0",
        "machine_mark": "m1",
        "offline_approvals": 1,
    }


def test_a_restart_goes_on_in_the_same_epoch(rig: Any) -> None:
    journal, _ = rig.open()
    entries = rig.decide(journal, 3)
    head = journal.head(Lane.DECISIONS)
    journal.close()

    journal, recovery = rig.open()

    assert not recovery.new_epoch
    assert recovery.torn is None
    assert list(journal.scan())[1:] == entries
    assert journal.head(Lane.DECISIONS) == head
    assert rig.decide(journal)[0][1].seq == 4


def test_what_an_orderly_close_left_survives_a_power_cut(rig: Any) -> None:
    journal, _ = rig.open()
    entries = rig.decide(journal, 3)
    journal.close()
    rig.disk.crash(Random(1))

    assert list(rig.open()[0].scan())[1:] == entries


def test_another_machine_begins_an_epoch_of_its_own(rig: Any) -> None:
    journal, first = rig.open()
    rig.decide(journal, 2)
    journal.close()
    rig.owner = replace(rig.owner, machine_mark="m2")

    journal, recovery = rig.open()

    assert recovery.reason is Reason.MACHINE_CHANGED
    assert recovery.epoch_index == 2
    assert recovery.epoch != first.epoch
    assert recovery.offline_approvals
    assert scanned(journal)[0].values()["previous"] == first.epoch
    assert [record.pos for _, record in rig.entries()] == [1, 2, 3, 1]


def test_approvals_offline_stay_off_in_every_later_epoch(rig: Any) -> None:
    journal, _ = rig.open()
    entry = rig.decide(journal, 3)[1]
    journal.close()
    rig.disk.garble(rig.segments()[0], start_of(entry) + 30, b"rotten")
    assert not rig.open()[1].offline_approvals
    assert not rig.reopen()[1].offline_approvals
    rig.owner = replace(rig.owner, machine_mark="m2")

    recovery = rig.reopen()[1]

    assert recovery.reason is Reason.MACHINE_CHANGED
    assert not recovery.offline_approvals


def test_time_found_in_the_journal_is_a_floor_for_the_clock(rig: Any) -> None:
    journal, _ = rig.open()
    entries = rig.decide(journal)
    journal.close()
    rig.clock.advance(-1_000_000)

    assert rig.open()[1].last_time_us == entries[0][1].time_us


def test_a_journal_is_held_by_one_process(rig: Any) -> None:
    rig.open()

    with pytest.raises(JournalError, match="another process"):
        rig.open()


def test_a_journal_that_is_refused_is_let_go_of(rig: Any) -> None:
    rig.open()[0].close()
    mine, rig.owner = rig.owner, replace(rig.owner, site=SiteId("s2"))
    with pytest.raises(JournalFormatError):
        rig.open()
    rig.owner = mine

    assert not rig.open()[1].new_epoch


def test_what_a_killed_process_left_unsynced_is_durable_before_it_is_served(rig: Any) -> None:
    for way in range(8):
        rig = type(rig)()
        journal, _ = rig.open()
        torn_batch(rig, journal, 3)
        served = list(rig.reopen()[0].scan())
        assert len(served) == 4

        rig.disk.crash(Random(way))

        assert list(rig.open()[0].scan()) == served


# --- Torn tails. ---


def torn_batch(rig: Any, journal: Journal, count: int) -> list[Entry]:
    """Write a batch of `count` decisions that is never synced nor acknowledged."""
    entries: list[Entry] = rig.decide(journal, count)
    batch = journal.take()
    assert batch is not None
    for part in batch.parts:
        rig.disk.open(rig.segments()[-1]).pwrite(part.data, part.start)
    return entries


def test_a_torn_tail_is_cut_and_told_by_the_next_record(rig: Any) -> None:
    journal, _ = rig.open()
    kept = rig.decide(journal, 2)
    journal.commit()
    (entry,) = torn_batch(rig, journal, 1)
    rig.disk.garble(rig.segments()[0], start_of(entry) + 100, b"torn")

    journal, recovery = rig.reopen()

    assert recovery.torn is not None
    assert (recovery.torn.offset, recovery.torn.first_pos, recovery.torn.last_pos) == (start_of(entry), 4, 0)
    assert list(journal.scan())[1:3] == kept
    told = scanned(journal)[3]
    assert told.kind is Kind.TAIL_CUT
    assert told.values() == {
        "file": rig.segments()[0],
        "offset": start_of(entry),
        "used": recovery.torn.used,
        "first_pos": 4,
        "last_pos": 0,
    }


def test_a_later_append_that_survived_a_torn_batch_is_cut_with_it(rig: Any) -> None:
    """It carries the durable position of its time: so nothing behind the tear was ever acknowledged."""
    journal, _ = rig.open()
    kept = rig.decide(journal, 2)
    journal.commit()
    first, second, third = torn_batch(rig, journal, 3)
    rig.disk.garble(rig.segments()[0], start_of(second) + 100, b"torn")

    journal, recovery = rig.reopen()

    assert recovery.torn is not None
    assert (recovery.torn.first_pos, recovery.torn.last_pos) == (second[1].pos, third[1].pos)
    assert list(journal.scan())[1:4] == [*kept, first]
    assert [record.kind for record in scanned(journal)[4:]] == [Kind.TAIL_CUT]


def test_nothing_behind_a_cut_is_ever_taken_for_valid_again(rig: Any) -> None:
    journal, _ = rig.open()
    rig.decide(journal, 2)
    journal.commit()
    first, *_ = torn_batch(rig, journal, 5)
    rig.disk.garble(rig.segments()[0], start_of(first) + 100, b"torn")
    journal, _ = rig.reopen()

    journal, recovery = rig.reopen()

    assert recovery.torn is None
    assert [record.kind for record in scanned(journal)[3:]] == [Kind.TAIL_CUT]
    tail = rig.disk.read(rig.segments()[0])[start_of(first) :]
    assert len(tail.rstrip(b"\0")) < 300


def test_a_tear_in_the_header_of_the_next_segment_is_cut(rig: Any) -> None:
    journal, _ = rig.open()
    entries = rig.fill_segment(journal)
    rig.disk.garble(rig.mark, 0, b"lost")  # as after a power cut: it was never synced
    rig.disk.garble(rig.segments()[1], 10, b"torn")

    journal, recovery = rig.reopen()

    assert not recovery.new_epoch
    assert recovery.torn is not None
    assert list(journal.scan())[1:-1] == entries[:-1]
    assert scanned(journal)[-1].kind is Kind.TAIL_CUT
    assert all(b"torn" not in rig.disk.read(name)[:64] for name in rig.segments())
    rig.fill_segment(journal)
    assert rig.reopen()[1].torn is None


def test_a_file_cut_short_behind_its_last_record_is_told_as_a_tear(rig: Any) -> None:
    journal, _ = rig.open()
    entries = rig.decide(journal, 2)
    journal.close()
    rig.disk.truncate(rig.segments()[0], start_of(entries[1]) + APPEND_BYTES + vocabulary.DECISION.itemsize)

    journal, recovery = rig.open()

    assert recovery.torn is not None
    assert recovery.torn.used == 0
    assert list(journal.scan())[1:3] == entries
    assert set(rig.disk.sizes().values()) >= {rig.bounds.segment_bytes}


def test_an_empty_segment_left_by_a_crash_is_used(rig: Any) -> None:
    journal, _ = rig.open()
    entries = rig.decide(journal, 2)
    journal.close()
    rig.disk.create(rig.segments()[0].replace("01.seg", "02.seg"), 100)

    journal, recovery = rig.open()

    assert recovery.torn is None
    entries += rig.fill_segment(journal)
    entries += rig.fill_segment(journal)
    assert {rig.disk.sizes()[name] for name in rig.segments()} == {rig.bounds.segment_bytes}
    journal, recovery = rig.reopen()
    assert recovery.torn is None
    assert list(journal.scan())[1:] == entries


def test_a_segment_filled_to_its_last_byte_is_followed_by_the_next(rig: Any) -> None:
    journal, _ = rig.open()
    rig.fill_segment(journal)
    used = len(rig.disk.read(rig.segments()[1]).rstrip(b"\0"))
    while rig.bounds.segment_bytes - used > 6_000:
        used = start_of(rig.evict(journal, 1_000)) + APPEND_BYTES + vocabulary.HEAD_BYTES + 1_011
    rest = rig.bounds.segment_bytes - used - APPEND_BYTES - vocabulary.HEAD_BYTES - len('{"card":""}')
    rig.evict(journal, rest)
    journal.commit()
    assert rig.disk.read(rig.segments()[1])[-1:] == b"}"
    before = scanned(journal)

    journal, recovery = rig.reopen()
    assert recovery.torn is None
    entry = rig.decide(journal)[0]
    journal.commit()

    assert located(entry[0])[1:] == (3, HEADER_BYTES + APPEND_BYTES)
    journal, recovery = rig.reopen()
    assert not recovery.new_epoch
    assert scanned(journal) == [*before, entry[1]]


def test_a_tear_right_at_the_border_of_a_full_segment_is_cut(rig: Any) -> None:
    journal, _ = rig.open()
    used = len(rig.disk.read(rig.segments()[0]).rstrip(b"\0"))
    rest = rig.bounds.segment_bytes - used - APPEND_BYTES - vocabulary.HEAD_BYTES - len('{"card":""}')
    rig.evict(journal, rest)
    journal.commit()
    before = scanned(journal)
    rig.disk.create(rig.segments()[0].replace("01.seg", "02.seg"), rig.bounds.segment_bytes).pwrite(b"torn", 50)

    journal, recovery = rig.reopen()

    assert recovery.torn is not None
    assert scanned(journal)[:-1] == before
    assert scanned(journal)[-1].kind is Kind.TAIL_CUT
    assert rig.reopen()[1].torn is None


# --- Damage inside. ---


def test_damage_before_a_later_proof_of_durability_begins_a_new_epoch(rig: Any) -> None:
    """Without the mark, too: later appends carry the durable position of their time."""
    journal, _ = rig.open()
    _, second, third = rig.decide(journal, 3)
    journal.commit()
    rig.decide(journal)
    journal.commit()
    rig.disk.garble(rig.mark, 0, b"lost")
    rig.disk.garble(rig.segments()[0], start_of(second) + 100, b"rotten")
    before = rig.disk.read(rig.segments()[0])

    journal, recovery = rig.reopen()

    assert recovery.reason is Reason.DAMAGED
    (lost,) = recovery.lost
    assert (lost.first_pos, lost.last_pos) == (second[1].pos, second[1].pos)
    assert [(part.lane, part.first_seq, part.last_seq) for part in lost.lanes] == [(Lane.DECISIONS, 2, 2)]
    assert (lost.file, lost.start, lost.stop) == (rig.segments()[0], start_of(second), start_of(third))
    assert rig.disk.read(rig.segments()[0]) == before, "an epoch that is left is never changed"


def test_the_last_record_is_lost_only_where_the_mark_proves_it(rig: Any) -> None:
    journal, _ = rig.open()
    entries = rig.decide(journal, 2)
    journal.close()
    rig.disk.garble(rig.segments()[0], start_of(entries[1]) + 100, b"rotten")
    without_mark = rig.disk.copy()
    without_mark.garble(rig.mark, 0, b"lost")

    assert lost_positions(rig.open()[1]) == [3]
    rig.disk = without_mark
    recovery = rig.open()[1]
    assert recovery.lost == ()
    assert recovery.torn is not None


def test_a_garbled_length_loses_one_append_and_no_more(rig: Any) -> None:
    journal, _ = rig.open()
    entries = rig.decide(journal, 9)
    journal.close()
    for size in (0, 1, 70, 2_000_000, 0xFFFFFFFF):
        disk = rig.disk.copy()
        rig.disk.garble(rig.segments()[0], start_of(entries[4]) + 8, size.to_bytes(4, "little"))

        recovery = rig.open()[1]

        assert lost_positions(recovery) == [entries[4][1].pos]
        rig.disk = disk


def raw_append(rig: Any, segment: int, entry: Entry) -> bytes:
    """The bytes of the append of one decision."""
    start = start_of(entry)
    data: bytes = rig.disk.read(rig.segments()[segment])[start : start + APPEND_BYTES + vocabulary.DECISION.itemsize]
    return data


@pytest.mark.parametrize("segment", [0, 1])
def test_a_valid_append_behind_the_end_is_no_append(rig: Any, segment: int) -> None:
    """Bytes that a disk recycled must never come back as records."""
    journal, _ = rig.open()
    entries = rig.fill_segment(journal)
    journal.close()
    before = list(journal.scan())
    end = start_of(entries[-1]) + APPEND_BYTES + vocabulary.DECISION.itemsize
    rig.disk.garble(rig.segments()[1], end, raw_append(rig, segment, entries[-segment]))

    journal, recovery = rig.open()

    assert recovery.torn is not None
    assert list(journal.scan())[:-1] == before


def test_a_misdirected_write_loses_what_it_hit_and_repeats_nothing(rig: Any) -> None:
    journal, _ = rig.open()
    entries = rig.decide(journal, 9)
    journal.close()
    rig.disk.garble(rig.segments()[0], start_of(entries[3]), raw_append(rig, 0, entries[4]))

    journal, recovery = rig.open()

    assert lost_positions(recovery) == [entries[3][1].pos]
    assert [entry for entry in rig.entries() if entry[1].lane is Lane.DECISIONS] == entries[:3] + entries[4:]


def test_an_append_of_another_epoch_is_no_append_at_its_very_place(rig: Any) -> None:
    """The same site, segment, offset and numbers: only the epoch tells them apart."""
    journal, _ = rig.open()
    rig.evict(journal, 1_000)
    stale = rig.decide(journal)[0]
    journal.close()
    data = raw_append(rig, 0, stale)
    rig.owner = replace(rig.owner, machine_mark="m2")
    journal, _ = rig.open()
    rig.evict(journal, 1_000 - len("machine_changed") + len("first_start") - len(journal.epoch))
    entries = rig.decide(journal, 2)
    journal.close()
    assert start_of(entries[0]) == start_of(stale)
    assert entries[0][1].pos == stale[1].pos
    rig.disk.garble(rig.segments()[1], start_of(stale), data)

    assert lost_positions(rig.open()[1]) == [stale[1].pos]


def test_a_header_of_another_epoch_is_no_header(rig: Any) -> None:
    rig.open()[0].close()
    rig.owner = replace(rig.owner, machine_mark="m2")
    rig.open()[0].close()
    first, second = rig.segments()
    rig.disk.garble(second, 0, rig.disk.read(first)[:HEADER_BYTES])

    recovery = rig.open()[1]

    assert recovery.reason is Reason.DAMAGED
    assert recovery.lost[0].file == second


def test_a_later_segments_header_proves_that_the_segment_before_it_was_durable(rig: Any) -> None:
    """Both were written by one flush, so that no append carries the proof, and the mark is lost."""
    journal, _ = rig.open()
    entries = rig.decide(journal, 120)
    journal.commit()
    assert len(rig.segments()) == 2
    rig.disk.garble(rig.mark, 0, b"lost")
    rig.disk.garble(rig.segments()[0], start_of(entries[50]) + 100, b"rotten")

    recovery = rig.reopen()[1]

    assert lost_positions(recovery) == [entries[50][1].pos]
    assert recovery.lost[0].acknowledged


def test_an_epoch_whose_mark_is_gone_is_gone_on_with_where_anything_proves_that_it_was_used(rig: Any) -> None:
    journal, _ = rig.open()
    entries = rig.decide(journal, 2)
    journal.close()
    rig.disk.remove(rig.mark)

    journal, recovery = rig.open()

    assert not recovery.new_epoch
    assert list(journal.scan())[1:] == entries


def test_a_damaged_segment_header_loses_no_record_but_ends_the_epoch(rig: Any) -> None:
    journal, _ = rig.open()
    entries = rig.fill_segment(journal) + rig.decide(journal, 3)
    journal.close()
    rig.disk.garble(rig.segments()[1], 20, b"rotten")

    journal, recovery = rig.open()

    (lost,) = recovery.lost
    assert (lost.first_pos - 1, lost.lanes, lost.acknowledged) == (lost.last_pos, (), True)
    assert recovery.reason is Reason.DAMAGED
    assert [record for _, record in rig.entries()][1:-2] == [record for _, record in entries]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_missing_segment_is_lost_exactly(rig: Any, number: int) -> None:
    journal, _ = rig.open()
    parts = [list(journal.scan()), [], []]
    for part in (0, 1):
        entries = rig.fill_segment(journal)
        parts[part] += entries[:-1]
        parts[part + 1] += entries[-1:]
    journal.close()
    rig.disk.remove(rig.segments()[number])

    journal, recovery = rig.open()

    assert lost_positions(recovery) == [record.pos for _, record in parts[number]]
    kept = [entry for part in parts if part is not parts[number] for entry in part]
    assert rig.entries()[:-2] == kept


def test_a_journal_whose_segments_are_all_gone_is_lost_up_to_its_mark(rig: Any) -> None:
    journal, _ = rig.open()
    rig.decide(journal, 2)
    journal.close()
    rig.disk.remove(rig.segments()[0])

    recovery = rig.open()[1]

    assert lost_positions(recovery) == [1, 2, 3]
    assert not recovery.offline_approvals


def test_a_forged_record_breaks_the_chain_at_the_next_segment(rig: Any) -> None:
    """Whoever changes a record and mends its checksum still can't mend the chain in the header behind it."""
    journal, _ = rig.open()
    (at, record), *_ = rig.fill_segment(journal)
    journal.close()
    start = located(at)[2] - APPEND_BYTES
    seed = append_seed(journal.epoch, 1)
    head = parse_append(memoryview(rig.disk.read(rig.segments()[0])), start, seed)
    assert head is not None
    forged = record._replace(body=bytes(len(record.body))).to_bytes()
    mended = pack_append(seed, start, 1, head.durable_pos, head.first_pos, head.next_seqs, forged)
    rig.disk.garble(rig.segments()[0], start, mended)

    assert rig.open()[1].reason is Reason.DAMAGED


def test_more_lost_ranges_than_can_be_told_singly_are_told_together(rig: Any) -> None:
    journal, _ = rig.open()
    while len(rig.segments()) < 4:
        entries = rig.decide(journal)
        journal.commit()
    entries = [entry for entry in journal.scan() if entry[1].kind is Kind.DECISION]
    rotten = entries[1:-1:2]
    journal.close()
    for entry in rotten:
        _, segment, _ = located(entry[0])
        rig.disk.garble(rig.segments()[segment - 1], start_of(entry) + 99, b"rotten")

    journal, recovery = rig.open()

    assert len(recovery.lost) == len(rotten) > LOST_RANGES_TOLD_MAX
    told = [record.values() for record in scanned(journal)[1:]]
    assert len(told) == LOST_RANGES_TOLD_MAX
    assert sum(values["ranges"] for values in told) == len(rotten)
    assert told[-1]["last_pos"] == rotten[-1][1].pos
    assert told[-1]["lanes"] == [[1, rotten[LOST_RANGES_TOLD_MAX - 1][1].seq, rotten[-1][1].seq]]


# --- Refusals. ---


@pytest.mark.parametrize(
    ("owner", "words"),
    [({"site": SiteId("s2")}, "s1/g0, not of s2/g0"), ({"gate": GateId("g1")}, "s1/g0, not of s1/g1")],
)
def test_another_owners_journal_is_refused_and_left_untouched(rig: Any, owner: dict[str, Any], words: str) -> None:
    rig.open()[0].close()
    rig.owner = replace(rig.owner, **owner)
    before = {name: rig.disk.read(name) for name in rig.disk.sizes()}

    with pytest.raises(JournalFormatError, match=words):
        rig.open()

    assert {name: rig.disk.read(name) for name in rig.disk.sizes()} == before


def test_an_unknown_version_is_refused_with_the_file_and_both_versions(
    rig: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.journal.layout.FORMAT_VERSION", 9)
    rig.open()[0].close()
    monkeypatch.setattr("actors.journal.layout.FORMAT_VERSION", FORMAT_VERSION)
    before = rig.disk.read(rig.segments()[0])

    with pytest.raises(JournalFormatError, match=rf"{rig.segments()[0]}: journal format 9, this program reads 1"):
        rig.open()

    assert rig.disk.read(rig.segments()[0]) == before


def test_an_unknown_schema_is_refused_with_both_fingerprints(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vocabulary.SCHEMAS, Lane.DECISIONS, "00112233445566ff")
    rig.open()[0].close()
    monkeypatch.undo()

    with pytest.raises(JournalFormatError, match=r"lane L1 .* schema 00112233445566ff, this program writes [0-9a-f]+"):
        rig.open()


def test_a_lane_that_came_into_use_later_is_no_reason_to_refuse(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.open()[0].close()
    monkeypatch.setitem(vocabulary.SCHEMAS, Lane.MONEY, "00112233445566ff")

    assert not rig.open()[1].new_epoch


def test_a_kind_of_a_newer_program_is_refused_and_not_taken_for_damage(
    rig: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, _ = rig.open()
    rig.evict(journal)
    journal.close()
    known = {number: kind for number, kind in ((int(kind), kind) for kind in Kind) if kind is not Kind.CARD_EVICTED}
    monkeypatch.setattr("actors.journal.segment._KINDS", known)

    with pytest.raises(JournalFormatError, match="kind 21, which this program doesn't know"):
        rig.open()
