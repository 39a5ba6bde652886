"""One suite for every archive that a backtest reads: tables by span and columns, in order, or refused with a reason."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tidegate.history import BACKTEST_COLUMNS, Table, batch_of, decisions_batch, rows_of, schema_of, sources_of
from tidegate.records import DECISION
from training.backtest.memory import MemoryArchive
from training.backtest.parquet import ParquetArchive
from training.backtest.ports import Archive, BacktestError
from training.backtest.spans import Span

Tables = Mapping[Table, Sequence[pa.RecordBatch]]
SOURCES = ("site-1.g0.0123456789abcdef", "site-1.g0.fedcba9876543210")


def decisions(first: int, count: int) -> np.ndarray[Any, Any]:
    rows = np.zeros(count, DECISION)
    rows["seq"] = rows["time_us"] = first + np.arange(count)
    rows["card"] = [f"card-{at}" for at in range(first, first + count)]
    rows["features"] = np.arange(count * 40).reshape(count, 40) / 7
    rows["features"][0, 0] = np.nan
    rows["rules_hit"] = np.uint64(1) << np.uint64(63)
    return rows


ROWS = [decisions(0, 40), decisions(40, 60), decisions(100, 30)]
TABLES: Tables = {
    "decisions": [decisions_batch(source, rows) for source, rows in zip((*SOURCES, SOURCES[1]), ROWS, strict=True)],
    "labels": [
        batch_of(
            "labels",
            [
                {"source": SOURCES[0], "received_us": at, "merchant": "m", "transaction_id": f"t-{at}"}
                | {"label_id": f"l-{at}", "verdict": "fraud", "known_us": at}
                for at in (5, 50)
            ],
        )
    ],
    "policies": [batch_of("policies", [{"source": SOURCES[0], "policy": "p", "from_us": 0, "terms": "{}"}])],
}


@pytest.fixture(params=["memory", "parquet"])
def archive_of(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Tables], Archive]:
    def build(tables: Tables) -> Archive:
        if request.param == "memory":
            return MemoryArchive(tables)
        for table, batches in tables.items():
            with pq.ParquetWriter(tmp_path / f"{table}.parquet", batches[0].schema) as writer:
                for batch in batches:
                    writer.write_batch(batch)
        return ParquetArchive(tmp_path)

    return build


def test_decisions_of_a_span_come_back_in_order_to_the_bit_with_their_sources(
    archive_of: Callable[[Tables], Archive],
) -> None:
    batches = list(archive_of(TABLES).read("decisions", Span(10, 120), ("source", *BACKTEST_COLUMNS)))

    found = np.concatenate([rows_of(batch) for batch in batches])
    assert found.tobytes() == np.concatenate(ROWS)[10:120].tobytes()
    named = []
    for batch in batches:
        codes, names = sources_of(batch)
        named += [names[code] for code in codes]
    assert named == [SOURCES[0]] * 30 + [SOURCES[1]] * 80


def test_labels_are_read_by_when_they_were_received_and_small_tables_whole(
    archive_of: Callable[[Tables], Archive],
) -> None:
    archive = archive_of(TABLES)

    labels = [batch.column("label_id").to_pylist() for batch in archive.read("labels", Span(6, 60), ("label_id",))]
    policies = [batch.to_pylist() for batch in archive.read("policies", Span(900, 901), ("policy",))]

    assert labels == [["l-50"]]
    assert policies == [[{"policy": "p"}]]


@pytest.mark.parametrize("parts", [1, 2, 3, 8])
def test_the_parts_of_a_span_hold_each_of_its_decisions_once(
    parts: int, archive_of: Callable[[Tables], Archive]
) -> None:
    archive = archive_of(TABLES)

    spans = archive.split(Span(10, 120), parts)

    read = [rows_of(batch) for span in spans for batch in archive.read("decisions", span, ("seq", "time_us"))]
    assert np.concatenate(read)["seq"].tolist() == list(range(10, 120))
    assert len(spans) == parts
    assert all(one.to_us == after.from_us for one, after in itertools.pairwise(spans))


def test_a_column_that_is_not_there_is_named(archive_of: Callable[[Tables], Archive]) -> None:
    lean = [batch.select(["source", "time_us", "seq"]) for batch in TABLES["decisions"]]

    with pytest.raises(BacktestError, match="has no card, features"):
        list(archive_of({"decisions": lean}).read("decisions", Span(0, 9), ("seq", "card", "features")))


def test_a_file_of_another_schema_is_refused(tmp_path: Path) -> None:
    old = schema_of("decisions", ("time_us",)).with_metadata({"schema": "0123456789abcdef"})
    pq.write_table(pa.table({"time_us": [1]}, schema=old), tmp_path / "decisions.parquet")

    with pytest.raises(BacktestError, match="schema 0123456789abcdef, this program reads"):
        list(ParquetArchive(tmp_path).read("decisions", Span(0, 9), ("time_us",)))


def test_a_table_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BacktestError, match=r"labels\.parquet: can't be read"):
        list(ParquetArchive(tmp_path).read("labels", Span(0, 9), ("verdict",)))
