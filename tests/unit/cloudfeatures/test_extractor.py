"""Frames become deltas, each row once, whatever fails between two commits."""

from typing import Any

import numpy as np
import pytest

from serve_apps.features.extractor import NAME, Extractor
from serve_apps.features.folder import Folder
from serve_apps.features.memory import MemoryStore
from serve_apps.plumbing.stream.log import DELTAS, topic_of
from serve_apps.plumbing.stream.memory import MemoryStream
from serve_apps.plumbing.stream.ports import Message
from tests.sent import NOW_US, SOURCE, decision_rows, event, events_frame, frame
from tidegate.clock import ManualClock
from tidegate.decision import Mark
from tidegate.deltas import ROWS_MAX, DeltaKind, Deltas
from tidegate.frames import Origin
from tidegate.ids import EpochId, GateId, SiteId
from tidegate.limits import DELTA_AHEAD_US, DELTA_BATCH_AGE_US, DELTA_KEPT_US
from tidegate.records import Kind, Lane

ONE = Origin(SiteId("site-1"), GateId("g0"), EpochId("0123456789abcdef"))


class Cloud:
    """A log in memory, a committer that stands for ingest, and an extractor that can be begun anew."""

    def __init__(self) -> None:
        self.clock = ManualClock(NOW_US)
        self.stream = MemoryStream(self.clock)
        for lane in (Lane.DECISIONS, Lane.EVENTS):
            self.stream.create(topic_of(lane), 2)
        self.stream.create(DELTAS, 1)
        self.ingest = self.stream.writer("c0")
        self.begin()

    def begin(self) -> None:
        reader, book = self.stream.reader(), self.stream.consumers()
        self.extractor = Extractor(reader=reader, consumers=book, writer=self.stream.writer(NAME), clock=self.clock)

    def folder(self, store: MemoryStore) -> Folder:
        reader, book = self.stream.reader(), self.stream.consumers()
        return Folder(reader=reader, consumers=book, store=store, clock=self.clock)

    def offsets(self) -> list[int]:
        reader = self.stream.reader()
        begin = reader.begin(DELTAS, 0)
        return [each.offset for each in reader.read(DELTAS, 0, begin, messages_max=1_000, bytes_max=1 << 30)]

    def send(self, lane: Lane, value: bytes) -> None:
        self.ingest.commit([Message(topic_of(lane), b"k", value)], {})

    def settle(self) -> None:
        while self.extractor.step():
            pass
        self.clock.advance(DELTA_BATCH_AGE_US)
        self.extractor.step()

    def batches(self) -> list[Deltas]:
        reader = self.stream.reader()
        offset = reader.begin(DELTAS, 0)
        return [
            Deltas.from_bytes(stored.value)
            for stored in reader.read(DELTAS, 0, offset, messages_max=1_000, bytes_max=1 << 30)
        ]

    def rows(self) -> Any:
        return np.concatenate([batch.rows for batch in self.batches()])


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


def decided(first: int, count: int, *, of: str = SOURCE, **other: Any) -> bytes:
    rows = decision_rows(first, count)
    rows["card"], rows["terminal"], rows["amount_minor"] = "card-1", "till-1", 500
    rows["feature_us"] = rows["time_us"] = NOW_US
    for name, value in other.items():
        rows[name] = value
    return frame(Lane.DECISIONS, rows.tobytes(), of)


def receipt(seq: int, **effect: Any) -> bytes:
    told = {"label_id": f"l-{seq}", "merchant": "m-1", "transaction_id": "t-1", "verdict": "fraud", "source": "bank"}
    return events_frame(event(Kind.LABEL_RECEIVED, seq, {**told, "known_us": NOW_US, **effect}))


def test_every_decision_is_a_use_but_those_that_a_test_card_forced(cloud: Cloud) -> None:
    cloud.send(Lane.DECISIONS, decided(1, 3, marks=[0, Mark.SANDBOX, 0]))
    cloud.settle()
    assert cloud.rows()["pos"].tolist() == [1, 3]
    assert set(cloud.rows()["kind"].tolist()) == {DeltaKind.USE}


