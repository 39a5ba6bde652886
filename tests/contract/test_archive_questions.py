"""Questions to an archive, as `tidegate archive` takes them: SQL that reads, bounded, or told why not."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from serve_apps.archive.__main__ import main
from serve_apps.archive.archive import rows_of
from serve_apps.archive.delta import open_store
from serve_apps.archive.ports import Piece
from serve_apps.plumbing.stream.log import ARTIFACTS
from tests.sent import NOW_US, SOURCE, decision_rows, event, keep, label, parts_of
from tidegate import archived
from tidegate.artifacts import Artifact
from tidegate.decision import Outcome
from tidegate.events import LabelReceived
from tidegate.history import label_row
from tidegate.records import HEAD_BYTES, HEAD_FIELDS, Kind
from training.archive import PinnedArchive

LISTS = Artifact("lists", "list,entity,value,expires_at,rule\nwatch,card,card-1,,\n")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    store, rows = open_store(tmp_path), decision_rows(1, 30)
    rows["outcome"][:10] = Outcome.DECLINE
    rows["features"][0, 0] = np.nan
    store.append("decisions", [Piece("test", 0, archived.decisions(SOURCE, rows))])
    records = [event(Kind.BUNDLE_ACTIVATED, 1, {"bundle": "b-0"}), label(2)]
    heads = np.frombuffer(b"".join(record.to_bytes()[:HEAD_BYTES] for record in records), HEAD_FIELDS)
    bodies = [record.body for record in records]
    store.append("events", [Piece("test", 0, archived.events(SOURCE, heads, bodies))])
    told = label_row(SOURCE, LabelReceived.model_validate(label(2).values()), NOW_US + 2)
    store.append("labels", [Piece("test", 0, archived.batch_of("labels", [told]))])
    held = [
        {"source": SOURCE, "version": version, "from_us": version, "as_of_us": 0, "lists": name}
        for version, name in ((1, LISTS.name), (2, "l-000000000000"))
    ]
    store.append("lists", [Piece("test", 0, archived.batch_of("lists", held))])
    keep(store, LISTS)
    return tmp_path


def ask(folder: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = main([words[0], "--archive", str(folder), *words[1:]])
    told = capsys.readouterr()
    return status, told.out, told.err


def test_a_question_is_answered_as_a_table_in_the_words_of_the_house(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sql = "SELECT outcome, count(*) AS n, min(decided_at) AS first FROM decisions GROUP BY outcome ORDER BY n"

    status, out, _ = ask(folder, capsys, "query", sql)

    assert status == 0
    assert out.splitlines() == [
        "outcome  n   first",
        "-------  --  --------------------",
        "decline  10  2026-11-24T06:00:01Z",
        "approve  20  2026-11-24T06:00:11Z",
    ]


def test_ids_are_those_of_answers_and_what_is_no_number_is_null_in_json(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = ask(folder, capsys, "query", "SELECT id, features FROM decisions WHERE seq = 1", "--format", "json")

    row = json.loads(out)
    assert row["id"] == f"{SOURCE}.L1.1"
    assert row["features"][0] is None
    assert row["features"][1] == pytest.approx(1 / 7, rel=1e-6)


def test_csv_has_a_header_and_every_value_whole(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = ask(folder, capsys, "query", "SELECT kind, body FROM events ORDER BY seq", "--format", "csv")

    rows = list(csv.DictReader(out.splitlines()))
    assert [row["kind"] for row in rows] == ["bundle_activated", "label_received"]
    assert json.loads(rows[0]["body"]) == {"bundle": "b-0"}


def test_lists_have_their_text_once_it_has_come_and_until_when_they_held(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sql = "SELECT version, to_us, text FROM lists ORDER BY version"

    _, out, _ = ask(folder, capsys, "query", sql, "--format", "json")

    assert [json.loads(line) for line in out.splitlines()] == [
        {"version": 1, "to_us": 2, "text": LISTS.text},
        {"version": 2, "to_us": None, "text": None},
    ]


def test_a_text_of_many_parts_is_one_once_all_of_them_are_there(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = Artifact("lists", "list,entity,value,expires_at,rule\n" + "watch,card,card-é,,\n" * 9_000)
    store, sql = open_store(folder), f"SELECT kind, text FROM artifacts WHERE sha256 = '{long.sha256}'"
    *some, last = parts_of(long)

    def told() -> list[dict[str, str]]:
        return [json.loads(line) for line in ask(folder, capsys, "query", sql, "--format", "json")[1].splitlines()]

    for offset, part in enumerate((*some, *some)):  # a log that was put back may hold a part twice
        store.append("artifacts", [Piece("log", offset, rows_of(part, ARTIFACTS, NOW_US)["artifacts"])])
    assert told() == []
    assert PinnedArchive.of(str(folder)).text(long.sha256) is None
    store.append("artifacts", [Piece("log", 99, rows_of(last, ARTIFACTS, NOW_US)["artifacts"])])

    assert told() == [{"kind": "lists", "text": long.text}]
    assert PinnedArchive.of(str(folder)).text(long.sha256) == long.text


def test_an_answer_is_cut_at_the_limit_and_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = ask(folder, capsys, "query", "SELECT seq FROM decisions", "--limit", "7", "--format", "json")

    assert (status, len(out.splitlines())) == (0, 7)
    assert err == "the first 7 rows; --limit shows more\n"
    assert ask(folder, capsys, "query", "SELECT seq FROM decisions", "--limit", "30")[2] == ""


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("DROP TABLE decisions", "only questions are taken"),
        ("COPY decisions TO 'x.csv'", "only questions are taken"),
        ("EXPLAIN ANALYZE COPY decisions TO 'x.csv'", "only questions are taken"),
        ("SELECT 1; SELECT 2", "only supports a single SQL statement"),
        ("SELECT nothing FROM decisions", "No field named nothing"),
        ("SELECT * FROM payments", "payments"),
        ("SELECT (1", "SQL error"),
        ("SELECT CAST('x' AS INT)", "Cannot cast"),
    ],
)
def test_what_cant_be_answered_is_told_and_changes_nothing(
    sql: str, told: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(folder.rglob("*"))

    status, out, err = ask(folder, capsys, "query", sql)

    assert (status, out) == (1, "")
    assert told in err
    assert sorted(folder.rglob("*")) == before


def test_a_pinned_version_is_asked_as_it_was(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, version, _ = ask(folder, capsys, "version")
    rows = archived.decisions(SOURCE, decision_rows(31, 5))
    open_store(folder).append("decisions", [Piece("test", 1, rows)])
    sql = "SELECT count(*) AS n FROM decisions"

    then = ask(folder, capsys, "query", sql, "--version", version.strip(), "--format", "json")
    now = ask(folder, capsys, "query", sql, "--format", "json")

    assert (json.loads(then[1]), json.loads(now[1])) == ({"n": 30}, {"n": 35})


def test_a_record_that_is_there_twice_is_found(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = ask(folder, capsys, "verify")
    twice = archived.decisions(SOURCE, decision_rows(29, 4))
    open_store(folder).append("decisions", [Piece("another", 0, twice)])

    found = ask(folder, capsys, "verify")

    assert whole[0] == 0
    assert f"{SOURCE}.L1  30 rows, 1 to 30, 0 not there yet, 0 repeated" in whole[1]
    assert found[0] == 1
    assert f"{SOURCE}.L1  34 rows, 1 to 32, 0 not there yet, 2 repeated" in found[1]


def test_compacting_tells_what_it_did_to_each_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = ask(folder, capsys, "compact")

    assert status == 0
    assert "decisions: 0 files merged, 0 beyond the retention removed\n" in out


@pytest.mark.parametrize("command", [("query", "SELECT 1"), ("version",), ("verify",), ("compact",)])
def test_where_there_is_no_archive_none_is_made(
    command: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, err = ask(tmp_path / "nowhere", capsys, *command)

    assert status == 1
    assert "no archive is there" in err
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("options", [("--limit", "0"), ("--limit", "1000001"), ("--version", "7"), ("--format", "xml")])
def test_wrong_options_are_told_before_anything_is_read(
    options: tuple[str, str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        ask(folder, capsys, "query", "SELECT 1", *options)

    assert options[0] in capsys.readouterr().err
