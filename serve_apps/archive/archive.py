"""Which rows of which tables a frame becomes. Pure: no disk, no clock, no log."""

import json
from collections.abc import Callable
from typing import Any, Final

import pyarrow as pa
from pydantic import ValidationError

from serve_apps.archive.ports import UndecodableError
from serve_apps.plumbing.stream.log import topic_of
from tidegate import archived
from tidegate.archived import Artifact, Kept
from tidegate.frames import FrameError, Run, parse, records
from tidegate.history import label_row, lists_row, policy_row
from tidegate.lists import ListsActivation
from tidegate.policy.active import Activation
from tidegate.records import HEAD_BYTES, Kind, Lane, Record

Rows = dict[Kept, pa.RecordBatch]
CURSORS: Final[dict[Lane, Kept]] = {Lane.DECISIONS: "decisions", Lane.EVENTS: "events"}
"""The table that has a row of every record of a lane. It is written last, so that it says where to go on reading."""
TOPICS: Final[dict[str, Lane]] = {topic_of(lane): lane for lane in CURSORS}
"""The topics that the archive reads, one a lane."""


def rows_of(frame: bytes, lane: Lane) -> Rows:
    """Return what a committed frame becomes, the cursor's table last.

    Raises:
        UndecodableError: the bytes are no frame of that lane, or a record doesn't say what its kind says.
    """
    try:
        run = records(parse(frame))
        source = f"{run.header.site}.{run.header.gate}.{run.header.epoch}"
        if run.header.lane != lane:
            raise UndecodableError(f"{source}: a frame of lane {run.header.lane} among those of lane {int(lane)}")
        if lane is Lane.DECISIONS:
            return {"decisions": archived.decisions(source, run.decisions())}
        return _events(source, run)
    except (FrameError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise UndecodableError(_first_line(error)) from error


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0]


def _lists(source: str, record: Record) -> dict[str, Any]:
    return lists_row(source, ListsActivation.model_validate(record.values()), record.time_us)


def _policy(source: str, record: Record) -> dict[str, Any]:
    return policy_row(source, Activation.model_validate(record.values()), record.time_us)


_SAID: Final[dict[int, tuple[Kept, Callable[[str, Record], dict[str, Any]]]]] = {
    Kind.LABEL_RECEIVED: ("labels", label_row),
    Kind.LISTS_ACTIVATED: ("lists", _lists),
    Kind.POLICY_ACTIVATED: ("policies", _policy),
}
"""What a record says to a table beside `events`; one of a kind that this program doesn't know stands there alone."""


def _events(source: str, run: Run) -> Rows:
    heads, each = run.heads(), list(run.each())
    told: dict[Kept, list[dict[str, Any]]] = {}
    for kind, record in zip(heads["kind"].tolist(), each, strict=True):
        if kind in _SAID:
            table, row = _SAID[kind]
            told.setdefault(table, []).append(row(source, Record.from_bytes(record)))
    made: Rows = {table: archived.batch_of(table, rows) for table, rows in told.items()}
    return made | {"events": archived.events(source, heads, [record[HEAD_BYTES:] for record in each])}


def rows_of_artifact(artifact: Artifact) -> Rows:
    """Return what a text that records name becomes; the text itself last.

    Raises:
        UndecodableError: a manifest doesn't say when its model was trained.
    """
    row = {"sha256": artifact.sha256, "kind": artifact.kind, "text": artifact.text}
    made: Rows = {}
    if artifact.kind == "bundle":
        made["bundles"] = archived.batch_of("bundles", [{"bundle": artifact.name, "trained_at_us": _trained(artifact)}])
    return made | {"artifacts": archived.batch_of("artifacts", [row])}


def _trained(artifact: Artifact) -> int:
    """Return when a model was trained, of its manifest's canonical JSON."""
    try:
        trained_us = json.loads(artifact.text)["trained_at_us"]
    except (ValueError, KeyError, TypeError) as error:
        raise UndecodableError(f"{artifact.name}: no manifest of a bundle ({_first_line(error)})") from error
    if not isinstance(trained_us, int):
        raise UndecodableError(f"{artifact.name}: trained_at_us: an integer is expected")
    return trained_us
