"""Documents: every command in them is real, every link leads somewhere, every figure has its command."""

import argparse
import datetime as dt
import importlib.util
import json
import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer.main

from edge_nodes.cli import app
from serve_apps.archive.__main__ import parser as archive_parser
from tidegate.payment import PaymentRequest
from tidegate.sandbox import table
from training.options import parser

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("**/*.md"))]
FENCE = re.compile(r"^```(?:sh|bash|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:make|tidegate|python -m) [^`]+)`")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
MEASURED = re.compile(r"\b\d[\d.,]*\s?(?:ms|µs|ns|[MG]iB(?:/s)?|(?:decisions|requests)(?: a second|/s)|per second)\b")
SOURCE = re.compile(r"`(?:make (?:bench|soak)|python -m tests\.(?:soak|bench\.[a-z_]+)|tidegate/limits\.py)[^`]*`")
PLACEHOLDER = re.compile(r"\$\((?:[^()]|\([^()]*\))*\)")


def _goes_on(text: str) -> bool:
    """Tell whether a command isn't over yet: a line that is continued, or a quote that is open."""
    try:
        shlex.split(PLACEHOLDER.sub("x", text), comments=True)
    except ValueError:
        return True
    return text.endswith("\\")


def fenced(text: str) -> list[str]:
    """Return the commands of the shell blocks of a document, joined where a line or a quote goes on."""
    commands = []
    for block in FENCE.findall(text):
        held = ""
        for line in block.splitlines():
            held += ("\n" if held else "") + line
            if not _goes_on(held):
                commands += [held.replace("\\\n", " ")] if shlex.split(held, comments=True) else []
                held = ""
        assert not held, f"a quote that nobody closes: {held}"
    return commands


COMMANDS = list(
    dict.fromkeys(
        command for text in map(Path.read_text, DOCUMENTS) for command in [*fenced(text), *INLINE.findall(text)]
    )
)
IDS = [command.splitlines()[0][:40] for command in COMMANDS]


def _words(command: str) -> list[str]:
    when = dt.datetime(2026, 11, 24, tzinfo=dt.UTC).isoformat()
    filled = PLACEHOLDER.sub(lambda found: when if "date" in found[0] else "secret", command)
    words = shlex.split(filled, comments=True)
    return [word for word in words if not re.fullmatch(r"[A-Z_]+=.*", word)]


def _make(words: list[str]) -> None:
    rules = (ROOT / "Makefile").read_text()
    for target in words[1:]:
        assert re.search(rf"^{target}:( .+|\n\t.+)", rules, re.MULTILINE), f"{target} has no rule"


def _tidegate(words: list[str]) -> None:
    """Walk down to the subcommand and look each option up: nothing is run, no file has to exist."""
    if words[1:2] == ["archive"]:  # the rest is the cloud's
        archive_parser().parse_args(words[2:])
        return
    command: Any = typer.main.get_command(app)
    rest = words[1:]
    while hasattr(command, "commands") and rest:
        assert rest[0] in command.commands, f"{rest[0]} is no command"
        command, rest = command.commands[rest[0]], rest[1:]
    known = {option for one in command.params for option in (*one.opts, *one.secondary_opts)} | {"--help"}
    if command.context_settings.get("ignore_unknown_options"):  # the rest is the training job's
        known |= set(re.findall(r"--[a-z-]+", parser(dt.date(2026, 11, 24)).format_help()))
    assert [word for word in rest if word.startswith("-") and word.split("=")[0] not in {*known, "-"}] == []


def _python(words: list[str]) -> None:
    assert words[1] == "-m"
    source = importlib.util.find_spec(words[2])
    assert source is not None, f"{words[2]} is no module"
    if words[2] == "pytest":
        assert [
            word for word in words[3:] if not word.startswith("-") and not (ROOT / word.split("::")[0]).exists()
        ] == []
        return
    program = importlib.util.find_spec(f"{words[2]}.__main__") if source.submodule_search_locations else source
    assert program is not None, f"{words[2]} can't be run"
    text = Path(str(program.origin)).read_text()
    assert [word for word in words[3:] if word.startswith("--") and word.split("=")[0] not in text] == []


def _curl(words: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("-s", action="store_true")
    parser.add_argument("-H", action="append")
    parser.add_argument("-d")
    given = parser.parse_args(words[1:])
    path = urlsplit(given.url).path
    assert f'"{path}"' in (ROOT / "edge_nodes" / "http" / "app.py").read_text()
    if path == "/v1/decisions":
        assert (
            PaymentRequest.model_validate_json(given.d).model_dump(mode="json")["amount"]
            == json.loads(given.d)["amount"]
        )


def _kubectl(words: list[str]) -> None:
    """What is applied is there; what else Kubernetes is told is its own."""
    for option, value in pairwise(words):
        assert option not in {"-f", "-k"} or (ROOT / value).exists(), value


def _podman(words: list[str]) -> None:
    told = dict(pairwise(words))
    file = ROOT / told["--file"]
    assert f" AS {told['--target']}\n" in file.read_text()


CHECKS = {
    "make": _make,
    "tidegate": _tidegate,
    "python": _python,
    "curl": _curl,
    "kubectl": _kubectl,
    "podman": _podman,
}


@pytest.mark.parametrize("command", COMMANDS, ids=IDS)
def test_every_command_in_a_document_is_real(command: str) -> None:
    words = _words(command)
    assert words, command
    name = words[0].rsplit("/", 1)[-1]
    assert name in CHECKS or (ROOT / words[0]).exists(), f"nobody knows how to check {name!r}"
    if name in CHECKS:
        CHECKS[name](words)


def test_the_readme_starts_with_the_two_commands_and_asks_the_door_something() -> None:
    read = [_words(command)[:2] for command in fenced((ROOT / "README.md").read_text())]

    assert read[:2] == [["make", "up"], ["make", "test"]]
    assert "curl" in {words[0] for words in read}


def test_the_table_of_test_cards_is_that_of_the_code() -> None:
    told = "replace the table in docs/calling.md by what `tidegate.sandbox.table()` returns"
    assert (ROOT / "docs" / "calling.md").read_text().endswith(table()), told


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_inside_the_house_leads_to_a_file(document: Path) -> None:
    links = [link for link in LINK.findall(document.read_text()) if "://" not in link]

    assert [link for link in links if not (document.parent / link).exists()] == []


def test_every_room_that_the_architecture_names_is_there() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    for row in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE):
        first, *beside = re.findall(r"`([^`]+)`", row)
        folder = (ROOT / first).parent

        assert (ROOT / first).exists(), first
        assert [name for name in beside if not (folder / name).exists()] == []


def test_every_room_is_named_by_the_architecture() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    rooms = [path.parent.relative_to(ROOT).as_posix() for path in ROOT.glob("actors/*/__init__.py")]

    assert [room for room in rooms if f"`{room}/`" not in text] == []


def _claims(text: str) -> list[str]:
    """Return the sentences of a document, a table being one: whoever reads a figure reads these words with it."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    claims = []
    for piece in re.split(r"\n\s*\n|^#+ .*$", prose, flags=re.MULTILINE):
        claims += [piece] if piece.lstrip().startswith("|") else re.split(r"(?<=[.:;])\s+(?=[A-Z`])", piece)
    return claims


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_a_figure_in_a_document_stands_in_one_sentence_or_table_with_the_bench_or_bound_it_comes_from(
    document: Path,
) -> None:
    figures = [claim for claim in _claims(document.read_text()) if MEASURED.search(claim)]

    assert [claim for claim in figures if not SOURCE.search(claim)] == []
