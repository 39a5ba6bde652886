"""Sites, a network that fails, and a cloud, in one process under one seed."""

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from actors.gate.gate import Gate
from actors.gate.replay import Replay
from actors.gate.start import line_of, store_checkpoint
from actors.gate.tideline import RestoredError
from actors.journal.memory import MemoryDisk
from actors.journal.reader import Reader
from actors.journal.space import Rung
from actors.journal.tail import Tail
from actors.uplink.ports import NoWayError, Reply
from actors.uplink.uplink import Uplink, Whose
from serve_apps.archive.consumer import Consumer
from serve_apps.archive.memory import MemoryStore
from serve_apps.archive.ports import Piece, UnavailableError
from serve_apps.ingest.committer import TOPICS, Committer
from serve_apps.ingest.ingest import Ingest
from serve_apps.ingest.memory import MemoryKeys, MemoryQuarantine
from serve_apps.ingest.ports import SiteKey
from serve_apps.plumbing.stream.configured import TOPICS as ALL_TOPICS
from serve_apps.plumbing.stream.memory import Fault, MemoryStream
from tests.simulation.conftest import House
from tidegate.archived import Kept
from tidegate.clock import Clock, ManualClock
from tidegate.errors import DiskFullError, JournalError, TemporaryError
from tidegate.frames import Signer, key_id, parse, records
from tidegate.ids import GateId, RecordId, SiteId
from tidegate.limits import ARCHIVE_BATCH_AGE_US, REPLAY_WINDOW_US, SECOND_US, TIDE_POLL_S, TIDE_TIMEOUT_S
from tidegate.passages import missing
from tidegate.records import Lane
from tidegate.tide import FRAMES_PATH, Answer
from tidegate.tideline import COMMITTED, WITNESS

PARTITIONS = 4
QUIET_STEPS_MAX = 3_000
FAST = 1 << 30
BUSY = 0.2  # of the worlds: their journals fill segments, and weeks go by
RecordKey = tuple[str, str, int, int]
"""Site, epoch, lane, seq."""


class SkewedClock:
    """A site's own clock: some seconds beside the world's, and steps."""

    def __init__(self, world: Clock) -> None:
        self._world = world
        self.offset_us = 0

    def now_us(self) -> int:
        """Return the site's time."""
        return self._world.now_us() + self.offset_us

    def step(self, by_us: int) -> None:
        """Set it, as a person or a time service would."""
        self.offset_us += by_us


class DiskFile:
    """A small file of an uplink on a site's disk."""

    def __init__(self, disk: MemoryDisk, name: str) -> None:
        self._disk, self._name = disk, name

    def save(self, data: bytes) -> None:
        """Replace it."""
        self._disk.replace(self._name, data)


class FailingStore(MemoryStore):
    """The archive's tables, whose commits fail by chance: nothing came through, or nobody knows that it did."""

    def __init__(self, fails: Callable[[], bool]) -> None:
        super().__init__()
        self._fails = fails

    def append(self, table: Kept, pieces: Sequence[Piece]) -> int:
        """Put rows into a table, or don't."""
        if self._fails():
            raise UnavailableError(f"{table}: the disk is full")
        rows = super().append(table, pieces)
        if self._fails():
            raise UnavailableError(f"{table}: nobody knows what became of it")
        return rows


