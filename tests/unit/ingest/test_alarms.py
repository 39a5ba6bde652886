"""What nobody may overlook: two machines with one identity, clocks that are wrong. Nothing of it loses a record."""

import asyncio
import json
from random import Random
from typing import Any

import httpx
import pytest

from serve_apps.ingest.app import build
from serve_apps.ingest.backend import Backend
from serve_apps.ingest.committer import Committer, Holding, Origin
from serve_apps.ingest.ingest import Ingest
from serve_apps.ingest.memory import MemoryKeys, MemoryQuarantine
from serve_apps.ingest.ports import SiteKey
from serve_apps.ingest.views import forks_view, looks_view, sites_view
from serve_apps.plumbing.stream.configured import TOPICS
from serve_apps.plumbing.stream.memory import MemoryStream
from tests.sent import NOW_US, PUBLIC, SIGNER, decision_rows, frame
from tidegate.clock import ManualClock
from tidegate.frames import Head, LaneHead, SignedHead, packed
from tidegate.keys import KeyFile, Keyring, Scope, make_key
from tidegate.limits import DAY_US, SECOND_US, TIDE_GAP_AGE_US
from tidegate.records import Lane
from tidegate.tide import Status

OLD, NEW = "0" * 16, "1" * 16


class Cloud:
    """An ingest in memory that knows one site, asked as that site."""

    def __init__(self) -> None:
        self.clock = ManualClock(NOW_US)
        self.stream = MemoryStream(self.clock)
        for topic in TOPICS:
            self.stream.create(topic, 1)
        self.restart()

    def restart(self) -> None:
        self.committer = Committer(self.stream, "c0", self.clock)
        self.ingest = Ingest(
            keys=MemoryKeys(SiteKey(SIGNER.key, "site-1", PUBLIC, 0)),
            quarantine=MemoryQuarantine(),
            commit=lambda brought: self.committer.commit([brought])[0],
            clock=self.clock,
        )

    def tell(self, epoch: str, seq: int, chain: str = "", **said: Any) -> None:
        told: dict[str, Any] = {"gate": "g0", "durable_pos": seq, "time_us": NOW_US, "versions": {}} | said
        heads = {1: LaneHead(seq=seq, chain=chain)}
        head = Head(site="site-1", epoch=epoch, key=SIGNER.key, heads=heads, **told)
        self.ingest.head(SignedHead.seal(head, SIGNER.sign).data)

    def alarms(self) -> list[tuple[str, str]]:
        return [(each["epoch"], each["reason"]) for each in forks_view(self.committer.holdings())]


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


def test_an_epoch_that_goes_on_beside_a_later_one_is_two_machines_with_one_identity(cloud: Cloud) -> None:
    for epoch, seq in ((OLD, 5), (OLD, 9), (NEW, 0), (OLD, 9), (NEW, 4)):
        cloud.tell(epoch, seq)
    assert cloud.alarms() == []

    cloud.tell(OLD, 10)

    assert cloud.alarms() == [(OLD, "rival")]
    cloud.restart()
    cloud.tell(NEW, 5)
    assert cloud.alarms() == [(OLD, "rival")]
    assert sites_view(cloud.committer.holdings(), NOW_US)[0]["rivals"] == 1


def test_a_head_that_comes_late_is_no_alarm(cloud: Cloud) -> None:
    for epoch, seq in ((OLD, 9), (NEW, 3), (OLD, 2), (OLD, 9), (NEW, 2), (NEW, 4)):
        cloud.tell(epoch, seq)

    assert cloud.alarms() == []


