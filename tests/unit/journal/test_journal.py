"""The open journal: numbers, durability, reading back, failing for good."""

from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

import numpy as np
import pytest

from actors.journal.journal import Bounds, Journal
from actors.journal.layout import located, parse_mark
from actors.journal.log import Entry
from actors.journal.segment import Columns
from tidegate.errors import JournalError, NotFoundError, OverloadedError
from tidegate.limits import RECORD_BODY_BYTES_MAX
from tidegate.records import CHAIN_START, DECISION, DECISION_BODY_BYTES, Kind, Lane, chain

NOW_US = 1_795_000_000_000_000
DECISION_ITEM = (Lane.DECISIONS, Kind.DECISION, bytes(DECISION_BODY_BYTES))


# --- Appending. ---


def test_records_are_numbered_without_gaps_by_lane_and_gate_wide(rig: Any) -> None:
    journal, _ = rig.open()
    event = (Lane.EVENTS, Kind.CARD_EVICTED, b"{}")

    first = journal.append([DECISION_ITEM, event, DECISION_ITEM], NOW_US)
    second = journal.append([event], NOW_US + 1)

    numbers = [(record.lane, record.seq, record.pos) for _, record in (*first, *second)]
    assert numbers == [(Lane.DECISIONS, 1, 2), (Lane.EVENTS, 2, 3), (Lane.DECISIONS, 2, 4), (Lane.EVENTS, 3, 5)]
    assert journal.last_pos == 5


def test_each_lane_has_a_running_hash_over_its_canonical_bytes(rig: Any) -> None:
    journal, _ = rig.open()
    entries = rig.decide(journal, 3)
    expected = CHAIN_START
    for _, record in entries:
        expected = chain(expected, record.to_bytes())

    head = journal.head(Lane.DECISIONS)

    assert (head.seq, head.chain) == (3, expected)


def test_nothing_is_durable_before_it_is_committed(rig: Any) -> None:
    journal, _ = rig.open()
    before = rig.disk.steps
    rig.decide(journal, 3)

    assert rig.disk.steps == before
    assert journal.durable_pos == 1
    journal.commit()
    assert journal.durable_pos == journal.last_pos == 4


def test_a_commit_survives_a_power_cut_in_any_way(rig: Any) -> None:
    journal, _ = rig.open()
    entries = rig.decide(journal, 3)
    journal.commit()
    for way in range(8):
        disk = rig.disk.copy()
        rig.disk.crash(Random(way))

        assert list(rig.open()[0].scan())[1:] == entries
        rig.disk = disk


@pytest.mark.parametrize(
    "items",
    [
        [],
        [(Lane.DECISIONS, Kind.DECISION, b"short")],
        [(Lane.MONEY, Kind.DECISION, b"{}")],
        [(Lane.EVENTS, Kind.LISTS_ACTIVATED, bytes(RECORD_BODY_BYTES_MAX + 1))],
        [(Lane.EVENTS, Kind.LISTS_ACTIVATED, bytes(65_000))],
    ],
    ids=["nothing", "another width", "a lane without a schema", "too large a body", "larger than a segment"],
)
def test_an_impossible_append_is_refused_and_changes_nothing(rig: Any, items: list[Any]) -> None:
    journal, _ = rig.open()
    head = journal.head(Lane.DECISIONS)

    with pytest.raises(ValueError, match=r"\d"):
        journal.append([DECISION_ITEM, *items] if items else [], NOW_US)

    assert journal.last_pos == 1
    assert journal.head(Lane.DECISIONS) == head
    assert journal.take() is None


def test_who_asks_first_hears_what_an_append_would_raise_and_nothing_is_changed(rig: Any) -> None:
    journal, _ = rig.open()

    assert journal.admit([DECISION_ITEM]) > DECISION_BODY_BYTES
    with pytest.raises(ValueError, match="fit lane MONEY"):
        journal.admit([(Lane.MONEY, Kind.DECISION, b"{}")])
    assert journal.last_pos == 1


def test_an_event_may_be_as_long_as_a_decision(rig: Any) -> None:
    journal, _ = rig.open()

    assert journal.append([(Lane.EVENTS, Kind.CARD_EVICTED, bytes(DECISION_BODY_BYTES))], NOW_US)[0][1].seq == 2


