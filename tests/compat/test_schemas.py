"""An edge and a cloud of different ages: what the older cloud can't read is kept at both, and arrives once it can."""

from collections.abc import Mapping

from actors.journal.memory import MemoryDisk
from actors.journal.tail import Tail
from actors.uplink.key import new_key, public_of, signer_of
from actors.uplink.memory import MemoryFile, MemoryTexts
from actors.uplink.ports import Reply
from actors.uplink.uplink import Uplink, Whose
from serve_apps.ingest.backend import Backend
from serve_apps.ingest.committer import TOPICS, Committer
from serve_apps.ingest.memory import MemoryKeys, MemoryQuarantine
from serve_apps.ingest.ports import SiteKey
from serve_apps.plumbing.stream.configured import TOPICS as ALL
from serve_apps.plumbing.stream.memory import MemoryStream
from tests.integration.archiving import Direct
from tests.unit.journal.conftest import Rig
from tidegate.artifacts import ARTIFACTS_PATH, Artifact
from tidegate.clock import ManualClock
from tidegate.frames import KNOWN, OF_LANE, Layout, parse, records
from tidegate.ids import GateId, SiteId
from tidegate.limits import TIDE_HELD_US
from tidegate.records import Kind, Lane, event_body

OLDER = {OF_LANE[Lane.DECISIONS].fingerprint: OF_LANE[Lane.DECISIONS]}
"""What a cloud knows that was made before today's schema of events."""
ROUNDS, STEPS_MAX = 100, 12


class Tide:
    """A site and a cloud in one process; the cloud can be upgraded."""

    def __init__(self, known: Mapping[str, Layout], *, takes_texts: bool = True) -> None:
        self.rig, self.clock = Rig(disk=MemoryDisk()), ManualClock(1_795_000_000_000_000)
        self.journal, _ = self.rig.open()
        self.stream, self.quarantine = MemoryStream(self.clock), MemoryQuarantine()
        for topic in ALL:
            self.stream.create(topic, 1)
        pem = new_key(self.rig.rng.randbytes)
        self.signer = signer_of(pem, "key")
        self.keys = MemoryKeys(SiteKey(self.signer.key, "s1", public_of(pem, "key"), 0))
        self.sent, self.takes_texts = 0, takes_texts
        self.start_cloud(known)
        self.uplink = Uplink(
            whose=Whose(SiteId("s1"), GateId("g0")),
            journal=Tail(self.rig.disk),
            carrier=self,
            memory=MemoryFile(),
            witness=MemoryFile(),
            signer=self.signer,
            clock=self.clock,
            entropy=self.rig.rng.randbytes,
        )

    def start_cloud(self, known: Mapping[str, Layout]) -> None:
        """Start a cloud over the same log that reads these schemas."""
        committers = [Committer(self.stream, "c0", self.clock)]
        self._backend = Backend(
            keys=self.keys, quarantine=self.quarantine, committers=committers, clock=self.clock, known=known
        )
        self._direct = Direct(self._backend)

    def stop_cloud(self) -> None:
        self._direct.close()
        self._backend.close()

    def post(self, path: str, body: bytes, media_type: str) -> Reply:
        self.sent += 1
        if path == ARTIFACTS_PATH and not self.takes_texts:
            return Reply(404, 0.0, b'{"code": "NOT_FOUND", "detail": "no such path"}')
        return self._direct.post(path, body, media_type)

    def round(self) -> None:
        """Decide something, have something happen, and send until the uplink waits."""
        self.rig.decide(self.journal, 2)
        self.journal.append([(Lane.EVENTS, Kind.CARD_EVICTED, event_body({"token": "card-1"}))], self.clock.now_us())
        self.journal.commit()
        self.settle()

    def settle(self) -> None:
        assert any(self.uplink.step() for _ in range(STEPS_MAX)), "it sends without end"

    def held(self, lane: Lane) -> list[bytes]:
        reader, at, found = self.stream.reader(), 0, list[bytes]()
        while page := reader.read(TOPICS[lane], 0, at, messages_max=1_000, bytes_max=1 << 26):
            found += [record for stored in page for record in records(parse(stored.value)).each()]
            at = page[-1].offset + 1
        return sorted(found)

    def own(self, lane: Lane) -> list[bytes]:
        return sorted(record.to_bytes() for _, record in self.journal.scan() if record.lane is lane)


def test_what_an_older_cloud_cant_read_is_held_and_arrives_after_its_upgrade() -> None:
    tide = Tide(OLDER)

    for _ in range(ROUNDS):
        tide.round()
    assert tide.held(Lane.DECISIONS) == tide.own(Lane.DECISIONS)
    assert tide.held(Lane.EVENTS) == []
    assert set(tide.quarantine.counts()) == {"schema"}
    assert "upgrade it" in tide.uplink.standing.trouble
    assert not tide.uplink.committed()[tide.journal.epoch, Lane.EVENTS]  # so the journal keeps it

    tide.stop_cloud()
    tide.start_cloud(KNOWN)
    tide.clock.advance(TIDE_HELD_US)
    tide.round()

    assert tide.held(Lane.EVENTS) == tide.own(Lane.EVENTS)
    assert tide.held(Lane.DECISIONS) == tide.own(Lane.DECISIONS)
    assert not any(tide.uplink.standing.behind.values())
    tide.stop_cloud()


def test_what_an_older_cloud_cant_read_is_offered_again_now_and_then_and_in_few_frames() -> None:
    tide = Tide(OLDER)
    for _ in range(ROUNDS):
        tide.round()
    before, cases = tide.sent, sum(tide.quarantine.counts().values())

    tide.clock.advance(TIDE_HELD_US)
    tide.settle()
    tide.settle()

    assert tide.sent - before <= 3  # a head, and all that was held in one request
    assert sum(tide.quarantine.counts().values()) == cases + 1
    tide.stop_cloud()


def test_a_cloud_from_before_texts_gets_all_records() -> None:
    tide, texts = Tide(KNOWN, takes_texts=False), MemoryTexts()
    lists = Artifact("lists", "list,entity,value,expires_at,rule\n")
    texts.of = {lists.name: lists.text.encode()}
    tide.uplink.offer(texts)

    for _ in range(3):
        tide.round()

    assert tide.held(Lane.EVENTS) == tide.own(Lane.EVENTS)
    assert tide.uplink.standing.connected
    tide.stop_cloud()
