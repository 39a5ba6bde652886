"""The command line: it says what it has, and what is wrong in a sentence that names it."""

import re
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

import edge_nodes.cli
from edge_nodes.cli import app, told
from tidegate.errors import FieldError, ListsError, NotFoundError, SettingsError, joined


def failed(*words: str) -> BaseException | None:
    """Return what a command ended with."""
    return CliRunner().invoke(app, words).exception


def test_its_help_names_every_command_and_no_other() -> None:
    named = re.findall(r"`(?:tidegate )?(\w+)`", edge_nodes.cli.__doc__ or "")

    assert sorted(named) == sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", ["show", "verify"])
def test_a_folder_that_is_no_journal_is_told_so(tmp_path: Path, command: str) -> None:
    (tmp_path / "else.txt").write_text("x")

    error = failed("journal", command, str(tmp_path))

    assert isinstance(error, NotFoundError)
    assert error.message.startswith(f"{tmp_path}: no journal is there")


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (("till-1", "--merchant", "a b"), "merchants.0"),
        (("till-1", "--merchant", "m" * 33), "merchants.0"),
        (("till-1", "--merchant", "4111.1111.1111.1111"), "merchants.0"),
        (("Till 1",), "name"),
    ],
)
def test_a_key_for_a_name_that_no_payment_could_have_is_refused(
    tmp_path: Path, words: tuple[str, ...], field: str
) -> None:
    config = tmp_path / "site.toml"
    config.write_text(f'data_dir = "{tmp_path / "site"}"\nmachine_mark = "{tmp_path / "mark"}"\n')

    error = failed("key", "add", *words, "--scope", "decide", "--config", str(config))

    assert isinstance(error, SettingsError)
    assert [wrong.field for wrong in error.fields] == [field]
    assert not (tmp_path / "site").exists()


def test_several_things_that_are_wrong_are_told_a_line_each() -> None:
    fields = (FieldError("line 2", "value: no"), FieldError("line 7", "list: none"))
    several = ListsError(f"a.csv: {joined(fields)}; nothing was changed", fields=fields)

    assert told(several) == "a.csv:\n  line 2: value: no\n  line 7: list: none\nnothing was changed"
    assert told(ListsError("a.csv: line 2: no", fields=(FieldError("line 2", "no"),))) == "a.csv: line 2: no"
    assert told(ListsError("a.csv: gone")) == "a.csv: gone"
