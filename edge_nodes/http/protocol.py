"""uvicorn's HTTP protocol, but an answer of the fast path leaves in one write: two cost a tenth of a decision."""

import asyncio
from http import HTTPStatus
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from edge_nodes.http.problem import HeadTooLargeError, MalformedError, last_words
from tidegate.limits import HEAD_BYTES_MAX

JOINER: Final = "tidegate.joiner"
"""Where the ASGI scope has the connection's `Joiner`."""


class Joiner:
    """A transport that can hold what is written and send it in one go; all else is the transport's own."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._held: list[bytes] | None = None

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the transport has
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write now, or with the rest where it is held."""
        if self._held is None:
            self._transport.write(data)
        else:
            self._held.append(data)

    def hold(self) -> None:
        """Keep what is written from now on."""
        self._held = []

    def release(self) -> None:
        """Write what was kept."""
        held, self._held = self._held, None
        if held:
            self._transport.write(b"".join(held))

    def close(self) -> None:
        """Write what was kept, then close: the last answer on a connection closes it before it is released."""
        self.release()
        self._transport.close()


_TOO_LARGE: Final = last_words(
    HeadTooLargeError(f"head: more than {HEAD_BYTES_MAX} bytes; send fewer or shorter headers"),
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
)
_MALFORMED: Final = last_words(MalformedError("this is no HTTP/1.1: mend the client"), HTTPStatus.BAD_REQUEST)


class JoinedHttp(HttpToolsProtocol):
    """Gives every request's scope the joiner of its connection, and bounds what may come before a request's body."""

    _in_head = True
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Put a joiner in front of the transport."""
        super().connection_made(Joiner(transport))  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        """Take what came; a head beyond its bound ends the connection: nobody has proven anything yet."""
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX and b"\r\n\r\n" not in data:
                self.transport.write(_TOO_LARGE)
                self.transport.close()
                return
        super().data_received(data)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words, which fit no problem document
        """Say that it is no HTTP, as a problem like any other."""
        self.transport.write(_MALFORMED)
        self.transport.close()

    def on_headers_complete(self) -> None:
        """Begin the request."""
        self._in_head, self._head_bytes = False, 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End the request: the next head may come."""
        self._in_head = True
        super().on_message_complete()

    def on_message_begin(self) -> None:
        """Make the scope of the next request."""
        super().on_message_begin()
        self.scope[JOINER] = self.transport  # type: ignore[typeddict-unknown-key]