def test_what_waits_for_a_flush_is_bounded(rig: Any) -> None:
    rig.bound(pending_bytes_max=10_000)
    journal, _ = rig.open()
    with pytest.raises(OverloadedError):
        rig.decide(journal, 100)
    last_pos = journal.last_pos
    assert 10 < last_pos < 20

    journal.commit()

    assert journal.durable_pos == last_pos
    rig.decide(journal)


@pytest.mark.parametrize("bounds", [{"segment_bytes": 1_000}, {"bytes_max": 10_000_000, "segment_bytes": 8_000_000}])
def test_bounds_that_cannot_hold_are_refused(bounds: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must"):
        Bounds(**bounds)


# --- Group commit. ---


def test_a_batch_is_flushed_in_another_thread_while_appending_and_reading_go_on(rig: Any) -> None:
    journal, _ = rig.open()
    entries: list[Entry] = []
    with ThreadPoolExecutor(1) as thread:
        for _ in range(60):
            entries += rig.decide(journal, 4)
            batch = journal.take()
            assert batch is not None
            flushed = thread.submit(batch.flush)
            entries += rig.decide(journal, 2)
            assert [journal.read(at) for at, _ in entries[-6:]] == [record for _, record in entries[-6:]]
            assert journal.durable_pos < batch.last_pos
            flushed.result()
            journal.committed(batch)
            assert journal.durable_pos == batch.last_pos == entries[-3][1].pos
    journal.commit()

    assert len(rig.segments()) > 3
    assert list(journal.scan())[1:] == entries
    assert list(rig.reopen()[0].scan())[1:] == entries


def test_batches_go_one_at_a_time(rig: Any) -> None:
    journal, _ = rig.open()
    assert journal.take() is None
    rig.decide(journal)
    journal.take()
    rig.decide(journal)

    with pytest.raises(RuntimeError, match="in flight"):
        journal.take()


def test_the_mark_follows_every_sync_and_is_never_ahead(rig: Any) -> None:
    journal, _ = rig.open()
    for _ in range(3):
        rig.decide(journal)
        mark = parse_mark(rig.disk.read(rig.mark))
        assert mark is not None
        assert mark.durable_pos == journal.durable_pos
        journal.commit()


# --- A failing disk. ---


def test_after_a_failed_sync_nothing_is_accepted_nor_tried_again(rig: Any) -> None:
    journal, _ = rig.open()
    rig.decide(journal)
    rig.disk.fail_next_sync()
    batch = journal.take()
    assert batch is not None
    with pytest.raises(JournalError, match="until the gate restarts"):
        batch.flush()

    assert journal.failed
    assert journal.durable_pos == 1
    for act in (batch.flush, lambda: rig.decide(journal)):
        with pytest.raises(JournalError):
            act()
    assert not journal.tend()
    journal.close()
    assert rig.open()[0].last_pos == 2


def test_what_a_failed_sync_left_in_the_page_cache_is_durable_before_it_is_served(rig: Any) -> None:
    """The trap: after the failure the bytes are still seen, and a plain sync would succeed without writing them."""
    for way in range(8):
        rig = type(rig)()
        journal, _ = rig.open()
        rig.decide(journal, 3)
        rig.disk.fail_next_sync()
        with pytest.raises(JournalError):
            journal.commit()
        journal, _ = rig.reopen()
        served = list(journal.scan())
        assert len(served) == 4

        rig.disk.crash(Random(way))

        assert list(rig.open()[0].scan()) == served


def test_a_disk_that_fails_at_the_opening_is_told(rig: Any) -> None:
    rig.disk.fail_next_sync()

    with pytest.raises(JournalError, match="check the disk"):
        rig.open()

    assert rig.open()[1].last_pos == 1


# --- Reading. ---


def filled(rig: Any, journal: Journal) -> list[Entry]:
    """Decisions and events over several segments, the last of them not durable."""
    entries: list[Entry] = []
    for number in range(221):
        entries += rig.decide(journal) if number % 7 else [rig.evict(journal, number * 9)]
        if number % 3 == 0:
            journal.commit()
    return entries


def test_every_record_is_read_by_its_locator_durable_or_not(rig: Any) -> None:
    journal, _ = rig.open()
    entries = filled(rig, journal)
    journal.take()
    entries += rig.decide(journal)

    assert [journal.read(at) for at, _ in entries] == [record for _, record in entries]
    assert sorted(at for at, _ in entries) == [at for at, _ in entries]


def test_a_large_record_is_read_whole(rig: Any) -> None:
    journal, _ = rig.open()
    at, record = rig.evict(journal, 30_000)
    journal.commit()

    assert journal.read(at) == record


@pytest.mark.parametrize("shift", [1 << 60, 1 << 30, 60_000])
def test_a_locator_that_leads_nowhere_is_not_found(rig: Any, shift: int) -> None:
    journal, _ = rig.open()
    at, _ = rig.decide(journal)[0]
    journal.commit()

    with pytest.raises(NotFoundError):
        journal.read(at + shift)
    with pytest.raises(NotFoundError):
        journal.rows([at, at + shift])


def test_decisions_are_read_as_rows_in_the_order_asked_for(rig: Any) -> None:
    journal, _ = rig.open()
    entries = [entry for entry in filled(rig, journal) if entry[1].lane is Lane.DECISIONS]
    Random(5).shuffle(entries)

    rows = journal.rows([at for at, _ in entries])

    assert rows.dtype == DECISION
    assert [row.tobytes() for row in rows] == [record.to_bytes() for _, record in entries]
    assert len(journal.rows([])) == 0


def test_rows_are_for_decisions_only(rig: Any) -> None:
    journal, _ = rig.open()
    at, _ = rig.evict(journal, 2_000)
    rig.decide(journal, 4)
    journal.commit()

    with pytest.raises(NotFoundError, match="no decision"):
        journal.rows([at])


@pytest.mark.parametrize("from_pos", [1, 2, 100, 219, 500])
def test_a_scan_gives_what_is_durable_from_a_position_on(rig: Any, from_pos: int) -> None:
    journal, _ = rig.open()
    entries = filled(rig, journal)

    found = list(journal.scan(from_pos))

    first = list(journal.scan())[:1]
    assert found == [entry for entry in (*first, *entries) if from_pos <= entry[1].pos <= journal.durable_pos]
    assert journal.durable_pos < journal.last_pos


def test_a_scan_ends_with_what_was_durable_when_it_was_asked_for(rig: Any) -> None:
    journal, _ = rig.open()
    rig.decide(journal, 3)
    journal.commit()
    scan, columns = journal.scan(), journal.columns()
    rig.decide(journal, 3)
    journal.commit()

    assert [record.pos for _, record in scan] == [1, 2, 3, 4]
    assert sum(len(piece.rows) if isinstance(piece, Columns) else 1 for piece in columns) == 4


@pytest.mark.parametrize("from_pos", [1, 2, 100, 219, 500])
def test_columns_are_the_scan_with_runs_of_decisions_as_arrays(rig: Any, from_pos: int) -> None:
    journal, _ = rig.open()
    filled(rig, journal)
    journal.append([DECISION_ITEM] * 5, NOW_US)
    journal.commit()
    rig.decide(journal)

    found: list[tuple[int, bytes]] = []
    for piece in journal.columns(from_pos):
        if isinstance(piece, Columns):
            found += zip(piece.locators.tolist(), (row.tobytes() for row in piece.rows), strict=True)
        else:
            assert piece[1].lane is Lane.EVENTS
            found.append((piece[0], piece[1].to_bytes()))

    assert found == [(at, record.to_bytes()) for at, record in journal.scan(from_pos)]


def test_a_run_of_decisions_is_one_array(rig: Any) -> None:
    journal, _ = rig.open()
    entries = rig.decide(journal, 50)
    journal.commit()

    _, run = journal.columns()

    assert isinstance(run, Columns)
    assert run.rows["pos"].tolist() == [record.pos for _, record in entries]
    assert np.array_equal(run.locators, [at for at, _ in entries])


def test_what_rots_after_the_opening_is_skipped_by_scans_and_columns_alike(rig: Any) -> None:
    journal, _ = rig.open()
    entries = rig.decide(journal, 9)
    journal.append([DECISION_ITEM] * 3, NOW_US)
    journal.commit()
    offset = located(entries[4][0])[2]
    rig.disk.garble(rig.segments()[0], offset + 100, b"rotten")

    scanned = [record.pos for _, record in journal.scan()]
    columns = [pos for piece in journal.columns() if isinstance(piece, Columns) for pos in piece.rows["pos"].tolist()]

    assert scanned == [1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12, 13]
    assert columns == scanned[1:]
