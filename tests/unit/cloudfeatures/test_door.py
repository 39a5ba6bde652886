"""Features over HTTP: who may read, what a cache may keep, and what is told where there is nothing or no more."""

import asyncio
from random import Random
from typing import Any

import httpx
import pytest

from serve_apps.features.app import Room, build
from serve_apps.features.batches import Batches, Opened
from serve_apps.features.extractor import NAME, Extractor
from serve_apps.features.folder import Folder
from serve_apps.features.memory import MemoryStore
from serve_apps.features.ports import UnavailableError
from serve_apps.features.service import Service
from serve_apps.features.tail import Batch, Tail
from tests.sent import NOW_US
from tests.unit.cloudfeatures.test_extractor import ONE, Cloud, decided
from tidegate.deltas import DELTA_MEDIA_TYPE, Deltas, Rows
from tidegate.keys import KeyFile, Keyring, Scope, make_key
from tidegate.limits import (
    DELTA_BATCH_AGE_US,
    DELTA_KEPT_US,
    FEATURES_PAUSE_S,
    FEATURES_RETRY_S_MAX,
    FEATURES_SHOWN_US,
    FEATURES_STALLED_US,
)
from tidegate.records import Lane
from tidegate.snapshots import SNAPSHOT_MEDIA_TYPE, Snapshot, SnapshotError

KEYS = {scope: make_key(scope.value, frozenset({scope}), Random(scope.value).randbytes) for scope in Scope}
OPERATOR, _OPERATOR = make_key("operator", frozenset(Scope), Random(7).randbytes)
KEYRING = Keyring(KeyFile(keys=(*(stored for _, stored in KEYS.values()), _OPERATOR)))
READER, CACHE = KEYS[Scope.FEATURES][0], KEYS[Scope.CACHE][0]
SNAPSHOT = "/snapshots/site-2/g0/0123456789abcdef"


class Away(MemoryStore):
    """A store that is away so many times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def fold(self, offset: int, rows: Rows) -> bool:
        self.times -= 1
        if self.times >= 0:
            raise UnavailableError("the store is away")
        return super().fold(offset, rows)


class Works:
    """A log in memory, opened."""

    def __init__(self, cloud: Cloud, store: MemoryStore) -> None:
        reader, self.consumers = cloud.stream.reader(), cloud.stream.consumers()
        writer = cloud.stream.writer(NAME)
        self.extractor = Extractor(reader=reader, consumers=self.consumers, writer=writer, clock=cloud.clock)
        self.folder = Folder(reader=reader, consumers=self.consumers, store=store, clock=cloud.clock)

    def close(self) -> None:
        self.consumers.close()


class House:
    """Features whose service runs as many steps as it is told."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        self.cloud, self.store = Cloud(), store or MemoryStore()
        self.pauses: list[float] = []
        self.rings = 0
        self.left = 0
        self.service = Service(
            opening=lambda: Works(self.cloud, self.store), clock=self.cloud.clock, pause=self._pause, ring=self._ring
        )
        self.batches = Batches(lambda: Opened(self.cloud.stream.reader(), lambda: None))
        self.app = build(Room(self.service, Tail(self._read), self.store, self.cloud.clock), KEYRING)

    def _pause(self, seconds: float) -> bool:
        self.pauses.append(seconds)
        self.cloud.clock.advance(DELTA_BATCH_AGE_US)
        self.left -= 1
        return self.left < 0

    def _ring(self) -> None:
        self.rings += 1

    async def _read(self, version: int) -> Batch | None:
        return self.batches.first(version)

    def live(self, steps: int) -> None:
        self.left = steps
        self.service.run()

    def ask(self, path: str, key: str = READER, query: dict[str, Any] | None = None) -> httpx.Response:
        async def sent() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://cloud") as client:
                return await client.get(path, params=query, headers={"authorization": f"Bearer {key}"} if key else {})

        return asyncio.run(sent())


@pytest.fixture
def house() -> House:
    made = House()
    for first, of in ((1, "site-1"), (2, "site-2")):
        made.cloud.send(Lane.DECISIONS, decided(first, 1, of=f"{of}.g0.0123456789abcdef"))
        made.live(3)
    return made


def test_one_answer_is_one_batch_and_says_where_to_go_on(house: House) -> None:
    first = house.ask("/deltas", query={"from": 0})
    assert (first.status_code, first.headers["content-type"]) == (200, DELTA_MEDIA_TYPE)
    following = house.ask("/deltas", query={"from": first.headers["tidegate-next"], "live": 1})
    sites = [Deltas.from_bytes(answer.content).rows["site"].tolist() for answer in (first, following)]
    assert sites == [[b"site-1"], [b"site-2"]]
    assert int(following.headers["tidegate-version"]) >= int(first.headers["tidegate-next"])


