"""The archive under a seed: its writer is killed before and behind any commit; each record is in the tables once."""

import random
from collections.abc import Sequence

import pytest

from serve_apps.archive.consumer import Consumer
from serve_apps.archive.memory import MemorySource, MemoryStore
from serve_apps.archive.ports import Partition, Piece
from tests.sent import NOW_US, decode, event, events_message, label, message
from tidegate.archived import Kept
from tidegate.clock import ManualClock
from tidegate.limits import ARCHIVE_BATCH_AGE_US
from tidegate.records import Kind, Lane

LANES = {"tidegate.L1": Lane.DECISIONS, "tidegate.L2": Lane.EVENTS}
SEEDS = 60


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


def consumer(source: MemorySource, store: MemoryStore, clock: ManualClock, *, rows_max: int) -> Consumer:
    return Consumer(source=source, store=store, decode=decode, lanes=LANES, clock=clock, rows_max=rows_max)


def ids(store: MemoryStore, table: Kept) -> list[tuple[str, int]]:
    read = store.read(table).select(["source", "seq"]).to_pydict()
    return sorted(zip(read["source"], read["seq"], strict=True))


def _sent(rng: random.Random, source: MemorySource) -> dict[Kept, list[tuple[str, int]]]:
    """Send runs of several sources to several partitions, later runs before earlier ones; return what was sent."""
    told: dict[Kept, list[tuple[str, int]]] = {"decisions": [], "events": [], "labels": []}
    for site in range(4):
        runs = list(range(rng.randrange(1, 12)))
        rng.shuffle(runs)
        name = f"site-{site}.g0.0123456789abcdef"
        for run in runs:
            where = Partition("tidegate.L1", site % 2)
            source.append(where, message(run * 10, 10, name), skipped=rng.randrange(3))
            told["decisions"] += [(name, seq) for seq in range(run * 10, run * 10 + 10)]
            records = [label(run * 2), event(Kind.BUNDLE_ACTIVATED, run * 2 + 1, {"bundle": "b-0"})]
            source.append(Partition("tidegate.L2", site % 2), events_message(*records, source=name))
            told["events"] += [(name, record.seq) for record in records]
            told["labels"].append((name, run * 2))
    return told


@pytest.mark.parametrize("seed", range(SEEDS))
def test_each_record_is_there_once_however_often_the_writer_is_killed(seed: int) -> None:
    rng = random.Random(seed)
    source = MemorySource([Partition(topic, number) for topic in LANES for number in (0, 1)])
    store, clock, told, deaths = Mortal(rng, 0.3), ManualClock(NOW_US), _sent(rng, source), 0
    made = consumer(source, store, clock, rows_max=25)

    while True:
        try:
            clock.advance(rng.choice((0, ARCHIVE_BATCH_AGE_US)))
            if not made.step().messages and not made.flush():
                break
        except KilledError:
            deaths += 1
            store.share *= 0.98
            made = consumer(source, store, clock, rows_max=rng.choice((1, 25, 1000)))

    assert deaths
    assert ids(store, "decisions") == sorted(told["decisions"])
    assert ids(store, "events") == sorted(told["events"])
    labels = store.read("labels").to_pydict()
    found = [(site, int(name[2:])) for site, name in zip(labels["source"], labels["label_id"], strict=True)]
    assert sorted(found) == sorted(told["labels"])
