"""What faults of real processes cost: `python -m tests.bench.tide_faults [--logs sqlite,kafka] [--faults a,b]`.

A gate with its door, its uplink, ingest over a log in a file or in a Kafka broker, and the archive's writer, each a
process, started again where it ends; three tills that pay all the time, and try again with the same id where no answer
came. Each fault strikes under that load and is over by itself. Then: how many payments were accepted, how many of those
are in the log and in the archive, how many are lost, and how many are anywhere twice. The last line is one JSON object;
the status is 1 where anything is lost or doubled, or the site's ids aren't the archive's. Full disks need root.
"""

import argparse
import asyncio
import http.client
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from actors.journal.disk import PosixDisk
from actors.journal.reader import Reader
from actors.scorer.disk import PosixFolder
from actors.scorer.shelf import Shelf
from actors.uplink.key import new_key, public_of, signer_of
from edge_nodes.relay import Relay
from serve_apps.archive.delta import opened
from serve_apps.ingest.committer import TOPICS
from serve_apps.plumbing.stream.configured import open_stream
from tests.bench.tide_house import CLOCK, log_of
from tests.servers import kafka_broker
from tidegate.frames import parse, records
from tidegate.keys import KeyFile, Scope, dump_keys, make_key
from tidegate.limits import MIB, SEGMENT_BYTES_MIN
from tidegate.records import DECISION, Lane

SITE: Final = "site-1"
ROLES: Final = ("ingest", "gate", "uplink", "archive")
TILLS: Final = 3
PAUSE_S: Final = 0.01
BEFORE_S: Final = 1.5
"""So long tills pay before a fault, and after it."""
LASTS_S: Final = 3.0
SETTLE_S: Final = 120.0
READY_S: Final = 90.0
SITE_DISK_BYTES: Final = 128 * MIB
CLOUD_DISK_BYTES: Final = 48 * MIB
ROOT: Final = Path(__file__).resolve().parents[2]


class Kept:
    """A process that is started again where it ends, as Ray and an operator's supervisor do."""

    def __init__(self, role: str, order: dict[str, Any]) -> None:
        self._command = [sys.executable, "-m", "tests.bench.tide_house", role, json.dumps(order)]
        self._over = False
        self._process = self._start()
        self._thread = threading.Thread(target=self._keep)
        self._thread.start()

    def _start(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(self._command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})

    def _keep(self) -> None:
        while True:
            self._process.wait()
            if self._over:
                return
            self._process = self._start()

    def kill(self) -> None:
        """Kill it, as a crash does."""
        self._process.kill()

    def stop(self) -> None:
        """End it for good."""
        self._over = True
        self._process.terminate()
        self._thread.join()


