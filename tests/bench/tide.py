"""How fast a backlog drains and what waits for it: `python -m tests.bench.tide`.

A journal of real decisions on a disk, the real uplink in this process, ingest in another, with its log in a SQLite
file or in a Kafka broker. Four things are measured: how long a backlog takes from the journal into the log, and what
it costs; how long a live decision takes to be committed while a backlog drains; what the tide takes of a gate (see
`tests.bench.tide_gate`); and the same decisions as JSON rows over the same HTTP into the same log. The last line is one
JSON object.
"""

import argparse
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from actors.journal.disk import PosixDisk
from actors.journal.journal import Bounds, Journal
from actors.journal.recovery import Owner, open_journal
from actors.journal.tail import Tail
from actors.uplink.https import HttpsCarrier
from actors.uplink.key import new_key, public_of, signer_of
from actors.uplink.memory import MemoryFile
from actors.uplink.uplink import Uplink, Whose
from tests.bench.cpu import cpu_s
from tests.bench.decided import decided
from tests.bench.stream import KINDS
from tests.bench.tide_gate import beside
from tidegate.clock import SystemClock
from tidegate.ids import EpochId, GateId, SiteId
from tidegate.limits import FRAME_RECORDS_MAX, GIB
from tidegate.records import DECISION, HEAD_BYTES, Kind, Lane

SITE: Final = "site-1"
ROWS_A_REQUEST: Final = 1_000
LIVE_EVERY_S: Final = 0.05
LIVE_RECORDS: Final = 10
START_S: Final = 30
DISTINCT: Final = 20_000
CLOCK: Final = SystemClock()


class Site:
    """A journal on a disk."""

    def __init__(self, folder: Path, bodies: list[bytes]) -> None:
        self.disk = PosixDisk(folder / "journal")
        owner = Owner(SiteId(SITE), GateId("g0"), "m" * 32)
        bounds = Bounds(bytes_max=8 * GIB)
        self.journal: Journal
        self.journal, _ = open_journal(disk=self.disk, owner=owner, clock=CLOCK, entropy=os.urandom, bounds=bounds)
        self._bodies = bodies
        self._next = 0

    def decide(self, count: int) -> int:
        """Append decisions, durably; return the sequence number of the last."""
        for number in range(count):
            body = self._bodies[self._next % len(self._bodies)]
            self._next += 1
            self.journal.append([(Lane.DECISIONS, Kind.DECISION, body)], CLOCK.now_us())
            if number % 1_000 == 0:
                self.journal.commit()
        self.journal.commit()
        return self.journal.head(Lane.DECISIONS).seq


