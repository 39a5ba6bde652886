"""One suite for the store of features: in memory, and in a real Redis."""

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from serve_apps.features.memory import MemoryStore
from serve_apps.features.merged import merged
from serve_apps.features.ports import Held, Store, UnavailableError
from serve_apps.features.redis import RedisStore
from serve_apps.features.views import card_of, snapshot_of
from tests.deltas import ORIGIN, batch
from tests.servers.redis_server import ENABLE, PROGRAM, RedisServer, client, redis_server
from tidegate.deltas import Rows
from tidegate.features.kernel import fold
from tidegate.features.state import empty_cards
from tidegate.frames import Origin
from tidegate.ids import EpochId, GateId, SiteId
from tidegate.snapshots import Snapshot

OTHER = Origin(SiteId("s2"), GateId("g0"), EpochId("f" * 16))
Opening = Callable[[], Store]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    if PROGRAM is None:
        pytest.skip(f"no redis-server; to get it: {ENABLE}")
    with redis_server(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture(params=["memory", "redis"])
def opening(request: pytest.FixtureRequest) -> Opening:
    """Return what opens one and the same store again and again."""
    if request.param == "memory":
        store = MemoryStore()
        return lambda: store
    running: RedisServer = request.getfixturevalue("server")
    client(running).flushall()
    return lambda: RedisStore(f"unix://{running.socket}")


@pytest.fixture
def store(opening: Opening) -> Iterator[Store]:
    opened = opening()
    yield opened
    opened.close()


def rows_of(origin: Origin) -> Rows:
    rows = batch().of_cards().copy()
    for name, value in origin._asdict().items():
        rows[name] = value.encode()
    return rows


def test_a_batch_and_its_offset_are_there_together_for_whoever_opens_the_store_next(opening: Opening) -> None:
    first = opening()
    assert first.next() == 0
    assert first.fold(7, rows_of(ORIGIN))
    again = opening()
    assert (again.next(), again.reached(ORIGIN), again.reached(OTHER)) == (8, 12, 0)
    assert set(again.states(["card-1", "card-2", "card-9"]).states) == {"card-1", "card-2"}


def test_a_repeated_batch_changes_nothing(store: Store) -> None:
    store.fold(7, rows_of(ORIGIN))
    before = store.states(["card-1"])
    assert before.next == 8
    assert not store.fold(7, rows_of(ORIGIN))
    assert not store.fold(3, rows_of(OTHER))
    assert store.states(["card-1"]) == before


def test_states_are_those_of_their_origins_gate_to_the_byte(store: Store) -> None:
    for offset, origin in enumerate((ORIGIN, OTHER, ORIGIN)):
        store.fold(offset, rows_of(origin))
    once, twice = empty_cards(2), empty_cards(2)
    names = ("kind", "time_us", "event_us", "amount_minor", "terminal_hash")
    told = [rows_of(ORIGIN)[name].astype(np.int64) for name in names]
    slots = np.array([0, 1, 0, 0], np.int64)
    for cards, times in ((once, 1), (twice, 2)):
        for _ in range(times):
            fold(cards, slots, *told)
    assert store.states(["card-1"]).states["card-1"] == {ORIGIN: twice[0].tobytes(), OTHER: once[0].tobytes()}


def test_a_batch_of_labels_alone_moves_the_offset(store: Store) -> None:
    assert store.fold(4, batch().rows[:0])
    assert store.next() == 5


def test_a_snapshot_has_the_cards_of_a_site_as_all_other_origins_left_them(store: Store) -> None:
    store.fold(0, rows_of(ORIGIN))
    store.fold(1, rows_of(OTHER)[:1])
    made = snapshot_of(store, ORIGIN)
    assert (made.cards, made.through, made.own_through) == (("card-1",), 1, 12)
    assert made.states[0].tobytes() == merged([store.states(["card-1"]).states["card-1"][OTHER]])
    again = Snapshot.from_bytes(made.to_bytes())
    assert (again.cards, again.through, again.own_through) == (made.cards, 1, 12)
    assert (again.states.tobytes(), again.versions.tolist()) == (made.states.tobytes(), [1])


def test_an_earlier_epoch_of_the_same_site_is_another_origin(store: Store) -> None:
    store.fold(0, rows_of(ORIGIN))
    later = ORIGIN._replace(epoch=EpochId("e" * 16))
    assert sorted(snapshot_of(store, later).cards) == ["card-1", "card-2"]
    assert card_of(store, later, "card-1").cards == ("card-1",)
    assert card_of(store, ORIGIN, "card-1").cards == ()
    assert card_of(store, None, "card-2").versions.tolist() == [0]
    assert card_of(store, later, "card-9").cards == ()


def test_a_card_that_others_change_while_a_snapshot_is_made_says_of_which_version_it_is(store: Store) -> None:
    store.fold(0, rows_of(ORIGIN))
    store.fold(1, rows_of(OTHER))
    read = store.states

    class Busy:
        """The store, into which somebody folds between two reads."""

        def __getattr__(self, name: str) -> Any:
            return getattr(store, name)

        def states(self, cards: Collection[str]) -> Held:
            store.fold(2, rows_of(OTHER)[:1])
            return read(cards)

    made = snapshot_of(cast("Store", Busy()), ORIGIN)
    assert (made.through, set(made.versions.tolist())) == (1, {2})
    assert made.states[made.cards.index("card-1")].tobytes() == card_of(store, ORIGIN, "card-1").states[0].tobytes()


@pytest.mark.parametrize("cards", [1, 2])
def test_a_snapshot_has_the_cards_that_its_site_used_last(
    store: Store, cards: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for adapter in ("memory", "redis"):
        monkeypatch.setattr(f"serve_apps.features.{adapter}.FEATURES_SNAPSHOT_CARDS_MAX", cards)
    for offset, row in enumerate((1, 0)):  # the use of card-2 is the later one
        store.fold(offset, rows_of(ORIGIN)[row : row + 1])
    store.fold(2, rows_of(OTHER)[1:2])
    assert set(store.cards_of("s1")) == ({"card-2"} if cards == 1 else {"card-1", "card-2"})
    assert set(store.cards_of("s2")) == {"card-2"}


def test_a_second_writer_of_redis_counts_nothing_twice(server: RedisServer) -> None:
    client(server).flushall()
    store = RedisStore(f"unix://{server.socket}")

    class Late(RedisStore):
        """Folds what it was told at an offset that somebody else has passed meanwhile."""

        def next(self) -> int:
            return 0

    store.fold(0, rows_of(ORIGIN))
    before = store.states(["card-1"])
    with pytest.raises(UnavailableError, match="another writer"):
        Late(f"unix://{server.socket}").fold(0, rows_of(ORIGIN))
    assert store.states(["card-1"]) == before


def test_a_redis_that_is_gone_is_told_as_what_may_pass(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="can't be asked"):
        RedisStore(f"unix://{tmp_path}/none").next()


def test_a_memory_lets_go_the_card_that_has_not_changed_for_longest() -> None:
    store = MemoryStore(rows_max=1)
    store.fold(0, rows_of(ORIGIN)[1:2])
    store.fold(1, rows_of(ORIGIN)[:1])
    assert set(store.states(["card-1", "card-2"]).states) == {"card-1"}