def test_a_receipt_that_changed_a_card_is_a_row_and_another_is_none(cloud: Cloud) -> None:
    effect = {"card": "card-1", "feature_us": NOW_US - 5}
    cloud.send(Lane.EVENTS, receipt(1, **effect, delta=1))
    cloud.send(Lane.EVENTS, receipt(2, **effect, delta=-1))
    cloud.send(Lane.EVENTS, receipt(3))
    cloud.settle()
    assert cloud.rows()["kind"].tolist() == [DeltaKind.FRAUD, DeltaKind.CLEARED]
    assert cloud.rows()["event_us"].tolist() == [NOW_US - 5] * 2


def test_batches_wait_for_their_age_and_are_never_empty(cloud: Cloud) -> None:
    cloud.send(Lane.DECISIONS, decided(1, 1))
    cloud.extractor.step()
    assert cloud.batches() == []
    cloud.clock.advance(DELTA_BATCH_AGE_US)
    cloud.extractor.step()
    cloud.send(Lane.EVENTS, receipt(1))
    cloud.settle()
    assert [len(batch.rows) for batch in cloud.batches()] == [1]


def test_many_rows_are_batches_of_the_largest_size(cloud: Cloud) -> None:
    cloud.send(Lane.DECISIONS, decided(1, ROWS_MAX + 1))
    cloud.settle()
    assert [len(batch.rows) for batch in cloud.batches()] == [ROWS_MAX, 1]


def test_what_was_committed_is_not_taken_again_by_the_next_one_and_the_rest_is(cloud: Cloud) -> None:
    cloud.send(Lane.DECISIONS, decided(1, 2))
    cloud.settle()
    cloud.send(Lane.DECISIONS, decided(3, 2))
    cloud.extractor.step()  # read, and not committed: it is killed here
    cloud.begin()
    cloud.settle()
    assert cloud.rows()["pos"].tolist() == [1, 2, 3, 4]


def test_rows_that_no_gate_could_count_are_left_out_and_told(cloud: Cloud) -> None:
    ahead = NOW_US + DELTA_AHEAD_US + 1
    cards = [b"card-1", b"", "ü".encode(), b"card-1"]
    cloud.send(Lane.DECISIONS, decided(1, 4, card=cards, time_us=[NOW_US, NOW_US, NOW_US, ahead]))
    cloud.settle()
    assert (cloud.rows()["pos"].tolist(), cloud.extractor.odd) == ([1], 3)


def test_a_message_that_is_no_frame_stops_its_partition_and_no_other(cloud: Cloud) -> None:
    cloud.send(Lane.DECISIONS, b"nothing")
    cloud.send(Lane.EVENTS, receipt(1, card="card-1", feature_us=NOW_US, delta=1))
    cloud.settle()
    (why,) = cloud.extractor.halted.values()
    assert "malformed" in why
    assert cloud.rows()["kind"].tolist() == [DeltaKind.FRAUD]


def test_deltas_are_let_go_once_they_are_folded_and_old(cloud: Cloud) -> None:
    folder, book = cloud.folder(MemoryStore()), cloud.stream.consumers()
    for first in (1, 2):
        cloud.send(Lane.DECISIONS, decided(first, 1))
        cloud.settle()
        folder.step()
        folder.let_go()
        book.trim()
        assert len(cloud.batches()) == first
    cloud.clock.advance(DELTA_KEPT_US + 1)
    folder.let_go()
    book.trim()
    assert cloud.batches() == []


def test_a_new_store_begins_with_what_the_log_still_has_and_an_old_one_says_what_it_lacks(cloud: Cloud) -> None:
    old, new = MemoryStore(), MemoryStore()
    for first in (1, 2, 3):
        cloud.send(Lane.DECISIONS, decided(first, 1))
        cloud.settle()
    first, _, third = cloud.offsets()
    old.fold(first, cloud.batches()[0].rows)
    cloud.stream.consumers().register("features-fold", [DELTAS])
    cloud.stream.consumers().store("features-fold", {(DELTAS, 0): third})
    cloud.stream.consumers().trim()
    behind, fresh = cloud.folder(old), cloud.folder(new)
    assert (behind.step(), fresh.step()) == (0, 1)
    assert "trimmed" in behind.halted
    assert new.reached(ONE) == 3
