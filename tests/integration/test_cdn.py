"""The reference cache between sites and cloud: a hundred readers are one at the cloud, and none is let in unknown."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import pytest

from edge_nodes.cloud import certificates
from serve_apps.features.app import Room, build
from serve_apps.features.tail import Batch, Tail
from tests.integration.caches import SITES, WAIT_S, Counted, Edge, edge_of, until
from tests.servers.nginx import ENABLE, PROGRAM
from tests.unit.cloudfeatures.test_door import CACHE, KEYRING, KEYS, READER, House
from tests.unit.cloudfeatures.test_extractor import decided
from tidegate.keys import Scope
from tidegate.records import Lane

FEATURES: Final = "/v1/features"
ASKED_OF_KEYS: Final = f"{FEATURES}/cards/nobody"


def deltas(version: int | str) -> str:
    return f"{FEATURES}/deltas?from={version}"


@dataclass
class Cloud:
    """The cloud's features, where sites go on deciding."""

    house: House
    tail: Tail
    door: Counted

    def news(self, number: int) -> None:
        """A site has decided another payment."""
        self.house.cloud.send(Lane.DECISIONS, decided(number, 1, of=f"site-{number}.g0.0123456789abcdef"))
        self.house.live(3)
        self.tail.ring()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The cloud's own authority, and the certificate with its key that it vouches for."""
    if PROGRAM is None:
        pytest.skip(f"no nginx; to get it: {ENABLE}")
    return certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def cloud(files: tuple[Path, Path]) -> Iterator[Cloud]:
    house = House()

    async def first(version: int) -> Batch | None:
        return house.batches.first(version)

    tail = Tail(first)
    app = build(Room(house.service, tail, house.store, house.cloud.clock), KEYRING)
    made = Cloud(house, tail, Counted(app, FEATURES, files[1]))
    made.news(1)
    yield made
    made.door.stop()


@pytest.fixture
def edge(cloud: Cloud, files: tuple[Path, Path], tmp_path: Path) -> Iterator[Edge]:
    with edge_of(cloud.door, files[0], tmp_path, CACHE, READER) as made:
        yield made


def test_a_hundred_sites_that_wait_for_the_same_news_are_one_reader_at_the_cloud(cloud: Cloud, edge: Edge) -> None:
    following = edge.ask(deltas(0)).headers["tidegate-next"]
    path, asking = f"{deltas(following)}&live=1", threading.Event()
    told: list[httpx.Response] = []
    sites = threading.Thread(target=lambda: told.extend(one for (one,) in edge.ask_often([path], asking)))
    sites.start()
    asking.wait(WAIT_S)
    until(lambda: cloud.door.asked[path])
    cloud.news(2)
    sites.join(WAIT_S)

    assert {answer.status_code for answer in told} == {200}
    assert len(told) == SITES
    assert len({answer.content for answer in told}) == 1
    assert {int(answer.headers["tidegate-version"]) >= int(following) for answer in told} == {True}
    assert cloud.door.asked[path] == 1
    assert cloud.door.asked[ASKED_OF_KEYS] == 1  # whose key it is was asked once, too


def test_what_was_answered_once_is_served_while_the_cloud_is_away(cloud: Cloud, edge: Edge) -> None:
    before = edge.ask(deltas(0))
    cloud.door.stop()

    again, news = edge.ask(deltas(0)), edge.ask(deltas(7))

    assert (again.status_code, again.content) == (200, before.content)
    assert again.headers["cache-status"] == "edge; HIT"
    assert again.headers["tidegate-next"] == before.headers["tidegate-next"]
    assert news.status_code in {502, 504}


@pytest.mark.parametrize("key", ["", "tg_unknown", KEYS[Scope.READ][0]])
def test_who_may_not_read_of_cards_gets_nothing_from_the_cache(cloud: Cloud, edge: Edge, key: str) -> None:
    assert edge.ask(deltas(0)).status_code == 200

    refused = edge.ask(deltas(0), key=key)

    assert refused.status_code in {401, 403}
    assert b"TGD1" not in refused.content
    assert cloud.door.asked[deltas(0)] == 1


def test_that_there_is_nothing_yet_is_kept_for_a_second_alone(cloud: Cloud, edge: Edge) -> None:
    following = int(edge.ask(deltas(0)).headers["tidegate-next"])
    assert edge.ask(deltas(following)).status_code == 204

    cloud.news(2)

    until(lambda: edge.ask(deltas(following)).status_code == 200)


def test_nothing_but_reading_deltas_goes_through(cloud: Cloud, edge: Edge) -> None:
    assert edge.ask(deltas(0), method="POST").status_code == 403
    for path in ("/v1/features/cards/c-1", "/v1/frames", "/v1/features/status", "/known-to-features"):
        assert edge.ask(path).status_code == 404
    assert not cloud.door.asked
