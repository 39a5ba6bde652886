"""Which rows of which tables a run of records becomes. Pure: no disk, no clock, no log."""

import json
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa
from pydantic import ValidationError

from serve_apps.archive.ports import Run, UndecodableError
from tidegate import archived
from tidegate.archived import Artifact, Kept
from tidegate.history import label_row, lists_row, policy_row
from tidegate.lists import ListsActivation
from tidegate.policy.active import Activation
from tidegate.records import DECISION, HEAD_BYTES, Kind, Lane, Record

Rows = dict[Kept, pa.RecordBatch]
CURSORS: Final[dict[Lane, Kept]] = {Lane.DECISIONS: "decisions", Lane.EVENTS: "events"}
"""The table that has a row of every record of a lane. It is written last, so that it says where to go on reading."""


def rows_of(run: Run) -> Rows:
    """Return what a run becomes, the cursor's table last.

    Raises:
        UndecodableError: the bytes aren't records of that lane, or a record doesn't say what its kind says.
    """
    try:
        if run.lane is Lane.DECISIONS:
            return {"decisions": archived.decisions(run.source, _decisions(run.canonical))}
        if run.lane is Lane.EVENTS:
            return _events(run.source, list(_records(run.canonical)))
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise UndecodableError(f"{run.source}.L{int(run.lane)}: {_first_line(error)}") from error
    raise UndecodableError(f"{run.source}: the archive has no table for lane {run.lane.name}")


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0]


def _decisions(canonical: bytes) -> np.ndarray[Any, Any]:
    rows = np.frombuffer(canonical, DECISION)
    if not len(rows) or np.any(rows["kind"] != Kind.DECISION) or np.any(rows["lane"] != Lane.DECISIONS):
        raise ValueError("a record is no decision, or there is none")
    return rows


def _records(canonical: bytes) -> Iterator[Record]:
    at = 0
    while at < len(canonical):
        record = Record.from_bytes(canonical, at)
        if record.lane is not Lane.EVENTS:
            raise ValueError(f"record {record.seq} is of lane {record.lane.name}")
        yield record
        at += HEAD_BYTES + len(record.body)


def _lists(source: str, record: Record) -> dict[str, Any]:
    return lists_row(source, ListsActivation.model_validate(record.values()), record.time_us)


def _policy(source: str, record: Record) -> dict[str, Any]:
    return policy_row(source, Activation.model_validate(record.values()), record.time_us)


_SAID: Final[dict[Kind, tuple[Kept, Callable[[str, Record], dict[str, Any]]]]] = {
    Kind.LABEL_RECEIVED: ("labels", label_row),
    Kind.LISTS_ACTIVATED: ("lists", _lists),
    Kind.POLICY_ACTIVATED: ("policies", _policy),
}
"""What a record says to a table beside `events`."""


def _events(source: str, records: list[Record]) -> Rows:
    if not records:
        raise ValueError("there is no record")
    told: dict[Kept, list[dict[str, Any]]] = {}
    for record in records:
        if record.kind in _SAID:
            table, row = _SAID[record.kind]
            told.setdefault(table, []).append(row(source, record))
    made: Rows = {table: archived.batch_of(table, rows) for table, rows in told.items()}
    return made | {"events": archived.events(source, records)}


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
    """Return when a model was trained, of its manifest as `bundle.json` has it."""
    try:
        trained_us = json.loads(artifact.text)["trained_at_us"]
    except (ValueError, KeyError, TypeError) as error:
        raise UndecodableError(f"{artifact.name}: no manifest of a bundle ({_first_line(error)})") from error
    if not isinstance(trained_us, int):
        raise UndecodableError(f"{artifact.name}: trained_at_us: an integer is expected")
    return trained_us
