"""One suite for every store of the archive: rows with their offsets, each once, and texts by their digest."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pytest

from serve_apps.archive.__main__ import main
from serve_apps.archive.archive import rows_of
from serve_apps.archive.delta import open_store, opened
from serve_apps.archive.memory import MemoryStore
from serve_apps.archive.ports import Piece, Store, UndecodableError
from serve_apps.plumbing.stream.log import ARTIFACTS
from tests.sent import NOW_US, SOURCE, decision_rows, event, events_frame, keep, label, parts_of
from tidegate import archived
from tidegate.archived import KEPT, Kept, restored, schema_of
from tidegate.artifacts import Artifact
from tidegate.history import rows_of as decided_of
from tidegate.limits import DAY_US
from tidegate.records import DECISION, Kind

APP = "tidegate.L1/0"
NAMES = DECISION.names or ()
LISTS = {"version": 1, "lists": "l-0123456789ab", "entries": 3, "as_of_us": 5, "by": "ann", "why": ""}
POLICY = {"policy": "p-0123456789ab", "terms": {"rules": []}, "as_of_us": 5, "by": "ann", "why": ""}


class Made(Protocol):
    """A store, and what is in it."""

    store: Store

    def read(self, table: Kept) -> pa.Table:
        """Return a table's rows."""

    def again(self) -> Store:
        """Return the store as another process would open it."""


class InMemory:
    def __init__(self, _: Path) -> None:
        self.store = MemoryStore()

    def read(self, table: Kept) -> pa.Table:
        return self.store.read(table)

    def again(self) -> Store:
        return self.store


class InDelta:
    def __init__(self, folder: Path) -> None:
        self.folder = folder / "archive"
        self.store = open_store(self.folder)

    def read(self, table: Kept) -> pa.Table:
        return opened(self.folder)[table].to_pyarrow_dataset().to_table().select(schema_of(table).names)

    def again(self) -> Store:
        return open_store(self.folder)


