"""The reference cache before the registry: a hundred sites are one, on ranges and while the cloud is away, too."""

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
from tests.servers.nginx import ENABLE, PROGRAM, edge_cache
from tests.unit.models.test_door import CACHE, KEYS, OPERATOR, SITE, House
from tidegate.keys import Scope
from tidegate.rollout import ASSIGNMENTS
from tidegate.trust import Catalogue, CatalogueError, check_bytes, proven

WAIT_S: Final = 30.0
SITES: Final = 100
MODELS: Final = "/v1/models"
TIMESTAMP: Final = "catalogue/timestamp.json"


@dataclass
class Cloud:
    """The cloud's models behind HTTPS, that counts what it is asked, and may go away."""

    house: House
    server: Path
    port: int
    asked: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        inner = self.house.app
        inner.root_path = MODELS

        async def counting(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                self.asked[scope["path"].removeprefix(f"{MODELS}/")] += 1
            await inner(scope, receive, send)

        files = {"ssl_certfile": self.server, "ssl_keyfile": str(self.server)}
        config = uvicorn.Config(counting, host="127.0.0.1", port=self.port, log_level="error", **files)  # type: ignore[arg-type]
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
    """The cache, as sites see it."""

    url: str
    trust: ssl.SSLContext
    folder: Path

    def ask(self, path: str, key: str = SITE, method: str = "GET", asked: str = "") -> httpx.Response:
        headers = {"authorization": f"Bearer {key}"} | ({"range": asked} if asked else {})
        with httpx.Client(verify=self.trust, timeout=WAIT_S) as client:
            return client.request(method, f"{self.url}{MODELS}/{path}", headers=headers)

    def ask_often(self, paths: list[str]) -> list[list[httpx.Response]]:
        """Have many sites fetch the same files at a time."""

        async def all_of_them() -> list[list[httpx.Response]]:
            headers, limits = {"authorization": f"Bearer {SITE}"}, httpx.Limits(max_connections=SITES)
            async with httpx.AsyncClient(verify=self.trust, timeout=WAIT_S, limits=limits, headers=headers) as client:

                async def site() -> list[httpx.Response]:
                    return [await client.get(f"{self.url}{MODELS}/{path}") for path in paths]

                return await asyncio.gather(*(site() for _ in range(SITES)))

        return asyncio.run(all_of_them())

    def catalogue(self, pinned: bytes) -> Catalogue:
        """Return what a site proves."""

        def read(name: str) -> bytes | None:
            told = self.ask(f"catalogue/{name}")
            return told.content if told.status_code == 200 else None

        return proven(pinned, read)


def until(done: Any) -> None:
    for _ in range(int(WAIT_S / 0.02)):
        if done():
            return
        threading.Event().wait(0.02)
    raise AssertionError("it did not come in time")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The cloud's own authority, and the certificate and key that it vouches for."""
    if PROGRAM is None:
        pytest.skip(f"no nginx; to get it: {ENABLE}")
    return certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def cloud(files: tuple[Path, Path], bundle_files: dict[str, bytes]) -> Iterator[Cloud]:
    house = House()
    bundle = house.add(bundle_files).json()["bundle"]
    house.change("canaries", sites=["site-1"])
    house.change("offer", bundle=bundle)
    made = Cloud(house, files[1], free_port())
    yield made
    made.stop()


@pytest.fixture
def edge(cloud: Cloud, files: tuple[Path, Path], tmp_path: Path) -> Iterator[Edge]:
    authority, server = files
    for name, file in (("authority.pem", authority), ("edge.pem", server), ("edge-key.pem", server)):
        (tmp_path / name).write_bytes(file.read_bytes())
    port = free_port()
    with edge_cache(tmp_path, port, f"127.0.0.1:{cloud.port}", CACHE):
        yield Edge(f"https://localhost:{port}", ssl.create_default_context(cafile=str(authority)), tmp_path)


def test_a_hundred_sites_that_fetch_a_bundle_are_one_at_the_cloud_and_go_on_while_it_is_away(
    cloud: Cloud, edge: Edge
) -> None:
    pinned = cloud.house.published.read("1.root.json") or b""
    catalogue = edge.catalogue(pinned)
    paths = {f"artifacts/{target.sha256}": (path, target) for path, target in catalogue.targets.items()}

    told = edge.ask_often(list(paths))

    for site in told:
        for answer, (path, target) in zip(site, paths.values(), strict=True):
            check_bytes(path, target, answer.content)
    assert {cloud.asked[path] for path in paths} == {1}
    cloud.stop()
    part = edge.ask(next(iter(paths)), asked="bytes=100-")
    assert (part.status_code, part.content) == (206, told[0][0].content[100:])
    assert edge.catalogue(pinned) == catalogue


def test_a_newer_catalogue_is_seen_within_seconds(cloud: Cloud, edge: Edge) -> None:
    pinned = cloud.house.published.read("1.root.json") or b""
    before = edge.catalogue(pinned)

    assert cloud.house.change("rollback").status_code == 200

    until(lambda: edge.catalogue(pinned).targets != before.targets)
    assert [path for path in edge.catalogue(pinned).targets if path.startswith("models/")] == [ASSIGNMENTS]


def test_a_byte_that_was_flipped_in_the_cache_is_refused_by_the_site(cloud: Cloud, edge: Edge) -> None:
    catalogue = edge.catalogue(cloud.house.published.read("1.root.json") or b"")
    path, target = max(catalogue.targets.items(), key=lambda item: item[1].size)
    data = edge.ask(f"artifacts/{target.sha256}").content
    (kept,) = (
        file for file in (edge.folder / "cache-models").rglob("*") if file.is_file() and data in file.read_bytes()
    )
    content = kept.read_bytes()
    kept.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))

    served = edge.ask(f"artifacts/{target.sha256}")

    assert served.headers["cache-status"] == "edge; HIT"
    with pytest.raises(CatalogueError, match="aren't those that were signed"):
        check_bytes(path, target, served.content)


def test_who_may_not_fetch_gets_nothing_from_the_cache_and_nobody_sends_through_it(cloud: Cloud, edge: Edge) -> None:
    assert edge.ask(TIMESTAMP).status_code == 200

    for key in ("tg_unknown", KEYS[Scope.READ][0]):
        refused = edge.ask(TIMESTAMP, key=key)
        assert refused.status_code in {401, 403}
        assert b"signatures" not in refused.content
    assert edge.ask(TIMESTAMP, method="POST").status_code == 403
    for path in ("bundles", "rollout", "reports/site-1", "catalogue"):
        assert edge.ask(path, key=OPERATOR).status_code == 404
    assert cloud.asked[TIMESTAMP] == 1