class Line:
    """The way between site and cloud, that can be cut."""

    def __init__(self, port: int) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._relay = Relay("127.0.0.1", port)
        self.port = asyncio.run_coroutine_threadsafe(self._relay.open(), self._loop).result()

    def cut(self) -> None:
        """Let nothing through."""
        self._loop.call_soon_threadsafe(self._relay.cut)

    def restore(self) -> None:
        """Let all through."""
        self._loop.call_soon_threadsafe(self._relay.restore)

    def close(self) -> None:
        """End it."""
        asyncio.run_coroutine_threadsafe(self._relay.close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@dataclass
class House:
    """All processes, and the folders they work in."""

    site: Path
    cloud: Path
    order: dict[str, Any]
    key: str
    line: Line
    broker: kafka_broker.Broker | None
    kept: dict[str, Kept] = field(default_factory=dict)

    @property
    def port(self) -> int:
        """The door's."""
        return int(self.order["settings"]["door"]["port"])

    def ready(self) -> bool:
        """Tell whether the gate decides."""
        with suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            with closing(connection):
                connection.request("GET", "/readyz")
                return connection.getresponse().status == 200
        return False

    def journaled(self, prefix: str) -> Counter[str]:
        """Return the ids in the site's journal."""
        rows = (record.to_bytes() for _, record in Reader(PosixDisk(self.site / "journal")).entries() if _is(record))
        return _ids(rows, prefix)

    def committed(self, prefix: str) -> Counter[str]:
        """Return the ids in the log."""
        found: list[bytes] = []
        stream = open_stream(log_of(self.order), self.cloud, CLOCK)
        with closing(stream), closing(stream.reader()) as reader:
            topic = TOPICS[Lane.DECISIONS]
            for partition in range(reader.partitions(topic)):
                offset = reader.begin(topic, partition)
                while page := reader.read(topic, partition, offset, messages_max=500, bytes_max=1 << 26):
                    found += [row for stored in page for row in records(parse(stored.value)).each()]
                    offset = page[-1].offset + 1
        return _ids(found, prefix)

    def archived(self, prefix: str) -> Counter[str]:
        """Return the ids in the archive."""
        with suppress(Exception):
            rows = opened(self.cloud / "archive")["decisions"].to_pyarrow_dataset().to_table(["transaction_id"])
            return Counter(one for one in map(_text, rows["transaction_id"].to_pylist()) if one.startswith(prefix))
        return Counter()


def _is(record: Any) -> bool:
    return bool(record.lane is Lane.DECISIONS)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _ids(rows: Any, prefix: str) -> Counter[str]:
    ids = (np.frombuffer(row, DECISION, 1)["transaction_id"][0].decode() for row in rows)
    return Counter(one for one in ids if one.startswith(prefix))


# --- Load. ---


def till(house: House, name: str, over: threading.Event, accepted: set[str], refused: list[int]) -> None:
    """Pay until it is over, each payment until it is accepted; note each status of an answer that does not."""
    number, connection = 0, None
    while not over.is_set():
        transaction = f"{name}-{number}"
        body = json.dumps(
            {
                "transaction_id": transaction,
                "occurred_at": datetime.now(UTC).isoformat(),
                "amount": {"minor": 100 + number, "currency": "EUR"},
                "card": f"card-{number % 29}",
                "terminal": f"t-{name[-1]}",
                "merchant": "m-1",
                "channel": "online",
            }
        )
        while True:
            try:
                connection = connection or http.client.HTTPConnection("127.0.0.1", house.port, timeout=5)
                headers = {"authorization": f"Bearer {house.key}", "content-type": "application/json"}
                connection.request("POST", "/v1/decisions", body, headers)
                response = connection.getresponse()
                response.read()
                if response.status == 200:
                    accepted.add(transaction)
                    break
                refused.append(response.status)
            except (OSError, http.client.HTTPException):
                pass
            if connection is not None:
                connection.close()
            connection = None
            over.wait(PAUSE_S)
            if over.is_set() and not house.ready():
                return
        number += 1
        over.wait(PAUSE_S)
    if connection is not None:
        connection.close()


# --- Faults. ---


def killed(house: House, *names: str) -> None:
    """Kill processes."""
    for name in names:
        house.kept[name].kill()


def cut(house: House) -> None:
    """Cut the way to the cloud for a while."""
    house.line.cut()
    threading.Event().wait(LASTS_S)
    house.line.restore()


def broker_killed(house: House) -> None:
    """Kill the broker, and start it again with what it had."""
    assert house.broker is not None
    house.broker.kill()
    threading.Event().wait(1.0)
    house.broker.start()


def filled(folder: Path) -> None:
    """Take all that a disk has left, for a while."""
    ballast = folder / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(bytes(MIB)):
            pass
    threading.Event().wait(LASTS_S)
    ballast.unlink()


def faults(house: House) -> dict[str, Callable[[], None]]:
    """Return what can be done to this house."""
    found: dict[str, Callable[[], None]] = {
        f"{name} killed": partial(killed, house, name) for name in ("gate", "uplink", "ingest", "archive")
    }
    found["all killed"] = partial(killed, house, *house.kept)
    found["WAN cut"] = partial(cut, house)
    if house.broker is not None:
        found["broker killed"] = partial(broker_killed, house)
    if house.site.is_mount():
        found["site's disk full"] = partial(filled, house.site)
        found["cloud's disk full"] = partial(filled, house.cloud)
    return found


def strike(house: House, prefix: str, fault: Callable[[], None]) -> dict[str, Any]:
    """Let a fault strike under load; return what became of the payments once all has settled."""
    over, accepted, refused, began = threading.Event(), set[str](), list[int](), time.monotonic()
    told = over, accepted, refused
    tills = [threading.Thread(target=till, args=(house, f"{prefix}{number}", *told)) for number in range(TILLS)]
    for thread in tills:
        thread.start()
    threading.Event().wait(BEFORE_S)
    fault()
    threading.Event().wait(BEFORE_S)
    until(house.ready, READY_S)
    threading.Event().wait(BEFORE_S)
    over.set()
    for thread in tills:
        thread.join()
    settled = until(lambda: set(house.archived(prefix)) >= set(house.journaled(prefix)), SETTLE_S)
    journaled, committed, archived = house.journaled(prefix), house.committed(prefix), house.archived(prefix)
    return {
        "refused": len(refused),
        "accepted": len(accepted),
        "journaled": len(journaled),
        "committed": len(committed),
        "archived": len(archived),
        "lost": len(accepted - set(archived)) + len(set(journaled) ^ set(archived)),
        "twice": sum(count > 1 for found in (journaled, committed, archived) for count in found.values()),
        "settled": settled,
        "seconds": round(time.monotonic() - began, 1),
    }


def until(done: Callable[[], bool], seconds: float) -> bool:
    """Wait for a condition; tell whether it came."""
    deadline = time.monotonic() + seconds
    while not (met := done()) and time.monotonic() < deadline:
        threading.Event().wait(0.25)
    return met


# --- The house. ---


@contextmanager
def disk(folder: Path, size: int) -> Iterator[Path]:
    """Give a folder on a disk of its own of so many bytes, where that can be had."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    mounted = not os.geteuid() and not subprocess.run(command, check=False, capture_output=True).returncode
    try:
        yield folder
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def living(kind: str, bundle: dict[str, bytes], only: tuple[str, ...] = ROLES) -> Iterator[House]:
    """Give a house whose processes run."""
    folder = Path(tempfile.mkdtemp(prefix="tgf-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        site = stack.enter_context(disk(folder / SITE, SITE_DISK_BYTES))
        cloud = stack.enter_context(disk(folder / "cloud", CLOUD_DISK_BYTES))
        broker = None
        if kind == "kafka":
            (folder / "kafka").mkdir()
            broker = kafka_broker.Broker(folder / "kafka")
            broker.start()
            stack.callback(broker.stop)
        ports = free_ports(2)
        line = Line(ports[1])
        stack.callback(line.close)
        order, key = ordered(folder, site, cloud, ports, line.port)
        if broker is not None:
            order["brokers"] = broker.address
        shelf = Shelf(folder=PosixFolder(site / "bundles"))
        shelf.activate(shelf.put(bundle))
        house = House(site, cloud, order, key, line, broker)
        for name in only:
            house.kept[name] = Kept(name, order)
            stack.callback(house.kept[name].stop)
        if not until(house.ready, READY_S):
            raise RuntimeError("the gate isn't ready: see above")
        yield house


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on."""
    import socket  # noqa: PLC0415 - for this alone

    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def ordered(folder: Path, site: Path, cloud: Path, ports: list[int], line: int) -> tuple[dict[str, Any], str]:
    """Return what all processes are told, and the tills' key."""
    pem, (key, stored) = new_key(os.urandom), make_key("tills", frozenset(Scope), os.urandom)
    private, keys = folder / "site.key", folder / "keys.json"
    private.write_bytes(pem)
    private.chmod(0o600)
    keys.write_bytes(dump_keys(KeyFile(keys=(stored,))))
    settings = {
        "site": SITE,
        "profile": "demo",
        "data_dir": str(site),
        "machine_mark": str(folder / "mark"),
        "door": {"port": ports[0]},
        "journal": {"segment_bytes": SEGMENT_BYTES_MIN},
        "uplink": {"url": f"http://127.0.0.1:{line}", "key": str(private)},
    }
    signed = {"key": signer_of(pem, "key").key, "public": public_of(pem, "key").hex()}
    return {"settings": settings, "keys": str(keys), "cloud": str(cloud), "site": SITE, "port": ports[1], **signed}, key


def run(kind: str, wanted: str, bundle: dict[str, bytes]) -> dict[str, dict[str, Any]]:
    """Let faults strike a house with one kind of log, one after the other; a line each as they are over."""
    told = {}
    with living(kind, bundle) as house:
        for name, fault in faults(house).items():
            if wanted in {"", name} or name in wanted.split(","):
                told[name] = strike(house, f"{secrets.token_hex(3)}-", fault)
                cells = "".join(f"{value!s:>11}" for value in told[name].values())
                sys.stdout.write(f"{kind:>7}  {name:<18}{cells}\n")
                sys.stdout.flush()
    return told


def small_bundle() -> dict[str, bytes]:
    """Return a bundle with a model of random vectors: what it decides is of no matter here."""
    from tests.bench.model import put_on_shelf  # noqa: PLC0415 - trains a model

    with tempfile.TemporaryDirectory(prefix="tgb-") as folder:
        put_on_shelf(Path(folder), time.time_ns() // 1_000)
        (bundle,) = Path(folder).glob("b-*")
        return {part.name: part.read_bytes() for part in bundle.iterdir()}


def main() -> int:
    """Strike, tell, and say whether anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logs", default="sqlite,kafka", help="sqlite, kafka, or both")
    parser.add_argument("--faults", default="", help="names with commas between; all by default")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    names = ("refused", "accepted", "journaled", "committed", "archived", "lost", "twice", "settled", "seconds")
    sys.stdout.write(f"{'log':>7}  {'fault':<18}{''.join(f'{name:>11}' for name in names)}\n")
    bundle = small_bundle()
    told = {kind: run(kind, options.faults, bundle) for kind in options.logs.split(",")}
    sys.stdout.write(f"{json.dumps(told)}\n")
    rows = [row for found in told.values() for row in found.values()]
    return 0 if all(row["settled"] and not row["lost"] and not row["twice"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