def test_a_head_that_comes_late_or_again_hides_no_gap_and_is_still_held_against_what_is_there(cloud: Cloud) -> None:
    cloud.tell(OLD, 9, versions={"release": "2"})
    cloud.clock.advance(TIDE_GAP_AGE_US)
    before = cloud.committer.holdings()[Origin("site-1", "g0", OLD)]
    assert before.gaps(Lane.DECISIONS, cloud.clock.now_us()) == ((1, 9),)

    cloud.tell(OLD, 2, versions={"release": "1"}, time_us=1)
    assert cloud.committer.holdings()[Origin("site-1", "g0", OLD)] == before

    cloud.tell(OLD, 0, chain="ab" * 32)
    assert cloud.alarms() == [(OLD, "forked")]


def test_a_later_head_that_claims_less_is_of_a_copy_that_was_put_back_and_counts(cloud: Cloud) -> None:
    cloud.tell(OLD, 9)
    cloud.clock.advance(SECOND_US)
    cloud.tell(OLD, 2, time_us=NOW_US + SECOND_US)

    assert cloud.committer.holdings()[Origin("site-1", "g0", OLD)].claims[Lane.DECISIONS].seq == 2
    cloud.tell(OLD, 9)
    assert cloud.committer.holdings()[Origin("site-1", "g0", OLD)].most == 9


def test_gates_of_one_site_are_no_rivals(cloud: Cloud) -> None:
    for gate, epoch, seq in (("g0", OLD, 1), ("g1", NEW, 1), ("g0", OLD, 2), ("g1", NEW, 2)):
        cloud.tell(epoch, seq, gate=gate)

    assert cloud.alarms() == []


@pytest.mark.parametrize(
    ("time_us", "counted"),
    [
        (NOW_US, {"ahead": 0, "past": 0}),
        (NOW_US + 2 * DAY_US, {"ahead": 1, "past": 0}),
        (1_000, {"ahead": 0, "past": 1}),
        ((1 << 63) - 1, {"ahead": 1, "past": 0}),
        (-(1 << 63), {"ahead": 0, "past": 1}),
    ],
)
def test_records_of_a_wrong_clock_are_committed_and_counted(
    time_us: int, counted: dict[str, int], cloud: Cloud
) -> None:
    rows = decision_rows(1, 3)
    rows["time_us"] = time_us

    (result,) = cloud.ingest.frames(packed([frame(Lane.DECISIONS, rows.tobytes())])).results

    assert result.status is Status.COMMITTED
    assert cloud.ingest.meter.strange_times == counted


def test_how_far_a_site_s_clock_is_off_is_told(cloud: Cloud) -> None:
    cloud.tell(OLD, 1, time_us=NOW_US + 90 * SECOND_US)

    (row,) = sites_view(cloud.committer.holdings(), NOW_US)

    assert row["clock_ahead_s"] == 90


def twin(first: int, count: int) -> bytes:
    """Return records of another machine under the numbers of the first."""
    rows = decision_rows(first, count)
    rows["card"] = "another"
    return packed([frame(Lane.DECISIONS, rows.tobytes())])


def acknowledge(cloud: Cloud) -> list[list[str]]:
    return list(cloud.committer.acknowledge("site-1", by="ann", why="the twin is off").values())


@pytest.fixture
def forked(cloud: Cloud) -> Cloud:
    cloud.ingest.frames(packed([frame(Lane.DECISIONS, decision_rows(1, 5).tobytes())]))
    cloud.ingest.frames(twin(1, 5))
    assert cloud.alarms() == [("0123456789abcdef", "forked")]
    return cloud


def test_a_fork_that_somebody_looked_at_is_no_alarm_when_it_is_told_again(forked: Cloud) -> None:
    assert acknowledge(forked) == [["forked"]]
    assert acknowledge(forked) == []

    forked.restart()
    answer = forked.ingest.frames(twin(1, 5))

    assert (answer.results[0].status, answer.results[0].reason) == (Status.QUARANTINED, "forked")
    assert forked.alarms() == []
    row = sites_view(forked.committer.holdings(), NOW_US)[0]
    assert (row["forked"], row["rivals"]) == (False, 0)
    (look,) = looks_view(forked.committer.holdings(), "site-1")
    assert (look["by"], look["why"], look["reasons"]) == ("ann", "the twin is off", ["forked"])
    assert looks_view(forked.committer.holdings(), "site-2") == []


