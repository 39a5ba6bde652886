"""The load generator of the gate's bench: plain sockets, kept connections, every answer checked; a process of its own.

`python -m tests.bench.load BODIES` reads one JSON order a line from standard input and answers each with a line:

    {"port", "path", "key", "needle", "connections", "seconds", "requests", "first", "out"}
    -> {"count", "approved", "seconds", "cpu_s"}

Each connection sends the next request when it has its answer (a closed loop), from one thread that waits in epoll, so
that the generator's own cost (`cpu_s`) stays small and known. An id is used once: the number `first` counts on. `out`
is filled with int64: nanoseconds from before the send until the whole answer is there, times two, plus 1 where it
approves. Whatever isn't a 200 with `needle` in it ends the process: a bench of errors would measure nothing.
"""

import gc
import json
import select
import socket
import sys
import time
from array import array
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from tests.bench.payments import START

_OK: Final = b"HTTP/1.1 %d " % HTTPStatus.OK
_APPROVED: Final = b'"outcome":"approve"'
_LENGTH: Final = b"content-length:"
_READ_BYTES: Final = 65_536
_SILENCE_S: Final = 30.0


@dataclass(slots=True)
class Connection:
    """A kept connection with at most one request under way."""

    socket: socket.socket
    sent_ns: int = 0
    answer: bytes = b""


def whole(answer: bytes) -> bool:
    """Tell whether an answer has all the bytes its head promises.

    Raises:
        ValueError: it is no answer of 200 with a length.
    """
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return False
    head = answer[:end].lower()
    at = head.find(_LENGTH)
    if at < 0 or not answer.startswith(_OK):
        raise ValueError(f"not an answer of 200 with a length: {answer[:600]!r}")
    return len(answer) - end - 4 >= int(head[at + len(_LENGTH) :].split(b"\r", 1)[0])


class Load:
    """Carries out one order."""

    def __init__(self, order: dict[str, Any], bodies: list[bytes]) -> None:
        self._order = order
        self._bodies = bodies
        self._needle = str(order["needle"]).encode()
        self._number = int(order["first"])
        self._last = self._number + int(order["requests"])
        self._heads: dict[int, bytes] = {}
        self._until_ns = 0
        self.took = array("q")

    def _request(self) -> bytes:
        number = self._number
        self._number += 1
        rest = self._bodies[number % len(self._bodies)]
        start = START % number
        size = len(start) + len(rest)
        head = self._heads.get(size) or self._heads.setdefault(size, self._head(size))
        return head + start + rest

    def _head(self, size: int) -> bytes:
        lines = [
            f"POST {self._order['path']} HTTP/1.1",
            f"host: 127.0.0.1:{self._order['port']}",
            f"authorization: Bearer {self._order['key']}",
            "content-type: application/json",
            f"content-length: {size}",
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def run(self) -> dict[str, float]:
        """Send until time or requests are used up, wait for what is under way, and return the counts."""
        address = ("127.0.0.1", int(self._order["port"]))
        opened = [socket.create_connection(address, _SILENCE_S) for _ in range(self._order["connections"])]
        for each in opened:
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        cpu, began_ns = time.process_time(), time.perf_counter_ns()
        self._until_ns = began_ns + int(self._order["seconds"] * 1e9)
        self._drive({each.fileno(): Connection(each) for each in opened})
        ended_ns, cpu_s = time.perf_counter_ns(), time.process_time() - cpu
        for each in opened:
            each.close()
        approved = sum(each & 1 for each in self.took)
        return {
            "count": len(self.took),
            "approved": approved,
            "seconds": (ended_ns - began_ns) / 1e9,
            "cpu_s": cpu_s,
        }

    def _drive(self, connections: dict[int, Connection]) -> None:
        busy = len(connections)
        with select.epoll() as poll:
            for fd, each in connections.items():
                poll.register(fd, select.EPOLLIN)
                self._send(each)
            while busy:
                ready = poll.poll(_SILENCE_S)
                if not ready:
                    raise TimeoutError(f"no answer for {_SILENCE_S:.0f} s")
                for fd, _ in ready:
                    busy -= self._receive(connections[fd])

    def _send(self, connection: Connection) -> None:
        request = self._request()
        connection.answer = b""
        connection.sent_ns = time.perf_counter_ns()
        connection.socket.sendall(request)

    def _receive(self, connection: Connection) -> bool:
        """Take what has come, send the next request where the answer is whole; tell whether this was the last."""
        data = connection.socket.recv(_READ_BYTES)
        now_ns = time.perf_counter_ns()
        answer = connection.answer = connection.answer + data
        if not whole(answer):
            if not data:
                raise ConnectionError(f"closed in the middle of an answer: {answer[:600]!r}")
            return False
        if self._needle not in answer:
            raise ValueError(f"an answer without {self._needle!r}: {answer[:600]!r}")
        self.took.append((now_ns - connection.sent_ns) * 2 + (_APPROVED in answer))
        if now_ns >= self._until_ns or self._number >= self._last:
            return True
        self._send(connection)
        return False


def main() -> None:
    """Carry out orders until the input ends."""
    bodies = Path(sys.argv[1]).read_bytes().splitlines()
    gc.disable()  # nothing here makes cycles, and a collection in the middle would be taken for a slow answer
    for line in sys.stdin:
        order = json.loads(line)
        load = Load(order, bodies)
        told = load.run()
        with Path(order["out"]).open("wb") as out:
            load.took.tofile(out)
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
