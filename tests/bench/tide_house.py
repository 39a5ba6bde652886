"""One process of a house without Ray: `python -m tests.bench.tide_house ROLE ORDER`, ended by SIGTERM.

ROLE is gate, uplink, ingest or archive, and ORDER what it works with, as JSON. Each is the code that Ray runs, with a
supervisor of the bench in the place of Ray's restarts, which tests of their own show.
"""

import asyncio
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import uvicorn

from actors.gate.actor import GateActor
from actors.journal.disk import PosixDisk
from actors.journal.tail import Tail
from actors.uplink.actor import UplinkActor
from serve_apps.archive.consumer import Consumer
from serve_apps.archive.delta import open_store
from serve_apps.archive.service import Service
from serve_apps.ingest.app import build
from serve_apps.ingest.backend import Backend
from serve_apps.ingest.committer import Committer
from serve_apps.ingest.memory import MemoryKeys
from serve_apps.ingest.ports import SiteKey
from serve_apps.ingest.sqlite import SqliteQuarantine
from serve_apps.plumbing.stream.configured import open_stream
from tidegate.clock import SystemClock
from tidegate.cloudsettings import LogSettings
from tidegate.keys import KeyFile, Keyring

Order = dict[str, Any]
CLOCK: Final = SystemClock()
PARTITIONS: Final = 2


def ended() -> threading.Event:
    """Return what is set by SIGTERM."""
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    return over


def log_of(order: Order) -> LogSettings:
    """Return which log an order means."""
    if "brokers" in order:
        return LogSettings(kind="kafka", brokers=order["brokers"], replicas=1, partitions=PARTITIONS)
    return LogSettings(partitions=PARTITIONS)


def gate(order: Order) -> None:
    """Decide behind the real door."""
    asyncio.run(_gate(json.dumps(order["settings"]), Path(order["keys"]).read_bytes()))


async def _gate(settings: str, keys: bytes) -> None:
    over, loop = asyncio.Event(), asyncio.get_running_loop()
    actor = GateActor(settings, "edge_nodes.http.app:build", keys)
    loop.add_signal_handler(signal.SIGTERM, over.set)
    await actor.start()
    await over.wait()
    await actor.stop()


def uplink(order: Order) -> None:
    """Send up what the gate made durable."""
    over = ended()
    os.nice(order.get("nice", 0))
    actor = UplinkActor(json.dumps(order["settings"]), lambda folder: Tail(PosixDisk(folder)))
    over.wait()
    actor.stop()


def ingest(order: Order) -> None:
    """Take in what one site sends."""
    os.nice(order.get("nice", 0))
    folder = Path(order["cloud"])
    keys = MemoryKeys(SiteKey(order["key"], order["site"], bytes.fromhex(order["public"]), 0))
    stream, quarantine = open_stream(log_of(order), folder, CLOCK), SqliteQuarantine(folder / "quarantine.sqlite")
    backend = Backend(keys=keys, quarantine=quarantine, committers=[Committer(stream, "c0", CLOCK)], clock=CLOCK)
    app = build(backend, Keyring(KeyFile(keys=())))
    uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=order["port"], log_level="error")).run()
    backend.close()


class Works:
    """What the archive works with."""

    def __init__(self, order: Order) -> None:
        folder = Path(order["cloud"])
        self.store = open_store(folder / "archive")
        self._stream = open_stream(log_of(order), folder, CLOCK)
        self.consumers, self._reader = self._stream.consumers(), self._stream.reader()
        self.consumer = Consumer(reader=self._reader, consumers=self.consumers, store=self.store, clock=CLOCK)

    def close(self) -> None:
        """Let go of the log."""
        for each in (self._reader, self.consumers, self._stream):
            each.close()


def archive(order: Order) -> None:
    """Put what the log has into the tables."""
    over = ended()
    os.nice(order.get("nice", 0))
    Service(opening=lambda: Works(order), clock=CLOCK, pause=over.wait).run()


ROLES: Final[dict[str, Callable[[Order], None]]] = {
    "gate": gate,
    "uplink": uplink,
    "ingest": ingest,
    "archive": archive,
}


if __name__ == "__main__":
    ROLES[sys.argv[1]](json.loads(sys.argv[2]))
