"""The reference cache between sites and cloud: a hundred readers are one at the cloud, and none is let in unknown."""

import asyncio
import ssl
import threading
from collections import Counter
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import uvicorn

from edge_nodes.cloud import certificates
from edge_nodes.node import free_port
from serve_apps.features.app import Room, build
from serve_apps.features.tail import Batch, Tail
from tests.servers.nginx import ENABLE, PROGRAM, edge_cache
from tests.unit.cloudfeatures.test_door import CACHE, KEYRING, KEYS, READER, House
from tests.unit.cloudfeatures.test_extractor import decided
from tidegate.keys import Scope
from tidegate.records import Lane

WAIT_S: Final = 30.0
SITES: Final = 100
ASKED: Final = "/v1/features/deltas"
ASKED_OF_KEYS: Final = "/v1/features/cards/nobody"


@dataclass
class Cloud:
    """The cloud's features behind HTTPS, that counts what it is asked, and may go away."""

    house: House
    files: tuple[Path, Path]
    port: int
    asked: Counter[tuple[str, str]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.tail = Tail(self._first)
        inner = build(Room(self.house.service, self.tail, self.house.store, self.house.cloud.clock), KEYRING)
        inner.root_path = "/v1/features"

        async def counting(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                self.asked[scope["path"], scope["query_string"].decode()] += 1
            await inner(scope, receive, send)

        certificate, key = self.files
        config = uvicorn.Config(
            counting, host="127.0.0.1", port=self.port, log_level="error", ssl_certfile=certificate, ssl_keyfile=key
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        _until(lambda: self._server.started)

    async def _first(self, version: int) -> Batch | None:
        return self.house.batches.first(version)

    def news(self, number: int) -> None:
        """A site has decided another payment."""
        self.house.cloud.send(Lane.DECISIONS, decided(number, 1, of=f"site-{number}.g0.0123456789abcdef"))
        self.house.live(3)
        self.tail.ring()

    def stop(self) -> None:
        """Go away."""
        self._server.should_exit = True
        self._thread.join(WAIT_S)


@dataclass
class Edge:
    """The cache, as sites see it."""

    url: str
    trust: ssl.SSLContext

    def ask(self, query: str, key: str = READER, path: str = ASKED, method: str = "GET") -> httpx.Response:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        with httpx.Client(verify=self.trust, timeout=WAIT_S) as client:
            return client.request(method, f"{self.url}{path}?{query}", headers=headers)

    def ask_often(self, query: str, waiting: "threading.Event") -> list[httpx.Response]:
        """Ask the same as many sites at a time."""

        async def all_of_them() -> list[httpx.Response]:
            headers, limits = {"authorization": f"Bearer {READER}"}, httpx.Limits(max_connections=SITES)
            async with httpx.AsyncClient(verify=self.trust, timeout=WAIT_S, limits=limits, headers=headers) as client:
                asking = [asyncio.create_task(client.get(f"{self.url}{ASKED}?{query}")) for _ in range(SITES)]
                waiting.set()
                return await asyncio.gather(*asking)

        return asyncio.run(all_of_them())


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """The cloud's own authority, and the certificate and key that it vouches for."""
    if PROGRAM is None:
        pytest.skip(f"no nginx; to get it: {ENABLE}")
    folder = tmp_path_factory.mktemp("tls")
    authority, server = certificates(folder)
    return authority, server, server


@pytest.fixture
def cloud(files: tuple[Path, Path, Path]) -> Iterator[Cloud]:
    house = House()
    made = Cloud(house, files[1:], free_port())
    made.news(1)
    yield made
    made.stop()


@pytest.fixture
def edge(cloud: Cloud, files: tuple[Path, Path, Path], tmp_path: Path) -> Iterator[Edge]:
    for name, file in zip(("authority.pem", "edge.pem", "edge-key.pem"), files, strict=True):
        (tmp_path / name).write_bytes(file.read_bytes())
    port = free_port()
    with edge_cache(tmp_path, port, f"127.0.0.1:{cloud.port}", CACHE):
        yield Edge(f"https://localhost:{port}", ssl.create_default_context(cafile=str(files[0])))


def _until(done: Any) -> None:
    for _ in range(int(WAIT_S / 0.02)):
        if done():
            return
        threading.Event().wait(0.02)
    raise AssertionError("it did not come in time")


def test_a_hundred_sites_that_wait_for_the_same_news_are_one_reader_at_the_cloud(cloud: Cloud, edge: Edge) -> None:
    following = edge.ask("from=0").headers["tidegate-next"]
    query, asking = f"from={following}&live=1", threading.Event()
    told: list[httpx.Response] = []
    sites = threading.Thread(target=lambda: told.extend(edge.ask_often(query, asking)))
    sites.start()
    asking.wait(WAIT_S)
    _until(lambda: cloud.asked[ASKED, query])
    cloud.news(2)
    sites.join(WAIT_S)

    assert {answer.status_code for answer in told} == {200}
    assert len(told) == SITES
    assert len({answer.content for answer in told}) == 1
    assert {int(answer.headers["tidegate-version"]) >= int(following) for answer in told} == {True}
    assert cloud.asked[ASKED, query] == 1
    assert cloud.asked[ASKED_OF_KEYS, ""] == 1  # whose key it is was asked once, too


def test_what_was_answered_once_is_served_while_the_cloud_is_away(cloud: Cloud, edge: Edge) -> None:
    before = edge.ask("from=0")
    cloud.stop()

    again, news = edge.ask("from=0"), edge.ask("from=7")

    assert (again.status_code, again.content) == (200, before.content)
    assert again.headers["cache-status"] == "edge; HIT"
    assert again.headers["tidegate-next"] == before.headers["tidegate-next"]
    assert news.status_code in {502, 504}


@pytest.mark.parametrize("key", ["", "tg_unknown", KEYS[Scope.READ][0]])
def test_who_may_not_read_of_cards_gets_nothing_from_the_cache(cloud: Cloud, edge: Edge, key: str) -> None:
    assert edge.ask("from=0").status_code == 200

    refused = edge.ask("from=0", key=key)

    assert refused.status_code in {401, 403}
    assert b"TGD1" not in refused.content
    assert cloud.asked[ASKED, "from=0"] == 1


def test_that_there_is_nothing_yet_is_kept_for_a_second_alone(cloud: Cloud, edge: Edge) -> None:
    following = int(edge.ask("from=0").headers["tidegate-next"])
    assert edge.ask(f"from={following}").status_code == 204

    cloud.news(2)

    _until(lambda: edge.ask(f"from={following}").status_code == 200)


def test_nothing_but_reading_deltas_goes_through(cloud: Cloud, edge: Edge) -> None:
    assert edge.ask("from=0", method="POST").status_code == 403
    for path in ("/v1/features/cards/c-1", "/v1/frames", "/v1/features/status", "/known-to-features"):
        assert edge.ask("", path=path).status_code == 404
    assert not cloud.asked