@dataclass
class Cloud:
    """Ingest over the log's twin, and an archive; either may be lost at any moment, and log and tables may fail."""

    clock: ManualClock
    rng: random.Random
    faults: float = 0.0
    keys: MemoryKeys = field(default_factory=MemoryKeys)
    quarantine: MemoryQuarantine = field(default_factory=MemoryQuarantine)

    def __post_init__(self) -> None:
        self.stream = MemoryStream(self.clock, self._fate)
        for topic in ALL_TOPICS:
            self.stream.create(topic, PARTITIONS)
        self.store = FailingStore(lambda: self.rng.random() < self.faults)
        self.restart()
        self.restart_archive()

    def _fate(self, _committer: str) -> Fault | None:
        return self.rng.choice(list(Fault)) if self.rng.random() < self.faults else None

    def restart(self) -> None:
        """Start again with nothing but what the log holds; whoever was there before is a zombie."""
        self.committer = Committer(self.stream, "c0", self.clock)
        self.ingest = Ingest(
            keys=self.keys,
            quarantine=self.quarantine,
            commit=lambda brought: self.committer.commit([brought])[0],
            clock=self.clock,
        )

    def restart_archive(self) -> None:
        """Start the archive's consumer again: the tables alone say where to go on."""
        consumers = self.stream.consumers()
        self.archive = Consumer(reader=self.stream.reader(), consumers=consumers, store=self.store, clock=self.clock)

    def archive_some(self) -> None:
        """Let the archive take a step."""
        with suppress(TemporaryError):
            self.archive.step()

    def archive_all(self) -> None:
        """Let the archive take all there is."""
        while self.archive.step().messages:
            self.clock.advance(ARCHIVE_BATCH_AGE_US)
        self.archive.flush()
        assert not self.archive.halted

    def archived(self) -> list[RecordKey]:
        """Return the identity of every row of the archive."""
        lanes: dict[Kept, Lane] = {"decisions": Lane.DECISIONS, "events": Lane.EVENTS}
        found: list[RecordKey] = []
        for table, lane in lanes.items():
            rows = self.store.read(table).select(["source", "seq"]).to_pydict()
            for source, seq in zip(rows["source"], rows["seq"], strict=True):
                site, _, epoch = source.split(".")
                found.append((site, epoch, int(lane), seq))
        return found

    def answer(self, path: str, body: bytes) -> Answer:
        """Take a request in, as the application does."""
        return self.ingest.frames(body) if path == FRAMES_PATH else self.ingest.head(body)

    def records(self) -> dict[RecordKey, list[bytes]]:
        """Return every record of the log, with each of its copies."""
        found: dict[RecordKey, list[bytes]] = defaultdict(list)
        for value in self._values():
            frame = parse(value)
            header = frame.header
            for seq, data in enumerate(records(frame).each(), header.first):
                found[header.site, header.epoch, header.lane, seq].append(data)
        return found

    def _values(self) -> Iterator[bytes]:
        reader = self.stream.reader()
        for topic in (TOPICS[Lane.DECISIONS], TOPICS[Lane.EVENTS]):
            for partition in range(PARTITIONS):
                offset = reader.begin(topic, partition)
                while page := reader.read(topic, partition, offset, messages_max=100, bytes_max=1 << 24):
                    yield from (stored.value for stored in page)
                    offset = page[-1].offset + 1


class Network:
    """Between one site and the cloud: cuts, loses, doubles, holds back and delivers late, as chance will have it."""

    def __init__(self, cloud: Cloud, clock: ManualClock, rng: random.Random) -> None:
        self._cloud, self._clock, self._rng = cloud, clock, rng
        self.cut = False
        self.bad = 0.0
        self.bytes_a_second = FAST
        self._late: list[tuple[str, bytes]] = []

    def post(self, path: str, body: bytes, media_type: str) -> Reply:  # noqa: ARG002 - the port's
        """Carry one request, as fast as the line is."""
        takes_s = len(body) / self.bytes_a_second
        self._clock.advance(self._rng.choice((1_000, 20_000, 400_000)) + int(min(takes_s, TIDE_TIMEOUT_S) * SECOND_US))
        if takes_s > TIDE_TIMEOUT_S:
            raise NoWayError("the line is too slow for so much at a time")
        if self.cut or self._happens():
            if self._happens() and not self.cut:
                self._late.append((path, body))
            raise NoWayError("the network is cut")
        while self._late and self._happens():
            self._deliver(*self._late.pop(0))
        reply = self._deliver(path, body)
        if self._happens():
            reply = self._deliver(path, body)  # a proxy that tries again
        if self._happens():
            raise NoWayError("the answer was lost")
        return reply

    def _happens(self) -> bool:
        return self._rng.random() < self.bad

    def _deliver(self, path: str, body: bytes) -> Reply:
        try:
            return Reply(200, 0.0, self._cloud.answer(path, body).model_dump_json().encode())
        except TemporaryError as error:
            return Reply(503, error.delay_s, b"")


class Snapshot(NamedTuple):
    """A copy of a site's disks, and what was acknowledged by then."""

    disks: tuple[MemoryDisk, ...]
    acknowledged: frozenset[str]
    durable: dict[RecordKey, bytes]


