"""What an enrolled site, or nobody at all, may not do to ingest and to whoever reads what it commits."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from random import Random
from threading import current_thread
from typing import Any

import httpx
import pytest

from serve_apps.ingest.app import build
from serve_apps.ingest.backend import Backend
from serve_apps.ingest.committer import Committer, Holding, Kept, Origin, Outcome
from serve_apps.ingest.forks import ALARMS, Look
from serve_apps.ingest.grouping import Grouping
from serve_apps.ingest.ingest import Ingest
from serve_apps.ingest.memory import MemoryKeys, MemoryQuarantine
from serve_apps.ingest.ports import SiteKey
from serve_apps.ingest.ranges import Claim, Range, Ranges
from serve_apps.plumbing.stream.configured import TOPICS
from serve_apps.plumbing.stream.memory import MemoryStream
from serve_apps.plumbing.stream.ports import TooLargeError
from tests.sent import NOW_US, PUBLIC, SIGNER, decisions_frame, event, events_frame
from tidegate.artifacts import ARTIFACT_MEDIA_TYPE, ARTIFACTS_PATH, Whole
from tidegate.clock import ManualClock
from tidegate.frames import MEDIA_TYPE, Head, SignedHead, packed
from tidegate.ids import SiteId
from tidegate.keys import KeyFile, Keyring, Scope, make_key
from tidegate.limits import (
    FRAMES_BODY_BYTES_MAX,
    HEAD_VERSION_CHARS_MAX,
    HEAD_VERSIONS_MAX,
    LOG_COMMIT_BYTES_MAX,
    LOG_CURSOR_BYTES_MAX,
    TIDE_ALARM_LOOKS_KEPT,
    TIDE_BORDERS_KEPT,
    TIDE_EPOCHS_MAX,
    TIDE_RANGES_MAX,
    TIDE_TEXTS_MAX,
    TIDE_WHY_CHARS_MAX,
)
from tidegate.records import Kind, Lane
from tidegate.tide import EPOCHS, FRAMES_PATH, HEAD_MEDIA_TYPE, HEADS_PATH, TEXTS, Result, Status


def epoch(number: int) -> str:
    """Return an epoch's name by its number."""
    return f"{number:016x}"


class Cloud:
    """An ingest in memory that knows one site, asked as that site."""

    def __init__(self) -> None:
        self.clock, self.quarantine = ManualClock(NOW_US), MemoryQuarantine()
        self.stream = MemoryStream(self.clock)
        for topic in TOPICS:
            self.stream.create(topic, 1)
        self.committer = Committer(self.stream, "c0", self.clock)
        self.ingest = Ingest(
            keys=MemoryKeys(SiteKey(SIGNER.key, "site-1", PUBLIC, 0)),
            quarantine=self.quarantine,
            commit=lambda brought: self.committer.commit([brought])[0],
            clock=self.clock,
        )

    def restart(self) -> None:
        self.committer = Committer(self.stream, "c0", self.clock)

    def note(self, cursors: dict[str, bytes]) -> None:
        """Note cursors as a committer of before did."""
        writer = self.stream.writer("c0")
        names = sorted(cursors)
        step = LOG_COMMIT_BYTES_MAX // LOG_CURSOR_BYTES_MAX
        for at in range(0, len(names), step):
            writer.commit([], {name: cursors[name] for name in names[at : at + step]})
        self.restart()

    def send(self, *epochs: str) -> list[Result]:
        """Send the first decision of some epochs in one request."""
        frames = [decisions_frame(1, 1, f"site-1.g0.{epoch}") for epoch in epochs]
        return self.ingest.frames(packed(frames)).results

    def post(self, path: str, media_type: str, body: bytes) -> httpx.Response:
        """Ask the application as it is served."""

        async def sent() -> httpx.Response:
            keys = MemoryKeys(SiteKey(SIGNER.key, "site-1", PUBLIC, 0))
            self.backend = Backend(keys=keys, quarantine=self.quarantine, committers=[self.committer], clock=self.clock)
            transport = httpx.ASGITransport(build(self.backend, Keyring(KeyFile(keys=()))))
            async with httpx.AsyncClient(transport=transport, base_url="http://cloud") as client:
                answer = await client.post(path, content=body, headers={"content-type": media_type})
            self.backend.close()
            return answer

        return asyncio.run(sent())


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (Kind.LABEL_RECEIVED, b"{}"),
        (Kind.LABEL_RECEIVED, b"\xff\xfe"),
        (Kind.POLICY_ACTIVATED, b"{}"),
        (Kind.CARD_EVICTED, b'{"token": "card-1"}'),
    ],
)
def test_an_event_that_nobody_could_read_is_kept_aside_and_not_committed(kind: Kind, body: bytes, cloud: Cloud) -> None:
    sent = events_frame(event(Kind.CLOCK_STEPPED, 1, {"behind_us": 1}), event(kind, 2, {})._replace(body=body))

    (result,) = cloud.ingest.frames(packed([sent])).results

    assert (result.status, result.reason) == (Status.QUARANTINED, "schema")
    assert "the record 2 " in result.message
    assert cloud.quarantine.counts() == {"schema": 1}
    assert cloud.stream.reader().end("tidegate.L2", 0) == cloud.stream.reader().begin("tidegate.L2", 0)


