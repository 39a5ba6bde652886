"""The consumer: when it writes, what it acknowledges, and what stops a partition."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from serve_apps.archive.archive import TOPICS
from serve_apps.archive.consumer import NAME, Consumer, Step
from serve_apps.archive.memory import MemoryStore
from serve_apps.archive.ports import Piece, UnavailableError
from serve_apps.plumbing.stream.log import ARTIFACTS
from serve_apps.plumbing.stream.memory import MemoryStream
from serve_apps.plumbing.stream.ports import Message, Place
from tests.sent import NOW_US, SOURCE, decision_rows, decisions_frame, event, events_frame, frame, label, parts_of
from tidegate.archived import Kept
from tidegate.artifacts import Artifact
from tidegate.clock import ManualClock
from tidegate.errors import TemporaryError
from tidegate.limits import ARCHIVE_BATCH_AGE_US, ARCHIVE_BATCH_BYTES, ARCHIVE_BATCH_ROWS, DAY_US
from tidegate.records import Kind, Lane, Record

L1, L2 = ("tidegate.L1", 0), ("tidegate.L2", 0)
LISTS = {"version": 1, "lists": "l-0123456789ab", "entries": 3, "as_of_us": 5, "by": "ann", "why": ""}
POLICY = {"policy": "p-0123456789ab", "terms": {"rules": []}, "as_of_us": 5, "by": "ann", "why": ""}


class Fallible(MemoryStore):
    """Tables on a disk that is full for as long as it is said to be."""

    full = False

    def append(self, table: Kept, pieces: Sequence[Piece]) -> int:
        if self.full:
            raise UnavailableError(f"{table}: the disk is full")
        return super().append(table, pieces)


@dataclass
class Rig:
    """An archive, and a log of one partition a topic that is fed frame by frame."""

    store: Fallible = field(default_factory=Fallible)
    clock: ManualClock = field(default_factory=lambda: ManualClock(NOW_US))
    stream: MemoryStream = field(init=False)

    def __post_init__(self) -> None:
        self.stream = MemoryStream(self.clock)
        for topic in TOPICS:
            self.stream.create(topic, 1)
        self._writer = self.stream.writer("c0")

    def consumer(self, *, rows_max: int = ARCHIVE_BATCH_ROWS, bytes_max: int = ARCHIVE_BATCH_BYTES) -> Consumer:
        return Consumer(
            reader=self.stream.reader(),
            consumers=self.stream.consumers(),
            store=self.store,
            clock=self.clock,
            rows_max=rows_max,
            bytes_max=bytes_max,
        )

    def send(self, place: Place, *frames: bytes) -> None:
        for each in frames:
            self._writer.commit([Message(place[0], b"site-1/g0", each)], {})

    @property
    def acknowledged(self) -> dict[Place, int]:
        noted = self.stream.consumers().registered()[NAME]
        return {place: offset for place, offset in noted.items() if place[0] != ARTIFACTS}


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_rows_wait_until_they_are_enough_or_old_enough(rig: Rig) -> None:
    made = rig.consumer(rows_max=20)
    rig.send(L1, decisions_frame(1, 10))

    assert made.step() == Step(1, 0)
    rig.clock.advance(ARCHIVE_BATCH_AGE_US - 1)
    assert made.step() == Step(0, 0)
    rig.clock.advance(1)
    assert made.step() == Step(0, 10)
    rig.send(L1, decisions_frame(11, 10), decisions_frame(21, 10))
    assert made.step() == Step(2, 20)


def test_large_events_end_a_batch_before_their_number_does(rig: Rig) -> None:
    made, sent = rig.consumer(bytes_max=50_000), 24
    large = {"text": "x" * 1_000}
    for seq in range(1, sent * 5, 5):
        rig.send(L2, events_frame(*(event(Kind.CONFIG_ACTIVATED, seq + at, large) for at in range(5))))

    step = made.step()

    assert 0 < step.rows < sent * 5
    assert step.rows * 1_000 < 50_000 + 5 * 1_000
    assert made.step().messages < sent - step.messages


def test_rows_dont_wait_for_a_clock_that_was_set_back(rig: Rig) -> None:
    made = rig.consumer()
    rig.send(L1, decisions_frame(1, 10))
    made.step()

    rig.clock.advance(-3_600_000_000)

    assert made.step().rows == 10


def test_nothing_is_acknowledged_before_it_is_written(rig: Rig) -> None:
    made = rig.consumer()
    rig.send(L1, decisions_frame(1, 10))
    made.step()
    assert rig.acknowledged == {L1: 0, L2: 0}

    made.flush()

    assert rig.acknowledged == {L1: 1, L2: 0}


def test_a_commit_that_fails_is_tried_again_from_what_is_durable(rig: Rig) -> None:
    made = rig.consumer(rows_max=10)
    rig.send(L1, decisions_frame(1, 10))
    rig.store.full = True

    with pytest.raises(UnavailableError):
        made.step()
    assert rig.acknowledged == {L1: 0, L2: 0}
    rig.store.full = False

    assert made.step() == Step(1, 10)
    assert rig.acknowledged[L1] == 1


def torn() -> bytes:
    return decisions_frame(1, 3)[:-1]


def a_byte_wrong() -> bytes:
    data = bytearray(decisions_frame(1, 3))
    data[-9] ^= 1
    return bytes(data)


def of_the_other_lane() -> bytes:
    return events_frame(label(1))


def a_label_without_a_verdict() -> bytes:
    return events_frame(event(Kind.LABEL_RECEIVED, 1, {"label_id": "l", "merchant": "m", "transaction_id": "t"}))


def lists_without_a_digest() -> bytes:
    return events_frame(event(Kind.LISTS_ACTIVATED, 1, {**LISTS, "lists": "the newest"}))


def a_label_that_is_no_json() -> bytes:
    return events_frame(label(1)._replace(body=b"{"))


BROKEN = {
    torn: L1,
    a_byte_wrong: L1,
    of_the_other_lane: L1,
    a_label_without_a_verdict: L2,
    lists_without_a_digest: L2,
    a_label_that_is_no_json: L2,
}


@pytest.mark.parametrize("broken", BROKEN)
def test_what_cant_be_decoded_stops_its_partition_for_good_and_no_other(broken: object, rig: Rig) -> None:
    stopped = BROKEN[broken]  # type: ignore[index]
    other = L2 if stopped == L1 else L1
    good = {L1: decisions_frame(101, 5), L2: events_frame(label(101))}
    made = rig.consumer()
    rig.send(stopped, good[stopped], broken(), good[stopped])  # type: ignore[operator]
    rig.send(other, good[other], good[other])

    for _ in range(2):
        made.step()
        made.flush()

    assert list(made.halted) == [stopped]
    assert made.halted[stopped].startswith("offset 2: ")
    assert rig.acknowledged == {stopped: 1, other: 3}


def test_a_kind_that_this_program_doesnt_know_is_kept_as_it_came(rig: Rig) -> None:
    """A site may be newer than its cloud."""
    body = b'{"new":1}'
    known = Record(Lane.EVENTS, Kind.EPOCH_STARTED, 1, 1, NOW_US, body).to_bytes()
    at = 25  # of the kind in the head
    made = rig.consumer()
    rig.send(L2, frame(Lane.EVENTS, known[:at] + b"\xee" + known[at + 1 :]))

    made.step()
    made.flush()

    assert not made.halted
    assert rig.store.read("events").select(["kind", "body"]).to_pylist() == [{"kind": 0xEE, "body": body}]


def test_a_log_that_was_trimmed_too_far_is_an_alarm_not_a_gap(rig: Rig) -> None:
    made = rig.consumer()
    rig.send(L1, *(decisions_frame(first, 10) for first in (1, 11, 21)))
    rig.stream.consumers().store(NAME, {L1: 4})
    rig.stream.consumers().trim()

    made.step()
    made.flush()

    assert "was trimmed" in made.halted[L1]
    assert rig.store.read("decisions").num_rows == 0


def test_a_log_that_was_lost_is_an_alarm(rig: Rig) -> None:
    rig.store.append("decisions", [Piece("tidegate.L1/0", 99, rig.store.read("decisions").schema.empty_table())])
    made = rig.consumer()

    made.step()

    assert "beyond the end" in made.halted[L1]


def test_what_events_say_comes_into_tables_of_their_own(rig: Rig) -> None:
    made = rig.consumer()
    lists, policy = event(Kind.LISTS_ACTIVATED, 1, LISTS), event(Kind.POLICY_ACTIVATED, 2, POLICY)
    rig.send(L2, events_frame(lists, policy, label(3)))

    made.step()
    made.flush()

    told = {"source": SOURCE, "version": 1, "from_us": NOW_US + 1, "as_of_us": 5, "lists": "l-0123456789ab"}
    assert rig.store.read("lists").to_pylist() == [told]
    assert rig.store.read("policies").select(["policy", "terms"]).to_pylist() == [
        {"policy": "p-0123456789ab", "terms": '{"rules": []}'}
    ]
    labels = rig.store.read("labels").select(["label_id", "verdict"]).to_pylist()
    assert labels == [{"label_id": "l-3", "verdict": "fraud"}]
    assert rig.store.read("events").num_rows == 3


def test_decisions_of_one_batch_keep_their_bytes(rig: Rig) -> None:
    made = rig.consumer()
    rig.send(L1, decisions_frame(1, 3))

    made.step()
    made.flush()

    stored = rig.store.read("decisions").select(["seq", "time_us", "transaction_id"]).to_pydict()
    assert stored["time_us"] == decision_rows(1, 3)["time_us"].tolist()
    assert stored["transaction_id"] == ["t-1", "t-2", "t-3"]


def test_texts_are_archived_whichever_comes_first_text_or_record(rig: Rig) -> None:
    lists = Artifact("lists", "list,entity,value,expires_at,rule\n" + "watch,card,card-1,,\n" * 9_000)
    named = LISTS | {"lists": lists.name}
    made = rig.consumer(rows_max=1)
    first, *rest = parts_of(lists)

    rig.send((ARTIFACTS, 0), first)
    made.step()
    rig.send(L2, events_frame(event(Kind.LISTS_ACTIVATED, 1, named)))
    made.step()
    rig.send((ARTIFACTS, 0), *rest)
    while made.step().messages:
        pass

    rows = rig.store.read("artifacts").to_pylist()
    assert "".join(row["text"] for row in rows) == lists.text
    assert rig.store.read("lists")["lists"].to_pylist() == [lists.name]
    assert (
        rig.stream.consumers().registered()[NAME][ARTIFACTS, 0] == rig.store.offset("artifacts", f"{ARTIFACTS}/0") + 1
    )


def test_a_part_that_is_none_stops_the_texts_and_nothing_else(rig: Rig) -> None:
    made = rig.consumer()
    rig.send((ARTIFACTS, 0), decisions_frame(1, 1))
    rig.send(L1, decisions_frame(1, 10))

    made.step()

    assert list(made.halted) == [(ARTIFACTS, 0)]
    assert made.flush() == 10


def test_records_of_a_wrong_clock_lie_in_few_days_and_keep_their_time(rig: Rig) -> None:
    made, rows = rig.consumer(), decision_rows(1, 400)
    rows["time_us"] = np.where(np.arange(400) % 2, 3 * NOW_US, 0) + np.arange(400) * DAY_US

    rig.send(L1, frame(Lane.DECISIONS, rows.tobytes()))
    made.step()
    made.flush()

    kept = rig.store.read("decisions")
    assert len(set(kept["day"].to_pylist())) == 2
    assert sorted(kept["time_us"].to_pylist()) == sorted(rows["time_us"].tolist())


def put_back(rig: Rig, *frames: bytes) -> None:
    """Put an empty log in the place of the one that was archived from, and have sites send into it again."""
    rig.clock.advance(60_000_000)
    rig.__post_init__()
    rig.send(L1, *frames)


def archived_of(rig: Rig) -> Consumer:
    """Archive two frames of a log."""
    made = rig.consumer()
    rig.send(L1, decisions_frame(1, 10), decisions_frame(11, 10))
    made.step()
    made.flush()
    return made


@pytest.mark.parametrize(
    "again",
    [
        [(1, 5), (6, 10), (16, 10), (26, 5)],  # cut otherwise: what lies behind the old offset is archived in part
        [(1, 30), (31, 10), (41, 10)],  # or what lies before it isn't
        [(1, 10), (11, 10), (21, 10)],  # or cut as before: nobody can tell from here
        [(1, 5)],
    ],
)
def test_a_log_that_was_put_back_stops_its_partition_however_often_the_archive_starts(
    rig: Rig, again: list[tuple[int, int]]
) -> None:
    archived_of(rig)
    put_back(rig, *(decisions_frame(*each) for each in again))

    for _ in range(2):
        made = rig.consumer()
        made.step()
        made.flush()

        assert "tidegate archive rejoin" in made.halted[L1]
    assert rig.store.read("decisions").num_rows == 20


def test_a_log_that_is_put_back_under_a_running_archive_stops_it_too(rig: Rig) -> None:
    made, before = archived_of(rig), rig.stream
    put_back(rig, decisions_frame(1, 15), decisions_frame(16, 5), decisions_frame(21, 10))
    before.down = True
    with pytest.raises(TemporaryError):
        made.step()

    before.__dict__ |= rig.stream.__dict__
    made.step()

    assert "put back" in made.halted[L1]


def test_a_log_that_was_trimmed_behind_the_archive_goes_on(rig: Rig) -> None:
    archived_of(rig)
    rig.stream.consumers().trim()
    rig.send(L1, decisions_frame(21, 10))

    made = rig.consumer()
    made.step()
    made.flush()

    assert not made.halted
    assert rig.store.read("decisions").num_rows == 30


def test_a_rejoined_partition_gets_what_is_new_and_nothing_twice_however_late_it_is_sent(rig: Rig) -> None:
    archived_of(rig)
    put_back(rig, decisions_frame(16, 14))
    rig.store.rejoin("decisions", "tidegate.L1/0")

    made = rig.consumer()
    made.step()
    made.flush()
    rig.send(L1, decisions_frame(1, 15), decisions_frame(30, 1))  # a site that was cut off until now
    again = rig.consumer()
    again.step()
    again.flush()

    assert not again.halted
    assert sorted(rig.store.read("decisions")["seq"].to_pylist()) == [*range(1, 31)]
