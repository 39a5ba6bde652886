"""uvicorn's HTTP protocol with a short cut: a payment is decided where its last byte arrives, without a task.

ASGI costs more than the whole decision: a scope, a task, futures and messages a request. So `POST /v1/decisions` over
a connection that is free goes straight from the parser to the gate, and its answer from the flush to the socket, in
one write. Everything else, and every odd case (HTTP/1.0, pipelined, `Expect`), goes uvicorn's way to the same answer.

Connections are bounded here, too: how many, how long one may say nothing, how large a head may be.
"""

import asyncio
import re
from http import HTTPStatus
from typing import Any, Final, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from tidegate.limits import BODY_S_MAX, CONNECTION_IDLE_S_MAX, CONNECTIONS_MAX, HEAD_BYTES_MAX
from tidegate.problem import HeadTooLargeError, MalformedError, last_words

Headers = list[tuple[bytes, bytes]]
Answer = tuple[bytes, bytes]
"""Status line and headers as they are written, but for the content's length; and the body."""

_TOO_LARGE: Final = last_words(
    HeadTooLargeError(f"head: more than {HEAD_BYTES_MAX} bytes; send fewer or shorter headers"),
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
)
_MALFORMED: Final = last_words(MalformedError("this is no HTTP/1.1: mend the client"), HTTPStatus.BAD_REQUEST)
_UPGRADE: Final = re.compile(rb"(?i)(^|\n)upgrade[ \t]*:")
_NOBODY_WAITS: Final = asyncio.Event()


def head_of(status: int, headers: Headers) -> bytes:
    """Return the status line and headers as they are written."""
    return STATUS_LINE[status] + b"".join(b"%s: %s\r\n" % each for each in headers)


def _without_upgrade(data: bytes) -> bytes:
    """Return a head that offers no other protocol, as RFC 9110 §7.8 allows: the parser would drop such a body.

    Java's client offers HTTP/2 with each request until one was answered.
    """
    head, end, rest = data.partition(b"\r\n\r\n")
    return _UPGRADE.sub(rb"\1x-not-taken:", head) + end + rest


class Reply(Protocol):
    """Where an answer goes, once."""

    def __call__(self, answer: Answer) -> None:
        """Send it."""


class ShortCut(Protocol):
    """What answers one route without ASGI."""

    path: bytes
    body_bytes_max: int

    def take(self, headers: Headers, body: bytes, reply: Reply, waited_s: float) -> None:
        """Answer a request whose head came `waited_s` ago, now or later; raises nothing."""

    def too_large(self) -> Answer:
        """Return the answer to a body beyond the bound."""

    def too_slow(self) -> Answer:
        """Return the answer to a body that isn't whole in time."""


class Exchange:
    """A request on the short cut and its answer; stands where uvicorn keeps its own, so has what that is asked for."""

    __slots__ = ("_door", "body", "disconnected", "headers", "keep_alive", "response_complete", "started", "whole")
    message_event = _NOBODY_WAITS

    def __init__(self, door: "DoorHttp", headers: Headers, started: float) -> None:
        self._door = door
        self.headers = headers
        self.body = b""
        self.started = started
        self.whole = False
        self.keep_alive = True
        self.response_complete = False
        self.disconnected = False

    def __call__(self, answer: Answer) -> None:
        """Send the answer."""
        self._door.send(self, answer)


