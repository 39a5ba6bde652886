"""The uplink step by step: what it sends, what it makes of each answer, and how long it waits after which failure."""

import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from actors.journal.memory import MemoryDisk
from actors.journal.tail import Tail
from actors.uplink.key import new_key, signer_of
from actors.uplink.memory import MemoryFile
from actors.uplink.ports import NoWayError, Reply
from actors.uplink.uplink import Uplink, Whose
from tests.unit.journal.conftest import Rig
from tidegate.clock import ManualClock
from tidegate.frames import MEDIA_TYPE, SignedHead, parse, unpacked
from tidegate.ids import GateId, SiteId
from tidegate.limits import (
    FRAME_BYTES_MAX,
    SECOND_US,
    TIDE_HEAD_EVERY_US,
    TIDE_HELD_US,
    TIDE_POLL_S,
    TIDE_REFUSED_S,
    TIDE_RETRY_US_MAX,
    TIDE_RETRY_US_MIN,
)
from tidegate.passages import UNKNOWN
from tidegate.records import CHAIN_START, Lane, chain
from tidegate.tide import FORKED, FRAMES_PATH, HEADS_PATH
from tidegate.tideline import Witness, parse_witness

Said = dict[str, Any]
Answering = Callable[[str, bytes], Reply]


def reply(status: int = 200, retry_after_s: float = 0.0, **said: Any) -> Reply:
    return Reply(status, retry_after_s, json.dumps({"credit_bytes": FRAME_BYTES_MAX} | said).encode())


@dataclass
class Line:
    """The way to a cloud that answers as it is told to, and what went over it."""

    answers: list[Reply | Exception] = field(default_factory=list)
    sent: list[tuple[str, bytes]] = field(default_factory=list)

    def post(self, path: str, body: bytes, media_type: str) -> Reply:
        assert (media_type == MEDIA_TYPE) is (path == FRAMES_PATH)
        self.sent.append((path, body))
        answer = self.answers.pop(0) if self.answers else reply()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def spans(self) -> list[tuple[int, int, int]]:
        """Return lane, first and last of each frame of the last request."""
        headers = [parse(data).header for data in unpacked(self.sent[-1][1])]
        return [(header.lane, header.first, header.last) for header in headers]


class Site:
    """A journal, its uplink, a line."""

    def __init__(self) -> None:
        self.rig = Rig(disk=MemoryDisk())
        self.journal, _ = self.rig.open()
        self.tell_chain, self.forged = False, ""
        self.clock, self.line = ManualClock(1_795_000_000_000_000), Line()
        self.memory, self.witness = MemoryFile(), MemoryFile()
        self.uplink = Uplink(
            whose=Whose(SiteId("s1"), GateId("g0")),
            journal=Tail(self.rig.disk),
            carrier=self.line,
            memory=self.memory,
            witness=self.witness,
            signer=signer_of(new_key(os.urandom), "key"),
            clock=self.clock,
            entropy=self.rig.rng.randbytes,
        )

    def decide(self, count: int) -> None:
        for done in range(0, count, 200):
            self.rig.decide(self.journal, min(200, count - done))
            self.journal.commit()

    def cursors(self, *committed: tuple[int, int], lane: int = 1) -> Said:
        spans = [list(span) for span in committed]
        events = {"epoch": self.journal.epoch, "lane": 2, "committed": [[1, 1]]}
        own = {"epoch": self.journal.epoch, "lane": lane, "committed": spans}
        if self.tell_chain and committed:
            own["chain"] = self.forged or self.chain_at(Lane(lane), committed[-1][1])
        return {"cursors": [own, events]}

    def chain_at(self, lane: Lane, seq: int) -> str:
        after = CHAIN_START
        for _, record in self.journal.scan():
            if record.lane is lane and record.seq <= seq:
                after = chain(after, record.to_bytes())
        return after.hex()

    def connect(self, *committed: tuple[int, int]) -> None:
        self.line.answers.append(reply(**self.cursors(*committed)))
        assert self.uplink.step() == 0.0


@pytest.fixture
def site() -> Site:
    return Site()


