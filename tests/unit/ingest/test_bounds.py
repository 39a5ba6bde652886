"""What an enrolled site, or nobody at all, may not do to ingest and to whoever reads what it commits."""

import pytest

from serve_apps.ingest.committer import Committer
from serve_apps.ingest.ingest import Ingest
from serve_apps.ingest.memory import MemoryKeys, MemoryQuarantine
from serve_apps.ingest.ports import SiteKey
from serve_apps.plumbing.stream.configured import TOPICS
from serve_apps.plumbing.stream.memory import MemoryStream
from tests.sent import NOW_US, PUBLIC, SIGNER, event, events_frame
from tidegate.clock import ManualClock
from tidegate.frames import packed
from tidegate.records import Kind
from tidegate.tide import Status


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
