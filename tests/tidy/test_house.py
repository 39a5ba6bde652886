"""The look of the house, checked: sizes, names, places, debris."""

import ast
import importlib
import re
import statistics
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("tidegate", "actors", "edge_nodes", "serve_apps", "training")
BANNED_MODULES = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}
TRACKED = [
    ROOT / line
    for line in subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    if (ROOT / line).is_file()
]
MODULES = [path for path in TRACKED if path.suffix == ".py"]
PRODUCT = [path for path in MODULES if path.relative_to(ROOT).parts[0] in PACKAGES]


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def _body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = function.body
    if ast.get_docstring(function) is not None:
        body = body[1:]
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def _functions(path: Path) -> list[tuple[str, int]]:
    tree = _tree(path)
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [(f"{path.name}:{node.name}", _body_lines(node)) for node in ast.walk(tree) if isinstance(node, kinds)]


@pytest.mark.parametrize("name", PACKAGES)
def test_each_package_is_ours_and_not_a_strangers_of_the_same_name(name: str) -> None:
    module = importlib.import_module(name)

    assert Path(str(module.__file__)).resolve() == ROOT / name / "__init__.py"


def test_no_function_is_longer_than_seventy_lines_and_the_median_is_eight_or_less() -> None:
    sizes = [size for path in PRODUCT for size in _functions(path)]

    assert [size for size in sizes if size[1] > 70] == []
    assert statistics.median(lines for _, lines in sizes) <= 8


def test_no_module_is_longer_than_six_hundred_lines() -> None:
    assert [str(path) for path in MODULES if len(path.read_text().splitlines()) > 600] == []


def test_modules_are_named_by_nouns_of_the_field() -> None:
    assert [str(path) for path in MODULES if path.stem in BANNED_MODULES] == []


def test_each_module_says_what_it_is_and_for_whom() -> None:
    assert [str(path) for path in MODULES if ast.get_docstring(_tree(path)) is None] == []


def test_nothing_unfinished_is_left_behind() -> None:
    marks = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b|\bNotImplemented" + r"Error|time\.sl" + r"eep\(")

    assert [f"{path}: {marks.findall(path.read_text())}" for path in MODULES if marks.search(path.read_text())] == []


def test_no_tracked_file_is_large() -> None:
    big = [path for path in TRACKED if path.stat().st_size > 200_000 and path.parent.name != "locks"]

    assert big == []


def test_configs_hold_data_only() -> None:
    assert [path for path in MODULES if path.relative_to(ROOT).parts[0] == "configs"] == []
