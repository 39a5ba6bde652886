"""A piece of the way to the cloud that can be cut: carries a site's bytes as they are, TLS and all, or nobody's.

It stands for the WAN of a site where site and cloud run on one machine. Reads nothing of what it carries.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

from tidegate.limits import RELAY_CHUNK_BYTES, RELAY_CONNECTIONS_MAX

_HOST: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class RelayStanding:
    """How a relay does."""

    cut: bool
    connections: int
    sent_bytes: int
    """To the cloud."""
    heard_bytes: int
    """From it."""


class Relay:
    """From a port of the loopback to one address, for one event loop.

    Bounded by TCP's own means: who sends faster than the other end takes is not read from.
    """

    def __init__(self, host: str, port: int) -> None:
        self._there = (host, port)
        self._cut = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._counts = [0, 0]
        self._server: asyncio.Server | None = None

    async def open(self) -> int:
        """Listen; return the port."""
        self._server = await asyncio.start_server(self._taken, _HOST, 0, limit=RELAY_CHUNK_BYTES)
        return int(self._server.sockets[0].getsockname()[1])

    def cut(self) -> None:
        """End what is under way, and whatever comes, until it is restored."""
        self._cut = True
        for task in self._tasks:
            task.cancel()

    def restore(self) -> None:
        """Carry what comes from now on."""
        self._cut = False

    def standing(self) -> RelayStanding:
        """Return how it does."""
        return RelayStanding(self._cut, len(self._tasks), *self._counts)

    async def close(self) -> None:
        """Stop listening, and end what is under way."""
        self.cut()
        if self._server is not None:
            self._server.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _taken(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a connection, where there is room and a way."""
        if self._cut or len(self._tasks) >= RELAY_CONNECTIONS_MAX:
            writer.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._carried(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carried(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry both directions until both have ended, or one has failed; then neither end hears more."""
        there: asyncio.StreamWriter | None = None
        try:
            from_there, there = await asyncio.open_connection(*self._there, limit=RELAY_CHUNK_BYTES)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pumped(reader, there, 0))
                both.create_task(self._pumped(from_there, writer, 1))
        except* OSError:
            pass  # an end is gone: the other one is told by the end of its connection
        finally:
            for each in (writer, there):
                if each is not None:
                    each.transport.abort()

    async def _pumped(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, way: int) -> None:
        while data := await source.read(RELAY_CHUNK_BYTES):
            sink.write(data)
            self._counts[way] += len(data)
            await sink.drain()
        sink.write_eof()
