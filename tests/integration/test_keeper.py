"""A keeper at the real door of the features, over HTTP, with a real gate behind it."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from actors.gate.committer import Committer
from actors.gate.intake import Intake
from actors.gate.orders import Orders
from actors.keeper import https
from actors.keeper.follower import Follower
from actors.keeper.https import HttpsSource
from actors.keeper.memory import MemoryOrders
from actors.keeper.ports import Found, NoDeltasError, Quiet
from actors.scorer.model import Scorer
from actors.uplink.https import HttpsCarrier
from edge_nodes.node import free_port
from tests.unit.cloudfeatures.test_door import KEYS, READER, House
from tests.unit.cloudfeatures.test_extractor import decided
from tests.unit.gate.conftest import Rig
from tidegate.bundle import decode
from tidegate.clock import ManualClock, SystemClock
from tidegate.keys import Scope
from tidegate.limits import DELTA_KEPT_US
from tidegate.records import Lane

WITHIN_S = 0.4
START_S = 30


class Door:
    """The features' door on a free port."""

    def __init__(self) -> None:
        self.house, self.port = House(), free_port()
        app = Starlette(routes=[Mount("/v1/features", self.house.app)])
        config = uvicorn.Config(app, host="127.0.0.1", port=self.port, log_level="error", lifespan="off")
        self._server = uvicorn.Server(config)
        self._ways: list[HttpsCarrier] = []
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        deadline = time.monotonic() + START_S
        while not self._server.started and time.monotonic() < deadline:
            threading.Event().wait(0.01)

    def used(self, number: int) -> None:
        """Have another site use a card, and the log know of it."""
        self.house.cloud.send(Lane.DECISIONS, decided(number, 1, of=f"site-{number}.g0.0123456789abcdef"))
        self.house.live(3)

    def source(self, key: str = READER) -> HttpsSource:
        self._ways.append(HttpsCarrier(f"http://127.0.0.1:{self.port}"))
        return HttpsSource(self._ways[-1], lambda: key)

    def close(self) -> None:
        for way in self._ways:
            way.close()
        self._server.should_exit = True
        self._thread.join()


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    monkeypatch.setattr("serve_apps.features.app.DELTAS_WAIT_S", WITHIN_S)
    made = Door()
    yield made
    made.close()


class Behind:
    """A gate's orders, as its actor has them."""

    def __init__(self, rig: Rig) -> None:
        self.gate = rig.open()
        committer = Committer(journal=self.gate.journal, inline=True, on_failure=pytest.fail, on_flush=lambda _: None)
        self._intake = Intake(gate=self.gate, committer=committer, packs=Orders(rig.orders).packs())

    def version(self) -> int:
        return self.gate.window.overlay.reached.version

    def take(self, asked: int, found: Found) -> int:
        told = asyncio.run(self._intake.take(asked, since=found.since, until=found.until, wire=found.wire))
        return int(told["version"])

    def nothing_came(self, asked: int, quiet: Quiet) -> int:
        return int(asyncio.run(self._intake.nothing_came(asked, quiet.as_of_us))["version"])

    def began_again(self, asked: int) -> int:
        return int(asyncio.run(self._intake.began_again(asked))["version"])


def follower(door: Door, orders: Any) -> Follower:
    return Follower(source=door.source(), orders=orders, clock=SystemClock(), entropy=Random(1).randbytes)


def test_what_other_sites_did_reaches_a_gate_and_what_comes_later_is_waited_for(
    door: Door, bundle_files: dict[str, bytes], now_us: int
) -> None:
    behind = Behind(Rig(Scorer(decode(bundle_files)), now_us, ManualClock(now_us)))
    keeper = follower(door, behind)
    door.used(1)
    assert keeper.step() == 0.0
    assert behind.gate.tally.deltas == 1
    assert len(behind.gate.window.overlay.cards) == 1
    before = behind.version()
    late = threading.Timer(WITHIN_S / 4, door.used, (2,))
    late.start()
    deadline = time.monotonic() + 60 * WITHIN_S
    while behind.version() == before:
        assert time.monotonic() < deadline, keeper.following
        threading.Event().wait(keeper.step())
    late.join()
    assert (keeper.following.batches, keeper.following.trouble) == (2, "")


def test_a_log_that_was_lost_is_told_and_the_gate_begins_again_with_what_there_is(
    door: Door, bundle_files: dict[str, bytes], now_us: int
) -> None:
    behind = Behind(Rig(Scorer(decode(bundle_files)), now_us, ManualClock(now_us)))
    door.used(1)
    follower(door, behind).step()
    wire = door.source().after(0)
    assert isinstance(wire, Found)
    behind.take(behind.version(), Found(behind.version(), 5_000, wire.wire))  # of the log that is gone
    keeper = follower(door, behind)
    assert keeper.step() > 0
    assert "began again" in keeper.following.trouble
    assert (behind.version(), len(behind.gate.window.overlay.cards)) == (0, 0)
    assert follower(door, behind).step() == 0.0
    assert 0 < behind.version() < 5_000


def test_versions_that_were_let_go_are_told_and_it_goes_on_behind_them(door: Door) -> None:
    for number in (1, 2):
        door.used(number)
    door.house.cloud.clock.advance(DELTA_KEPT_US + 1)
    door.house.live(1)
    door.used(3)
    orders = MemoryOrders()
    keeper = follower(door, orders)
    keeper.step()
    assert keeper.following.gaps == 1
    assert orders.taken[0].since > 0
    assert orders.taken[0].until > orders.taken[0].since


@pytest.mark.parametrize(("key", "status"), [("", 401), (KEYS[Scope.DECIDE][0], 403)], ids=["none", "another"])
def test_a_key_that_may_not_is_told_as_the_cloud_says_it(door: Door, key: str, status: int) -> None:
    with pytest.raises(NoDeltasError, match=f"HTTP {status}"):
        door.source(key).after(0)


def test_a_cloud_that_takes_a_connection_and_says_nothing_is_given_up_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(https, "DELTAS_WAIT_S", WITHIN_S / 2)
    monkeypatch.setattr(https, "TIDE_TIMEOUT_S", WITHIN_S / 2)
    with socket.create_server(("127.0.0.1", 0)) as hole:
        source = HttpsSource(HttpsCarrier(f"http://127.0.0.1:{hole.getsockname()[1]}"), lambda: READER)
        orders = MemoryOrders()
        keeper = Follower(source=source, orders=orders, clock=SystemClock(), entropy=Random(1).randbytes)
        began = time.monotonic()
        assert keeper.step() > 0.0
        assert WITHIN_S / 2 < time.monotonic() - began < 20 * WITHIN_S
    assert "no whole answer" in keeper.following.trouble or "timed out" in keeper.following.trouble
    assert orders.taken == []
