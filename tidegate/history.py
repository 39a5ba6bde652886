"""History: what a backtest reads of the past, as Arrow tables; the seam between who keeps it and who reads it.

A site makes these tables of its journal, an archive of what the sites sent. `source` is `site.gate.epoch`, so that
`source.L1.seq` is a decision's id. Rows of one source are in the order of `pos`.

    decisions  source and the fields of `records.DECISION`, by when they were made
    labels     how payments turned out, by when the gate received it; corrections are rows of their own
    lists      each set of lists that decisions name, its text, and when it held
    policies   each policy that decisions name, its terms, and when it began to hold
    bundles    each model that decisions name and is still known, and when it was trained
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, get_args

import numpy as np
import pyarrow as pa

from tidegate.events import LabelReceived
from tidegate.lists import ListsActivation
from tidegate.policy.active import Activation
from tidegate.records import DECISION, SCHEMAS, Lane
from tidegate.wire import decision_columns, decision_schema, fill

Rows = np.ndarray[Any, np.dtype[np.void]]
Table = Literal["decisions", "labels", "lists", "policies", "bundles"]
TABLES: Final[tuple[Table, ...]] = get_args(Table)
_SOURCE: Final = pa.dictionary(pa.int32(), pa.string())

BACKTEST_COLUMNS: Final = (
    "seq", "pos", "time_us", "transaction_id", "merchant", "card", "terminal", "device", "currency", "country", "mcc",
    "channel", "entry_mode", "amount_minor", "feature_fingerprint", "features", "probability", "outcome", "risk_score",
    "bundle", "lists_version", "marks", "policy", "mode_bundle", "mode_lists", "mode_policy", "rules_hit",
    "rules_braked", "rules_deciding",
)  # fmt: skip
"""The fields of a decision that a backtest reads, beside `source`."""

_METADATA: Final = {"schema": SCHEMAS[Lane.DECISIONS]}
_OTHERS: Final = {
    "labels": pa.schema(
        [
            ("source", _SOURCE),
            ("received_us", pa.int64()),
            ("merchant", pa.string()),
            ("transaction_id", pa.string()),
            ("label_id", pa.string()),
            ("verdict", pa.string()),
            ("known_us", pa.int64()),
        ],
        metadata=_METADATA,
    ),
    "lists": pa.schema(
        [
            ("source", _SOURCE),
            ("version", pa.uint64()),
            ("from_us", pa.int64()),
            ("to_us", pa.int64()),
            ("as_of_us", pa.int64()),
            ("lists", pa.string()),
            ("text", pa.large_string()),
        ],
        metadata=_METADATA,
    ),
    "policies": pa.schema(
        [("source", _SOURCE), ("policy", pa.string()), ("from_us", pa.int64()), ("terms", pa.large_string())],
        metadata=_METADATA,
    ),
    "bundles": pa.schema([("bundle", pa.string()), ("trained_at_us", pa.int64())], metadata=_METADATA),
}
TIMES: Final[dict[Table, str]] = {"decisions": "time_us", "labels": "received_us"}
"""The column that a table is read by; the small tables are read whole."""


def schema_of(table: Table, columns: Iterable[str] | None = None) -> pa.Schema:
    """Return a table's schema, of some columns or of all."""
    if table == "decisions":
        made = pa.schema([("source", _SOURCE), *decision_schema()], metadata=_METADATA)
    else:
        made = _OTHERS[table]
    if columns is None:
        return made
    return pa.schema([made.field(name) for name in columns], metadata=made.metadata)


def decisions_batch(source: str, rows: Rows, columns: Iterable[str] = BACKTEST_COLUMNS) -> pa.RecordBatch:
    """Return a run of decisions of one source, dtype `records.DECISION`, as columns."""
    names = tuple(columns)
    codes = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(rows), np.int32)), pa.array([source]))
    return pa.RecordBatch.from_arrays(
        [codes, *decision_columns(rows, names)], schema=schema_of("decisions", ("source", *names))
    )


def batch_of(table: Table, rows: Iterable[Mapping[str, Any]]) -> pa.RecordBatch:
    """Return rows of one of the smaller tables as columns."""
    return pa.RecordBatch.from_pylist(list(rows), schema=schema_of(table))


def label_row(source: str, told: LabelReceived, received_us: int) -> dict[str, Any]:
    """Return a label as a row of `labels`."""
    said = told.model_dump(exclude={"card", "feature_us", "delta"})
    return {**said, "source": source, "received_us": received_us}


def lists_row(source: str, told: ListsActivation, from_us: int) -> dict[str, Any]:
    """Return lists that became active as a row of `lists`, without their text and until when they held."""
    return {
        "source": source,
        "version": told.version,
        "lists": told.lists,
        "from_us": from_us,
        "as_of_us": told.as_of_us,
    }


def policy_row(source: str, told: Activation, from_us: int) -> dict[str, Any]:
    """Return a policy that became active as a row of `policies`."""
    return {"source": source, "policy": told.policy, "from_us": from_us, "terms": json.dumps(told.terms)}


def rows_of(batch: pa.RecordBatch) -> Rows:
    """Return decisions as rows of dtype `records.DECISION`; fields that the batch leaves out are zero.

    Raises:
        ValueError: a value is missing, or of another type.
    """
    rows = np.zeros(batch.num_rows, DECISION)
    fill(rows, batch, [name for name in batch.schema.names if name != "source"])
    return rows


def sources_of(batch: pa.RecordBatch) -> tuple[np.ndarray[Any, np.dtype[np.int32]], list[str]]:
    """Return the sources of a batch's rows: codes, and the names that they stand for."""
    column = batch.column("source")
    return np.asarray(column.indices), column.dictionary.to_pylist()
