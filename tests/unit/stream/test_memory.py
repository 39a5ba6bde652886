"""The log's twin fails as it is told to, and whatever it says of a commit, cursors and messages agree."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_apps.plumbing.stream.memory import Fault, MemoryStream
from serve_apps.plumbing.stream.ports import FencedError, Message, UnavailableError, UnknownOutcomeError, Writer
from tidegate.clock import ManualClock

TOPIC = "tidegate.L1"
NOW_US = 1_795_500_000_000_000


def stream_of(faults: list[Fault | None]) -> MemoryStream:
    left = iter(faults)
    stream = MemoryStream(ManualClock(NOW_US), lambda _committer: next(left, None))
    stream.create(TOPIC, 1)
    return stream


def commit(writer: Writer, number: int) -> None:
    text = str(number).encode()
    writer.commit([Message(TOPIC, b"key", text)], {"counted": text})


def numbers(stream: MemoryStream) -> list[int]:
    return [int(stored.value) for stored in stream.reader().read(TOPIC, 0, 0, messages_max=1_000, bytes_max=1 << 20)]


@pytest.mark.parametrize(("fault", "found"), [(Fault.LOST, []), (Fault.COMMITTED, [1]), (Fault.LATE, [])])
def test_an_unknown_outcome_ends_the_writer(fault: Fault, found: list[int]) -> None:
    stream = stream_of([fault])
    writer = stream.writer("c0")

    for _ in range(2):
        with pytest.raises(UnknownOutcomeError, match="open another writer"):
            commit(writer, 1)

    assert numbers(stream) == found


@pytest.mark.parametrize(("fault", "found"), [(Fault.LOST, []), (Fault.COMMITTED, [1]), (Fault.LATE, [1])])
def test_the_next_writers_cursors_tell_what_happened(fault: Fault, found: list[int]) -> None:
    stream = stream_of([fault])
    with pytest.raises(UnknownOutcomeError):
        commit(stream.writer("c0"), 1)

    cursors = stream.writer("c0").cursors()

    assert cursors == ({"counted": b"1"} if found else {})
    assert numbers(stream) == found


def test_a_refused_commit_may_be_tried_again() -> None:
    stream = stream_of([Fault.REFUSED])
    writer = stream.writer("c0")
    with pytest.raises(UnavailableError):
        commit(writer, 1)
    assert writer.cursors() == {}

    commit(writer, 1)

    assert numbers(stream) == [1]


def test_a_late_commit_of_a_fenced_writer_comes_before_those_of_its_fencer() -> None:
    stream = stream_of([Fault.LATE])
    first = stream.writer("c0")
    with pytest.raises(UnknownOutcomeError):
        commit(first, 1)
    second = stream.writer("c0")
    commit(second, 2)

    assert numbers(stream) == [1, 2]


def test_nothing_is_available_while_the_log_is_down() -> None:
    stream = stream_of([])
    writer, reader, book = stream.writer("c0"), stream.reader(), stream.consumers()
    stream.down = True

    for act in (
        lambda: commit(writer, 1),
        lambda: stream.writer("c0"),
        lambda: stream.create(TOPIC, 1),
        lambda: reader.end(TOPIC, 0),
        lambda: reader.read(TOPIC, 0, 0, messages_max=1, bytes_max=1),
        book.trim,
    ):
        with pytest.raises(UnavailableError):
            act()
    stream.down = False
    commit(writer, 1)
    assert numbers(stream) == [1]


def test_whoever_was_fenced_while_the_log_was_down_is_told_so_afterwards() -> None:
    stream = stream_of([])
    writer = stream.writer("c0")
    stream.writer("c0")

    with pytest.raises(FencedError):
        commit(writer, 1)


def test_offsets_have_gaps_as_those_of_kafka() -> None:
    stream = stream_of([])
    writer = stream.writer("c0")
    commit(writer, 1)
    commit(writer, 2)

    found = stream.reader().read(TOPIC, 0, 0, messages_max=10, bytes_max=100)
    assert [stored.offset for stored in found] == [0, 2]
    assert stream.reader().end(TOPIC, 0) == 4


@given(st.lists(st.sampled_from([None, *Fault]), max_size=30))
def test_a_committer_that_goes_by_its_cursors_commits_each_number_once(faults: list[Fault | None]) -> None:
    stream = stream_of(faults)
    writer = stream.writer("c0")
    while (noted := int(writer.cursors().get("counted", b"0"))) < 12:
        try:
            commit(writer, noted + 1)
        except UnavailableError:
            continue
        except UnknownOutcomeError:
            writer = stream.writer("c0")

    assert numbers(stream) == list(range(1, 13))