def test_it_says_how_far_its_journal_reaches_before_it_sends_anything(site: Site) -> None:
    site.decide(3)

    site.uplink.step()

    path, body = site.line.sent[0]
    head = SignedHead.parse(body).header
    assert path == HEADS_PATH
    assert {lane: said.seq for lane, said in head.heads.items()} == {1: 3, 2: 1}
    assert head.heads[1].chain == site.journal.head(Lane.DECISIONS).chain.hex()
    assert site.uplink.standing.connected


def test_it_sends_what_the_cloud_lacks_and_nothing_else(site: Site) -> None:
    site.decide(10)
    site.connect((1, 4), (7, 8))

    site.line.answers.append(reply(**site.cursors((1, 10)), results=[{"status": "committed"}] * 2))
    site.uplink.step()

    assert site.line.spans() == [(1, 5, 6), (1, 9, 10)]
    assert site.uplink.step() == TIDE_POLL_S
    assert site.uplink.standing.behind[Lane.DECISIONS] == 0
    assert json.loads(site.memory.data)["committed"][f"{site.journal.epoch}/L1"] == [[1, 10]]


def test_what_is_made_while_a_backlog_drains_goes_with_the_next_request(site: Site) -> None:
    site.decide(3_000)  # random bytes: no request holds them all
    site.connect()
    site.decide(5)

    site.uplink.step()

    assert (1, 3_001, 3_005) in site.line.spans()
    assert (1, 1) in [(lane, first) for lane, first, _ in site.line.spans()]
    assert max(last for _, _, last in site.line.spans() if last <= 3_000) < 3_000


def test_an_answer_that_never_came_is_followed_by_a_head_not_by_a_guess(site: Site) -> None:
    site.decide(5)
    site.connect()
    site.line.answers += [NoWayError("cut"), reply(**site.cursors((1, 5)))]

    site.uplink.step()
    assert not site.uplink.standing.connected
    assert "cut" in site.uplink.standing.trouble
    pause = site.uplink.step()
    assert 0 < pause < 1
    site.clock.advance(int(pause * SECOND_US) + 1)
    site.uplink.step()

    assert [path for path, _ in site.line.sent] == [HEADS_PATH, FRAMES_PATH, HEADS_PATH]
    assert site.uplink.step() == TIDE_POLL_S


def test_each_failure_in_a_row_makes_it_wait_longer_up_to_a_bound_and_never_all_at_one_time(site: Site) -> None:
    site.decide(1)
    pauses = []
    for _ in range(40):
        site.line.answers.append(NoWayError("cut"))
        site.uplink.step()
        pauses.append(site.uplink.step())
        site.clock.advance(int(pauses[-1] * SECOND_US) + 1)

    assert max(pauses[:3]) < 2
    assert 10 < max(pauses) <= 61
    assert len({round(pause, 3) for pause in pauses[20:]}) > 10


@pytest.mark.parametrize(
    ("answer", "at_least"),
    [
        (reply(503, 7.0), 7.0),
        (reply(429, 3.0), 3.0),
        (Reply(403, 0.0, b'{"code":"UNKNOWN_KEY","detail":"enrol s1"}'), TIDE_REFUSED_S),
        (Reply(200, 0.0, b"<html>a captive portal</html>"), TIDE_REFUSED_S),
        (reply(200, retry_after_ms=2_500), 2.5),
    ],
)
def test_it_waits_as_long_as_the_cloud_asks_and_a_minute_where_a_person_is_needed(
    site: Site, answer: Reply, at_least: float
) -> None:
    site.decide(1)
    site.line.answers.append(answer)

    site.uplink.step()

    assert at_least <= site.uplink.step() <= 1.6 * at_least + 0.5


def test_what_the_cloud_does_not_want_is_held_back_told_and_offered_again_later(site: Site) -> None:
    site.decide(2)
    site.connect()
    refused = {"status": "quarantined", "reason": "schema", "message": "upgrade the cloud"}
    site.line.answers.append(reply(**site.cursors(), results=[refused]))
    site.uplink.step()

    assert site.uplink.standing.trouble == "L1 1-2: schema: upgrade the cloud"
    site.decide(1)
    site.uplink.step()
    assert site.line.spans() == [(1, 3, 3)]
    site.line.answers += [reply(**site.cursors((3, 3)))] * 2
    site.clock.advance(TIDE_HELD_US)
    site.uplink.step()
    site.uplink.step()
    assert site.line.spans() == [(1, 1, 2)]