def test_a_request_of_a_million_frames_is_refused_as_a_whole_by_a_short_answer(cloud: Cloud) -> None:
    answer = cloud.post(FRAMES_PATH, MEDIA_TYPE, bytes(FRAMES_BODY_BYTES_MAX))

    assert answer.status_code == 413
    assert answer.json()["code"] == "FRAME_REFUSED"
    assert "more than 256 frames in one request: send fewer" in answer.json()["detail"]
    assert len(answer.content) < 1_000
    assert cloud.backend.meter.refused() == {"oversized": 1}


def _full() -> Holding:
    """Return an epoch of which everything is as long as it may be."""
    lanes, seqs, chain = {}, range(1 << 64, 0, -4)[TIDE_RANGES_MAX:0:-1], b"c" * 32
    for lane in Lane:
        ranges = tuple(Range(at, at + 1, chain, chain) for at in seqs)
        lanes[lane] = Ranges(ranges, tuple((at, chain) for at in seqs[:TIDE_BORDERS_KEPT]), lane is Lane.MONEY)
    claims = {lane: Claim((1 << 64) - 1, chain, NOW_US) for lane in Lane}
    look = Look(NOW_US, "😀" * 64, "😀" * TIDE_WHY_CHARS_MAX, ALARMS)
    return Holding(
        lanes=lanes,
        other={lane: replace(ranges, in_order=False) for lane, ranges in lanes.items()},
        claims=claims,
        denied=claims,
        alarms=frozenset(ALARMS),
        looks=(look,) * TIDE_ALARM_LOOKS_KEPT,
        versions={f"{number:032d}": '"' * HEAD_VERSION_CHARS_MAX for number in range(HEAD_VERSIONS_MAX)},
        durable_pos=(1 << 64) - 1,
        told_us=NOW_US,
        ahead_us=-(1 << 63),
        order=10**9,
        most=4 << 64,
    )


def test_whatever_is_known_of_an_epoch_fits_the_log(cloud: Cloud) -> None:
    held = _full()

    assert LOG_CURSOR_BYTES_MAX >= held.noted_bytes >= len(held.to_bytes()) > 3 * held.noted_bytes // 4
    cloud.note({f"site-1/g0/{epoch(0)}": held.to_bytes()})
    assert cloud.committer.holdings()[Origin("site-1", "g0", epoch(0))] == held


