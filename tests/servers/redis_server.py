"""A real Redis for benches and their tests: `redis-server` on a socket in a folder, nothing kept on the disk.

It comes with the system's packages (`apt-get install redis-server`); where it is missing, what needs it is skipped.
"""

import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import redis

PROGRAM: Final = shutil.which("redis-server")
ENABLE: Final = "apt-get install redis-server"
_START_S: Final = 20.0
_STOP_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class RedisServer:
    """Where it listens, and its process."""

    socket: str
    pid: int


@contextmanager
def redis_server(folder: Path) -> Iterator[RedisServer]:
    """Run a Redis for as long as the block lasts; tuned as a cache is: no snapshots, no log, no TCP."""
    if PROGRAM is None:
        raise FileNotFoundError(f"no redis-server; to get it: {ENABLE}")
    socket = folder / "redis.sock"
    options = {"port": "0", "unixsocket": str(socket), "save": "", "appendonly": "no", "dir": str(folder)}
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    process = subprocess.Popen([PROGRAM, *words], stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        _ready(str(socket), process)
        yield RedisServer(str(socket), process.pid)
    finally:
        process.terminate()
        process.wait(_STOP_S)


def client(server: RedisServer) -> "redis.Redis":
    """Return a client that gives bytes."""
    return redis.Redis(unix_socket_path=server.socket)


def _ready(socket: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with redis.Redis(unix_socket_path=socket) as asking:
                asking.ping()
                return
        except (redis.ConnectionError, FileNotFoundError):
            threading.Event().wait(0.02)
    raise RuntimeError(f"redis-server isn't ready; it ended with {process.poll()}")