class Cloud:
    """Ingest in a process of its own."""

    def __init__(self, folder: Path, kind: str) -> None:
        self._folder = folder / "log"
        self._folder.mkdir()
        command = [sys.executable, "-m", "tests.bench.tide_cloud", str(self._folder), kind]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        told = json.loads(self._line())
        self.port, self.pids = told["port"], (self.process.pid, *told["pids"])

    @property
    def log(self) -> Path:
        """The file of a SQLite log."""
        return self._folder / "log.sqlite"

    def enrol(self, key: str, public: bytes, site: str) -> None:
        """Let in what a site signs."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{key} {public.hex()} {site}\n")
        self.process.stdin.flush()
        self._line()

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def cpu_s(self) -> float:
        """Return the CPU seconds of ingest so far, its broker's aside."""
        return cpu_s([self.process.pid])

    def stop(self) -> None:
        """End it in order."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.communicate(timeout=START_S)


@contextmanager
def running(kind: str, bodies: list[bytes]) -> Iterator[tuple[Site, Cloud, Uplink]]:
    """Give a site and a cloud that know each other."""
    folder = Path(tempfile.mkdtemp(prefix="tgt-"))
    pem = new_key(os.urandom)
    signer = signer_of(pem, "key")
    site, cloud = Site(folder, bodies), Cloud(folder, kind)
    cloud.enrol(signer.key, public_of(pem, "key"), SITE)
    carrier = HttpsCarrier(f"http://127.0.0.1:{cloud.port}")
    uplink = Uplink(
        whose=Whose(SiteId(SITE), GateId("g0")),
        journal=Tail(site.disk),
        carrier=carrier,
        memory=MemoryFile(),
        witness=MemoryFile(),
        signer=signer,
        clock=CLOCK,
        entropy=os.urandom,
    )
    try:
        yield site, cloud, uplink
    finally:
        carrier.close()
        cloud.stop()
        site.journal.close()
        shutil.rmtree(folder)


def through(uplink: Uplink, epoch: EpochId) -> int:
    """Return up to which decision the cloud has all that went before it."""
    spans = uplink.committed().get((epoch, Lane.DECISIONS), ())
    return spans[0].last if spans and spans[0].first == 1 else 0


def drained(kind: str, bodies: list[bytes], records: int) -> dict[str, float]:
    """Return how fast a backlog comes into the log."""
    with running(kind, bodies) as (site, cloud, uplink):
        last = site.decide(records)
        own, ingest, began = time.process_time(), cloud.cpu_s(), time.perf_counter()
        while through(uplink, site.journal.epoch) < last:
            uplink.step()
        took = time.perf_counter() - began
        standing = uplink.standing
        return {
            "records": last,
            "records_per_s": last / took,
            "uplink_us": (time.process_time() - own) / last * 1e6,
            "ingest_records_per_cpu_s": last / (cloud.cpu_s() - ingest),
            "bytes_per_decision": standing.sent_bytes / standing.sent_records,
        }


def lived(kind: str, bodies: list[bytes], records: int) -> dict[str, float]:
    """Return how long live decisions wait for their commit while a backlog drains."""
    with running(kind, bodies) as (site, _cloud, uplink):
        last = site.decide(records)
        while not uplink.standing.connected:
            uplink.step()
        made: list[tuple[int, float]] = []
        waits: list[float] = []
        over = threading.Event()

        def live() -> None:
            while not over.wait(LIVE_EVERY_S):
                began = time.perf_counter()
                made.append((site.decide(LIVE_RECORDS), began))

        thread = threading.Thread(target=live)
        thread.start()
        while through(uplink, site.journal.epoch) < last:
            pause = uplink.step()
            waits += _covered(uplink, site.journal.epoch, made)
            over.wait(pause)
        over.set()
        thread.join()
        found = np.asarray(waits)
        return {
            "live": len(found),
            "live_p50_s": float(np.median(found)),
            "live_p99_s": float(np.quantile(found, 0.99)),
        }


def _covered(uplink: Uplink, epoch: EpochId, made: list[tuple[int, float]]) -> list[float]:
    """Return how long those waited that are committed now, and forget them."""
    spans = uplink.committed().get((epoch, Lane.DECISIONS), ())
    there = [one for one in list(made) if any(span.first <= one[0] <= span.last for span in spans)]
    for one in there:
        made.remove(one)
    now = time.perf_counter()
    return [now - began for _, began in there]


def as_rows(kind: str, bodies: list[bytes], records: int) -> dict[str, float]:
    """Return the same for JSON rows, a request after the other."""
    with running(kind, bodies) as (site, cloud, _uplink):
        last, tail, seq, sent = site.decide(records), Tail(site.disk), 1, 0
        tail.refresh(everything=True)
        connection = http.client.HTTPConnection("127.0.0.1", cloud.port, timeout=60)
        own, ingest, began = time.process_time(), cloud.cpu_s(), time.perf_counter()
        while seq <= last:
            passage = tail.read(
                site.journal.epoch, Lane.DECISIONS, seq, through=last, records_max=ROWS_A_REQUEST, bytes_max=GIB
            )
            assert passage is not None
            body = json.dumps(_rows(passage.canonical)).encode()
            connection.request("POST", "/rows", body, {"content-type": "application/json"})
            assert connection.getresponse().read() == b"{}"
            seq, sent = passage.last + 1, sent + len(body)
        took = time.perf_counter() - began
        connection.close()
        return {
            "records_per_s": last / took,
            "uplink_us": (time.process_time() - own) / last * 1e6,
            "ingest_records_per_cpu_s": last / (cloud.cpu_s() - ingest),
            "bytes_per_decision": sent / last,
        }


def _rows(canonical: bytes) -> list[dict[str, Any]]:
    rows = np.frombuffer(canonical, DECISION)
    names = rows.dtype.names or ()
    columns = [
        [value.hex() if isinstance(value, bytes) else value for value in rows[name].tolist()]
        if name.endswith(("hash", "fingerprint", "bundle", "config", "policy"))
        else [value.decode() if isinstance(value, bytes) else value for value in rows[name].tolist()]
        for name in names
    ]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def main() -> None:
    """Measure, print a table and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=400_000, help="of the backlog")
    parser.add_argument("--logs", default=",".join(KINDS), help="sqlite, kafka, or both")
    parser.add_argument("--no-gate", action="store_true", help="leave out what the tide takes of a gate: two minutes")
    options = parser.parse_args()
    canonical = decided(min(DISTINCT, options.records), warm=DISTINCT)
    width = DECISION.itemsize
    bodies = [canonical[at + HEAD_BYTES : at + width] for at in range(0, len(canonical), width)]
    told: dict[str, Any] = {}
    for kind in options.logs.split(","):
        told[kind] = drained(kind, bodies, options.records)
        told[kind] |= lived(kind, bodies, options.records)
    if not options.no_gate:
        told["gate"] = beside(lambda text: print(text, file=sys.stderr))
    told["json_rows"] = as_rows("sqlite", bodies, max(FRAME_RECORDS_MAX, options.records // 20))
    for name, numbers in told.items():
        for what, value in numbers.items():
            sys.stdout.write(f"{name:>10}  {what:<26} {value:>14,.3f}\n")
    sys.stdout.write(f"{json.dumps(told)}\n")


if __name__ == "__main__":
    main()
