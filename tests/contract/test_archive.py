"""One suite for every archive that a backtest reads: tables by span and columns, in order, or refused with a reason."""

import itertools
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from serve_apps.archive.delta import open_store
from serve_apps.archive.ports import Piece
from tests.sent import keep
from tidegate import archived
from tidegate.archived import Kept, told_of
from tidegate.archived import schema_of as stored_schema
from tidegate.artifacts import Artifact
from tidegate.history import BACKTEST_COLUMNS, Table, batch_of, decisions_batch, rows_of, schema_of, sources_of
from tidegate.records import DECISION
from training.archive import ArchiveError, PinnedArchive
from training.backtest.delta import DeltaArchive
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


def _lean(tmp_path: Path, batches: Sequence[pa.RecordBatch]) -> None:
    """Put a table of fewer columns in the place of `decisions`."""
    shutil.rmtree(tmp_path / "decisions")
    schema = pa.schema(
        [field for field in stored_schema("decisions") if field.name in {*batches[0].schema.names, "day"}]
    )
    DeltaTable.create(tmp_path / "decisions", schema, description=told_of("decisions"), partition_by=["day"])


def _delta(tmp_path: Path, tables: Tables) -> Archive:
    """Write tables as the archive's own writer does, newest first: it keeps no order."""
    store = open_store(tmp_path)
    for table, batches in tables.items():
        for offset, batch in enumerate(reversed(batches)):
            if table == "decisions" and "card" not in batch.schema.names:
                _lean(tmp_path, batches)
                break
            if table == "decisions":
                stored = archived.decisions(sources_of(batch)[1][0], rows_of(batch))
            else:
                stored = archived.batch_of(cast("Kept", table), batch.to_pylist())
            store.append(cast("Kept", table), [Piece("test", offset, stored)])
    return DeltaArchive(PinnedArchive.of(str(tmp_path)))


@pytest.fixture(params=["memory", "parquet", "delta"])
def archive_of(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Tables], Archive]:
    def build(tables: Tables) -> Archive:
        if request.param == "memory":
            return MemoryArchive(tables)
        if request.param == "delta":
            return _delta(tmp_path, tables)
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


LISTS = Artifact("lists", "list,entity,value,expires_at,rule\nwatch,card,card-1,,\n")


def test_lists_are_told_with_their_text_once_it_has_come_and_until_when_they_held(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    told = [
        {"source": SOURCES[0], "version": version, "from_us": at, "as_of_us": at, "lists": name}
        for version, at, name in ((2, 20, LISTS.name), (1, 10, "l-000000000000"))
    ]
    store.append("lists", [Piece("test", 0, archived.batch_of("lists", told))])
    columns = ("version", "from_us", "to_us", "text")

    def read() -> list[tuple[Any, ...]]:
        batches = DeltaArchive(PinnedArchive.of(str(tmp_path))).read("lists", Span(0, 1), columns)
        return [tuple(row.values()) for batch in batches for row in batch.to_pylist()]

    assert read() == [(1, 10, 20, None), (2, 20, 2**63 - 1, None)]
    keep(store, LISTS)
    assert read() == [(1, 10, 20, None), (2, 20, 2**63 - 1, LISTS.text)]


def test_a_policy_is_told_once_as_it_first_became_active(tmp_path: Path) -> None:
    rows = [
        {"source": source, "policy": "p", "from_us": at, "terms": "{}"}
        for source, at in zip(SOURCES, (9, 4), strict=True)
    ]
    open_store(tmp_path).append("policies", [Piece("test", 0, archived.batch_of("policies", rows))])

    batches = DeltaArchive(PinnedArchive.of(str(tmp_path))).read("policies", Span(0, 1), ("policy", "from_us"))

    assert [row for batch in batches for row in batch.to_pylist()] == [{"policy": "p", "from_us": 4}]


def test_a_pinned_archive_reads_the_same_whatever_is_written_and_merged_after_it(tmp_path: Path) -> None:
    _delta(tmp_path, TABLES)
    pinned = str(PinnedArchive.of(str(tmp_path)))
    open_store(tmp_path).append("decisions", [Piece("test", 99, archived.decisions(SOURCES[0], decisions(200, 5)))])

    then, now = (DeltaArchive(PinnedArchive.of(text)) for text in (pinned, str(tmp_path)))

    assert pinned.endswith("@3.0.1.0.1.0.0")
    counts = [sum(b.num_rows for b in one.read("decisions", Span(0, 999), ("seq",))) for one in (then, now)]
    assert counts == [130, 135]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{}/nowhere", "no archive is there"),
        ("{}@3.0", "3.0 is no version: a version is seven numbers"),
        ("{}@9.0.0.0.0.0.0", "decisions version 9 isn't there"),
    ],
)
def test_an_archive_that_isnt_there_is_refused_by_name(text: str, told: str, tmp_path: Path) -> None:
    open_store(tmp_path)

    with pytest.raises(ArchiveError, match=told):
        PinnedArchive.of(text.format(tmp_path))


def test_all_is_known_until_the_site_that_was_heard_of_longest_ago(tmp_path: Path) -> None:
    store, late = open_store(tmp_path), "site-2.g0.0123456789abcdef"
    for offset, (source, first) in enumerate(((SOURCES[0], 0), (SOURCES[1], 400), (late, 100))):
        store.append("decisions", [Piece("test", offset, archived.decisions(source, decisions(first, 50)))])
    pinned = PinnedArchive.of(str(tmp_path))

    assert pinned.known_until_us((0, 500)) == 149
    assert pinned.known_until_us((0, 50)) == 449
    assert pinned.known_until_us((900, 999)) == 0
