"""A network between a client and a door that fails as it is told."""

import contextlib
import socket
import threading
from collections.abc import Callable

UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
Fault = Callable[[socket.socket, socket.socket, bytes], None]


def message_of(sender: socket.socket) -> bytes:
    """Read one whole request or answer, in however many pieces it comes."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _more(sender)
    head, _, body = data.partition(b"\r\n\r\n")
    size = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
    while len(body) < size:
        body += _more(sender)
    return head + b"\r\n\r\n" + body


def _more(sender: socket.socket) -> bytes:
    data = sender.recv(65_536)
    if not data:
        raise ConnectionResetError("the other side is gone")
    return data


def passes(caller: socket.socket, site: socket.socket, request: bytes) -> None:
    """Let a request and its answer through."""
    site.sendall(request)
    caller.sendall(message_of(site))


def cut_after_it_was_answered(_caller: socket.socket, site: socket.socket, request: bytes) -> None:
    """Let the site decide, and the answer get lost."""
    site.sendall(request)
    assert message_of(site).startswith(b"HTTP/1.1 200")


def cut_within_the_answer(caller: socket.socket, site: socket.socket, request: bytes) -> None:
    """Let half of the answer through."""
    site.sendall(request)
    answer = message_of(site)
    caller.sendall(answer[: len(answer) // 2])


def cut_before_it_was_sent(_caller: socket.socket, site: socket.socket, request: bytes) -> None:
    """Let half of the request through."""
    site.sendall(request[: len(request) // 2])


def unavailable(caller: socket.socket, _site: socket.socket, _request: bytes) -> None:
    """Answer in the site's place, as a proxy does that finds nobody."""
    caller.sendall(UNAVAILABLE)


def slow(caller: socket.socket, site: socket.socket, request: bytes) -> None:
    """Let the site decide, and keep the answer until the caller has given up."""
    site.sendall(request)
    message_of(site)
    caller.recv(1)


class Network:
    """Between a client and a door: each connection meets the next fault, and after the last all goes well."""

    def __init__(self, port: int, *faults: Fault) -> None:
        self._site = ("127.0.0.1", port)
        self._faults = list(faults)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.connections = 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                caller, _ = self._listener.accept()
                self.connections += 1
                fault = self._faults.pop(0) if self._faults else passes
                with (
                    contextlib.suppress(ConnectionError),
                    caller,
                    socket.create_connection(self._site, timeout=20) as site,
                ):
                    fault(caller, site, message_of(caller))

    def close(self) -> None:
        """Take no more connections."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
