"""Which rows of which tables a frame or a part of a text becomes. Pure: no disk, no clock, no log."""

from typing import Any, Final

import pyarrow as pa
from pydantic import ValidationError

from serve_apps.archive.ports import UndecodableError
from serve_apps.plumbing.stream.log import ARTIFACTS, topic_of
from tidegate import archived
from tidegate.archived import Kept
from tidegate.artifacts import Part, trained_at_us
from tidegate.events import LabelReceived, Said, said
from tidegate.frames import FrameError, Run, parse, records
from tidegate.history import label_row, lists_row, policy_row
from tidegate.lists import ListsActivation
from tidegate.policy.active import Activation
from tidegate.records import HEAD_BYTES, Lane

Rows = dict[Kept, pa.RecordBatch]
_LANES: Final[dict[str, Lane]] = {topic_of(lane): lane for lane in (Lane.DECISIONS, Lane.EVENTS)}
TOPICS: Final[dict[str, Kept]] = {
    topic_of(Lane.DECISIONS): "decisions",
    topic_of(Lane.EVENTS): "events",
    ARTIFACTS: "artifacts",
}
"""The topics that the archive reads, and of each the table that has a row of all that it carries.

That table is written last, so that it says where to go on reading.
"""


def rows_of(value: bytes, topic: str, committed_us: int) -> Rows:
    """Return what a message becomes that was committed then, the table that `TOPICS` names last.

    Raises:
        UndecodableError: the bytes are nothing of that topic, or a record doesn't say what its kind says.
    """
    try:
        return (
            _part(Part.parse(value))
            if topic == ARTIFACTS
            else _frame(records(parse(value)), _LANES[topic], committed_us)
        )
    except (FrameError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise UndecodableError(_first_line(error)) from error


def _frame(run: Run, lane: Lane, committed_us: int) -> Rows:
    source = f"{run.header.site}.{run.header.gate}.{run.header.epoch}"
    if run.header.lane != lane:
        raise UndecodableError(f"{source}: a frame of lane {run.header.lane} among those of lane {int(lane)}")
    if lane is Lane.DECISIONS:
        return {"decisions": archived.decisions(source, run.decisions(), committed_us)}
    return _events(source, run, committed_us)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0]


def _row(source: str, told: Said, time_us: int) -> tuple[Kept, dict[str, Any]]:
    """Return what a record says to a table beside `events`, and which."""
    match told:
        case LabelReceived():
            return "labels", label_row(source, told, time_us)
        case ListsActivation():
            return "lists", lists_row(source, told, time_us)
        case Activation():
            return "policies", policy_row(source, told, time_us)


def _events(source: str, run: Run, committed_us: int) -> Rows:
    heads, bodies = run.heads(), [record[HEAD_BYTES:] for record in run.each()]
    rows: dict[Kept, list[dict[str, Any]]] = {}
    for kind, time_us, body in zip(heads["kind"].tolist(), heads["time_us"].tolist(), bodies, strict=True):
        if (told := said(kind, body)) is not None:
            table, row = _row(source, told, time_us)
            rows.setdefault(table, []).append(row)
    made: Rows = {table: archived.batch_of(table, told, committed_us) for table, told in rows.items()}
    return made | {"events": archived.events(source, heads, bodies, committed_us)}


def _part(part: Part) -> Rows:
    """Return what a part of a text becomes; a manifest, which is one part, says when its model was trained."""
    header, text = part.header, part.text()
    made: Rows = {}
    if header.kind == "bundle":
        row = {"bundle": header.name, "trained_at_us": trained_at_us(text)}
        made["bundles"] = archived.batch_of("bundles", [row])
    row = {"sha256": header.sha256, "kind": header.kind, "part": header.part, "parts": header.parts}
    return made | {"artifacts": archived.batch_of("artifacts", [{**row, "text": text.decode()}])}
