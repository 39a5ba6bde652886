"""The log in Kafka, against a real broker: what is killed, transactions left open, topics that forget."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from serve_apps.plumbing.stream import log
from serve_apps.plumbing.stream.configured import open_stream
from serve_apps.plumbing.stream.kafka import cluster, reader, table, writer
from serve_apps.plumbing.stream.kafka.stream import KafkaStream
from serve_apps.plumbing.stream.ports import (
    Message,
    MismatchError,
    Stored,
    UnavailableError,
    UnknownOutcomeError,
    Writer,
)
from tests.contract.committing import COMMITTER, CURSOR, KEY, ROOT, counted
from tests.servers.kafka_broker import Broker
from tidegate.clock import SystemClock
from tidegate.cloudsettings import LogSettings
from tidegate.errors import SettingsError

WAIT_S = 60.0
BROKER_KILLS = 2
WRITER_KILLS = 3
HALF_DONE = """
import sys, threading
from serve_apps.plumbing.stream.ports import Message
from tests.contract.committing import COMMITTER, CURSOR, KEY, opened

stream = opened("kafka", sys.argv[1])
writer = stream.writer(COMMITTER)
writer.commit([Message(sys.argv[2], KEY, b"1")], {CURSOR: b"1"})
writer._send([Message(sys.argv[2], KEY, b"2")], {CURSOR: b"2"}, {sys.argv[2]: 1})
print("written", flush=True)
threading.Event().wait()
"""


@dataclass(frozen=True)
class Rig:
    stream: KafkaStream
    broker: Broker
    prefix: str
    topic: str

    def run(self, *words: str) -> "subprocess.Popen[str]":
        where = [f"{self.broker.address}/{self.prefix}", self.topic]
        return subprocess.Popen([sys.executable, *words, *where], cwd=ROOT, stdout=subprocess.PIPE, text=True)

    def committing(self) -> "subprocess.Popen[str]":
        return self.run("-m", "tests.contract.committing", "kafka")


@pytest.fixture
def rig(broker: Broker, unused: str) -> Iterator[Rig]:
    stream = KafkaStream(broker.address, SystemClock(), prefix=unused, replicas=1)
    topic = f"{unused}.L1"
    stream.create(topic, 1)
    yield Rig(stream, broker, unused, topic)
    stream.close()


def agreed(rig: Rig, acknowledged: int) -> int:
    """Return how far the log is, once it was seen that cursors, messages and what was acknowledged agree."""
    writer = rig.stream.writer(COMMITTER)
    noted = int(writer.cursors().get(CURSOR, b"0"))
    writer.close()
    reader = rig.stream.reader()
    numbers = counted(reader, rig.topic, up_to=noted)
    reader.close()
    assert numbers == list(range(1, noted + 1))
    assert noted >= acknowledged
    return noted


def test_a_killed_broker_loses_nothing_committed_and_shows_nothing_else(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "LOG_COMMIT_S_MAX", 2.0)  # shorter than the broker is away, so that commits do fail
    told: list[Exception] = []
    acknowledged = [0]
    enough = threading.Event()

    def count(held: Writer) -> None:
        number = int(held.cursors().get(CURSOR, b"0"))
        while not enough.is_set():
            text = str(number + 1).encode()
            held.commit([Message(rig.topic, KEY, text + b" " + bytes(200_000))], {CURSOR: text})
            number = acknowledged[0] = number + 1

    def commit_for_ever() -> None:
        held: Writer | None = None
        while not enough.is_set():
            try:
                held = held or rig.stream.writer(COMMITTER)
                count(held)
            except (UnavailableError, UnknownOutcomeError) as error:
                told.append(error)
                held = None if isinstance(error, UnknownOutcomeError) else held
        assert held is not None
        held.close()

    def five_more() -> None:
        before, deadline = acknowledged[0], time.monotonic() + WAIT_S
        while acknowledged[0] < before + 5:
            assert time.monotonic() < deadline, f"no five commits in {WAIT_S} s; last told: {told[-3:]}"
            threading.Event().wait(0.02)

    thread = threading.Thread(target=commit_for_ever, daemon=True)
    thread.start()
    try:
        for _ in range(BROKER_KILLS):
            five_more()
            rig.broker.kill()
            rig.broker.start()
        five_more()
    finally:
        enough.set()
        thread.join(WAIT_S)

    assert agreed(rig, acknowledged[0]) == acknowledged[0]
    assert told


def test_a_writer_killed_again_and_again_loses_nothing_that_it_acknowledged(rig: Rig) -> None:
    acknowledged = 0
    for kill in range(1, WRITER_KILLS + 1):
        with rig.committing() as process:
            assert process.stdout is not None
            for line in process.stdout:
                acknowledged = int(line)
                if acknowledged >= 10 * kill:
                    process.kill()
            assert process.wait(WAIT_S) == -9
    agreed(rig, acknowledged)


def test_what_a_killed_writer_wrote_without_committing_is_never_seen(rig: Rig) -> None:
    reader = rig.stream.reader()
    with rig.run("-c", HALF_DONE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        assert counted(reader, rig.topic, up_to=1) == [1]
        process.kill()

    successor = rig.stream.writer(COMMITTER)
    assert successor.cursors() == {CURSOR: b"1"}
    successor.commit([Message(rig.topic, KEY, b"3")], {CURSOR: b"3"})

    assert counted(reader, rig.topic, up_to=3) == [1, 3]
    for held in (reader, successor):
        held.close()


def test_a_committer_is_not_opened_while_a_transaction_that_no_broker_ends_hides_its_cursors(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "LOG_ASK_S_MAX", 0.5)
    held = rig.stream.writer(COMMITTER)
    held.commit([Message(rig.topic, KEY, b"1")], {CURSOR: b"1"})
    forgotten = Producer({"bootstrap.servers": rig.broker.address, "transactional.id": f"{rig.prefix}.forgotten"})
    forgotten.init_transactions(WAIT_S)
    forgotten.begin_transaction()
    forgotten.produce(f"{rig.prefix}.cursors.{COMMITTER}", table.THERE + b"2", CURSOR.encode(), 0)
    assert forgotten.flush(WAIT_S) == 0

    with pytest.raises(UnavailableError, match=r"from offset 2 on \(of 3\) that no broker ends .*KAFKA-20734"):
        rig.stream.writer(COMMITTER)
    forgotten.abort_transaction(WAIT_S)
    successor = rig.stream.writer(COMMITTER)
    assert successor.cursors() == {CURSOR: b"1"}

    for thing in (held, successor):
        thing.close()


def test_a_writer_of_another_process_is_fenced_and_dies_of_it(rig: Rig) -> None:
    with rig.committing() as process:
        assert process.stdout is not None
        process.stdout.readline()
        successor = rig.stream.writer(COMMITTER)
        noted = int(successor.cursors()[CURSOR])
        process.stdout.read()
        assert process.wait(WAIT_S) == 1

    successor.commit([Message(rig.topic, KEY, str(noted + 1).encode())], {CURSOR: str(noted + 1).encode()})
    successor.close()
    assert agreed(rig, noted + 1) == noted + 1


def test_nothing_is_lost_in_partitions_that_no_producer_wrote_to_before(rig: Rig) -> None:
    held, opened = rig.stream.writer(COMMITTER), rig.stream.reader()
    for number in range(8):  # with five requests in flight, a third of these would lose some
        topic = f"{rig.prefix}.new{number}"
        rig.stream.create(topic, 1)
        held.commit([Message(topic, KEY, bytes([n]) + bytes(900_000)) for n in range(8)], {})

        found: list[Stored] = []
        while len(found) < 8:
            at = found[-1].offset + 1 if found else 0
            more = opened.read(topic, 0, at, messages_max=8, bytes_max=1 << 23, wait_s=WAIT_S)
            assert more, f"{topic} has only {[stored.value[0] for stored in found]}"
            found += more
        assert [stored.value[0] for stored in found] == list(range(8))
    for thing in (held, opened):
        thing.close()


def test_fetching_ahead_in_other_partitions_leaves_nothing_out(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "LOG_AHEAD_BYTES", 300_000)  # so that partitions are let go and fetched again often
    topic = f"{rig.prefix}.spread"
    rig.stream.create(topic, 3)
    keys = [f"site-{n}".encode() for n in range(6)]
    homes = [log.partition(key, 3) for key in keys]
    held = rig.stream.writer(COMMITTER)
    for turn in range(20):
        held.commit([Message(topic, key, bytes([turn]) + bytes(50_000)) for key in keys], {})
    held.close()

    opened = rig.stream.reader()
    seen: dict[int, list[Stored]] = {number: [] for number in range(3)}
    while any(len(seen[number]) < 20 * homes.count(number) for number in range(3)):
        for number, there in seen.items():
            at = there[-1].offset + 1 if there else 0
            there.extend(opened.read(topic, number, at, messages_max=7, bytes_max=1 << 20, wait_s=0.01))
    opened.close()

    for key, home in zip(keys, homes, strict=True):
        assert [stored.value[0] for stored in seen[home] if stored.key == key] == list(range(20))


def test_without_its_brokers_everything_is_unavailable_and_another_writer_goes_on_afterwards(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in ((cluster, "ASK"), (reader, "ASK"), (writer, "COMMIT"), (writer, "OPEN")):
        monkeypatch.setattr(module, f"LOG_{name}_S_MAX", 1.0)
    held, opened = rig.stream.writer(COMMITTER), rig.stream.reader()
    held.commit([Message(rig.topic, KEY, b"1")], {CURSOR: b"1"})
    assert counted(opened, rig.topic, up_to=1) == [1]
    rig.broker.kill()

    with pytest.raises(UnknownOutcomeError, match="open another writer"):
        held.commit([Message(rig.topic, KEY, b"2")], {CURSOR: b"2"})
    held.close()
    with pytest.raises(UnavailableError, match="see that its brokers run"):
        opened.end(rig.topic, 0)
    with pytest.raises(UnavailableError, match="see that its brokers run"):
        opened.read(rig.topic, 0, 3, messages_max=1, bytes_max=1)
    with pytest.raises(UnavailableError, match="see that its brokers run"):
        rig.stream.create(f"{rig.prefix}.more", 1)
    rig.broker.start()
    monkeypatch.undo()
    held = rig.stream.writer(COMMITTER)
    assert held.cursors() == {CURSOR: b"1"}
    held.commit([Message(rig.topic, KEY, b"2")], {CURSOR: b"2"})

    assert counted(opened, rig.topic, up_to=2) == [1, 2]
    for thing in (held, opened):
        thing.close()


@pytest.mark.parametrize("config", [{"retention.ms": "1000000"}, {"cleanup.policy": "compact"}])
def test_a_topic_that_forgets_by_itself_is_refused(rig: Rig, config: dict[str, str]) -> None:
    topic = f"{rig.prefix}.theirs"
    admin = AdminClient({"bootstrap.servers": rig.broker.address})
    admin.create_topics([NewTopic(topic, 1, 1, config={"retention.ms": "-1", **config})])[topic].result(WAIT_S)

    with pytest.raises(MismatchError, match=r"forgets by itself: give it cleanup.policy=delete, retention.ms=-1"):
        rig.stream.create(topic, 1)


def test_a_cloud_s_settings_open_it_with_what_a_private_file_tells_the_client(rig: Rig, tmp_path: Path) -> None:
    client = tmp_path / "client.toml"
    client.write_text('client.id = "tidegate-tests"\nsecurity.protocol = "PLAINTEXT"\n')
    client.chmod(0o600)
    told = LogSettings(kind="kafka", brokers=rig.broker.address, replicas=1, partitions=2, client=str(client))

    opened = open_stream(told, tmp_path, SystemClock(), [f"{rig.prefix}.L2"])

    assert opened.reader().partitions(f"{rig.prefix}.L2") == 2
    opened.close()
    client.write_text('security.protocol = "carrier pigeon"\n')
    with pytest.raises(SettingsError, match=r"log\.client: .*security\.protocol"):
        open_stream(told, tmp_path, SystemClock(), [f"{rig.prefix}.L2"])
