"""An answer as text: a table for eyes, JSON or CSV for programs."""

import csv
import datetime as dt
import io
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from serve_apps.archive.query import Answer

_CELL_CHARS_MAX: Final = 60
"""A vector of forty features would push all else off the screen; JSON and CSV have it whole."""


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever SQL yields
    """Return a value as JSON has it; what is no number is null."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat().replace("+00:00", "Z") if value.tzinfo else f"{value.isoformat()}Z"
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if isinstance(value, (str, int, type(None))) else str(value)


def _cell(value: Any) -> str:  # noqa: ANN401 - as above
    plain = _plain(value)
    if isinstance(plain, str):
        return plain
    return "" if plain is None else json.dumps(plain)


def as_table(answer: Answer) -> str:
    """Return columns under their names, long values cut."""
    lines = [answer.columns, *(tuple(map(_short, row)) for row in answer.rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, tuple("-" * width for width in widths))
    return "".join("  ".join(map(str.ljust, line, widths)).rstrip() + "\n" for line in lines)


def _short(value: Any) -> str:  # noqa: ANN401 - as above
    text = _cell(value).replace("\n", "⏎")
    return text if len(text) <= _CELL_CHARS_MAX else f"{text[: _CELL_CHARS_MAX - 1]}…"


def as_json(answer: Answer) -> str:
    """Return a JSON object a line."""
    rows = (dict(zip(answer.columns, map(_plain, row), strict=True)) for row in answer.rows)
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def as_csv(answer: Answer) -> str:
    """Return CSV (RFC 4180) with a header."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(answer.columns)
    writer.writerows(map(_cell, row) for row in answer.rows)
    return text.getvalue()


FORMATS: Final[Mapping[str, Callable[[Answer], str]]] = {"table": as_table, "json": as_json, "csv": as_csv}
