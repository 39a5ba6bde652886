"""The tail: whatever a gate made durable is read as runs that continue each other, and nothing beyond it."""

from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.journal.layout import CHAIN_UNKNOWN
from actors.journal.tail import Tail
from tests.unit.journal.conftest import Rig
from tidegate.ids import EpochId
from tidegate.passages import Passage
from tidegate.records import CHAIN_START, Kind, Lane, Record, chain, event_body

MANY = 1 << 40


def expected(rig: Rig, epoch_index: int, lane: Lane) -> list[Record]:
    """Every record of a lane, read another way."""
    return [record for at, record in rig.entries() if at >> 50 == epoch_index and record.lane is lane]


def runs(tail: Tail, epoch: EpochId, lane: Lane, records_max: int = 7, bytes_max: int = MANY) -> list[Passage]:
    found, seq, last = [], 1, tail.last(epoch, lane)
    while seq <= last:
        run = tail.read(epoch, lane, seq, through=last, records_max=records_max, bytes_max=bytes_max)
        if run is None:
            break
        found.append(run)
        seq = run.last + 1
    return found


def filled(seed: int, steps: int) -> Rig:
    rig = Rig(rng=Random(seed))
    journal, _ = rig.open()
    for _ in range(steps):
        what = rig.rng.randrange(5)
        if what < 2:
            rig.decide(journal, rig.rng.randrange(1, 20))
        elif what == 2:
            rig.evict(journal, rig.rng.randrange(1, 3_000))
        elif what == 3:
            body = event_body({"card": "c"})
            rig.decide(journal)
            journal.append([(Lane.EVENTS, Kind.CARD_EVICTED, body), (Lane.EVENTS, Kind.CARD_EVICTED, body)], 5)
        else:
            journal.commit()
    journal.commit()
    return rig


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32), steps=st.integers(0, 60), records_max=st.sampled_from([1, 7, 500]))
def test_runs_are_the_lane_record_for_record_and_their_hashes_continue_each_other(
    seed: int, steps: int, records_max: int
) -> None:
    rig = filled(seed, steps)
    tail = Tail(rig.disk)
    tail.refresh()
    (epoch,) = tail.epochs()
    for lane in (Lane.DECISIONS, Lane.EVENTS):
        records = expected(rig, 1, lane)
        found = runs(tail, epoch, lane, records_max)
        assert b"".join(run.canonical for run in found) == b"".join(record.to_bytes() for record in records)
        assert [run.pos for run in found] == [records[run.first - 1].pos for run in found]
        running = CHAIN_START
        for run in found:
            assert run.before == running
            for record in records[run.first - 1 : run.last]:
                running = chain(running, record.to_bytes())
            assert run.after == running
        assert tail.head(epoch, lane) == (len(records), running)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32), data=st.data())
def test_a_run_begins_anywhere_in_any_order_of_reading(seed: int, data: st.DataObject) -> None:
    rig = filled(seed, 60)
    tail = Tail(rig.disk)
    tail.refresh()
    (epoch,) = tail.epochs()
    records = expected(rig, 1, Lane.DECISIONS)
    chains = [CHAIN_START]
    for record in records:
        chains.append(chain(chains[-1], record.to_bytes()))
    for first in data.draw(st.lists(st.integers(1, max(1, len(records))), max_size=6)):
        run = tail.read(epoch, Lane.DECISIONS, first, through=first + 20, records_max=9, bytes_max=MANY)
        if run is None:
            assert not records
            continue
        assert (run.first, run.before, run.after) == (first, chains[first - 1], chains[run.last])
        assert run.last == min(first + 8, len(records))


def test_what_is_not_durable_is_not_read_and_what_became_durable_is(rig: Any) -> None:
    journal, _ = rig.open()
    rig.decide(journal, 3)
    tail = Tail(rig.disk)
    tail.refresh()
    (epoch,) = tail.epochs()
    assert tail.last(epoch, Lane.DECISIONS) == 0
    assert tail.read(epoch, Lane.DECISIONS, 1, through=MANY, records_max=9, bytes_max=MANY) is None

    journal.commit()
    assert tail.refresh()
    assert not tail.refresh()

    (run,) = runs(tail, epoch, Lane.DECISIONS)
    assert (run.first, run.last, tail.durable_pos()) == (1, 3, journal.durable_pos)