def test_a_request_whose_cursors_are_too_much_for_one_commit_is_committed_in_parts(cloud: Cloud) -> None:
    full = _full()
    noted = replace(full, lanes={**full.lanes, Lane.DECISIONS: Ranges()}).to_bytes()
    epochs = [epoch(number) for number in range(LOG_COMMIT_BYTES_MAX // len(noted) + 1)]
    cloud.note({f"site-1/g0/{each}": noted for each in epochs})

    results = cloud.send(*epochs)

    assert {result.status for result in results} == {Status.COMMITTED}
    cloud.restart()
    assert {held.ranges(Lane.DECISIONS).last for held in cloud.committer.holdings().values()} == {1}


def test_only_the_request_that_is_too_large_fails_of_those_that_are_committed_together() -> None:
    guilty, tries = [object()], []

    def commit(requests: Sequence[Any]) -> list[Outcome]:
        tries.append(len(requests))
        if guilty in requests:
            raise TooLargeError("a cursor is above its bound")
        return [Outcome([], []) for _ in requests]

    async def sent(executor: Executor) -> list[Any]:
        grouping = Grouping(commit, len, executor)
        brought: list[Any] = [[], guilty, []]
        return await asyncio.gather(*(grouping.commit(each) for each in brought), return_exceptions=True)

    with ThreadPoolExecutor(1) as executor:
        first, second, third = asyncio.run(sent(executor))

    assert first == third == Outcome([], [])
    assert isinstance(second, TooLargeError)
    assert tries == [3, 1, 1, 1]


def test_a_group_is_weighed_with_its_cursors() -> None:
    tries = []

    def commit(requests: Sequence[Any]) -> list[Outcome]:
        tries.append(len(requests))
        return [Outcome([], []) for _ in requests]

    async def sent(executor: Executor) -> None:
        grouping = Grouping(commit, lambda _: LOG_COMMIT_BYTES_MAX // 4, executor)
        nothing: list[Any] = []
        await asyncio.gather(*(grouping.commit(nothing) for _ in range(5)))

    with ThreadPoolExecutor(1) as executor:
        asyncio.run(sent(executor))

    assert tries == [2, 2, 1]


def test_a_site_that_begins_epochs_without_end_is_refused_new_ones_and_no_other_is(cloud: Cloud) -> None:
    known = [epoch(number) for number in range(TIDE_EPOCHS_MAX - 1)]
    cloud.note({f"site-1/g0/{each}": Holding().to_bytes() for each in known})
    cloud.note({f"site-2/g0/{each}": Holding().to_bytes() for each in known})

    last, one_more, again, old = cloud.send(epoch(900), epoch(901), epoch(900), known[0])

    assert (last.status, again.status, old.status) == (Status.COMMITTED, Status.DUPLICATE, Status.COMMITTED)
    assert (one_more.status, one_more.reason) == (Status.REFUSED, EPOCHS)
    assert cloud.ingest.meter.refused() == {EPOCHS: 1}
    assert cloud.quarantine.counts() == {}
    cloud.restart()
    assert cloud.send(epoch(902))[0].reason == EPOCHS
    assert len(cloud.committer.holdings()) == 2 * TIDE_EPOCHS_MAX - 1


def test_heads_of_epochs_without_end_are_refused_and_counted(cloud: Cloud) -> None:
    cloud.note({f"site-1/g0/{epoch(number)}": Holding().to_bytes() for number in range(TIDE_EPOCHS_MAX)})
    said = Head(
        site="site-1", gate="g0", epoch=epoch(900), key=SIGNER.key, heads={}, durable_pos=0, time_us=1, versions={}
    )

    answer = cloud.post(HEADS_PATH, HEAD_MEDIA_TYPE, SignedHead.seal(said, SIGNER.sign).data)

    assert [(one["status"], one["reason"]) for one in answer.json()["results"]] == [("refused", EPOCHS)]
    assert cloud.backend.meter.refused() == {EPOCHS: 1}


def test_a_site_that_brings_texts_without_end_is_refused_new_ones(cloud: Cloud) -> None:
    brought = {f"TEXT/{number:064x}": Kept(1, 1, "", "site-1").to_bytes() for number in range(TIDE_TEXTS_MAX)}
    cloud.note(brought)
    cloud.committer.ready()

    assert cloud.committer.refuses("site-1", "ab" * 32)
    assert cloud.committer.refuses("site-1", f"{0:064x}") is None
    assert cloud.committer.refuses("site-2", "ab" * 32) is None

    part = Whole("lists", b"abc").part(1, SiteId("site-1"), SIGNER).data
    answer = cloud.post(ARTIFACTS_PATH, ARTIFACT_MEDIA_TYPE, part).json()

    assert (answer["reason"], answer["next_part"]) == (TEXTS, None)
    assert cloud.backend.meter.texts == {TEXTS: 1}


def test_nothing_that_waits_for_a_disk_or_proves_a_signature_holds_up_the_event_loop(cloud: Cloud) -> None:
    threads: dict[str, str] = {}

    class Watched(MemoryQuarantine):
        def counts(self) -> dict[str, int]:
            threads["counts"] = current_thread().name
            return super().counts()

        def frame(self, case_id: int) -> bytes | None:
            threads["frame"] = current_thread().name
            return super().frame(case_id)

    class Keys(MemoryKeys):
        def key(self, key_id: str) -> SiteKey | None:
            threads["key"] = current_thread().name
            return super().key(key_id)

    async def asked() -> None:
        backend = Backend(keys=Keys(), quarantine=Watched(), committers=[cloud.committer], clock=cloud.clock)
        token, key = make_key("anna", frozenset({Scope.READ}), Random(1).randbytes)
        transport = httpx.ASGITransport(build(backend, Keyring(KeyFile(keys=(key,)))))
        said = Head(
            site="site-1", gate="g0", epoch=epoch(1), key=SIGNER.key, heads={}, durable_pos=0, time_us=1, versions={}
        )
        async with httpx.AsyncClient(transport=transport, base_url="http://cloud") as client:
            head, headers = SignedHead.seal(said, SIGNER.sign).data, {"authorization": f"Bearer {token}"}
            answers = [
                await client.post(HEADS_PATH, content=head, headers={"content-type": HEAD_MEDIA_TYPE}),
                await client.get("/v1/quarantine", headers=headers),
                await client.get("/v1/quarantine/1/frame", headers=headers),
            ]
        backend.close()
        assert [answer.status_code for answer in answers] == [403, 200, 404]

    asyncio.run(asked())

    assert {name.partition("_")[0] for name in threads.values()} == {"intake"}
    assert threads.keys() == {"counts", "frame", "key"}
