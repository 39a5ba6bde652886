"""Sites, a network that fails, and a cloud, in one process under one seed."""

import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from actors.gate.gate import Gate
from actors.journal.memory import MemoryDisk
from actors.journal.reader import Reader
from actors.journal.tail import Tail
from actors.uplink.memory import MemoryFile
from actors.uplink.ports import NoWayError, Reply
from actors.uplink.uplink import Uplink, Whose
from serve_apps.ingest.committer import TOPICS, Committer
from serve_apps.ingest.ingest import Ingest
from serve_apps.ingest.memory import MemoryKeys, MemoryQuarantine
from serve_apps.ingest.ports import SiteKey
from serve_apps.plumbing.stream.memory import Fault, MemoryStream
from tests.simulation.conftest import House
from tidegate.clock import Clock, ManualClock
from tidegate.errors import TemporaryError
from tidegate.frames import Signer, key_id, parse, records
from tidegate.ids import GateId, SiteId
from tidegate.limits import SECOND_US, TIDE_POLL_S
from tidegate.records import Lane
from tidegate.tide import FRAMES_PATH, Answer

PARTITIONS = 4
QUIET_STEPS_MAX = 3_000
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


@dataclass
class Cloud:
    """Ingest over the log's twin; its committer may be lost at any moment, and its log may fail."""

    clock: ManualClock
    rng: random.Random
    faults: float = 0.0
    keys: MemoryKeys = field(default_factory=MemoryKeys)
    quarantine: MemoryQuarantine = field(default_factory=MemoryQuarantine)

    def __post_init__(self) -> None:
        self.stream = MemoryStream(self.clock, self._fate)
        for lane in (Lane.DECISIONS, Lane.EVENTS):
            self.stream.create(TOPICS[lane], PARTITIONS)
        self.restart()

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
        self._late: list[tuple[str, bytes]] = []

    def post(self, path: str, body: bytes, media_type: str) -> Reply:  # noqa: ARG002 - the port's
        """Carry one request."""
        self._clock.advance(self._rng.choice((1_000, 20_000, 400_000)))
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

    def __post_init__(self) -> None:
        self.gate: Gate = self.house.start()
        self.memory = MemoryFile()
        self.restart_uplink()

    def restart_uplink(self) -> None:
        """Start the uplink again: it remembers nothing but what the files say."""
        self.uplink = Uplink(
            whose=Whose(SiteId(self.name), GateId("g0")),
            journal=Tail(self.house.journal_disk),
            carrier=self.network,
            memory=self.memory,
            signer=self.signer,
            clock=self.clock,
            entropy=self.rng.randbytes,
        )

    def pay(self, count: int) -> None:
        """Decide payments and make them durable together."""
        made = []
        for _ in range(count):
            self.number += 1
            request = self.house.request(self.number)
            self.gate.decide(request)
            made.append(request.transaction_id)
        self.gate.journal.commit()
        self.acknowledged.update(made)

    def crash(self) -> None:
        """Cut the power; what was not durable may or may not be there."""
        self.house.journal_disk.crash(self.rng)
        self.house.checkpoint_disk.crash(self.rng)
        self.house.orders_disk.crash(self.rng)
        self.gate = self.house.start()
        self.restart_uplink()

    def reimage(self) -> None:
        """Replace the machine by a new one with empty disks; what the cloud has of the old one is all that is left."""
        self.house.journal_disk.kill()
        self.acknowledged.clear()  # what wasn't sent yet is gone with the machine, and only that
        self.house.journal_disk, self.house.checkpoint_disk = MemoryDisk(), MemoryDisk()
        self.house.orders_disk = MemoryDisk()
        self.gate = self.house.start()
        self.restart_uplink()

    def durable(self) -> dict[RecordKey, bytes]:
        """Return every record that the site's journal holds, durably, of all its epochs."""
        reader = Reader(self.house.journal_disk)
        return {
            (self.name, reader.epoch_of(at), int(record.lane), record.seq): record.to_bytes()
            for at, record in reader.entries()
        }


@dataclass
class World:
    """Some sites and one cloud."""

    seed: int
    build: Callable[[int], House]
    sites_max: int = 3

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
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

    def heal(self) -> None:
        """Let everything go well from now on."""
        self.cloud.faults = 0.0
        for site in self.sites:
            site.network.cut, site.network.bad = False, 0.0
            site.gate.journal.commit()

    def until_quiet(self) -> None:
        """Let the uplinks work until none has anything to send."""
        for _ in range(QUIET_STEPS_MAX):
            pauses = [site.uplink.step() for site in self.sites]
            if set(pauses) == {TIDE_POLL_S} and not any(any(s.uplink.standing.behind.values()) for s in self.sites):
                return
            self.clock.advance(int(max(0.0, min(pauses)) * SECOND_US) + 1_000)
        behind = {site.name: (site.uplink.standing, site.network.cut) for site in self.sites}
        raise AssertionError(f"seed {self.seed}: the tide never came to rest: {behind}")
