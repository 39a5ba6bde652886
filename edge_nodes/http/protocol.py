"""uvicorn's HTTP protocol, but an answer of the fast path leaves in one write: two cost a tenth of a decision."""

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

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


class JoinedHttp(HttpToolsProtocol):
    """Gives every request's scope the joiner of its connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Put a joiner in front of the transport."""
        super().connection_made(Joiner(transport))  # type: ignore[arg-type]

    def on_message_begin(self) -> None:
        """Make the scope of the next request."""
        super().on_message_begin()
        self.scope[JOINER] = self.transport  # type: ignore[typeddict-unknown-key]