@dataclass
class Site:
    """A gate and its uplink; either may be killed alone."""

    name: str
    house: House
    clock: SkewedClock
    network: Network
    signer: Signer
    rng: random.Random
    number: int = 0
    acknowledged: set[str] = field(default_factory=set)
    snapshot: Snapshot | None = None
    before: dict[RecordKey, set[bytes]] = field(default_factory=lambda: defaultdict(set))
    """What was durable at this site before a copy of it was put back: the cloud may have it."""
    dropped: dict[RecordKey, bytes] = field(default_factory=dict)
    """What was dropped here once the cloud had it."""
    common: dict[RecordKey, bytes] = field(default_factory=dict)
    """What the copy held that was put back last."""

    def __post_init__(self) -> None:
        self._start()
        self.restart_uplink()

    def restart_uplink(self) -> None:
        """Start the uplink again: it remembers nothing but what the files say."""
        self.uplink = Uplink(
            whose=Whose(SiteId(self.name), GateId("g0")),
            journal=Tail(self.house.journal_disk),
            carrier=self.network,
            memory=DiskFile(self.house.tide_disk, COMMITTED),
            witness=DiskFile(self.house.tide_disk, WITNESS),
            signer=self.signer,
            clock=self.clock,
            entropy=self.rng.randbytes,
        )

    def pay(self, count: int) -> None:
        """Decide payments and make them durable together; on a full disk they are refused, or nobody is told."""
        made = []
        try:
            for _ in range(count):
                self.number += 1
                request = self.house.request(self.number)
                self.gate.decide(request)
                made.append(request.transaction_id)
            self.gate.journal.commit()
        except DiskFullError:
            self.gate.journal.commit()
        except JournalError:
            self.kill()
            return
        self.acknowledged.update(made)

    def _start(self) -> None:
        """Start the gate; where its disk is too full even for that, it tries until somebody has made room."""
        try:
            self.gate: Gate = self.house.start()
        except DiskFullError:
            self.house.journal_disk.kill()
            self.house.journal_disk.full(None)
            self.gate = self.house.start()

    def checkpoint(self) -> None:
        """Store the window as of now, as a gate does from time to time."""
        pos, copy = self.gate.journal.durable_pos, self.gate.window.copy()
        while not copy.step():
            pass
        store_checkpoint(self.house.checkpoint_disk, self.gate.epoch, pos, copy)

    def tend(self) -> None:
        """Make room, as a gate does in the gaps between its decisions; what is dropped the cloud must have."""
        house, gate = self.house, self.gate
        line = line_of(house.tideline(), house.checkpoint_disk, gate.epoch, gate.now_us())
        before = self.durable() if gate.journal.rung() >= Rung.COMPRESS else {}
        while gate.journal.tend(line):
            pass
        kept = gate.journal.kept()
        for epoch, places in gate.state.places.items():
            places.forget(kept[epoch])
        if before:
            gone = before.keys() - self.durable().keys()
            self.dropped |= {key: before[key] for key in gone}

    def mind(self) -> None:
        """Do what a gate does in the gaps between its decisions."""
        try:
            self.house.tideline().check(self.gate.epoch)
        except RestoredError:
            self.kill()

    def kill(self) -> None:
        """Kill the gate alone; it starts again by itself."""
        self.house.journal_disk.kill()
        self._start()

    @property
    def disks(self) -> tuple[MemoryDisk, ...]:
        """The site's disks."""
        house = self.house
        return house.journal_disk, house.checkpoint_disk, house.orders_disk, house.tide_disk

    def _use(self, disks: Sequence[MemoryDisk]) -> None:
        house = self.house
        house.journal_disk, house.checkpoint_disk, house.orders_disk, house.tide_disk = disks
        self._start()
        self.restart_uplink()

    def fill(self, room_bytes: int | None) -> None:
        """Leave so much room on the journal's disk; None: as much as anybody wants."""
        disk = self.house.journal_disk
        disk.full(None if room_bytes is None else sum(disk.sizes().values()) + room_bytes)
        self.tend()

    def copy(self) -> None:
        """Copy the machine as it is; the copy may be put back later."""
        disks = tuple(disk.copy() for disk in self.disks)
        self.snapshot = Snapshot(disks, frozenset(self.acknowledged), self.durable())

    def put_back(self) -> None:
        """Put the copy back: whatever happened since is gone with the machine, but for what the cloud has."""
        if self.snapshot is None:
            return
        for key, data in self.durable().items():
            self.before[key].add(data)
        copy = self.snapshot
        self.acknowledged, self.common = set(copy.acknowledged), dict(copy.durable)
        self._use([disk.copy() for disk in copy.disks])

    def crash(self) -> None:
        """Cut the power; what was not durable may or may not be there."""
        for disk in self.disks:
            disk.crash(self.rng)
        self._start()
        self.restart_uplink()

    def reimage(self) -> None:
        """Replace the machine by a new one with empty disks; what the cloud has of the old one is all that is left."""
        self.house.journal_disk.kill()
        for key, data in self.durable().items():
            self.before[key].add(data)
        self.acknowledged.clear()  # what wasn't sent yet is gone with the machine, and only that
        self.snapshot, self.common = None, {}
        self._use([MemoryDisk() for _ in self.disks])

    def durable(self) -> dict[RecordKey, bytes]:
        """Return every record that the site's journal holds, durably, of all its epochs."""
        reader = Reader(self.house.journal_disk)
        return {
            (self.name, reader.epoch_of(at), int(record.lane), record.seq): record.to_bytes()
            for at, record in reader.entries()
        }

    def replay(self, seq: int) -> Replay:
        """Return what decides a decision of this epoch again."""
        house = self.house
        wanted = RecordId(SiteId(self.name), GateId("g0"), self.gate.epoch, int(Lane.DECISIONS), seq)
        disks = {"journal": house.journal_disk, "checkpoints": house.checkpoint_disk, "orders": house.orders_disk}
        return Replay(wanted=wanted, load=lambda _: house.scorer, **disks)

    def restored(self) -> set[str]:
        """Return the epochs that were left since a copy of the site had been put back."""
        started = (record for _, record in Reader(self.house.journal_disk).entries() if record.pos == 1)
        told = [record.values() for record in started]
        return {said["previous"] for said in told if said["reason"] == "restored"}