class DoorHttp(HttpToolsProtocol):
    """One connection."""

    _in_head = True
    _head_bytes = 0
    _headers_bytes = 0
    _ready: Exchange | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, and begin to watch how long it says nothing."""
        super().connection_made(transport)
        self._short_cut: ShortCut | None = getattr(self.app, "short_cut", None)
        self._free_since = self.loop.time()
        self._watch(self._free_since + CONNECTION_IDLE_S_MAX)
        if len(self.connections) > CONNECTIONS_MAX:
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        super().connection_lost(exc)
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()

    def data_received(self, data: bytes) -> None:
        """Take what came; a head beyond its bound ends the connection: nobody has proven anything yet."""
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX and b"\r\n\r\n" not in data:
                self.transport.write(_TOO_LARGE)
                self.transport.close()
                return
            if b"upgrade" in data.lower():
                data = _without_upgrade(data)
        super().data_received(data)
        ready, self._ready = self._ready, None
        if ready is None:
            self._expect_more()
        elif self._short_cut is not None:  # outside the parser, which would hide what is raised
            self._short_cut.take(ready.headers, ready.body, ready, self.loop.time() - ready.started)

    def _expect_more(self) -> None:
        """Watch for the rest of a body."""
        exchange: Any = self.cycle
        if type(exchange) is Exchange and not (exchange.whole or exchange.response_complete):
            self._watch(exchange.started + BODY_S_MAX)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, of those that the bound has room for."""
        self._headers_bytes += len(name) + len(value)
        if self._headers_bytes > HEAD_BYTES_MAX:
            raise ValueError("head too large")  # the parser's own error then, which is answered below
        super().on_header(name, value)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words, which fit no problem document
        """Say that it is no HTTP, or too much of it, as a problem like any other."""
        self.transport.write(_TOO_LARGE if self._headers_bytes > HEAD_BYTES_MAX else _MALFORMED)
        self.transport.close()

    def on_message_begin(self) -> None:
        """Begin a request; uvicorn's scope is made only where its way is gone."""
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self._headers_bytes = 0

    def on_headers_complete(self) -> None:
        """Choose the way of this request."""
        self._in_head, self._head_bytes = False, 0
        if self._short_cut is not None and self.url == self._short_cut.path and self._is_plain():
            self.cycle = Exchange(self, self.headers, self.loop.time())  # type: ignore[assignment]
            return
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)
        super().on_headers_complete()

    def _is_plain(self) -> bool:
        """Whether nothing is odd: a POST whose answer may be written as soon as it is there."""
        parser = self.parser
        return (
            (self.cycle is None or self.cycle.response_complete)
            and parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not (self.expect_100_continue or self.flow.write_paused or parser.should_upgrade())
        )

    def on_body(self, body: bytes) -> None:
        """Keep a part of a body, up to the bound."""
        exchange: Any = self.cycle
        if type(exchange) is not Exchange or self._short_cut is None:
            super().on_body(body)
        elif not exchange.response_complete:
            exchange.body = exchange.body + body if exchange.body else body
            if len(exchange.body) > self._short_cut.body_bytes_max:
                self._give_up(exchange, self._short_cut.too_large())

    def on_message_complete(self) -> None:
        """End a request: the next head may come."""
        self._in_head = True
        exchange: Any = self.cycle
        if type(exchange) is not Exchange:
            super().on_message_complete()
        elif not exchange.response_complete:
            exchange.whole = True
            self._ready = exchange

    def send(self, exchange: Exchange, answer: Answer) -> None:
        """Write an answer, and close after it where the server is stopping."""
        exchange.response_complete = True
        if exchange.disconnected or self.transport.is_closing():
            return
        head, body = answer
        end = b"" if exchange.keep_alive else b"connection: close\r\n"
        date = b"".join([b"%s: %s\r\n" % each for each in self.server_state.default_headers])
        self.transport.write(b"%s%s%scontent-length: %d\r\n\r\n%s" % (head, date, end, len(body), body))
        if not exchange.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _give_up(self, exchange: Exchange, answer: Answer) -> None:
        """Answer before the request is whole; what else comes of it is not read."""
        exchange.keep_alive = False
        self.send(exchange, answer)

    def on_response_complete(self) -> None:
        """Go on with what was pipelined, or be free."""
        self._free_since = self.loop.time()
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())

    def _unset_keepalive_if_required(self) -> None:
        """Leave the watch alone: one timer a connection, not one a request."""

    def timeout_keep_alive_handler(self) -> None:
        """Close what has said nothing for too long, give up a body that doesn't come, and look again later."""
        exchange: Any = self.cycle
        now, due = self.loop.time(), self._free_since + CONNECTION_IDLE_S_MAX
        if exchange is not None and not exchange.response_complete:
            due = now + CONNECTION_IDLE_S_MAX
            if type(exchange) is Exchange and not exchange.whole and self._short_cut is not None:
                self._give_up(exchange, self._short_cut.too_slow())
                return
        if due <= now:
            self.transport.close()
        else:
            self._watch(due)

    def _watch(self, due: float) -> None:
        """Look at the connection when it is `due`, by the loop's clock."""
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
        self.timeout_keep_alive_task = self.loop.call_at(due, self.timeout_keep_alive_handler)
