"""Journals in words: the lines of `tidegate journal verify` and `tidegate journal show`."""

from collections.abc import Iterator
from itertools import islice

import numpy as np

from actors.journal.layout import CHAIN_UNKNOWN, located
from actors.journal.log import Entry
from actors.journal.ports import Disk
from actors.journal.reader import Reader
from actors.journal.verify import EpochVerdict, Verdict
from actors.journal.walk import Lost, Torn, Walk
from tidegate.clock import rfc3339
from tidegate.records import DECISION, SCHEMAS, Lane, Record

_SHOWN: tuple[str, ...] = ("transaction_id", "merchant", "card", "amount_minor", "currency", "outcome", "risk_score")


def verify_lines(verdict: Verdict, *, in_use: bool = False) -> Iterator[str]:
    """Yield the verdict in words, the last line being the sum of it; `in_use` where a gate was writing meanwhile."""
    for epoch in verdict.epochs:
        yield from _epoch_lines(epoch, in_use=in_use and epoch is verdict.epochs[-1])
    if not verdict.epochs:
        yield "no journal here"
    yield "ok: every durable record is there" if verdict.ok else "NOT ok: see LOST and REFUSED above"


def show_lines(disk: Disk, lane: Lane | None = None, from_pos: int = 1, limit: int | None = None) -> Iterator[str]:
    """Yield one line a record, oldest epoch first: epoch number, position, lane and seq, time, kind, what it says."""
    chosen = (
        entry
        for entry in Reader(disk).entries()
        if entry[1].pos >= from_pos and (lane is None or entry[1].lane is lane)
    )
    return (_record_line(entry) for entry in islice(chosen, limit))


def _epoch_lines(epoch: EpochVerdict, *, in_use: bool) -> Iterator[str]:
    if epoch.found is None:
        yield f"epoch {epoch.name}: REFUSED: {epoch.refused}"
        return
    found = epoch.found
    yield f"epoch {epoch.name}: {sum(found.counts)} records{_started(found)}"
    if found.trimmed_pos:
        yield f"  positions 1..{found.trimmed_pos} were dropped once the cloud had them"
    for lane in SCHEMAS:
        seq, running = found.at.next_seqs[lane] - 1, found.at.chains[lane]
        head = "unknown behind a loss" if running == CHAIN_UNKNOWN else running.hex()[:16]
        yield f"  L{lane:d} {lane.name.lower()}: {found.counts[lane]} records, last seq {seq}, chain {head}"
    yield from (f"  LOST {lost_line(lost)}" for lost in found.lost)
    if found.torn is not None:
        yield f"  {_written_line(found.torn) if in_use else torn_line(found.torn)}"
    if found.unfinished:
        yield "  unfinished: its creation was cut short; the next start removes it"


def _started(found: Walk) -> str:
    return f", began because of {found.started['reason']}" if found.started else ""


def lost_line(lost: Lost) -> str:
    """Return in words what is lost and where it was."""
    lanes = ", ".join(f"L{part.lane:d} {part.first_seq}..{part.last_seq}" for part in lost.lanes)
    what = f"positions {lost.first_pos}..{lost.last_pos} ({lanes})" if lanes else "no record, a damaged header"
    where = f"{lost.file} byte {lost.start} to {lost.last_file} byte {lost.stop}"
    return f"{what}: {where}{'' if lost.acknowledged else ' (nothing proves that these were durable)'}"


def torn_line(torn: Torn) -> str:
    """Return in words what is torn."""
    return f"torn tail: {torn.file} byte {torn.offset}, {torn.used} bytes that were never acknowledged"


def _record_line(entry: Entry) -> str:
    at, record = entry
    head = f"{located(at)[0]} {record.pos} L{record.lane:d}.{record.seq} {rfc3339(record.time_us)} {record.kind.name}"
    return f"{head} {_says(record)}"


def _says(record: Record) -> str:
    if record.lane is not Lane.DECISIONS:
        return record.body.decode()
    row = np.frombuffer(record.to_bytes(), DECISION, 1)[0]
    values = ((name, row[name]) for name in _SHOWN)
    return " ".join(f"{name}={_text(value)}" for name, value in values)


def _text(value: object) -> str:
    return value.decode("ascii", "backslashreplace") if isinstance(value, bytes) else str(value)


def _written_line(torn: Torn) -> str:
    return f"in use: {torn.used} bytes from {torn.file} byte {torn.offset} on were being written; ask again for those"
