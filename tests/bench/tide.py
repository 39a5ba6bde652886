"""How fast a backlog drains and what waits for it: `python -m tests.bench.tide`, or `--quick` to see that it runs.

A journal of real decisions on a disk, the real uplink in this process, ingest in another, with its log in a SQLite
file or in a Kafka broker. Measured are: how long a backlog takes from the journal into the log, and what it costs; how
long a live decision takes to be committed while a backlog drains, and a lone one while nothing else is to be sent; how
large frames of one decision and of 1,024 are; what the tide takes of a gate (see `tests.bench.tide_gate`), unless
`--no-gate`; and the same decisions as JSON rows over the same HTTP into the SQLite log. Then each promise is told
beside what was measured, and whether it is kept (`tests.bench.tide_promises`). The last line is one JSON object.
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
from collections.abc import Callable, Iterator
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
from tests.bench.frames import frame
from tests.bench.stream import KINDS
from tests.bench.tide_gate import beside
from tests.bench.tide_promises import as_json, judged, lines
from tidegate.clock import SystemClock
from tidegate.ids import EpochId, GateId, SiteId
from tidegate.limits import FRAME_RECORDS_MAX, GIB
from tidegate.records import DECISION, HEAD_BYTES, Kind, Lane

SITE: Final = "site-1"
ROWS_A_REQUEST: Final = 1_000
LIVE_EVERY_S: Final = 0.05
LIVE_RECORDS: Final = 10
LONE_EVERY_S: Final = 0.21  # not by the beat in which the uplink looks
LONE_S: Final = 20.0
START_S: Final = 30
DISTINCT: Final = 20_000
RECORDS: Final = 1_000_000  # what the promise on live decisions is about
LARGE: Final = 1_024
SINGLE: Final = 512
QUICK: Final = {"records": 20_000, "logs": "sqlite", "no_gate": True, "distinct": FRAME_RECORDS_MAX, "lone_s": 3.0}
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

        def drains() -> bool:
            return through(uplink, site.journal.epoch) < last

        return _told("live", _followed(site, uplink, LIVE_RECORDS, LIVE_EVERY_S, drains))


def alone(kind: str, bodies: list[bytes], lone_s: float) -> dict[str, float]:
    """Return how long a live decision waits for its commit where nothing else is to be sent."""
    with running(kind, bodies) as (site, _cloud, uplink):
        site.decide(1)
        while not through(uplink, site.journal.epoch):
            uplink.step()
        until = time.perf_counter() + lone_s
        return _told("lone", _followed(site, uplink, 1, LONE_EVERY_S, lambda: time.perf_counter() < until))


def _followed(site: Site, uplink: Uplink, records: int, every_s: float, goes_on: Callable[[], bool]) -> list[float]:
    """Make so many live decisions at a time while something goes on; return how long each time's last one waited."""
    made: list[tuple[int, float]] = []
    waits: list[float] = []
    over = threading.Event()

    def live() -> None:
        while True:
            began = time.perf_counter()
            made.append((site.decide(records), began))
            if over.wait(every_s):
                return

    thread = threading.Thread(target=live)
    thread.start()
    while goes_on() or not waits:
        pause = uplink.step()
        waits += _covered(uplink, site.journal.epoch, made)
        over.wait(pause)
    over.set()
    thread.join()
    while made:  # whoever waits longest is there last
        pause = uplink.step()
        waits += _covered(uplink, site.journal.epoch, made)
        threading.Event().wait(pause if made else 0)
    return waits


def _told(name: str, waits: list[float]) -> dict[str, float]:
    found = np.asarray(waits)
    numbers = {f"{name}_p{part}_s": float(np.percentile(found, part)) for part in (50, 99)}
    return {name: len(found), **numbers}


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


def framed(canonical: bytes) -> dict[str, float]:
    """Return the bytes of frames of one decision, and of each decision in frames of 1,024."""
    width = DECISION.itemsize
    single = [len(frame(canonical[at : at + width])) for at in range(0, SINGLE * width, width)]
    large = [len(frame(part)) for part in _cut(canonical, LARGE * width)]
    return {
        "bytes_of_1": float(np.mean(single)),
        "bytes_of_1_max": max(single),
        "bytes_of_1024": float(np.mean(large)) / LARGE,
    }


def _cut(canonical: bytes, size: int) -> list[bytes]:
    return [canonical[at : at + size] for at in range(0, len(canonical) - size + 1, size)]


def measured(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Return all numbers, by part of the bench."""
    canonical = decided(options.distinct, warm=options.distinct)
    width = DECISION.itemsize
    bodies = [canonical[at + HEAD_BYTES : at + width] for at in range(0, len(canonical), width)]
    told: dict[str, dict[str, float]] = {"frames": framed(canonical)}
    for kind in options.logs.split(","):
        _say(f"{kind}: a backlog of {options.records:,} decisions, alone and beside live ones; then lone ones")
        told[kind] = drained(kind, bodies, options.records)
        told[kind] |= lived(kind, bodies, options.records)
        told[kind] |= alone(kind, bodies, options.lone_s)
    if not options.no_gate:
        told["gate"] = beside(_say)
    told["json_rows"] = as_rows("sqlite", bodies, max(FRAME_RECORDS_MAX, options.records // 20))
    return told


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def main() -> None:
    """Measure; print a table, each promise, and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=RECORDS, help="of the backlog")
    parser.add_argument("--logs", default=",".join(KINDS), help="sqlite, kafka, or both")
    parser.add_argument("--no-gate", action="store_true", help="leave out what the tide takes of a gate: two minutes")
    parser.add_argument("--quick", action="store_true", help="little of all, to see that it runs; the rest is ignored")
    parser.set_defaults(distinct=DISTINCT, lone_s=LONE_S)
    options = parser.parse_args()
    if options.quick:
        options = argparse.Namespace(**QUICK)
    told = measured(options)
    for name, numbers in told.items():
        for what, value in numbers.items():
            sys.stdout.write(f"{name:>10}  {what:<26} {value:>14,.3f}\n")
    found = judged(told)
    sys.stdout.write(f"promised of a backlog of {RECORDS:,} decisions, measured with {options.records:,}:\n")
    sys.stdout.writelines(f"{line}\n" for line in lines(found))
    sys.stdout.write(f"{json.dumps(told | {'promises': as_json(found)})}\n")


if __name__ == "__main__":
    main()
