"""The cloud's side of `tests.bench.tide`: ingest's application over a log, and a path that takes JSON rows instead."""

import json
import sys
import threading
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request

from serve_apps.ingest.app import build
from serve_apps.ingest.backend import Backend
from serve_apps.ingest.committer import TOPICS, Committer
from serve_apps.ingest.memory import MemoryKeys, MemoryQuarantine
from serve_apps.ingest.ports import SiteKey
from serve_apps.plumbing.stream.ports import Message, Stream
from tests.bench.stream import KINDS
from tidegate.clock import SystemClock
from tidegate.keys import KeyFile, Keyring
from tidegate.records import Lane


def _add_rows(app: FastAPI, stream: Stream) -> None:
    writer = stream.writer("rows")

    @app.post("/rows")
    async def rows(request: Request) -> dict[str, str]:
        read = json.loads(await request.body())
        messages = [Message(TOPICS[Lane.DECISIONS], b"rows", json.dumps(row).encode()) for row in read]
        writer.commit(messages, {"rows": str(read[-1]["seq"]).encode()})
        return {}


def main() -> None:
    """Serve until SIGTERM, with a log in a folder; the first line tells port and the processes of the log."""
    log, kind, clock = Path(sys.argv[1]), sys.argv[2], SystemClock()
    with KINDS[kind](log) as (stream, pids):
        for lane in (Lane.DECISIONS, Lane.EVENTS):
            stream.create(TOPICS[lane], 4)
        keys = MemoryKeys()
        committer = Committer(stream, "c0", clock)
        backend = Backend(keys=keys, quarantine=MemoryQuarantine(), committers=[committer], clock=clock)
        app = build(backend, Keyring(KeyFile(keys=())))
        _add_rows(app, stream)
        server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
        threading.Thread(target=_tell, args=(server, pids, keys), daemon=True).start()
        server.run()
        backend.close()


def _tell(server: uvicorn.Server, pids: tuple[int, ...], keys: MemoryKeys) -> None:
    """Tell when it serves; then let in the site of each line: key, public key, name."""
    while not server.started:
        threading.Event().wait(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    sys.stdout.write(f"{json.dumps({'port': port, 'pids': pids})}\n")
    sys.stdout.flush()
    for line in sys.stdin:
        key, public, site = line.split()
        keys.of[key] = SiteKey(key, site, bytes.fromhex(public), 0)
        sys.stdout.write("\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