def test_where_there_is_none_yet_it_says_so_and_that_for_a_second_alone(house: House) -> None:
    answer = house.ask("/deltas", query={"from": end_of(house)})
    assert (answer.status_code, answer.content, answer.headers["cache-control"]) == (204, b"", "private, max-age=1")


def test_an_answer_says_up_to_when_it_knows_of_other_sites_and_a_stopped_partition_ends_that(house: House) -> None:
    batch = house.ask("/deltas", query={"from": 0})
    committed_us = int(batch.headers["tidegate-as-of"])
    assert NOW_US <= committed_us < house.cloud.clock.now_us()
    house.live(2)
    looked_us = house.cloud.clock.now_us()
    assert as_of(house) > committed_us
    house.cloud.send(Lane.DECISIONS, b"nothing")
    house.live(4)
    assert as_of(house) <= looked_us
    assert house.ask("/deltas", query={"from": 0}).headers["tidegate-as-of"] == str(committed_us)


def test_what_waits_to_be_a_batch_isnt_known_yet(house: House) -> None:
    house.live(2)
    before_us = as_of(house)
    house.cloud.send(Lane.DECISIONS, decided(7, 1))
    house.live(1)
    assert as_of(house) == before_us
    house.live(3)
    assert as_of(house) > before_us


def test_nothing_new_is_never_said_to_who_waits_where_nobody_knows(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_apps.features.app.DELTAS_WAIT_S", 0.0)
    house.live(1)
    waiting = {"from": end_of(house), "live": 1}
    assert house.ask("/deltas", query=waiting).status_code == 204
    house.cloud.send(Lane.DECISIONS, b"nothing")
    house.live(1)
    house.cloud.clock.advance(FEATURES_STALLED_US)
    house.live(1)
    answer = house.ask("/deltas", query=waiting)
    assert (answer.status_code, "malformed" in answer.json()["detail"]) == (503, True)
    assert house.ask("/deltas", query={"from": end_of(house)}).status_code == 204
    assert house.ask("/deltas", query={"from": 0, "live": 1}).status_code == 200


def as_of(house: House) -> int:
    return int(house.ask("/deltas", query={"from": end_of(house)}).headers["tidegate-as-of"])


def end_of(house: House) -> int:
    """Return the version behind the newest batch."""
    version = 0
    while (answer := house.ask("/deltas", query={"from": version})).status_code == 200:
        version = int(answer.headers["tidegate-next"])
    return version


def test_a_version_that_the_log_never_had_is_refused_for_the_log_began_again(house: House) -> None:
    answer = house.ask("/deltas", query={"from": end_of(house) + 1_000})
    assert (answer.status_code, answer.json()["code"]) == (409, "DELTAS_BEGAN_AGAIN")
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(("key", "whose"), [(READER, "private"), (OPERATOR, "private"), (CACHE, "public")])
def test_only_a_cache_that_asks_its_own_readers_may_keep_deltas_for_everybody(
    house: House, key: str, whose: str
) -> None:
    assert (
        house.ask("/deltas", key, query={"from": 0}).headers["cache-control"] == f"{whose}, max-age=31536000, immutable"
    )
    assert house.ask("/deltas", key, query={"from": end_of(house)}).headers["cache-control"] == f"{whose}, max-age=1"
    assert house.ask(SNAPSHOT, key).headers["cache-control"] == "no-store"


def test_a_version_that_was_let_go_is_gone_and_a_snapshot_is_named(house: House) -> None:
    house.cloud.clock.advance(DELTA_KEPT_US + 1)
    house.live(1)
    answer = house.ask("/deltas", query={"from": 0})
    assert (answer.status_code, answer.json()["code"], answer.headers["cache-control"]) == (
        410,
        "DELTAS_TRIMMED",
        "no-store",
    )
    assert "fetch a snapshot" in answer.json()["detail"]


def test_a_snapshot_has_what_others_did_to_the_cards_of_the_site(house: House) -> None:
    answer = house.ask(SNAPSHOT)
    assert answer.headers["content-type"] == SNAPSHOT_MEDIA_TYPE
    made = Snapshot.from_bytes(answer.content)
    assert (made.cards, made.through, made.own_through) == (("card-1",), house.store.next() - 1, 2)
    assert made.states[0].tobytes() == house.store.states(["card-1"]).states["card-1"][ONE]


def test_a_card_is_what_all_did_to_it_or_all_but_one(house: House) -> None:
    but = {"site": "site-1", "gate": "g0", "epoch": "0123456789abcdef"}
    whole, part = (Snapshot.from_bytes(house.ask("/cards/card-1", query=told).content) for told in ({}, but))
    assert (whole.states["day_count"].sum(), part.states["day_count"].sum()) == (2, 1)
    assert Snapshot.from_bytes(house.ask("/cards/card-9").content).cards == ()
    assert house.ask("/cards/card-1", query={"site": "site-1"}).status_code == 422
    assert house.ask("/cards/4111111111111111").json()["code"] == "CARD_NUMBER_REFUSED"


@pytest.mark.parametrize("path", ["/deltas?from=0", SNAPSHOT, "/cards/card-1"])
@pytest.mark.parametrize(("key", "status"), [("", 401), ("tgk_nobody", 401), (KEYS[Scope.READ][0], 403)])
def test_nobody_reads_of_cards_without_a_key_for_it(house: House, path: str, key: str, status: int) -> None:
    assert house.ask(path, key).status_code == status


@pytest.mark.parametrize("query", [{}, {"from": -1}, {"from": "x"}, {"from": 0, "live": 2}, {"from": 0, "more": 1}])
def test_a_wrong_question_is_named(house: House, query: dict[str, Any]) -> None:
    answer = house.ask("/deltas", query=query)
    assert (answer.status_code, bool(answer.json()["errors"])) == (422, True)


def test_it_says_how_it_does(house: House) -> None:
    told = house.ask("/status", KEYS[Scope.READ][0]).json()
    assert (told["rows"], told["batches"], told["next"], told["odd"]) == (2, 2, house.store.next(), 0)
    assert (told["trouble"], told["halted"], told["waiting"]) == (None, {}, 0)
    text = house.ask("/metrics", KEYS[Scope.METRICS][0]).text
    assert "tidegate_features_rows_total 2.0" in text
    assert "tidegate_features_halted 0.0" in text
    assert house.ask("/readyz", "").json() == {"ready": True, "why": None}
    house.cloud.clock.advance(FEATURES_STALLED_US + 1)
    assert "no step has ended" in house.ask("/readyz", "").json()["why"]


def test_what_was_stopped_is_told(house: House) -> None:
    house.cloud.send(Lane.DECISIONS, b"nothing")
    house.live(1)
    ((what, why),) = house.ask("/status", KEYS[Scope.READ][0]).json()["halted"].items()
    assert (what.startswith("tidegate.L1/"), "malformed" in why) == (True, True)
    assert "tidegate_features_halted 1.0" in house.ask("/metrics", KEYS[Scope.METRICS][0]).text


def test_a_store_that_is_away_keeps_no_reader_from_what_is_in_the_log_and_nothing_counts_twice() -> None:
    house = House(Away(3))
    house.cloud.send(Lane.DECISIONS, decided(1, 2))
    house.live(4)
    assert (house.service.standing.trouble, house.rings > 0) == ("the store is away", True)
    assert house.ask("/deltas", query={"from": 0}).status_code == 200
    assert house.ask("/readyz", "").status_code == 503
    assert house.pauses[2:5] == [FEATURES_PAUSE_S, 2 * FEATURES_PAUSE_S, 4 * FEATURES_PAUSE_S]
    house.live(4)
    assert (house.service.standing.trouble, house.service.standing.rows) == ("", 2)
    assert house.store.states(["card-1"]).states["card-1"][ONE]
    assert house.cloud.rows()["pos"].tolist() == [1, 2]


def test_it_rings_for_what_is_new_and_for_a_while_again_since_a_log_may_show_it_later() -> None:
    house = House()
    house.live(5)
    assert house.rings == 0
    house.cloud.send(Lane.DECISIONS, decided(1, 1))
    house.live(3)
    told = house.rings
    assert told >= 2
    house.live(FEATURES_SHOWN_US // DELTA_BATCH_AGE_US)
    again = house.rings
    assert again > told
    house.live(20)
    assert house.rings == again


def test_it_never_waits_for_longer_than_a_person_would() -> None:
    house = House(Away(1_000))
    house.cloud.send(Lane.DECISIONS, decided(1, 1))
    house.live(20)
    assert max(house.pauses) == FEATURES_RETRY_S_MAX


def test_a_reader_of_a_log_that_failed_opens_it_anew(house: House) -> None:
    opened: list[int] = []

    class Broken:
        def read(self, *_place: Any, **_bounds: Any) -> Any:
            raise UnavailableError("the log is away")

    def opening() -> Opened:
        opened.append(1)
        reader: Any = Broken() if len(opened) == 1 else house.cloud.stream.reader()
        return Opened(reader, lambda: opened.append(0))

    batches = Batches(opening)
    with pytest.raises(UnavailableError):
        batches.first(0)
    assert batches.first(0) is not None
    assert opened == [1, 0, 1]


@pytest.mark.parametrize("data", [b"", b"ARROW1", bytes(1_000)])
def test_bytes_that_are_no_snapshot_are_refused(data: bytes) -> None:
    with pytest.raises(SnapshotError, match="fetch it again"):
        Snapshot.from_bytes(data)


def test_a_snapshot_of_other_features_is_refused(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    made = house.ask(SNAPSHOT).content
    monkeypatch.setattr("tidegate.snapshots.FINGERPRINT", "0" * 16)
    with pytest.raises(SnapshotError, match="upgrade"):
        Snapshot.from_bytes(made)