@dataclass
class World:
    """Some sites and one cloud."""

    seed: int
    build: Callable[[int], House]
    sites_max: int = 3

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.busy = self.rng.random() < BUSY
        self.clock = ManualClock(self.build(self.seed).clock.now_us())
        self.cloud = Cloud(self.clock, self.rng)
        self.sites = [self._site(f"s{number}") for number in range(1, self.rng.randint(1, self.sites_max) + 1)]

    def _site(self, name: str) -> Site:
        house: Any = self.build(self.rng.randrange(1 << 30))
        clock = SkewedClock(self.clock)
        house.settings = house.settings.model_copy(update={"site": name})
        house.clock, house.rng = clock, self.rng
        private = Ed25519PrivateKey.from_private_bytes(self.rng.randbytes(32))
        public = private.public_key()
        key = SiteKey(key_id(public), name, public.public_bytes_raw(), self.clock.now_us())
        self.cloud.keys.of[key.key_id] = key
        network = Network(self.cloud, self.clock, self.rng)
        return Site(name, house, clock, network, Signer(key.key_id, private.sign), self.rng)

    def season(self) -> None:
        """Let weeks go by, in which sites store their windows, and find their disks full behind them."""
        for site in self.sites:
            site.pay(2)
            site.checkpoint()
            site.pay(1)
            site.checkpoint()
        self.clock.advance(REPLAY_WINDOW_US + SECOND_US)
        for site in self.sites:
            site.uplink.step()
            site.fill(60_000)

    def heal(self) -> None:
        """Let everything go well from now on."""
        self.cloud.faults = 0.0
        for site in self.sites:
            site.network.cut, site.network.bad, site.network.bytes_a_second = False, 0.0, FAST
            site.house.journal_disk.full(None)
            site.tend()
            site.gate.journal.commit()

    def until_quiet(self) -> None:
        """Let the uplinks work until none has anything to send."""
        for _ in range(QUIET_STEPS_MAX):
            pauses = [site.uplink.step() for site in self.sites]
            for site in self.sites:
                site.mind()
            if set(pauses) == {TIDE_POLL_S} and not any(map(_behind, self.sites)):
                self.cloud.archive_all()
                return
            self.clock.advance(int(max(0.0, min(pauses)) * SECOND_US) + 1_000)
        behind = {site.name: (site.uplink.standing, site.network.cut) for site in self.sites}
        raise AssertionError(f"seed {self.seed}: the tide never came to rest: {behind}")


def _behind(site: Site) -> bool:
    """Tell whether a site has still to send what the cloud would take."""
    journal, there = site.gate.journal, site.uplink.committed()
    lanes = (Lane.DECISIONS, Lane.EVENTS)
    if any(missing(there.get((journal.epoch, lane), ()), journal.head(lane).seq) for lane in lanes):
        return True
    return any(site.uplink.standing.behind.values()) and not site.restored()
