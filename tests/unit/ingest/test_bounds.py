"""What an enrolled site, or nobody at all, may not do to ingest and to whoever reads what it commits."""

import asyncio

import httpx
import pytest

from serve_apps.ingest.app import build
from serve_apps.ingest.backend import Backend
from serve_apps.ingest.committer import Committer
from serve_apps.ingest.ingest import Ingest
from serve_apps.ingest.memory import MemoryKeys, MemoryQuarantine
from serve_apps.ingest.ports import SiteKey
from serve_apps.plumbing.stream.configured import TOPICS
from serve_apps.plumbing.stream.memory import MemoryStream
from tests.sent import NOW_US, PUBLIC, SIGNER, event, events_frame
from tidegate.clock import ManualClock
from tidegate.frames import MEDIA_TYPE, packed
from tidegate.keys import KeyFile, Keyring
from tidegate.limits import FRAMES_BODY_BYTES_MAX
from tidegate.records import Kind
from tidegate.tide import FRAMES_PATH, Status


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