@pytest.fixture(params=[InMemory, InDelta], ids=["memory", "delta"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Made:
    build: Callable[[Path], Made] = request.param
    return build(tmp_path)


def piece(offset: int, first: int, count: int = 5, app: str = APP) -> Piece:
    return Piece(app, offset, archived.decisions(SOURCE, decision_rows(first, count)))


def seqs(made: Made) -> list[int]:
    return sorted(made.read("decisions")["seq"].to_pylist())


def test_a_new_store_has_no_offset_and_no_row(made: Made) -> None:
    assert [made.store.offset(table, APP) for table in KEPT] == [-1] * len(KEPT)
    assert [made.read(table).num_rows for table in KEPT] == [0] * len(KEPT)


def test_rows_and_offsets_come_together_and_are_there_for_the_next_process(made: Made) -> None:
    assert made.store.append("decisions", [piece(3, 0), piece(7, 5)]) == 10

    assert made.again().offset("decisions", APP) == 7
    assert seqs(made) == list(range(10))


def test_a_decision_of_days_apart_comes_back_to_the_bit(made: Made) -> None:
    rows = decision_rows(0, 6)
    rows["time_us"] = NOW_US + np.arange(6) * DAY_US
    rows["features"][0, :2] = np.frombuffer(b"\x01\x00\xc0\x7f\x00\x00\x00\x80", np.float32)
    rows["request_hash"] = b"\xff\x00\x01" + bytes(12) + b"\x01"
    rows["rules_hit"] = np.uint64(1) << np.uint64(63)

    made.store.append("decisions", [Piece(APP, 0, archived.decisions(SOURCE, rows))])

    back = made.read("decisions").sort_by("seq").combine_chunks().to_batches()[0]
    assert decided_of(restored(back, NAMES)).tobytes() == rows.tobytes()


def test_what_a_table_has_is_left_out_and_what_is_new_beside_it_is_taken(made: Made) -> None:
    made.store.append("decisions", [piece(0, 0), piece(1, 5)])

    assert made.store.append("decisions", [piece(0, 0), piece(1, 5), piece(2, 10)]) == 5
    assert made.store.append("decisions", [piece(0, 0), piece(1, 5), piece(2, 10)]) == 0
    assert seqs(made) == list(range(15))


def test_an_older_offset_never_moves_a_partition_back(made: Made) -> None:
    made.store.append("decisions", [piece(9, 0)])

    assert made.store.append("decisions", [piece(4, 5)]) == 0
    assert made.store.offset("decisions", APP) == 9


def test_partitions_and_tables_have_offsets_of_their_own(made: Made) -> None:
    made.store.append("decisions", [piece(5, 0), piece(1, 5, app="tidegate.L1/1")])

    assert made.store.offset("decisions", "tidegate.L1/1") == 1
    assert made.store.offset("decisions", APP) == 5
    assert made.store.offset("events", APP) == -1


def test_a_text_lies_there_part_by_part(made: Made) -> None:
    lists = Artifact("lists", "list,entity,value,expires_at,rule\n" + "watch,card,é,,\n" * 5_000)

    keep(made.store, lists)

    rows = made.read("artifacts").sort_by("part").to_pylist()
    assert "".join(row.pop("text") for row in rows) == lists.text
    assert rows == [{"sha256": lists.sha256, "kind": "lists", "part": at, "parts": 2} for at in (1, 2)]


def test_a_manifest_says_when_its_model_was_trained(made: Made) -> None:
    manifest = Artifact("bundle", '{"trained_at_us":17}')

    keep(made.store, manifest)

    assert made.read("bundles").to_pylist() == [{"bundle": manifest.name, "trained_at_us": 17}]


@pytest.mark.parametrize("text", ["[]", "{}", '{"trained_at_us":"now"}', '{"trained_at_us":-1}'])
def test_a_text_that_is_no_manifest_is_refused(text: str, made: Made) -> None:
    with pytest.raises(UndecodableError, match="no manifest"):
        keep(made.store, Artifact("bundle", text))
    assert made.read("artifacts").num_rows == 0


def test_the_version_of_the_whole_grows_with_what_was_written(made: Made) -> None:
    before = made.store.pin()

    made.store.append("decisions", [piece(0, 0)])

    assert made.store.pin() == before._replace(decisions=before.decisions + 1)


def test_a_partitions_mark_lies_beside_its_offset(made: Made) -> None:
    assert made.store.mark("decisions", APP) == 0
    made.store.append("decisions", [piece(1, 5)._replace(mark=(1 << 63) - 1), piece(0, 0)._replace(mark=7)])

    assert made.again().mark("decisions", APP) == (1 << 63) - 1
    assert made.again().mark("decisions", "tidegate.L1/1") == 0


def test_a_rejoined_partition_begins_again_and_leaves_out_what_the_table_has(made: Made) -> None:
    made.store.append("decisions", [piece(8, 0)._replace(mark=7), piece(9, 5)._replace(mark=8)])
    assert not made.store.rejoined("decisions", APP)

    made.store.rejoin("decisions", APP)

    store = made.again()
    assert (store.offset("decisions", APP), store.mark("decisions", APP)) == (-1, 0)
    assert store.rejoined("decisions", APP)
    assert not store.rejoined("decisions", "tidegate.L1/1")
    assert store.append("decisions", [piece(0, 3, 4), piece(1, 7, 6)]) == 3
    assert store.append("decisions", [piece(2, 0, 20)]) == 7
    assert store.append("decisions", [piece(3, 0, 20)]) == 0
    assert store.offset("decisions", APP) == 3
    assert seqs(made) == list(range(20))


@pytest.mark.parametrize(
    ("topic", "sent"),
    [
        ("tidegate.L2", events_frame(*(label(seq) for seq in range(1, 9)))),
        ("tidegate.L2", events_frame(event(Kind.LISTS_ACTIVATED, 1, LISTS), event(Kind.POLICY_ACTIVATED, 2, POLICY))),
        (ARTIFACTS, parts_of(Artifact("bundle", '{"trained_at_us":17}'))[0]),
    ],
)
def test_a_rejoined_partition_puts_no_row_into_any_table_twice(topic: str, sent: bytes, made: Made) -> None:
    rows, app = rows_of(sent, topic, NOW_US), f"{topic}/0"
    for table, batch in rows.items():
        made.store.append(table, [Piece(app, 5, batch)])
        made.store.rejoin(table, app)

    later = rows_of(sent, topic, NOW_US + 9 * DAY_US)  # the clock of the cloud that committed it again

    assert [made.store.append(table, [Piece(app, 0, batch)]) for table, batch in later.items()] == [0] * len(rows)
    assert [made.read(table).num_rows for table in rows] == [batch.num_rows for batch in rows.values()]


def test_the_command_lets_a_partition_rejoin_once_in_all_tables(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.append("decisions", [piece(8, 0)])
    command = ["rejoin", "--archive", str(tmp_path), APP]

    assert [main(command), main(command)] == [0, 1]

    assert all(store.rejoined(table, APP) for table in KEPT)
    assert store.append("decisions", [piece(0, 0)]) == 0
    with pytest.raises(SystemExit):
        main(["rejoin", "--archive", str(tmp_path), "tidegate.L7/0"])
