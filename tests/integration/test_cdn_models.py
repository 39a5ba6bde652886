"""The reference cache before the registry: a hundred sites are one, on ranges and while the cloud is away, too."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from edge_nodes.cloud import certificates
from tests.integration.caches import Counted, Edge, edge_of, until
from tests.servers.nginx import ENABLE, PROGRAM
from tests.unit.models.test_door import CACHE, KEYS, OPERATOR, SITE, House
from tidegate.keys import Scope
from tidegate.rollout import ASSIGNMENTS
from tidegate.trust import Catalogue, CatalogueError, check_bytes, proven

MODELS: Final = "/v1/models"
TIMESTAMP: Final = f"{MODELS}/catalogue/timestamp.json"


@dataclass
class Cloud:
    """The cloud's models, with a bundle that is rolled out."""

    house: House
    door: Counted


def catalogue_of(edge: Edge, pinned: bytes) -> Catalogue:
    """Return what a site proves."""

    def read(name: str) -> bytes | None:
        told = edge.ask(f"{MODELS}/catalogue/{name}")
        return told.content if told.status_code == 200 else None

    return proven(pinned, read)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The cloud's own authority, and the certificate with its key that it vouches for."""
    if PROGRAM is None:
        pytest.skip(f"no nginx; to get it: {ENABLE}")
    return certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def cloud(files: tuple[Path, Path], bundle_files: dict[str, bytes]) -> Iterator[Cloud]:
    house = House()
    bundle = house.add(bundle_files).json()["bundle"]
    house.change("canaries", sites=["site-1"])
    house.change("offer", bundle=bundle)
    made = Cloud(house, Counted(house.app, MODELS, files[1]))
    yield made
    made.door.stop()


@pytest.fixture
def edge(cloud: Cloud, files: tuple[Path, Path], tmp_path: Path) -> Iterator[Edge]:
    with edge_of(cloud.door, files[0], tmp_path, CACHE, SITE) as made:
        yield made


def test_a_hundred_sites_that_fetch_a_bundle_are_one_at_the_cloud_and_go_on_while_it_is_away(
    cloud: Cloud, edge: Edge
) -> None:
    pinned = cloud.house.published.read("1.root.json") or b""
    catalogue = catalogue_of(edge, pinned)
    paths = {f"{MODELS}/artifacts/{target.sha256}": (path, target) for path, target in catalogue.targets.items()}

    told = edge.ask_often(list(paths))

    for site in told:
        for answer, (path, target) in zip(site, paths.values(), strict=True):
            check_bytes(path, target, answer.content)
    assert {cloud.door.asked[path] for path in paths} == {1}
    cloud.door.stop()
    part = edge.ask(next(iter(paths)), range="bytes=100-")
    assert (part.status_code, part.content) == (206, told[0][0].content[100:])
    assert catalogue_of(edge, pinned) == catalogue


def test_a_newer_catalogue_is_seen_within_seconds(cloud: Cloud, edge: Edge) -> None:
    pinned = cloud.house.published.read("1.root.json") or b""
    before = catalogue_of(edge, pinned)

    assert cloud.house.change("rollback").status_code == 200

    until(lambda: catalogue_of(edge, pinned).targets != before.targets)
    assert [path for path in catalogue_of(edge, pinned).targets if path.startswith("models/")] == [ASSIGNMENTS]


def test_a_byte_that_was_flipped_in_the_cache_is_refused_by_the_site(cloud: Cloud, edge: Edge) -> None:
    catalogue = catalogue_of(edge, cloud.house.published.read("1.root.json") or b"")
    path, target = max(catalogue.targets.items(), key=lambda item: item[1].size)
    data = edge.ask(f"{MODELS}/artifacts/{target.sha256}").content
    (kept,) = (
        file for file in (edge.folder / "cache-models").rglob("*") if file.is_file() and data in file.read_bytes()
    )
    content = kept.read_bytes()
    kept.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))

    served = edge.ask(f"{MODELS}/artifacts/{target.sha256}")

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
        assert edge.ask(f"{MODELS}/{path}", key=OPERATOR).status_code == 404
    assert cloud.door.asked[TIMESTAMP] == 1
