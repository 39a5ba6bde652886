"""What nobody may overlook: two machines with one identity, clocks that are wrong. Nothing of it loses a record."""

from typing import Any

import pytest

from serve_apps.ingest.committer import Committer, Origin
from serve_apps.ingest.ingest import Ingest
from serve_apps.ingest.memory import MemoryKeys, MemoryQuarantine
from serve_apps.ingest.ports import SiteKey
from serve_apps.ingest.views import forks_view, sites_view
from serve_apps.plumbing.stream.configured import TOPICS
from serve_apps.plumbing.stream.memory import MemoryStream
from tests.sent import NOW_US, PUBLIC, SIGNER, decision_rows, frame
from tidegate.clock import ManualClock
from tidegate.frames import Head, LaneHead, SignedHead, packed
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

    def tell(self, epoch: str, seq: int, **said: Any) -> None:
        told: dict[str, Any] = {"gate": "g0", "durable_pos": seq, "time_us": NOW_US, "versions": {}} | said
        heads = {1: LaneHead(seq=seq, chain=told.pop("chain", ""))}
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
