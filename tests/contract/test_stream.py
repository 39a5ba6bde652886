"""What every log must do: the twin, the file and the brokers, by the same sentences."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from serve_apps.plumbing.stream import log
from serve_apps.plumbing.stream.ports import (
    FencedError,
    Message,
    MismatchError,
    OutOfRangeError,
    Reader,
    Stored,
    Stream,
    TooLargeError,
    UnknownTopicError,
    Writer,
)
from tests.contract.conftest import NOW_US
from tidegate.errors import InvalidError
from tidegate.limits import (
    LOG_COMMIT_BYTES_MAX,
    LOG_CURSOR_BYTES_MAX,
    LOG_KEY_BYTES_MAX,
    LOG_MESSAGE_BYTES_MAX,
    LOG_PARTITIONS_MAX,
)

KEY = b"shop-1/g0/01"
WAIT_S = 10.0


@dataclass(slots=True)
class Rig:
    """One log, whoever opens it anew, and topics that are made when a test first names them."""

    open: Callable[[], Stream]
    stream: Stream
    name: str
    made: set[str] = field(default_factory=set)

    @property
    def money(self) -> str:
        return self._topic("L0", 1)

    @property
    def decisions(self) -> str:
        return self._topic("L1", 1)

    @property
    def spread(self) -> str:
        return self._topic("spread", 4)

    def message(self, value: bytes, *, key: bytes = KEY, topic: str | None = None) -> Message:
        return Message(topic or self.decisions, key, value)

    def _topic(self, word: str, partitions: int) -> str:
        topic = f"{self.name}.{word}"
        if topic not in self.made:
            self.stream.create(topic, partitions)
            self.made.add(topic)
        return topic


@pytest.fixture
def rig(opening: Callable[[], Stream], unused: str) -> Iterator[Rig]:
    stream = opening()
    yield Rig(opening, stream, unused)
    stream.close()


@pytest.fixture
def writer(rig: Rig) -> Iterator[Writer]:
    held = rig.stream.writer(f"{rig.name}.c0")
    yield held
    held.close()


@pytest.fixture
def reader(rig: Rig) -> Iterator[Reader]:
    held = rig.stream.reader()
    yield held
    held.close()


def read(reader: Reader, topic: str, partition: int = 0, *, count: int, offset: int | None = None) -> list[Stored]:
    """Return `count` messages, which may be seen a moment after they were committed; there must be no more."""
    at = reader.begin(topic, partition) if offset is None else offset
    found: list[Stored] = []
    more = True
    while more:
        wait_s = WAIT_S if len(found) < count else 0.0
        more = bool(some := reader.read(topic, partition, at, messages_max=3, bytes_max=1 << 20, wait_s=wait_s))
        found += some
        at = found[-1].offset + 1 if found else at
    assert len(found) == count
    return found


def values(reader: Reader, topic: str, count: int) -> list[bytes]:
    return [stored.value for stored in read(reader, topic, count=count)]


# Topics.


def test_a_topic_may_be_created_again_as_it_is(rig: Rig, reader: Reader) -> None:
    rig.stream.create(rig.spread, 4)
    rig.stream.create(rig.spread, 4)

    assert reader.partitions(rig.spread) == 4


@pytest.mark.parametrize("partitions", [1, 5])
def test_the_number_of_partitions_never_changes(rig: Rig, reader: Reader, partitions: int) -> None:
    with pytest.raises(MismatchError, match=r"4 partitions, not \d: their number never changes"):
        rig.stream.create(rig.spread, partitions)

    assert reader.partitions(rig.spread) == 4


@pytest.mark.parametrize("topic", ["", ".hidden", "a topic", "x" * 121, "a/b", "a\n"])
def test_a_topic_has_a_name_that_all_logs_take(rig: Rig, topic: str) -> None:
    with pytest.raises(InvalidError, match="topic"):
        rig.stream.create(topic, 1)


@pytest.mark.parametrize("partitions", [0, -1, LOG_PARTITIONS_MAX + 1])
def test_a_topic_has_a_bounded_number_of_partitions(rig: Rig, partitions: int) -> None:
    with pytest.raises(InvalidError, match="partitions"):
        rig.stream.create("topic", partitions)


def test_what_was_never_created_is_told(rig: Rig, reader: Reader) -> None:
    for act in (reader.begin, reader.end):
        for topic, partition in ((f"{rig.name}.none", 0), (rig.spread, 4), (rig.spread, -1)):
            with pytest.raises(UnknownTopicError, match=topic):
                act(topic, partition)
    with pytest.raises(UnknownTopicError, match="none"):
        reader.partitions(f"{rig.name}.none")
    with pytest.raises(UnknownTopicError, match="none"):
        reader.read(f"{rig.name}.none", 0, 0, messages_max=1, bytes_max=1)


# Committing and reading.


def test_a_new_topic_is_empty(rig: Rig, reader: Reader) -> None:
    assert reader.begin(rig.decisions, 0) == 0
    assert reader.end(rig.decisions, 0) == 0
    assert reader.read(rig.decisions, 0, 0, messages_max=10, bytes_max=1_000) == []


def test_what_was_committed_is_read_as_it_was(rig: Rig, writer: Writer, reader: Reader) -> None:
    writer.commit([rig.message(b"\0one"), rig.message(b"")], {})

    first, second = read(reader, rig.decisions, count=2)
    assert (first.key, first.value, first.time_us) == (KEY, b"\0one", NOW_US // 1_000 * 1_000)
    assert (second.key, second.value) == (KEY, b"")
    assert 0 == first.offset < second.offset < reader.end(rig.decisions, 0)


def test_one_commit_reaches_several_topics(rig: Rig, writer: Writer, reader: Reader) -> None:
    writer.commit([rig.message(b"decision"), rig.message(b"money", topic=rig.money)], {})

    assert values(reader, rig.decisions, 1) == [b"decision"]
    assert values(reader, rig.money, 1) == [b"money"]


def test_messages_of_a_key_stay_in_order_in_the_partition_that_the_key_names(
    rig: Rig, writer: Writer, reader: Reader
) -> None:
    keys = [f"site-{number}/g0/01".encode() for number in range(12)]
    for turn in range(5):
        writer.commit([rig.message(bytes([turn, n]), key=key, topic=rig.spread) for n, key in enumerate(keys)], {})

    homes = [log.partition(key, 4) for key in keys]
    found = {number: read(reader, rig.spread, number, count=5 * homes.count(number)) for number in range(4)}
    for n, key in enumerate(keys):
        there = [stored.value for stored in found[homes[n]] if stored.key == key]
        assert there == [bytes([turn, n]) for turn in range(5)]
    assert set(homes) == set(range(4))


def test_reading_goes_on_behind_the_last_one_read(rig: Rig, writer: Writer, reader: Reader) -> None:
    for number in range(7):
        writer.commit([rig.message(bytes([number]))], {})

    seen: list[bytes] = []
    offset = 0
    while len(seen) < 7:
        found = reader.read(rig.decisions, 0, offset, messages_max=2, bytes_max=1_000, wait_s=WAIT_S)
        assert 1 <= len(found) <= 2
        seen += [stored.value for stored in found]
        offset = found[-1].offset + 1
    assert seen == [bytes([number]) for number in range(7)]


def test_reading_may_go_back_and_forth(rig: Rig, writer: Writer, reader: Reader) -> None:
    writer.commit([rig.message(bytes([number])) for number in range(6)], {})
    offsets = [stored.offset for stored in read(reader, rig.decisions, count=6)]

    for number in (4, 1, 5, 0, 0, 3):
        found = reader.read(rig.decisions, 0, offsets[number], messages_max=1, bytes_max=1_000)
        assert [stored.value for stored in found] == [bytes([number])]


def test_an_answer_is_bounded_in_bytes_but_never_empty_for_that(rig: Rig, writer: Writer, reader: Reader) -> None:
    writer.commit([rig.message(bytes(1_000)) for _ in range(5)], {})
    read(reader, rig.decisions, count=5)
    size = 1_000 + len(KEY)

    for bytes_max, most in ((1, 1), (size, 1), (2 * size - 1, 1), (2 * size, 2), (100 * size, 5)):
        assert 1 <= len(reader.read(rig.decisions, 0, 0, messages_max=10, bytes_max=bytes_max)) <= most


def test_what_comes_after_an_empty_answer_is_read_from_the_same_offset(
    rig: Rig, writer: Writer, reader: Reader
) -> None:
    writer.commit([rig.message(b"1")], {})
    following = read(reader, rig.decisions, count=1)[-1].offset + 1
    assert reader.read(rig.decisions, 0, following, messages_max=1, bytes_max=1) == []

    writer.commit([rig.message(b"2")], {})

    assert [stored.value for stored in read(reader, rig.decisions, count=1, offset=following)] == [b"2"]


def test_the_end_may_be_read_and_is_empty(rig: Rig, writer: Writer, reader: Reader) -> None:
    writer.commit([rig.message(b"1")], {})
    read(reader, rig.decisions, count=1)
    end = reader.end(rig.decisions, 0)

    assert reader.read(rig.decisions, 0, end, messages_max=1, bytes_max=1) == []


def test_an_offset_beyond_the_end_is_told_with_the_range(rig: Rig, writer: Writer, reader: Reader) -> None:
    writer.commit([rig.message(b"1")], {})
    read(reader, rig.decisions, count=1)
    end = reader.end(rig.decisions, 0)

    with pytest.raises(OutOfRangeError, match="beyond the end") as told:
        reader.read(rig.decisions, 0, end + 1, messages_max=1, bytes_max=1)
    assert (told.value.begin, told.value.end) == (0, end)


def test_a_waiting_reader_is_given_what_is_committed_meanwhile(rig: Rig, writer: Writer, reader: Reader) -> None:
    waiting = threading.Event()
    found: list[Stored] = []
    topic = rig.decisions  # which asks the stream, that is one thread's

    def wait() -> None:
        waiting.set()
        found.extend(reader.read(topic, 0, 0, messages_max=1, bytes_max=100, wait_s=WAIT_S))

    thread = threading.Thread(target=wait)
    thread.start()
    waiting.wait()
    writer.commit([rig.message(b"now")], {})
    thread.join(WAIT_S)

    assert [stored.value for stored in found] == [b"now"]


def test_a_reader_waits_no_longer_than_it_was_told_to(rig: Rig, reader: Reader) -> None:
    assert reader.read(rig.decisions, 0, 0, messages_max=1, bytes_max=1, wait_s=0.2) == []


def test_whoever_opens_the_log_anew_reads_the_same(rig: Rig, writer: Writer, reader: Reader) -> None:
    writer.commit([rig.message(b"1"), rig.message(b"2")], {})
    other = rig.open()
    second = other.reader()

    assert read(second, rig.decisions, count=2) == read(reader, rig.decisions, count=2)
    second.close()
    other.close()


# Cursors and fencing.


def test_a_committer_finds_its_cursors_again(rig: Rig, writer: Writer) -> None:
    assert writer.cursors() == {}
    writer.commit([rig.message(b"1")], {"a": b"1", "b": b"\0"})
    writer.commit([], {"a": b"2", "c": b""})
    assert writer.cursors() == {"a": b"2", "b": b"\0", "c": b""}

    again = rig.stream.writer(f"{rig.name}.c0")
    assert again.cursors() == {"a": b"2", "b": b"\0", "c": b""}
    again.close()


def test_a_cursor_can_be_forgotten(rig: Rig, writer: Writer) -> None:
    writer.commit([], {"a": b"1", "b": b"2"})
    writer.commit([], {"a": None, "never": None})
    assert writer.cursors() == {"b": b"2"}

    again = rig.stream.writer(f"{rig.name}.c0")
    assert again.cursors() == {"b": b"2"}
    again.close()


def test_committers_know_nothing_of_each_others_cursors(rig: Rig, writer: Writer) -> None:
    other = rig.stream.writer(f"{rig.name}.c1")
    writer.commit([], {"a": b"1"})
    other.commit([], {"a": b"2"})

    assert (writer.cursors(), other.cursors()) == ({"a": b"1"}, {"a": b"2"})
    other.close()


def test_what_is_given_out_is_a_copy(writer: Writer) -> None:
    writer.cursors()["a"] = b"1"

    assert writer.cursors() == {}


def test_a_commit_of_nothing_changes_nothing(rig: Rig, writer: Writer, reader: Reader) -> None:
    writer.commit([], {})

    assert read(reader, rig.decisions, count=0) == []


def test_a_second_writer_fences_the_first(rig: Rig, writer: Writer, reader: Reader) -> None:
    writer.commit([rig.message(b"1")], {"a": b"1"})
    other = rig.open()
    second = other.writer(f"{rig.name}.c0")

    for _ in range(2):
        with pytest.raises(FencedError):
            writer.commit([rig.message(b"of the dead")], {"a": b"0"})
    second.commit([rig.message(b"2")], {"a": b"2"})

    assert values(reader, rig.decisions, 2) == [b"1", b"2"]
    third = rig.stream.writer(f"{rig.name}.c0")
    assert third.cursors() == {"a": b"2"}
    for held in (second, third, other):
        held.close()


def test_a_writer_of_another_committer_fences_nobody(rig: Rig, writer: Writer, reader: Reader) -> None:
    other = rig.stream.writer(f"{rig.name}.c1")
    other.commit([rig.message(b"1")], {})
    writer.commit([rig.message(b"2")], {})
    other.commit([rig.message(b"3")], {})

    assert values(reader, rig.decisions, 3) == [b"1", b"2", b"3"]
    other.close()


@pytest.mark.parametrize("committer", ["", "a b", "x" * 121])
def test_a_committer_has_a_name_that_all_logs_take(rig: Rig, committer: str) -> None:
    with pytest.raises(InvalidError, match="committer"):
        rig.stream.writer(committer)


# Bounds.


def test_the_largest_commit_of_the_largest_messages_is_taken(rig: Rig, writer: Writer, reader: Reader) -> None:
    largest = bytes(LOG_MESSAGE_BYTES_MAX - len(KEY))
    count = LOG_COMMIT_BYTES_MAX // LOG_MESSAGE_BYTES_MAX
    writer.commit([rig.message(largest) for _ in range(count)], {"a": b"1"})

    assert values(reader, rig.decisions, count) == [largest] * count


@pytest.mark.parametrize(
    ("value_bytes", "count", "cursor_bytes"),
    [
        (LOG_MESSAGE_BYTES_MAX - len(KEY) + 1, 1, 1),
        (LOG_MESSAGE_BYTES_MAX - len(KEY), LOG_COMMIT_BYTES_MAX // LOG_MESSAGE_BYTES_MAX + 1, 1),
        (1, 10_000, 1),
        (1, 1, LOG_CURSOR_BYTES_MAX + 1),
    ],
    ids=["message", "commit", "count", "cursor"],
)
def test_what_is_too_large_is_refused_whole_and_the_writer_goes_on(
    rig: Rig, writer: Writer, reader: Reader, value_bytes: int, count: int, cursor_bytes: int
) -> None:
    with pytest.raises(TooLargeError):
        writer.commit([rig.message(bytes(value_bytes))] * count, {"a": bytes(cursor_bytes)})
    writer.commit([rig.message(b"fits")], {"b": b"1"})

    assert values(reader, rig.decisions, 1) == [b"fits"]
    assert writer.cursors() == {"b": b"1"}


@pytest.mark.parametrize("key", [b"", bytes(LOG_KEY_BYTES_MAX + 1)])
def test_a_key_is_there_and_bounded(rig: Rig, writer: Writer, key: bytes) -> None:
    with pytest.raises(InvalidError, match="key"):
        writer.commit([rig.message(b"1", key=key)], {})


@pytest.mark.parametrize("cursor", ["", "x" * 257])
def test_a_cursors_name_is_there_and_bounded(writer: Writer, cursor: str) -> None:
    with pytest.raises(InvalidError, match="cursor"):
        writer.commit([], {cursor: b"1"})


def test_a_message_of_no_topic_takes_the_whole_commit_with_it_and_the_writer_goes_on(
    rig: Rig, writer: Writer, reader: Reader
) -> None:
    with pytest.raises(UnknownTopicError, match="none"):
        writer.commit([rig.message(b"1"), rig.message(b"2", topic=f"{rig.name}.none")], {"a": b"1"})
    writer.commit([rig.message(b"3")], {})

    assert values(reader, rig.decisions, 1) == [b"3"]
    assert writer.cursors() == {}


# Trimming.


@pytest.fixture
def offsets(rig: Rig, writer: Writer, reader: Reader) -> list[int]:
    """The offsets of ten messages."""
    for number in range(10):
        writer.commit([rig.message(bytes([number]))], {})
    return [stored.offset for stored in read(reader, rig.decisions, count=10)]


def test_nothing_is_trimmed_while_nobody_is_registered(rig: Rig, reader: Reader, offsets: list[int]) -> None:
    book = rig.stream.consumers()

    assert rig.decisions not in {topic for topic, _ in book.trim()}
    assert [stored.offset for stored in read(reader, rig.decisions, count=10)] == offsets
    book.close()


def test_the_log_is_trimmed_behind_the_slowest_consumer_and_never_ahead_of_it(
    rig: Rig, reader: Reader, offsets: list[int]
) -> None:
    book = rig.stream.consumers()
    place = rig.decisions, 0
    book.register(f"{rig.name}.archive", [rig.decisions])
    book.register(f"{rig.name}.ledger", [rig.decisions, rig.money])
    book.store(f"{rig.name}.archive", {place: offsets[7]})
    assert book.trim()[place] == 0

    book.store(f"{rig.name}.ledger", {place: offsets[4]})
    assert book.trim()[place] == offsets[4]

    assert reader.begin(*place) == offsets[4]
    assert [stored.offset for stored in read(reader, rig.decisions, count=6)] == offsets[4:]
    with pytest.raises(OutOfRangeError, match="trimmed") as told:
        reader.read(rig.decisions, 0, offsets[3], messages_max=1, bytes_max=1)
    assert told.value.begin == offsets[4]
    book.close()


def test_a_forgotten_consumer_holds_nothing_back(rig: Rig, reader: Reader, offsets: list[int]) -> None:
    book = rig.stream.consumers()
    fast, slow = f"{rig.name}.fast", f"{rig.name}.slow"
    for name in (fast, slow):
        book.register(name, [rig.decisions])
    book.store(fast, {(rig.decisions, 0): offsets[-1] + 1})
    book.forget(slow)
    book.forget(slow)

    book.trim()

    assert read(reader, rig.decisions, count=0) == []
    assert slow not in book.registered()
    book.close()


def test_what_is_committed_after_all_was_trimmed_is_read(
    rig: Rig, writer: Writer, reader: Reader, offsets: list[int]
) -> None:
    book = rig.stream.consumers()
    book.register(f"{rig.name}.archive", [rig.decisions])
    book.store(f"{rig.name}.archive", {(rig.decisions, 0): reader.end(rig.decisions, 0) + 100})
    begin = book.trim()[rig.decisions, 0]
    assert offsets[-1] < begin == reader.begin(rig.decisions, 0) <= reader.end(rig.decisions, 0)

    writer.commit([rig.message(b"after")], {})

    assert values(reader, rig.decisions, 1) == [b"after"]
    book.close()


def test_a_consumer_is_found_again_with_its_offsets(rig: Rig, offsets: list[int]) -> None:
    book, name = rig.stream.consumers(), f"{rig.name}.ledger"
    book.register(name, [rig.decisions, rig.spread])
    book.store(name, {(rig.decisions, 0): offsets[5], (rig.spread, 2): 0})
    book.store(name, {(rig.decisions, 0): offsets[3]})
    book.register(name, [rig.decisions, rig.money])
    book.close()

    other = rig.open()
    again = other.consumers()
    assert again.registered()[name] == {(rig.decisions, 0): offsets[3], (rig.money, 0): 0}
    again.close()
    other.close()


def test_a_consumer_stores_only_what_it_is_registered_for(rig: Rig) -> None:
    book, name = rig.stream.consumers(), f"{rig.name}.ledger"
    with pytest.raises(InvalidError, match="isn't registered"):
        book.store(name, {(rig.money, 0): 1})
    book.register(name, [rig.money])
    with pytest.raises(InvalidError, match="isn't registered"):
        book.store(name, {(rig.money, 0): 1, (rig.decisions, 0): 1})
    with pytest.raises(UnknownTopicError, match="none"):
        book.register(name, [f"{rig.name}.none"])

    assert book.registered()[name] == {(rig.money, 0): 0}
    book.close()
