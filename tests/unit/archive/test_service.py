"""The archive's life: it goes on after what may pass, more slowly, and writes what it has when it is told to end."""

from collections.abc import Sequence

from serve_apps.archive.archive import TOPICS
from serve_apps.archive.consumer import Consumer
from serve_apps.archive.memory import MemoryStore
from serve_apps.archive.ports import Piece, UnavailableError
from serve_apps.archive.service import Service
from serve_apps.plumbing.stream.memory import MemoryStream
from serve_apps.plumbing.stream.ports import Message
from tests.sent import NOW_US, decisions_frame
from tidegate.archived import Kept
from tidegate.clock import ManualClock
from tidegate.limits import ARCHIVE_PAUSE_S, ARCHIVE_RETRY_S_MAX, ARCHIVE_TIDY_US


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


def live(store: Full, rounds: int, *, step_us: int = 0, rows_max: int = 1) -> list[float]:
    """Live through rounds of a service with one message in its log; return the pauses it asked for."""
    clock, pauses = ManualClock(NOW_US), list[float]()
    stream = MemoryStream(clock)
    for topic in TOPICS:
        stream.create(topic, 1)
    stream.writer("c0").commit([Message("tidegate.L1", b"site-1", decisions_frame(1, 3))], {})

    def pause(wait_s: float) -> bool:
        pauses.append(wait_s)
        clock.advance(step_us)
        return len(pauses) > rounds

    reader, consumers = stream.reader(), stream.consumers()
    consumer = Consumer(reader=reader, consumers=consumers, store=store, clock=clock, rows_max=rows_max)
    Service(consumer=consumer, store=store, clock=clock, pause=pause).run()
    return pauses


def test_a_full_disk_is_asked_again_ever_more_slowly_until_it_is_free() -> None:
    store = Full(9)

    pauses = live(store, 12)

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
