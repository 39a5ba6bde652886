"""The archive under a seed: its writer is killed before and behind any commit; each record is in the tables once."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from serve_apps.archive.archive import TOPICS
from serve_apps.archive.consumer import Consumer
from serve_apps.archive.memory import MemoryStore
from serve_apps.archive.ports import Piece
from serve_apps.plumbing.stream.memory import MemoryStream
from serve_apps.plumbing.stream.ports import Message
from tests.sent import NOW_US, decisions_frame, event, events_frame, label, source
from tidegate.archived import Kept
from tidegate.clock import ManualClock
from tidegate.limits import ARCHIVE_BATCH_AGE_US
from tidegate.records import Kind

SEEDS = 60
Ids = list[tuple[str, int]]


class KilledError(Exception):
    """The process ends here."""


class Mortal(MemoryStore):
    """Tables whose writer is killed before or behind a commit, as the seed says."""

    def __init__(self, rng: random.Random, share: float) -> None:
        super().__init__()
        self._rng, self.share = rng, share

    def append(self, table: Kept, pieces: Sequence[Piece]) -> int:
        if self._rng.random() < self.share:
            raise KilledError
        done = super().append(table, pieces)
        if self._rng.random() < self.share:
            raise KilledError
        return done


@dataclass
class House:
    """A log that sites have sent to, later runs before earlier ones, and what they sent."""

    rng: random.Random
    clock: ManualClock = field(default_factory=lambda: ManualClock(NOW_US))
    told: dict[Kept, Ids] = field(default_factory=lambda: {"decisions": [], "events": [], "labels": []})
    stream: MemoryStream = field(init=False)

    def __post_init__(self) -> None:
        self.stream = MemoryStream(self.clock)
        for topic in TOPICS:
            self.stream.create(topic, 2)
        self._writer = self.stream.writer("c0")
        for site in range(4):
            runs = list(range(self.rng.randrange(1, 8)))
            self.rng.shuffle(runs)
            for run in runs:
                self._send(site, run)

    def _send(self, site: int, run: int) -> None:
        name, key = source(site), f"site-{site}".encode()
        first = run * 10 + 1
        records = [label(run * 2 + 1), event(Kind.BUNDLE_ACTIVATED, run * 2 + 2, {"bundle": "b-0"})]
        self._writer.commit([Message("tidegate.L1", key, decisions_frame(first, 10, name))], {})
        self._writer.commit([Message("tidegate.L2", key, events_frame(*records, of=name))], {})
        self.told["decisions"] += [(name, seq) for seq in range(first, first + 10)]
        self.told["events"] += [(name, record.seq) for record in records]
        self.told["labels"].append((name, run * 2 + 1))

    def consumer(self, store: MemoryStore, rows_max: int) -> Consumer:
        reader, consumers = self.stream.reader(), self.stream.consumers()
        return Consumer(reader=reader, consumers=consumers, store=store, clock=self.clock, rows_max=rows_max)


def _archived(house: House, store: Mortal) -> int:
    """Archive all that was sent, by as many processes as are killed over it; return how many were."""
    deaths, made = 0, house.consumer(store, 25)
    while True:
        try:
            house.clock.advance(house.rng.choice((0, ARCHIVE_BATCH_AGE_US)))
            if not made.step().messages and not made.flush():
                return deaths
            house.stream.consumers().trim()
        except KilledError:
            deaths += 1
            store.share *= 0.95
            made = house.consumer(store, house.rng.choice((1, 25, 1000)))


def _ids(store: MemoryStore, table: Kept) -> Ids:
    read = store.read(table).to_pydict()
    seqs = read["seq"] if "seq" in read else [int(name[2:]) for name in read["label_id"]]
    return sorted(zip(read["source"], seqs, strict=True))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_each_record_is_there_once_however_often_the_writer_is_killed(seed: int) -> None:
    rng = random.Random(seed)
    house, store = House(rng), Mortal(rng, 0.3)

    deaths = _archived(house, store)

    assert deaths
    for table, sent in house.told.items():
        assert _ids(store, table) == sorted(sent)
