"""A part of the cloud behind HTTPS with the reference cache in front, and many sites that ask at a time."""

import asyncio
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import uvicorn
from fastapi import FastAPI

from edge_nodes.node import free_port
from tests.servers.nginx import edge_cache

WAIT_S: Final = 30.0
SITES: Final = 100


def until(done: Callable[[], object]) -> None:
    """Wait for a condition."""
    for _ in range(int(WAIT_S / 0.02)):
        if done():
            return
        threading.Event().wait(0.02)
    raise AssertionError("it did not come in time")


@dataclass
class Counted:
    """An application below its prefix, that counts what it is asked by path and query, and may go away."""

    app: FastAPI
    prefix: str
    certificate: Path
    port: int = field(default_factory=free_port)
    asked: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.app.root_path = self.prefix

        async def counting(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                query = scope["query_string"].decode()
                self.asked[scope["path"] + (f"?{query}" if query else "")] += 1
            await self.app(scope, receive, send)

        key = str(self.certificate)
        config = uvicorn.Config(
            counting, host="127.0.0.1", port=self.port, log_level="error", ssl_certfile=key, ssl_keyfile=key
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        until(lambda: self._server.started)

    def stop(self) -> None:
        """Go away."""
        self._server.should_exit = True
        self._thread.join(WAIT_S)


@dataclass
class Edge:
    """The cache, as a site with a key sees it."""

    url: str
    trust: ssl.SSLContext
    folder: Path
    key: str

    def ask(self, path: str, key: str | None = None, method: str = "GET", **headers: str) -> httpx.Response:
        """Ask once, with another key where one is given."""
        with httpx.Client(verify=self.trust, timeout=WAIT_S) as client:
            return client.request(
                method, self.url + path, headers={**_shown(self.key if key is None else key), **headers}
            )

    def ask_often(self, paths: Sequence[str], asking: threading.Event | None = None) -> list[list[httpx.Response]]:
        """Have many sites ask the same, each one thing after the other; `asking` is set once all have begun."""

        async def all_of_them() -> list[list[httpx.Response]]:
            limits, headers = httpx.Limits(max_connections=SITES), _shown(self.key)
            async with httpx.AsyncClient(verify=self.trust, timeout=WAIT_S, limits=limits, headers=headers) as client:

                async def site() -> list[httpx.Response]:
                    return [await client.get(self.url + path) for path in paths]

                sites = [asyncio.create_task(site()) for _ in range(SITES)]
                if asking is not None:
                    asking.set()
                return await asyncio.gather(*sites)

        return asyncio.run(all_of_them())


def _shown(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"} if key else {}


@contextmanager
def edge_of(cloud: Counted, authority: Path, folder: Path, own_key: str, key: str) -> Iterator[Edge]:
    """Run a cache with a key of its own before a cloud; sites that ask it show `key`."""
    for name, file in (
        ("authority.pem", authority),
        ("edge.pem", cloud.certificate),
        ("edge-key.pem", cloud.certificate),
    ):
        (folder / name).write_bytes(file.read_bytes())
    port = free_port()
    with edge_cache(folder, port, f"127.0.0.1:{cloud.port}", own_key):
        yield Edge(f"https://localhost:{port}", ssl.create_default_context(cafile=str(authority)), folder, key)
