"""The consumer: when it writes, what it acknowledges, and what stops a partition."""

from collections.abc import Sequence

import pytest

from serve_apps.archive.consumer import Consumer, Step
from serve_apps.archive.memory import MemorySource, MemoryStore
from serve_apps.archive.ports import Partition, Piece, UnavailableError
from tests.sent import NOW_US, SOURCE, decode, event, events_message, label, message
from tidegate.archived import Kept
from tidegate.clock import ManualClock
from tidegate.limits import ARCHIVE_BATCH_AGE_US
from tidegate.records import Kind, Lane

L1, L2 = Partition("tidegate.L1", 0), Partition("tidegate.L2", 0)
LANES = {"tidegate.L1": Lane.DECISIONS, "tidegate.L2": Lane.EVENTS}
LISTS = {"version": 1, "lists": "l-0123456789ab", "entries": 3, "as_of_us": 5, "by": "ann", "why": ""}
POLICY = {"policy": "p-0123456789ab", "terms": {"rules": []}, "as_of_us": 5, "by": "ann", "why": ""}


def consumer(
    source: MemorySource, store: MemoryStore, clock: ManualClock | None = None, *, rows_max: int = 1_000_000
) -> Consumer:
    return Consumer(
        source=source,
        store=store,
        decode=decode,
        lanes=LANES,
        clock=clock or ManualClock(NOW_US),
        rows_max=rows_max,
    )


def test_rows_wait_until_they_are_enough_or_old_enough() -> None:
    source, store, clock = MemorySource([L1]), MemoryStore(), ManualClock(NOW_US)
    made = consumer(source, store, clock, rows_max=20)
    source.append(L1, message(0, 10))

    assert made.step() == Step(1, 0)
    clock.advance(ARCHIVE_BATCH_AGE_US - 1)
    assert made.step() == Step(0, 0)
    clock.advance(1)
    assert made.step() == Step(0, 10)
    source.append(L1, message(10, 10))
    source.append(L1, message(20, 10))
    assert made.step() == Step(2, 20)


def test_rows_dont_wait_for_a_clock_that_was_set_back() -> None:
    source, store, clock = MemorySource([L1]), MemoryStore(), ManualClock(NOW_US)
    made = consumer(source, store, clock)
    source.append(L1, message(0, 10))
    made.step()

    clock.advance(-3_600_000_000)

    assert made.step().rows == 10


def test_nothing_is_acknowledged_before_it_is_written() -> None:
    source, store, clock = MemorySource([L1]), MemoryStore(), ManualClock(NOW_US)
    made = consumer(source, store, clock)
    offset = source.append(L1, message(0, 10), skipped=4)
    made.step()
    assert source.acknowledged == {}

    made.flush()

    assert source.acknowledged == {L1: offset}


def test_a_commit_that_fails_is_tried_again_from_what_is_durable() -> None:
    class Full(MemoryStore):
        full = True

        def append(self, table: Kept, pieces: Sequence[Piece]) -> int:
            if self.full:
                raise UnavailableError(f"{table}: the disk is full")
            return super().append(table, pieces)

    source, store, clock = MemorySource([L1]), Full(), ManualClock(NOW_US)
    made = consumer(source, store, clock, rows_max=10)
    source.append(L1, message(0, 10))

    with pytest.raises(UnavailableError):
        made.step()
    assert source.acknowledged == {}
    store.full = False

    assert made.step() == Step(1, 10)
    assert source.acknowledged == {L1: 0}


def torn() -> bytes:
    return message(0, 3)[:-1]


def a_label_without_a_verdict() -> bytes:
    return events_message(event(Kind.LABEL_RECEIVED, 1, {"label_id": "l", "merchant": "m", "transaction_id": "t"}))


def of_an_unknown_kind() -> bytes:
    record = label(1).to_bytes()
    return events_message() + record[:25] + b"\xee" + record[26:]


def of_another_lane() -> bytes:
    return events_message(label(1)._replace(lane=Lane.TRACES))


def not_canonical_lists() -> bytes:
    return events_message(event(Kind.LISTS_ACTIVATED, 1, {**LISTS, "lists": "the newest"}))


BROKEN = [torn, a_label_without_a_verdict, of_an_unknown_kind, of_another_lane, not_canonical_lists, events_message]


@pytest.mark.parametrize("broken", BROKEN)
def test_what_cant_be_decoded_stops_its_partition_for_good_and_no_other(broken: object) -> None:
    value = broken()  # type: ignore[operator]
    stopped, other = (L1, L2) if broken is torn else (L2, L1)
    source, store = MemorySource([L1, L2]), MemoryStore()
    good = {L1: message(100, 5), L2: events_message(label(100))}
    for partition, values in ((stopped, [good[stopped], value, good[stopped]]), (other, [good[other]] * 2)):
        for each in values:
            source.append(partition, each)
    made = consumer(source, store)

    made.step()
    made.flush()
    made.step()
    made.flush()

    assert list(made.halted) == [stopped]
    assert made.halted[stopped].startswith("offset 1: ")
    assert source.acknowledged == {stopped: 0, other: 1}


def test_a_message_in_the_topic_of_another_lane_stops_it() -> None:
    source = MemorySource([L2])
    source.append(L2, message(0, 1))
    made = consumer(source, MemoryStore())

    made.step()

    assert "lane DECISIONS in topic tidegate.L2" in made.halted[L2]


def test_a_log_that_was_trimmed_too_far_is_an_alarm_not_a_gap() -> None:
    source, store = MemorySource([L1]), MemoryStore()
    for first in (0, 10, 20):
        source.append(L1, message(first, 10))
    source.trim(L1, 2)
    made = consumer(source, store)

    made.step()
    made.flush()

    assert made.halted[L1] == "the log begins at 2, the archive needs 0: what is between is lost"
    assert store.read("decisions").num_rows == 0


def test_what_events_say_comes_into_tables_of_their_own() -> None:
    source, store = MemorySource([L2]), MemoryStore()
    lists, policy = event(Kind.LISTS_ACTIVATED, 1, LISTS), event(Kind.POLICY_ACTIVATED, 2, POLICY)
    source.append(L2, events_message(lists, policy, label(3)))
    made = consumer(source, store)

    made.step()
    made.flush()

    told = {"source": SOURCE, "version": 1, "from_us": NOW_US + 1, "as_of_us": 5, "lists": "l-0123456789ab"}
    assert store.read("lists").to_pylist() == [told]
    assert store.read("policies").select(["policy", "terms"]).to_pylist() == [
        {"policy": "p-0123456789ab", "terms": '{"rules": []}'}
    ]
    assert store.read("labels").select(["label_id", "verdict"]).to_pylist() == [{"label_id": "l-3", "verdict": "fraud"}]
    assert store.read("events").num_rows == 3