@pytest.mark.parametrize("other", [(1, 5), (6, 4)])
def test_a_new_fork_is_an_alarm_again(forked: Cloud, other: tuple[int, int]) -> None:
    """Be it that the other machine went on, or that there is a third one under the same numbers."""
    acknowledge(forked)
    forked.restart()
    rows = decision_rows(*other)
    rows["card"] = "another still"

    forked.ingest.frames(packed([frame(Lane.DECISIONS, rows.tobytes())]))

    assert forked.alarms() == [("0123456789abcdef", "forked")]


def test_a_rival_that_goes_on_after_somebody_looked_is_an_alarm_again(cloud: Cloud) -> None:
    for epoch, seq in ((OLD, 5), (NEW, 4), (OLD, 9)):
        cloud.tell(epoch, seq)
    assert acknowledge(cloud) == [["rival"]]
    cloud.restart()

    cloud.tell(OLD, 9)
    assert cloud.alarms() == []
    cloud.tell(OLD, 10)

    assert cloud.alarms() == [(OLD, "rival")]


def test_claims_of_another_history_are_news_once(cloud: Cloud) -> None:
    cloud.ingest.frames(packed([frame(Lane.DECISIONS, decision_rows(1, 10).tobytes())]))
    cloud.tell("0123456789abcdef", 10, chain="ab" * 32)
    assert cloud.alarms() == [("0123456789abcdef", "forked")]
    acknowledge(cloud)

    cloud.tell("0123456789abcdef", 10, chain="ab" * 32)
    assert cloud.alarms() == []
    cloud.tell("0123456789abcdef", 10, chain="cd" * 32)

    assert cloud.alarms() == [("0123456789abcdef", "forked")]


def test_alarms_of_an_older_program_are_still_alarms() -> None:
    said = json.loads(Holding(forked=True).to_bytes())
    for name in ("alarms", "other", "denied", "looks"):
        del said[name]

    assert Holding.from_bytes(json.dumps(said).encode()).alarms == {"forked"}


OPERATOR, _OPERATOR = make_key("anna", frozenset({Scope.SITES}), Random(1).randbytes)
READER, _READER = make_key("bert", frozenset({Scope.READ}), Random(2).randbytes)


def test_operators_acknowledge_over_http_with_a_reason_and_readers_see_who_did(forked: Cloud) -> None:
    backend = Backend(
        keys=MemoryKeys(), quarantine=MemoryQuarantine(), committers=[forked.committer], clock=forked.clock
    )
    app = build(backend, Keyring(KeyFile(keys=(_OPERATOR, _READER))))
    path = "/v1/sites/site-1/acknowledgement"

    async def ask(method: str, path: str, key: str, **said: str) -> tuple[int, Any]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://cloud") as client:
            answer = await client.request(method, path, json=said, headers={"authorization": f"Bearer {key}"})
            return answer.status_code, answer.json()

    assert asyncio.run(ask("POST", path, READER, why="seen"))[0] == 403
    assert asyncio.run(ask("POST", path, OPERATOR))[0] == 422
    assert len(asyncio.run(ask("GET", "/v1/quarantine", READER))[1]["forks"]) == 1

    status, told = asyncio.run(ask("POST", path, OPERATOR, why="seen"))

    epoch = {"site": "site-1", "gate": "g0", "epoch": "0123456789abcdef", "reasons": ["forked"]}
    assert (status, told) == (200, {"site": "site-1", "by": "anna", "why": "seen", "data": [epoch]})
    seen = asyncio.run(ask("GET", "/v1/quarantine", READER))[1]
    assert seen["forks"] == []
    assert [(look["by"], look["why"]) for look in seen["acknowledged"]] == [("anna", "seen")]
    assert asyncio.run(ask("POST", path, OPERATOR, why="seen"))[0] == 404
    backend.close()
