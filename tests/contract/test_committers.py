"""Several committers over each kind of log: sites are shared out among them, and each record is there once."""

import asyncio
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from serve_apps.archive.consumer import Consumer
from serve_apps.archive.memory import MemoryStore
from serve_apps.ingest.backend import Backend
from serve_apps.ingest.committer import TOPICS, Committer
from serve_apps.ingest.memory import MemoryKeys, MemoryQuarantine
from serve_apps.ingest.ports import SiteKey
from serve_apps.ingest.shards import names_of
from serve_apps.plumbing.stream.configured import TOPICS as ALL
from serve_apps.plumbing.stream.log import partition
from serve_apps.plumbing.stream.ports import FencedError, Stream
from tests.contract.conftest import Opening
from tests.sent import decision_rows
from tidegate.clock import SystemClock
from tidegate.errors import SettingsError
from tidegate.frames import OF_LANE, Origin, Signer, encode, key_id, packed, parse
from tidegate.ids import EpochId, GateId, SiteId
from tidegate.records import CHAIN_START, Lane
from tidegate.tide import Status

COMMITTERS, PARTITIONS, SITES, ROWS = 3, 2, 6, 5
CLOCK = SystemClock()


@dataclass(frozen=True)
class Sender:
    """A site with a key."""

    name: str
    private: Ed25519PrivateKey = field(default_factory=lambda: Ed25519PrivateKey.from_private_bytes(os.urandom(32)))

    @property
    def key(self) -> SiteKey:
        public = self.private.public_key()
        return SiteKey(key_id(public), self.name, public.public_bytes_raw(), 0)

    def frame(self) -> bytes:
        origin = Origin(SiteId(self.name), GateId("g0"), EpochId("0123456789abcdef"))
        signer = Signer(self.key.key_id, self.private.sign)
        rows = decision_rows(1, ROWS).tobytes()
        return encode(origin, rows, CHAIN_START, signer, layout=OF_LANE[Lane.DECISIONS]).data


@pytest.fixture
def senders() -> list[Sender]:
    """Sites that no other test has, since a broker is shared by all of them; each committer's share is as large."""
    mark = secrets.token_hex(4)
    names = [f"s{number}-{mark}" for number in range(100)]
    shares = [[name for name in names if partition(name.encode(), COMMITTERS) == each] for each in range(COMMITTERS)]
    return [Sender(name) for share in shares for name in share[: SITES // COMMITTERS]]


@pytest.fixture
def stream(opening: Opening) -> Iterator[Stream]:
    stream = opening()
    for topic in ALL:
        stream.create(topic, PARTITIONS)
    yield stream
    stream.close()


def opened(stream: Stream, senders: list[Sender]) -> Backend:
    committers = [Committer(stream, name, CLOCK) for name in names_of(stream, COMMITTERS)]
    keys = MemoryKeys(*(sender.key for sender in senders))
    return Backend(keys=keys, quarantine=MemoryQuarantine(), committers=committers, clock=CLOCK)


def held(stream: Stream, senders: list[Sender]) -> list[str]:
    """Return whose frames the log has."""
    reader, names = stream.reader(), {sender.name for sender in senders}
    topic, found = TOPICS[Lane.DECISIONS], list[str]()
    for number in range(PARTITIONS):
        at = reader.begin(topic, number)
        while page := reader.read(topic, number, at, messages_max=100, bytes_max=1 << 26, wait_s=0.2):
            found += [name for stored in page if (name := parse(stored.value).header.site) in names]
            at = page[-1].offset + 1
    reader.close()
    return sorted(found)


def test_sites_are_shared_out_and_a_restart_knows_them_all(stream: Stream, senders: list[Sender]) -> None:
    first = opened(stream, senders)
    body = packed([sender.frame() for sender in senders])

    committed = asyncio.run(first.frames(body))
    second = opened(stream, senders)
    again = asyncio.run(second.frames(body))

    assert {result.status for result in committed.results} == {Status.COMMITTED}
    assert {result.status for result in again.results} == {Status.DUPLICATE}
    assert [cursor.committed for cursor in again.cursors] == [[(1, ROWS)]] * SITES
    assert held(stream, senders) == sorted(sender.name for sender in senders)
    shares = [len(shard.committer.holdings()) for shard in second.shards.each]
    assert all(share > 0 for share in shares)
    with pytest.raises(FencedError):
        asyncio.run(first.frames(packed([_of_another_epoch(senders[0])])))
    assert first.fenced is not None
    assert second.fenced is None
    for backend in (first, second):
        backend.close()


def test_an_archive_takes_what_all_of_them_committed_and_says_that_nothing_is_behind(
    stream: Stream, senders: list[Sender]
) -> None:
    backend, store = opened(stream, senders), MemoryStore()
    asyncio.run(backend.frames(packed([sender.frame() for sender in senders])))
    reader, consumers = stream.reader(), stream.consumers()
    consumer = Consumer(reader=reader, consumers=consumers, store=store, clock=CLOCK)

    while consumer.step().messages:
        pass
    behind = sum(position.behind for position in consumer.positions().values())
    consumer.flush()

    sources = store.read("decisions")["source"].to_pylist()
    names = {sender.name for sender in senders}
    mine = [source.partition(".")[0] for source in sources if source.partition(".")[0] in names]
    assert sorted(mine) == sorted(sender.name for sender in senders for _ in range(ROWS))
    assert behind >= SITES
    assert {position.behind for position in consumer.positions().values()} == {0}
    for each in (backend, reader, consumers):
        each.close()


def _of_another_epoch(sender: Sender) -> bytes:
    origin = Origin(SiteId(sender.name), GateId("g0"), EpochId("f" * 16))
    signer = Signer(sender.key.key_id, sender.private.sign)
    return encode(origin, decision_rows(1, 1).tobytes(), CHAIN_START, signer, layout=OF_LANE[Lane.DECISIONS]).data


def test_another_number_of_committers_than_the_log_was_made_with_is_refused(stream: Stream) -> None:
    assert names_of(stream, COMMITTERS) == ["c0", "c1", "c2"]

    with pytest.raises(SettingsError, match=r"ingest\.committers: 2 isn't what the log was made with"):
        names_of(stream, 2)
