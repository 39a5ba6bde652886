"""Whatever is done to a journal in whatever order, an acknowledged record is there and none is made up."""

from contextlib import suppress
from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from actors.journal.journal import Bounds, Journal
from actors.journal.log import Entry
from actors.journal.memory import MemoryDisk, PowerCut
from actors.journal.reader import Reader
from actors.journal.recovery import Owner, open_journal
from actors.journal.segment import Columns
from actors.journal.verify import verify
from actors.journal.writer import Batch
from tidegate.clock import ManualClock
from tidegate.errors import DiskFullError, JournalError, OverloadedError
from tidegate.ids import GateId, SiteId
from tidegate.records import DECISION_BODY_BYTES, Kind, Lane, event_body

NOW_US = 1_795_000_000_000_000
SEGMENT = 64 * 1024
BOUNDS = Bounds(segment_bytes=SEGMENT, bytes_max=8 * SEGMENT, reserve_bytes=SEGMENT, pending_bytes_max=100_000)
SIZES = st.sampled_from([0, 100, 600, 3_000, 20_000])


class JournalOnAnUnreliableDisk(RuleBasedStateMachine):
    """The model: two lists, what was acknowledged and what was appended after it."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = MemoryDisk()
        self.rng = Random(0)
        self.acknowledged: list[Entry] = []
        self.appended: list[Entry] = []
        self.flying: tuple[Batch, int] | None = None
        self.journal: Journal

    @initialize(seed=st.integers(0, 2**32))
    def start(self, seed: int) -> None:
        self.rng = Random(seed)
        self.open()

    def open(self) -> None:
        """Open, check against the model, and take over what the opening itself appended."""
        self.flying = None
        owner = Owner(SiteId("s1"), GateId("g0"), "m1")
        self.journal, recovery = open_journal(
            disk=self.disk, owner=owner, clock=ManualClock(NOW_US), entropy=self.rng.randbytes, bounds=BOUNDS
        )
        found = list(self.journal.scan())
        assert recovery.lost == ()
        assert recovery.epoch_index == 1
        assert found[: len(self.acknowledged)] == self.acknowledged
        beyond = found[len(self.acknowledged) :]
        survived = [entry for entry in beyond if entry[1].kind not in {Kind.EPOCH_STARTED, Kind.TAIL_CUT}]
        assert survived == self.appended[: len(survived)]
        assert (recovery.torn is not None) == (bool(found) and found[-1][1].kind is Kind.TAIL_CUT and beyond != [])
        self.acknowledged, self.appended = found, []

    def crash(self) -> None:
        self.disk.crash(self.rng)
        self.open()

    @rule(size=SIZES, decisions=st.integers(0, 3))
    def append(self, size: int, decisions: int) -> None:
        event = (Lane.EVENTS, Kind.CARD_EVICTED, event_body({"card": self.rng.randbytes(size // 4).hex() * 2}))
        decision = (Lane.DECISIONS, Kind.DECISION, self.rng.randbytes(DECISION_BODY_BYTES))
        last_pos = self.journal.last_pos
        try:
            self.appended += self.journal.append([decision] * decisions + [event], NOW_US)
        except (OverloadedError, DiskFullError, JournalError):
            assert self.journal.last_pos == last_pos

    @precondition(lambda self: self.flying is None and not self.journal.failed)
    @rule()
    def take(self) -> None:
        batch = self.journal.take()
        if batch is not None:
            self.flying = (batch, len(self.appended))

    @precondition(lambda self: self.flying is not None)
    @rule(fails=st.booleans())
    def flush(self, fails: bool) -> None:  # noqa: FBT001 - Hypothesis passes by name
        assert self.flying is not None
        batch, count = self.flying
        if fails and self.rng.random() < 0.3:
            self.disk.fail_next_sync()
        try:
            batch.flush()
        except JournalError:
            return
        self.journal.committed(batch)
        self.acknowledged += self.appended[:count]
        del self.appended[:count]
        self.flying = None

    @precondition(lambda self: self.flying is not None and not self.journal.failed)
    @rule(step=st.integers(1, 12), power=st.booleans())
    def stop_while_flushing(self, step: int, power: bool) -> None:  # noqa: FBT001 - Hypothesis passes by name
        """Cut the power or kill the process; where everything was written already, nothing was acknowledged."""
        assert self.flying is not None
        self.disk.cut_at(step)
        with suppress(PowerCut):
            self.flying[0].flush()
        if power:
            self.crash()
        else:
            self.kill_the_process()

    @rule()
    def cut_the_power(self) -> None:
        self.crash()

    @rule(step=st.integers(1, 20))
    def cut_the_power_while_opening(self, step: int) -> None:
        self.disk.crash(self.rng)
        self.disk.cut_at(step)
        before, self.acknowledged = self.acknowledged, list(self.acknowledged)
        appended = list(self.appended)
        try:
            self.open()
        except PowerCut:
            self.acknowledged, self.appended = before, appended
            self.disk.crash(self.rng)
            self.reopen_after_a_cut_opening()
        else:
            self.disk.kill()

    def reopen_after_a_cut_opening(self) -> None:
        """As `open`, but the tear may have been told by the opening that was cut."""
        owner = Owner(SiteId("s1"), GateId("g0"), "m1")
        self.flying = None
        self.journal, recovery = open_journal(
            disk=self.disk, owner=owner, clock=ManualClock(NOW_US), entropy=self.rng.randbytes, bounds=BOUNDS
        )
        found = list(self.journal.scan())
        assert recovery.lost == ()
        assert found[: len(self.acknowledged)] == self.acknowledged
        self.acknowledged, self.appended = found, []

    @rule()
    def kill_the_process(self) -> None:
        self.disk.kill()
        self.open()

    @precondition(lambda self: self.flying is None)
    @rule()
    def tend(self) -> None:
        self.journal.tend()

    @precondition(lambda self: self.flying is None and not self.journal.failed)
    @rule()
    def close_and_open(self) -> None:
        self.journal.close()
        self.acknowledged += self.appended
        self.appended = []
        self.open()

    @invariant()
    def every_record_is_read_by_its_locator(self) -> None:
        entries = self.acknowledged + self.appended
        for at, record in entries[-3:] + entries[:: max(1, len(entries) // 5)]:
            assert self.journal.read(at) == record

    @invariant()
    def what_is_durable_is_what_was_acknowledged(self) -> None:
        assert self.journal.durable_pos == (self.acknowledged[-1][1].pos if self.acknowledged else 0)

    def teardown(self) -> None:
        if not hasattr(self, "journal"):
            return
        assert list(self.journal.scan()) == self.acknowledged
        locators: list[int] = []
        for piece in self.journal.columns():
            locators += piece.locators.tolist() if isinstance(piece, Columns) else [piece[0]]
        assert locators == [at for at, _ in self.acknowledged]
        assert verify(self.disk).ok
        assert list(Reader(self.disk).entries())[: len(self.acknowledged)] == self.acknowledged


TestJournalOnAnUnreliableDisk = JournalOnAnUnreliableDisk.TestCase
TestJournalOnAnUnreliableDisk.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
