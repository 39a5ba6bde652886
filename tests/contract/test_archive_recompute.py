"""`tidegate archive recompute` on real tables: over days and epochs, told in the archive's status and metrics."""

from pathlib import Path

import numpy as np
import pytest

from serve_apps.archive.__main__ import main
from serve_apps.archive.app import status_of
from serve_apps.archive.checked import RESULT, kept_result
from serve_apps.archive.delta import open_store
from serve_apps.archive.exposition import exposition
from serve_apps.archive.ports import ArchiveError, Piece
from serve_apps.archive.service import Standing
from tests.sent import SOURCE
from tests.unit.archive.test_recompute import Gate
from tidegate import archived
from tidegate.records import DECISION, HEAD_BYTES, HEAD_FIELDS, Kind, Lane, Record

LATER = SOURCE.rpartition(".")[0] + ".fedcba9876543210"


def archive(folder: Path, gates: dict[str, Gate]) -> Path:
    store = open_store(folder)
    for at, (source, gate) in enumerate(gates.items()):
        rows = np.array(gate.rows, DECISION)
        halves = rows[len(rows) // 2 :], rows[: len(rows) // 2]  # what is older comes later
        for offset, part in enumerate(halves):
            store.append("decisions", [Piece(f"d{at}", offset, archived.decisions(source, part))])
        records = [
            Record(Lane.EVENTS, Kind(change.kind), seq, change.pos, change.time_us, change.body)
            for seq, change in enumerate(gate.changes, 1)
        ]
        heads = np.frombuffer(b"".join(record.to_bytes()[:HEAD_BYTES] for record in records), HEAD_FIELDS)
        bodies = [record.body for record in records]
        store.append("events", [Piece(f"e{at}", 0, archived.events(source, heads, bodies))])
    return folder


@pytest.fixture
def gates() -> dict[str, Gate]:
    """Two epochs of a gate; the later one hears of a payment of the one before."""
    first, later = Gate(3), Gate(4)
    first.live(150)
    later.live(50)
    row = first.rows[-1]
    later.now_us += 1
    if later.window.knows(row["card"].decode()):
        where = {"card": row["card"].decode(), "terminal": row["terminal"].decode()}
        later.window.label(**where, now_us=later.now_us, event_us=int(row["feature_us"]), delta=1)
    payment = row["transaction_id"].decode()
    told = {"label_id": "l-old", "merchant": "m-1", "transaction_id": payment, "verdict": "fraud", "source": "bank"}
    later.event(Kind.LABEL_RECEIVED, told | {"known_us": later.now_us})
    later.live(50)
    return {SOURCE: first, LATER: later}


def test_what_gates_served_is_computed_again_of_each_epoch_and_kept(
    gates: dict[str, Gate], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = archive(tmp_path, gates)
    assert kept_result(folder) is None
    status = main(["recompute", "--archive", str(folder)])
    lines = capsys.readouterr().out.splitlines()
    assert (status, [line.partition(" ")[0] for line in lines]) == (0, [SOURCE, LATER])
    result = kept_result(folder)
    assert result is not None
    counted = sum(not row["marks"] for gate in gates.values() for row in gate.rows)
    assert (result.told.compared, result.told.differing, result.told.gap) == (counted, 0, "")


def test_a_difference_is_a_status_a_metric_and_an_alarm(
    gates: dict[str, Gate], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = next(row for row in gates[LATER].rows if not row["marks"])
    row["features"][0] += 1
    folder = archive(tmp_path, gates)
    assert main(["recompute", "--archive", str(folder)]) == 1
    named = f"{LATER}.L1.{int(row['seq'])}: amount"
    assert f"1 differ, first {named}" in capsys.readouterr().out
    result = kept_result(folder)
    assert result is not None
    standing = Standing(result.at_us, result.at_us)
    told = status_of(standing, result).recomputed
    assert told is not None
    assert (told.differing, told.first) == (1, named)
    text = exposition(standing, result.at_us + 5_000_000, result).decode()
    assert "tidegate_archive_recomputed_differing 1.0" in text
    assert "tidegate_archive_recomputed_age_seconds 5.0" in text
    assert "recomputed" not in exposition(standing, result.at_us).decode()


def test_a_broken_result_is_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / RESULT).write_text("{")
    with pytest.raises(ArchiveError, match="recompute anew"):
        kept_result(tmp_path)
