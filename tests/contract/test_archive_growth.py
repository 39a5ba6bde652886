"""Archives of other programs: an older one's tables gain the columns that they lack; a newer one's are refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from serve_apps.archive.delta import Upkeep, open_store, opened
from serve_apps.archive.ports import ArchiveError, Piece
from tests.sent import SOURCE, decision_rows
from tidegate import archived
from tidegate.archived import GROWN, schema_of, told_of
from tidegate.history import BACKTEST_COLUMNS, rows_of
from tidegate.records import DECISION
from training.archive import ArchiveError as RefusedError
from training.archive import PinnedArchive
from training.backtest.delta import DeltaArchive
from training.backtest.spans import Span

LATER = ["features", "merchant", "mode_lists", "rules_hit"]
OLD = "tidegate decisions, layout 1, records 0123456789abcdef"
WHOLE = Span(0, 1 << 62)


def _place(name: str) -> int:
    return int(schema_of("decisions").get_field_index(name))


def made(folder: Path, schema: pa.Schema, told: str) -> None:
    DeltaTable.create(folder / "decisions", schema, description=told, partition_by=["day"])


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """An archive of a program that knew four fields less."""
    fields = [field for field in schema_of("decisions") if field.name not in LATER]
    made(tmp_path, pa.schema(fields), OLD)
    rows = pa.table(archived.decisions(SOURCE, decided(1))).select([field.name for field in fields])
    write_deltalake(tmp_path / "decisions", rows, mode="append")
    return tmp_path


def decided(first: int) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    rows = decision_rows(first, 5)
    rows["merchant"], rows["rules_hit"], rows["mode_lists"] = "m-1", 7, 2
    return rows


def read(folder: Path) -> bytes:
    columns = ("source", *BACKTEST_COLUMNS)
    batches = DeltaArchive(PinnedArchive.of(str(folder))).read("decisions", WHOLE, columns)
    return b"".join(rows_of(batch).tobytes() for batch in batches)


def expected(*parts: np.ndarray[tuple[int], np.dtype[np.void]]) -> bytes:
    """Return rows as a backtest reads them: of the fields that it asks for."""
    rows = np.concatenate(parts)
    asked = np.zeros(len(rows), DECISION)
    for name in BACKTEST_COLUMNS:
        asked[name] = rows[name]
    return asked.tobytes()


def test_an_older_archive_gains_the_columns_that_it_lacks_and_reads_them_as_zero(old: Path) -> None:
    store = open_store(old)
    store.append("decisions", [Piece("test", 0, archived.decisions(SOURCE, decided(6)))])

    before = decided(1)
    for name in LATER:
        before[name] = np.zeros(1, DECISION)[name]
    assert read(old) == expected(before, decided(6))
    table = opened(old)["decisions"]
    assert table.metadata().description == told_of("decisions")
    assert [field.name for field in table.schema().fields if GROWN in field.metadata] == sorted(LATER, key=_place)
    assert table.to_pyarrow_dataset().to_table(["rules_hit"])["rules_hit"].null_count == 5


def test_an_archive_that_has_grown_is_as_it_is_from_then_on(old: Path) -> None:
    version = open_store(old).pin()

    assert open_store(old).pin() == version
    assert opened(old)["decisions"].schema().to_arrow() is not None


def test_rows_of_before_and_after_are_merged_into_one_file(old: Path) -> None:
    store = open_store(old)
    for offset in range(3):
        store.append("decisions", [Piece("test", offset, archived.decisions(SOURCE, decided(6 + 5 * offset)))])
    then = read(old)

    opened(old)["decisions"].optimize.compact()

    assert read(old) == then


@pytest.mark.parametrize(
    ("schema", "description", "told"),
    [
        (lambda ours: ours.append(pa.field("mood", pa.string())), OLD, "a newer tidegate keeps mood in it: upgrade"),
        (lambda ours: ours, "tidegate decisions, layout 2, records 0", "layout 2, records 0, this program has"),
        (lambda ours: ours, "something else", "is something else, this program has"),
        (lambda ours: ours.set(2, pa.field("seq", pa.string())), OLD, "seq is of another type"),
    ],
)
def test_an_archive_that_this_program_doesnt_know_is_refused_and_left_alone(
    schema: Callable[[pa.Schema], pa.Schema], description: str, told: str, tmp_path: Path
) -> None:
    open_store(tmp_path / "whole")
    (tmp_path / "whole" / "decisions").rename(tmp_path / "gone")
    made(tmp_path / "whole", schema(schema_of("decisions")), description)

    for refused, opening in (
        (ArchiveError, open_store),
        (ArchiveError, opened),
        (RefusedError, lambda folder: PinnedArchive.of(str(folder))),
    ):
        with pytest.raises(refused, match=told):
            opening(tmp_path / "whole")
    assert DeltaTable(tmp_path / "whole" / "decisions").version() == 0


def test_settings_of_upkeep_count_for_an_archive_that_is_there(tmp_path: Path) -> None:
    open_store(tmp_path)

    store = open_store(tmp_path, upkeep=Upkeep(retention_days=50, merge_files=3))

    configured = opened(tmp_path)["events"].metadata().configuration
    assert configured["delta.logRetentionDuration"] == configured["delta.deletedFileRetentionDuration"]
    assert configured["delta.logRetentionDuration"] == "interval 50 days"
    assert open_store(tmp_path, upkeep=Upkeep(50, 3)).pin() == store.pin()
    for offset, merged in ((0, 0), (1, 0), (2, 3)):
        store.append("decisions", [Piece("test", offset, archived.decisions(SOURCE, decided(1 + 5 * offset)))])
        assert store.merge("decisions") == merged
