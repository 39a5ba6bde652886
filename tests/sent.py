"""Records of a site as a log carries them, and the smallest coding of a run as a message."""

from typing import Any

import numpy as np

from serve_apps.archive.ports import Partition, Run, UndecodableError
from tidegate.records import DECISION, Kind, Lane, Record, event_body

NOW_US = 1_795_500_000_000_000
SOURCE = "site-1.g0.0123456789abcdef"


def decisions(first: int, count: int) -> bytes:
    """Return the canonical bytes of `count` decisions, a second apart, from seq `first` on."""
    rows = np.zeros(count, DECISION)
    rows["seq"] = rows["pos"] = np.arange(first, first + count)
    rows["time_us"] = NOW_US + rows["seq"].astype(np.int64) * 1_000_000
    rows["lane"], rows["kind"] = Lane.DECISIONS, Kind.DECISION
    rows["transaction_id"] = [f"t-{seq}" for seq in range(first, first + count)]
    rows["features"] = rows["seq"][:, None] / 7
    return rows.tobytes()


def event(kind: Kind, seq: int, values: dict[str, Any]) -> Record:
    """Return one record of the events lane."""
    return Record(Lane.EVENTS, kind, seq, seq, NOW_US + seq, event_body(values))


def label(seq: int) -> Record:
    """Return the receipt of a label."""
    told = {"label_id": f"l-{seq}", "merchant": "m-1", "transaction_id": f"t-{seq}", "verdict": "fraud"}
    return event(Kind.LABEL_RECEIVED, seq, {**told, "known_us": NOW_US, "source": "chargeback"})


def coded(run: Run) -> bytes:
    """Return a run as a message: source, lane, then the canonical bytes."""
    return f"{run.source} {int(run.lane)}\n".encode() + run.canonical


def decode(_: Partition, value: bytes) -> Run:
    """Return the run of such a message."""
    head, _newline, canonical = value.partition(b"\n")
    if not head:
        raise UndecodableError("the message has no head")
    source, lane = head.decode().split()
    return Run(source, Lane(int(lane)), canonical)


def message(first: int, count: int, source: str = SOURCE) -> bytes:
    """Return a message of decisions from seq `first` on."""
    return coded(Run(source, Lane.DECISIONS, decisions(first, count)))


def events_message(*records: Record, source: str = SOURCE) -> bytes:
    """Return a message of records of the events lane."""
    return coded(Run(source, Lane.EVENTS, b"".join(record.to_bytes() for record in records)))
