"""A site's journal sent up and archived in one process: frames, log, consumer, tables."""

from pathlib import Path

from actors.gate.orders import Orders
from actors.journal.disk import PosixDisk
from actors.journal.log import Entry
from actors.journal.reader import Reader
from actors.journal.segment import Columns
from serve_apps.archive.archive import TOPICS
from serve_apps.archive.consumer import Consumer
from serve_apps.archive.delta import open_store
from serve_apps.plumbing.stream.memory import MemoryStream
from serve_apps.plumbing.stream.ports import Message
from tests.sent import frame
from tidegate.archived import Artifact
from tidegate.clock import SystemClock
from tidegate.lists import ListsActivation
from tidegate.records import Kind, Lane
from tidegate.settings import SiteSettings

_RECORDS = 64
"""Of a frame: a small journal makes many of them."""


def archive(settings: SiteSettings, folder: Path) -> None:
    """Archive all of a site's journal, of one epoch, with the texts of its lists and the manifests of its bundles."""
    data, stream, store = Path(settings.data_dir), MemoryStream(SystemClock()), open_store(folder)
    for topic in TOPICS:
        stream.create(topic, 2)
    records: dict[Lane, list[bytes]] = {Lane.DECISIONS: [], Lane.EVENTS: []}
    journal, orders = Reader(PosixDisk(data / "journal")), Orders(PosixDisk(data / "orders"))
    for piece in journal.pieces():
        _add(records, piece)
        if not isinstance(piece, Columns) and piece[1].kind is Kind.LISTS_ACTIVATED:
            told = ListsActivation.model_validate(piece[1].values())
            if told.version:
                store.keep(Artifact("lists", "".join(f"{line}\n" for line in orders.text(told))))
    for manifest in data.glob("bundles/*/manifest.json"):
        store.keep(Artifact("bundle", manifest.read_text()))
    source = f"{settings.site}.{settings.gate}.{journal.epochs()[0].epoch}"
    writer = stream.writer("c0")
    for lane, each in records.items():
        for first in range(0, len(each), _RECORDS):
            data_of = frame(lane, b"".join(each[first : first + _RECORDS]), source)
            writer.commit([Message(f"tidegate.L{int(lane)}", source.encode(), data_of)], {})
    reader, consumers = stream.reader(), stream.consumers()
    consumer = Consumer(reader=reader, consumers=consumers, store=store, clock=SystemClock())
    while consumer.step().messages:
        pass
    consumer.flush()
    assert not consumer.halted


def _add(records: dict[Lane, list[bytes]], piece: Columns | Entry) -> None:
    if isinstance(piece, Columns):
        records[Lane.DECISIONS] += [row.tobytes() for row in piece.rows]
    elif piece[1].lane in records:
        records[piece[1].lane].append(piece[1].to_bytes())