def test_what_a_start_finds_durable_beyond_the_mark_is_read_though_nothing_follows(rig: Any) -> None:
    journal, _ = rig.open()
    mark = rig.disk.read(rig.mark)
    rig.decide(journal, 3)
    journal.commit()
    rig.disk.replace(rig.mark, mark)  # a crash took it back: it is never synced
    rig.reopen()
    tail = Tail(rig.disk)
    tail.refresh()

    assert tail.last(tail.epochs()[0], Lane.DECISIONS) == 3


def test_bytes_bound_a_run_but_one_record_always_comes(rig: Any) -> None:
    journal, _ = rig.open()
    for _ in range(4):
        rig.evict(journal, 400)
    journal.commit()
    tail = Tail(rig.disk)
    tail.refresh()
    (epoch,) = tail.epochs()

    assert [run.last - run.first + 1 for run in runs(tail, epoch, Lane.EVENTS, 99, bytes_max=10)] == [1] * 5
    assert [run.last - run.first + 1 for run in runs(tail, epoch, Lane.EVENTS, 99, bytes_max=1_200)] == [3, 2]


def test_sealed_and_compressed_segments_read_the_same(rig: Any) -> None:
    journal, _ = rig.open()
    rig.fill_segment(journal)
    rig.fill_segment(journal)
    tail = Tail(rig.disk)
    tail.refresh()
    (epoch,) = tail.epochs()
    before = runs(tail, epoch, Lane.DECISIONS)
    rig.bound(bytes_max=4 * 64 * 1024)
    journal, _ = rig.reopen()
    while journal.tend():
        pass

    tail = Tail(rig.disk)
    tail.refresh()

    assert runs(tail, epoch, Lane.DECISIONS)[: len(before)] == before
    assert any(name.endswith(".zst") for name in rig.disk.sizes())


def test_an_older_epoch_is_read_to_its_end(rig: Any) -> None:
    journal, _ = rig.open()
    rig.decide(journal, 5)
    journal.commit()
    rig.owner = replace(rig.owner, machine_mark="m2")
    rig.reopen()
    tail = Tail(rig.disk)
    tail.refresh()

    old, new = tail.epochs()

    assert tail.last(old, Lane.DECISIONS) == 5
    assert tail.last(new, Lane.DECISIONS) == 0
    assert [(run.first, run.last) for run in runs(tail, old, Lane.DECISIONS)] == [(1, 5)]
    assert tail.head(old, Lane.DECISIONS).chain == runs(tail, old, Lane.DECISIONS)[-1].after


def test_behind_a_loss_the_hash_is_unknown_until_the_next_header_tells_it(rig: Any) -> None:
    journal, _ = rig.open()
    lost = rig.fill_segment(journal)[1]
    rig.fill_segment(journal)
    at = lost[0] & ((1 << 28) - 1)
    file = rig.disk.open(rig.segments()[0])
    file.pwrite(b"\xff" * 40, at)
    file.sync()
    tail = Tail(rig.disk)
    tail.refresh()
    (epoch,) = tail.epochs()

    found = runs(tail, epoch, Lane.DECISIONS, 500)

    first, behind, *rest = found
    assert (first.first, first.last, behind.first) == (1, lost[1].seq - 1, lost[1].seq + 1)
    assert behind.before == behind.after == CHAIN_UNKNOWN != rest[0].before
    assert found[-1].after == tail.head(epoch, Lane.DECISIONS).chain != CHAIN_UNKNOWN


@pytest.mark.parametrize("what", ["no folder yet", "an epoch without a mark"])
def test_a_site_that_has_nothing_yet_has_no_runs(rig: Any, what: str) -> None:
    if what == "an epoch without a mark":
        rig.open()
        rig.disk.remove(rig.mark)
    tail = Tail(rig.disk)
    tail.refresh()

    for epoch in tail.epochs():
        assert runs(tail, epoch, Lane.EVENTS) == []
