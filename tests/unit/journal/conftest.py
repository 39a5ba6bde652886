"""A journal on the twin disk, opened as often as a test likes."""

from dataclasses import dataclass, field, replace
from random import Random

import pytest

from actors.journal.journal import Bounds, Journal
from actors.journal.log import Entry
from actors.journal.memory import MemoryDisk
from actors.journal.reader import Reader
from actors.journal.recovery import Owner, Recovery, open_journal
from tidegate.clock import ManualClock
from tidegate.ids import GateId, SiteId
from tidegate.records import DECISION_BODY_BYTES, Kind, Lane, event_body
from tidegate.tideline import Witness

NOW_US = 1_795_000_000_000_000


@dataclass
class Rig:
    """A disk, whose journal it is, and how it is opened."""

    disk: MemoryDisk = field(default_factory=MemoryDisk)
    owner: Owner = field(default_factory=lambda: Owner(SiteId("s1"), GateId("g0"), "m1"))
    clock: ManualClock = field(default_factory=lambda: ManualClock(NOW_US))
    rng: Random = field(default_factory=lambda: Random(11))
    bounds: Bounds = field(
        default_factory=lambda: Bounds(
            segment_bytes=64 * 1024, bytes_max=1 << 24, reserve_bytes=4_096, pending_bytes_max=256 * 1024
        )
    )

    witness: Witness | None = None

    def open(self) -> tuple[Journal, Recovery]:
        return open_journal(
            disk=self.disk,
            owner=self.owner,
            clock=self.clock,
            entropy=self.rng.randbytes,
            bounds=self.bounds,
            witness=self.witness,
        )

    def reopen(self) -> tuple[Journal, Recovery]:
        """Open it again after the process was killed."""
        self.disk.kill()
        return self.open()

    def bound(self, **bounds: int) -> None:
        self.bounds = replace(self.bounds, **bounds)

    def decide(self, journal: Journal, count: int = 1) -> list[Entry]:
        """Append `count` decisions, one by one."""
        return [
            journal.append([(Lane.DECISIONS, Kind.DECISION, self.rng.randbytes(DECISION_BODY_BYTES))], NOW_US)[0]
            for _ in range(count)
        ]

    def evict(self, journal: Journal, size: int = 10) -> Entry:
        """Append one event of about `size` bytes."""
        body = event_body({"card": "c" * size})
        return journal.append([(Lane.EVENTS, Kind.CARD_EVICTED, body)], NOW_US)[0]

    def fill_segment(self, journal: Journal) -> list[Entry]:
        """Append and commit decisions until the next segment has its first."""
        segments = len(self.segments())
        entries: list[Entry] = []
        while len(self.segments()) == segments:
            entries += self.decide(journal)
            journal.commit()
        return entries

    def entries(self) -> list[Entry]:
        """Return the records of all epochs."""
        return list(Reader(self.disk).entries())

    def segments(self) -> list[str]:
        """The names of all segments, ascending."""
        return [name for name in self.disk.sizes() if name.endswith((".seg", ".zst"))]

    @property
    def mark(self) -> str:
        return next(name for name in self.disk.sizes() if name.endswith("/mark"))


@pytest.fixture
def rig() -> Rig:
    return Rig()