@pytest.mark.parametrize("results", [[{"status": "rewind"}], []])
def test_frames_of_which_nothing_was_taken_are_not_sent_again_at_once(site: Site, results: list[Said]) -> None:
    site.decide(4)
    site.connect()
    site.line.answers.append(reply(**site.cursors(), results=results))
    site.uplink.step()

    pause = site.uplink.step()

    assert pause >= TIDE_RETRY_US_MIN / 2 / SECOND_US
    assert len(site.line.sent) == 2
    assert site.uplink.standing.connected
    site.clock.advance(int(pause * SECOND_US) + 1)
    site.line.answers.append(reply(**site.cursors((1, 2)), results=[{"status": "overlap"}]))
    for _ in range(2):
        site.uplink.step()
    assert site.line.spans() == [(1, 3, 4)], "of what was taken in part, the rest goes at once"


@pytest.mark.parametrize("asked_s", [math.inf, 1e300])
def test_who_asks_it_to_wait_for_ever_is_asked_again_after_a_minute_or_two(site: Site, asked_s: float) -> None:
    site.decide(1)
    site.line.answers.append(reply(503, asked_s))

    site.uplink.step()

    assert TIDE_RETRY_US_MAX <= site.uplink.step() * SECOND_US <= 1.5 * TIDE_RETRY_US_MAX


def test_a_head_is_sent_every_ten_seconds_though_there_is_nothing_new(site: Site) -> None:
    site.decide(1)
    site.connect((1, 1))
    site.uplink.step()
    site.clock.advance(TIDE_HEAD_EVERY_US)

    site.uplink.step()

    assert [path for path, _ in site.line.sent] == [HEADS_PATH, HEADS_PATH]


def test_a_journal_that_was_restored_from_an_older_copy_is_noticed(site: Site) -> None:
    site.decide(3)

    site.connect((1, 7))

    assert site.uplink.standing.restored
    assert parse_witness(site.witness.data) == Witness(site.journal.epoch, Lane.DECISIONS, 7, UNKNOWN)
    site.uplink.step()
    assert json.loads(site.memory.data)["committed"] == {}  # nothing may be dropped behind what the cloud has


def test_a_mark_that_lags_behind_what_was_sent_is_doubted_until_it_has_caught_up(site: Site) -> None:
    site.decide(3)
    site.connect((1, 7))
    assert site.uplink.standing.restored
    site.decide(4)
    site.tell_chain = True
    site.clock.advance(TIDE_HEAD_EVERY_US)
    site.line.answers.append(reply(**site.cursors((1, 7))))

    site.uplink.step()

    assert not site.uplink.standing.restored
    site.uplink.step()
    assert json.loads(site.memory.data)["committed"][f"{site.journal.epoch}/L1"] == [[1, 7]]


def test_other_records_under_the_same_numbers_are_noticed_where_the_cloud_says_that_they_fork(site: Site) -> None:
    site.decide(9)
    site.tell_chain = True
    site.forged = "ab" * 32
    forked = {"status": "quarantined", "reason": FORKED}

    site.line.answers.append(reply(**site.cursors((1, 7)), results=[forked]))
    site.uplink.step()

    assert site.uplink.standing.restored
    assert parse_witness(site.witness.data) == Witness(site.journal.epoch, Lane.DECISIONS, 7, bytes.fromhex("ab" * 32))


def test_a_fork_that_somebody_else_told_is_none_of_the_journal_s(site: Site) -> None:
    site.decide(9)
    site.tell_chain = True

    site.line.answers.append(reply(**site.cursors((1, 7)), results=[{"status": "quarantined", "reason": FORKED}]))
    site.uplink.step()

    assert not site.uplink.standing.restored
    assert site.witness.data == b""


def test_a_site_without_a_journal_sends_nothing() -> None:
    line = Line()
    uplink = Uplink(
        whose=Whose(SiteId("s1"), GateId("g0")),
        journal=Tail(MemoryDisk()),
        carrier=line,
        memory=MemoryFile(),
        witness=MemoryFile(),
        signer=signer_of(new_key(os.urandom), "key"),
        clock=ManualClock(1),
        entropy=os.urandom,
    )

    assert uplink.step() == TIDE_POLL_S
    assert line.sent == []
