"""A site's journal and texts sent up and archived in one process: real uplink, ingest, log's twin, consumer, tables."""

import asyncio
import os
from pathlib import Path

from actors.journal.disk import PosixDisk
from actors.journal.tail import Tail
from actors.uplink.disk import FolderTexts
from actors.uplink.key import new_key, public_of, signer_of
from actors.uplink.memory import MemoryFile
from actors.uplink.ports import Reply
from actors.uplink.uplink import Uplink, Whose
from serve_apps.archive.consumer import Consumer
from serve_apps.archive.delta import open_store
from serve_apps.ingest.backend import Backend
from serve_apps.ingest.committer import Committer
from serve_apps.ingest.memory import MemoryKeys, MemoryQuarantine
from serve_apps.ingest.ports import SiteKey
from serve_apps.plumbing.stream.configured import TOPICS
from serve_apps.plumbing.stream.memory import MemoryStream
from tidegate.artifacts import ARTIFACTS_PATH
from tidegate.clock import SystemClock
from tidegate.ids import GateId, SiteId
from tidegate.settings import SiteSettings
from tidegate.tide import FRAMES_PATH

CLOCK = SystemClock()
STEPS_MAX = 1_000


class Direct:
    """The way to an ingest in this process."""

    def __init__(self, backend: Backend) -> None:
        self._backend, self._loop = backend, asyncio.new_event_loop()

    def post(self, path: str, body: bytes, media_type: str) -> Reply:  # noqa: ARG002 - the port's
        takes = {FRAMES_PATH: self._backend.frames, ARTIFACTS_PATH: self._backend.text}.get(path, self._backend.head)
        answer = self._loop.run_until_complete(takes(body))
        return Reply(200, 0.0, answer.model_dump_json().encode())

    def close(self) -> None:
        self._loop.close()


def archive(settings: SiteSettings, folder: Path) -> None:
    """Archive all of a site's journal, with the texts that it names; no file is copied."""
    stream = MemoryStream(CLOCK)
    for topic in TOPICS:
        stream.create(topic, 2)
    _send(settings, stream)
    reader, consumers = stream.reader(), stream.consumers()
    consumer = Consumer(reader=reader, consumers=consumers, store=open_store(folder), clock=CLOCK)
    while consumer.step().messages:
        pass
    consumer.flush()
    assert not consumer.halted


def _send(settings: SiteSettings, stream: MemoryStream) -> None:
    data, pem = Path(settings.data_dir), new_key(os.urandom)
    signer = signer_of(pem, "key")
    keys = MemoryKeys(SiteKey(signer.key, settings.site, public_of(pem, "key"), 0))
    committer = Committer(stream, "c0", CLOCK)
    backend = Backend(keys=keys, quarantine=MemoryQuarantine(), committers=[committer], clock=CLOCK)
    direct = Direct(backend)
    uplink = Uplink(
        whose=Whose(SiteId(settings.site), GateId(settings.gate)),
        journal=Tail(PosixDisk(data / "journal")),
        carrier=direct,
        memory=MemoryFile(),
        witness=MemoryFile(),
        signer=signer,
        clock=CLOCK,
        entropy=os.urandom,
    )
    uplink.offer(FolderTexts(data))
    assert any(uplink.step() for _ in range(STEPS_MAX)), uplink.standing  # it waits once nothing is left to send
    assert not any(uplink.standing.behind.values()), uplink.standing
    assert uplink.standing.trouble == ""
    direct.close()
    backend.close()
