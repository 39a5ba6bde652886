"""Reads an archive for `recompute`, a source and a day at a time, and keeps what came of it for whoever asks later."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from serve_apps.archive.delta import opened
from serve_apps.archive.durability import sync
from serve_apps.archive.ports import ArchiveError
from serve_apps.archive.recompute import COLUMNS, TOLD, Change, Paid, Recomputed, Recount, keys_of
from tidegate.archived import GROWN, Pin, Rows, restored
from tidegate.history import rows_of

RESULT: Final = "recomputed.json"
_PAID: Final = ["source", "time_us", "merchant", "transaction_id", "card", "terminal", "feature_us", "marks"]


class Result(NamedTuple):
    """What came of the last time: when it ended, and of all sources together."""

    at_us: int
    told: Recomputed


class Recomputing:
    """An archive at one version, computed again."""

    def __init__(self, folder: Path, pin: Pin | None = None) -> None:
        """Open its tables.

        Raises:
            ArchiveError: there is no archive, or not in that version any more.
        """
        tables = opened(folder, pin)
        self._decisions, self._events = (tables[name].to_pyarrow_dataset() for name in ("decisions", "events"))
        grown = (field for field in tables["decisions"].schema().fields if GROWN in field.metadata)
        self._grown = frozenset(field.name for field in grown)

    def each(self) -> Iterator[tuple[str, Recomputed]]:
        """Yield what comes of each source.

        Raises:
            ArchiveError: a file can't be read.
        """
        try:
            days = _days_of(self._decisions)
            for source in sorted(days):
                yield source, self._source(source, days)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise ArchiveError(f"decisions can't be read ({error}); restore the archive from its copy") from error

    def _source(self, source: str, days: dict[str, list[Any]]) -> Recomputed:
        events = self._events.to_table(["pos", "time_us", "kind", "body"], filter=ds.field("source") == source)
        events = events.sort_by("pos")
        told = events.filter(pc.is_in(events["kind"], pa.array([int(kind) for kind in TOLD], pa.int16()))).to_pylist()
        changes = [Change(**each) for each in told]
        recount = Recount(source, events["pos"].to_numpy(), changes, self._payments(source, changes, days))
        for day in days[source]:
            recount.take(self._rows((ds.field("source") == source) & (ds.field("day") == day)))
        return recount.told

    def _rows(self, wanted: ds.Expression) -> Rows:
        table = self._decisions.to_table(list(COLUMNS), filter=wanted).sort_by("pos").combine_chunks()
        (batch,) = table.to_batches()
        return rows_of(restored(batch, COLUMNS, self._grown))

    def _payments(self, source: str, changes: list[Change], days: dict[str, list[Any]]) -> dict[tuple[str, str], Paid]:
        """Return what labels are of, in whichever epoch of the gate it was decided first."""
        keys = keys_of(changes)
        if not keys:
            return {}
        gate = source.rpartition(".")[0]
        epochs = [other for other in days if other.rpartition(".")[0] == gate]
        names = pa.array(sorted({transaction for _, transaction in keys}), pa.string())
        wanted = ds.field("source").isin(epochs) & ds.field("transaction_id").isin(names)
        found: dict[tuple[str, str], Paid] = {}
        for row in self._decisions.to_table(_PAID, filter=wanted).sort_by("time_us").to_pylist():
            paid = Paid(*(row[name] for name in Paid._fields))
            found.setdefault((row["merchant"], row["transaction_id"]), paid)
        return found


def _days_of(decisions: ds.Dataset) -> dict[str, list[Any]]:
    """Return the days of each source, ascending."""
    found: dict[str, set[Any]] = {}
    for batch in decisions.to_batches(["source", "day"]):
        pairs = pa.Table.from_batches([batch]).group_by(["source", "day"]).aggregate([])
        for row in pairs.to_pylist():
            found.setdefault(row["source"], set()).add(row["day"])
    return {source: sorted(days) for source, days in found.items()}


def keep(folder: Path, result: Result) -> None:
    """Write what came of it beside the tables, whole or not at all."""
    path = folder / RESULT
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps({"at_us": result.at_us, **asdict(result.told)}))
    sync(beside)
    beside.replace(path)


def kept_result(folder: Path) -> Result | None:
    """Return what was kept last; None: nothing was.

    Raises:
        ArchiveError: the file isn't what this program writes.
    """
    try:
        told = json.loads((folder / RESULT).read_text())
        return Result(int(told.pop("at_us")), Recomputed(**told))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ArchiveError(f"{folder / RESULT}: can't be read ({error}); remove it, and recompute anew") from error
