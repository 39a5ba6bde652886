"""The archive's life: it goes on after what may pass, more slowly, and writes what it has when it is told to end."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from serve_apps.archive.archive import TOPICS
from serve_apps.archive.consumer import Consumer, Position
from serve_apps.archive.exposition import exposition
from serve_apps.archive.memory import MemoryStore
from serve_apps.archive.ports import ArchiveError, Piece, UnavailableError
from serve_apps.archive.service import Service
from serve_apps.plumbing.stream.memory import MemoryStream
from serve_apps.plumbing.stream.ports import Message
from tests.sent import NOW_US, decisions_frame
from tidegate.archived import Kept, Pin
from tidegate.clock import Clock, ManualClock
from tidegate.limits import (
    ARCHIVE_PAUSE_S,
    ARCHIVE_RETRY_S_MAX,
    ARCHIVE_STALLED_US,
    ARCHIVE_TIDY_US,
    ARCHIVE_TRIM_US,
    SECOND_US,
)

PLACE: Final = ("tidegate.L1", 0)
GOOD: Final = decisions_frame(1, 3)


class Full(MemoryStore):
    """Tables on a disk that is full so many times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times, self.tended, self.tidied = times, 0, 0

    def append(self, table: Kept, pieces: Sequence[Piece]) -> int:
        self.times -= 1
        if self.times >= 0:
            raise UnavailableError(f"{table}: the disk is full")
        return super().append(table, pieces)

    def tend(self) -> None:
        self.tended += 1

    def tidy(self) -> None:
        self.tidied += 1


class Opened:
    """A log and tables in memory, opened."""

    def __init__(self, stream: MemoryStream, store: MemoryStore, clock: Clock, rows_max: int) -> None:
        self.store, self.consumers = store, stream.consumers()
        self.consumer = Consumer(
            reader=stream.reader(), consumers=self.consumers, store=store, clock=clock, rows_max=rows_max
        )

    def close(self) -> None:
        self.consumers.close()


class Life(NamedTuple):
    """A service that has ended, its log, and the pauses it asked for."""

    service: Service
    stream: MemoryStream
    pauses: list[float]


def live(store: MemoryStore, rounds: int, *, step_us: int = 0, rows_max: int = 1, sent: bytes = GOOD) -> Life:
    """Live through rounds of a service with one message in its log."""
    clock, pauses = ManualClock(NOW_US), list[float]()
    stream = MemoryStream(clock)
    for topic in TOPICS:
        stream.create(topic, 1)
    stream.writer("c0").commit([Message("tidegate.L1", b"site-1", sent)], {})

    def pause(wait_s: float) -> bool:
        pauses.append(wait_s)
        clock.advance(step_us)
        return len(pauses) > rounds

    service = Service(opening=lambda: Opened(stream, store, clock, rows_max), clock=clock, pause=pause)
    service.run()
    return Life(service, stream, pauses)


def test_a_full_disk_is_asked_again_ever_more_slowly_until_it_is_free() -> None:
    store = Full(9)

    pauses = live(store, 12).pauses

    assert pauses[1:10] == [min(ARCHIVE_PAUSE_S * 2**at, ARCHIVE_RETRY_S_MAX) for at in range(9)]
    assert pauses[10:12] == [0.0, ARCHIVE_PAUSE_S]
    assert store.read("decisions").num_rows == 3
    assert store.tended == 1


def test_what_was_read_is_written_at_the_end() -> None:
    store = Full(0)

    live(store, 1, rows_max=1_000)

    assert store.read("decisions").num_rows == 3


def test_tables_are_tidied_at_a_start_and_once_a_day() -> None:
    store = Full(0)

    live(store, 9, step_us=ARCHIVE_TIDY_US // 4)

    assert store.tidied == 3


def test_it_says_how_far_each_partition_is_and_which_version_the_tables_have() -> None:
    service, _, _ = live(Full(0), 3)

    assert service.standing.positions[PLACE] == Position(1, 0)
    assert service.standing.versions == Pin(1, 0, 0, 0, 0, 0, 0)
    assert (service.standing.messages, service.standing.rows, service.standing.trouble) == (1, 3, "")


def test_what_is_read_and_not_durable_yet_counts_as_behind() -> None:
    service, _, _ = live(Full(0), 2, rows_max=1_000)

    assert service.standing.positions[PLACE].offset == 0
    assert service.standing.positions[PLACE].behind > 0


def test_a_stopped_partition_is_told_with_its_reason_and_stays_behind() -> None:
    service, _, _ = live(Full(0), 3, sent=b"no frame")

    assert "malformed" in service.standing.halted[PLACE]
    assert service.standing.positions[PLACE].offset == 0
    assert service.standing.positions[PLACE].behind > 0
    text = exposition(service.standing, NOW_US).decode()
    assert 'tidegate_archive_halted{topic="tidegate.L1"} 1.0' in text
    assert 'tidegate_archive_behind{topic="tidegate.L2"} 0.0' in text


def test_what_keeps_it_is_told_until_it_is_over() -> None:
    store = Full(2)

    assert "the disk is full" in live(store, 2).service.standing.trouble
    assert live(store, 4).service.standing.trouble == ""


def test_what_only_a_person_can_mend_is_opened_anew_until_somebody_has() -> None:
    clock, times, pauses = ManualClock(NOW_US), [2], list[float]()

    def opening() -> Opened:
        times[0] -= 1
        if times[0] >= 0:
            raise ArchiveError("decisions: commits are missing from its log; restore the archive from its copy")
        stream = MemoryStream(clock)
        for topic in TOPICS:
            stream.create(topic, 1)
        return Opened(stream, MemoryStore(), clock, 1)

    def pause(wait_s: float) -> bool:
        pauses.append(wait_s)
        return len(pauses) > 3

    service = Service(opening=opening, clock=clock, pause=pause)
    service.run()

    assert pauses == [0.0, ARCHIVE_PAUSE_S, 2 * ARCHIVE_PAUSE_S, ARCHIVE_PAUSE_S]
    assert service.standing.versions == Pin(0, 0, 0, 0, 0, 0, 0)


def test_the_log_gives_back_what_is_archived_and_nothing_else() -> None:
    _, stream, _ = live(Full(0), 4, step_us=ARCHIVE_TRIM_US)
    _, kept, _ = live(Full(0), 4, step_us=ARCHIVE_TRIM_US, sent=b"no frame")

    assert stream.reader().begin(*PLACE) == 1
    assert kept.reader().begin(*PLACE) == 0


def test_a_service_that_ends_no_step_for_too_long_hangs() -> None:
    service = live(Full(0), 1).service

    assert service.stalled(NOW_US + ARCHIVE_STALLED_US) == ""
    assert service.stalled(NOW_US + ARCHIVE_STALLED_US + SECOND_US) == "no step has ended for 901 s"
