"""Features over each kind of log: what a killed extractor left is taken up by the next, and each row is there once."""

import secrets
from collections.abc import Iterator

import numpy as np
import pytest

from serve_apps.features.batches import Batches, Opened
from serve_apps.features.extract import TOPICS
from serve_apps.features.extractor import Extractor
from serve_apps.features.folder import Folder
from serve_apps.features.memory import MemoryStore
from serve_apps.ingest.labels import Labels, label_of
from serve_apps.ingest.memory import MemoryBook
from serve_apps.plumbing.stream.log import DELTAS, topic_of
from serve_apps.plumbing.stream.ports import FencedError, Message, Stream, UnknownOutcomeError
from tests.contract.conftest import NOW_US, Opening
from tests.unit.cloudfeatures.test_extractor import ONE, decided
from tidegate.bodies import parse_label
from tidegate.clock import ManualClock
from tidegate.deltas import Deltas
from tidegate.limits import DELTA_BATCH_AGE_US
from tidegate.records import Lane

STEPS_MAX = 400
LABEL = b"""{"label_id": "l-1", "merchant": "m-1", "transaction_id": "t-1", "verdict": "fraud", "source": "bank",
    "known_at": "2026-11-24T05:00:00Z"}"""


@pytest.fixture
def stream(opening: Opening) -> Iterator[Stream]:
    opened = opening()
    for topic in TOPICS:
        opened.create(topic, 2)
    opened.create(DELTAS, 1)
    yield opened
    opened.close()


class Life:
    """One extractor from its start to its death."""

    def __init__(self, stream: Stream, clock: ManualClock) -> None:
        self.reader, self.book, self.writer = stream.reader(), stream.consumers(), stream.writer("features")
        self.clock = clock
        self.extractor = Extractor(reader=self.reader, consumers=self.book, writer=self.writer, clock=clock)

    def until(self, rows: int) -> None:
        for _ in range(STEPS_MAX):
            self.extractor.step()
            self.clock.advance(DELTA_BATCH_AGE_US)
            if self.extractor.rows >= rows:
                return
        raise AssertionError(self.extractor.rows)

    def end(self) -> None:
        self.writer.close()
        self.reader.close()
        self.book.close()


def send(stream: Stream, first: int, count: int) -> None:
    writer = stream.writer(f"c-{secrets.token_hex(4)}")
    writer.commit([Message(topic_of(Lane.DECISIONS), b"site-1", decided(first, count))], {})
    writer.close()


def all_of(stream: Stream) -> list[Deltas]:
    """Return every batch, asked for one by one as a gate does."""
    reader = stream.reader()
    batches, found, version = Batches(lambda: Opened(reader, reader.close)), [], 0
    while (batch := batches.first(version)) is not None:
        found.append(Deltas.from_bytes(batch.data))
        version = batch.version + 1
    batches.close()
    return found


def test_each_row_is_in_the_log_of_deltas_once_whoever_dies_and_in_the_states(stream: Stream) -> None:
    clock = ManualClock(NOW_US)
    send(stream, 1, 3)
    first = Life(stream, clock)
    first.until(3)
    send(stream, 4, 2)
    for _ in range(STEPS_MAX):
        if first.extractor.step():  # read, and not committed: it dies here
            break
    second = Life(stream, clock)
    clock.advance(DELTA_BATCH_AGE_US)
    with pytest.raises((FencedError, UnknownOutcomeError)):
        first.until(5)
    first.end()
    second.until(2)
    desk = Labels(stream, MemoryBook(), clock)
    assert desk.take([label_of(parse_label(LABEL), NOW_US)]) == [False]
    send(stream, 6, 1)
    second.until(3)
    second.end()
    desk.close()

    found = all_of(stream)
    assert np.concatenate([batch.of_cards() for batch in found])["pos"].tolist() == [1, 2, 3, 4, 5, 6]
    assert [label.label_id for batch in found for label in batch.labels()] == ["l-1"]
    store, reader, book = MemoryStore(), stream.reader(), stream.consumers()
    folder = Folder(reader=reader, consumers=book, store=store, clock=clock)
    for _ in range(STEPS_MAX):
        folder.step()
        if store.reached(ONE) == 6:
            break
    assert (store.reached(ONE), folder.halted, list(store.states(["card-1"]).states["card-1"])) == (6, "", [ONE])
    reader.close()
    book.close()
