"""Submitting: equal work has one id, and anything that would change the model gives another."""

import datetime as dt
from dataclasses import replace
from pathlib import Path

import pytest

from training.options import Options, parser
from training.submission import JobError
from training.submit import command, main, resolved, submission_id

TODAY = dt.date(2026, 11, 24)


@pytest.fixture
def recorded(tmp_path: Path) -> Options:
    """A job on a file, with a mapping."""
    (tmp_path / "data.csv").write_text("a,b\n1,2\n")
    (tmp_path / "mapping.toml").write_text('format = "csv"\n')
    return Options(bundles=tmp_path, source=str(tmp_path / "data.csv"), mapping=tmp_path / "mapping.toml", until=TODAY)


def test_equal_work_has_an_equal_id(recorded: Options) -> None:
    assert submission_id(recorded) == submission_id(replace(recorded))
    assert submission_id(recorded).startswith("train-")


@pytest.mark.parametrize("changed", ["data.csv", "mapping.toml"])
def test_other_content_under_the_same_name_gives_another_id(recorded: Options, changed: str) -> None:
    before = submission_id(recorded)
    path = recorded.bundles / changed
    path.write_text(path.read_text().replace("1", "3").replace("csv", "parquet"))

    assert submission_id(recorded) != before


@pytest.mark.parametrize(
    "change", [{"seed": 8}, {"trees": 3}, {"until": dt.date(2026, 11, 25)}, {"bundles": Path("/elsewhere")}]
)
def test_other_options_give_another_id(recorded: Options, change: dict[str, object]) -> None:
    assert submission_id(replace(recorded, **change)) != submission_id(recorded)  # type: ignore[arg-type]


def test_another_champion_on_the_shelf_gives_another_id(recorded: Options) -> None:
    before = submission_id(recorded)
    (recorded.bundles / "active").write_text("b-0123456789ab\n")

    assert submission_id(recorded) != before


def test_the_job_is_told_exactly_the_options_that_name_it(recorded: Options) -> None:
    again = Options(**vars(parser(dt.date(2000, 1, 1)).parse_args(command(recorded))))

    assert again == recorded


def test_a_search_is_another_job_and_other_settings_another_training(recorded: Options) -> None:
    search = replace(recorded, params_out=recorded.bundles / "found.json", before=dt.date(2018, 8, 8))
    (recorded.bundles / "a.json").write_text("{}")
    tuned = replace(recorded, params=recorded.bundles / "a.json")
    before = submission_id(tuned)
    (recorded.bundles / "a.json").write_text("{ }")

    assert submission_id(search).startswith("tune-")
    assert submission_id(tuned) != before
    assert Options(**vars(parser(TODAY).parse_args(command(search)))) == search


def test_paths_are_made_whole_because_the_job_runs_in_another_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parent)

    options = resolved(Options(bundles=Path("bundles"), source=Path(__file__).name, until=TODAY))

    assert options.source == __file__
    assert options.bundles == Path(__file__).parent / "bundles"


@pytest.mark.parametrize("change", [{"source": "nowhere.parquet"}, {"mapping": Path("nowhere.toml")}])
def test_a_file_that_is_not_there_is_named_before_anything_is_submitted(
    recorded: Options, change: dict[str, object]
) -> None:
    with pytest.raises(JobError, match=r"--(source|mapping): .*nowhere.* is no file"):
        resolved(replace(recorded, **change))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--trees", "-5"), "argument --trees: must be 1 to 2000"),
        (("--before", "yesterday"), "argument --before"),
        (("--source", "nowhere.parquet"), "--source"),
        (("--params", "nowhere.json"), "--params"),
        (("--params-out", "nowhere/found.json"), "--params-out"),
        (("--colour", "red"), "unrecognized arguments: --colour"),
    ],
)
def test_options_can_be_checked_without_a_cluster(
    recorded: Options, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], told: str
) -> None:
    asked = ("--check", "--address", "none", "--bundles", str(recorded.bundles))
    main(asked)
    with pytest.raises(SystemExit) as ended:
        main((*asked, *options))

    assert told in f"{ended.value} {capsys.readouterr().err}"
