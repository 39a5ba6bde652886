"""Questions of people to the archive, in SQL (DataFusion, by deltalake), answered in bounded rows; changes nothing.

Each table is a view with its columns in words: ids as answers have them, times as times, outcomes by name.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa
from deltalake import QueryBuilder
from deltalake.exceptions import DeltaError

from serve_apps.archive.delta import opened
from serve_apps.archive.ports import ArchiveError
from tidegate.archived import Kept as ArchivedTable
from tidegate.archived import Pin
from tidegate.decision import OUTCOME_WORDS, Mode, RiskLevel
from tidegate.payment import CHANNELS, ENTRY_MODES
from tidegate.records import Kind, Lane

_READS: Final = re.compile(r"[\s(]*(select|with|values|describe|show)\b", re.IGNORECASE)
_RAW: Final = "stored_"
"""Before a table's name: the columns as they are stored."""


def _words(column: str, words: Mapping[Any, int]) -> str:
    cases = " ".join(f"WHEN {number} THEN '{word or ''}'" for word, number in words.items())
    return f"CASE {column} {cases} ELSE CAST({column} AS VARCHAR) END AS {column}"


def _time(column: str, name: str) -> str:
    return f"to_timestamp_micros({column}) AS {name}"


_OUTCOMES: Final = {word: number for number, word in enumerate(OUTCOME_WORDS)}
_MODES: Final = {mode.name.lower(): int(mode) for mode in Mode}
_LEVELS: Final = {level.name.lower(): int(level) for level in RiskLevel}
_KINDS: Final = {kind.name.lower(): int(kind) for kind in Kind}
_DECISION_WORDS: Final[Mapping[str, Mapping[Any, int]]] = {
    "outcome": _OUTCOMES,
    "risk_level": _LEVELS,
    "mode": _MODES,
    "channel": CHANNELS,
    "entry_mode": ENTRY_MODES,
}
_VIEWS: Final[dict[ArchivedTable, str]] = {
    "artifacts": """SELECT sha256, min(kind) AS kind, string_agg(text, '' ORDER BY part) AS text
        FROM (SELECT DISTINCT sha256, kind, part, parts, text FROM stored_artifacts)
        GROUP BY sha256, parts HAVING count(*) = parts""",
    "decisions": f"""SELECT source || '.L{int(Lane.DECISIONS)}.' || seq AS id, {_time("time_us", "decided_at")},
        {_time("occurred_us", "occurred_at")}, * REPLACE (
        {", ".join(_words(column, words) for column, words in _DECISION_WORDS.items())}) FROM stored_decisions""",
    "events": f"""SELECT source || '.L{int(Lane.EVENTS)}.' || seq AS id, {_time("time_us", "happened_at")},
        * REPLACE ({_words("kind", _KINDS)}, CAST(body AS VARCHAR) AS body) FROM stored_events""",
    "labels": f"""SELECT {_time("received_us", "received_at")}, {_time("known_us", "known_at")}, *
        FROM stored_labels""",
    "lists": """SELECT l.*, lead(l.from_us) OVER (PARTITION BY l.source ORDER BY l.from_us, l.version) AS to_us, a.text
        FROM stored_lists l LEFT JOIN artifacts a
        ON a.kind = 'lists' AND l.lists = 'l-' || substr(a.sha256, 1, 12)""",
    "policies": f"""SELECT {_time("from_us", "from_at")}, * FROM stored_policies""",
    "bundles": f"""SELECT {_time("trained_at_us", "trained_at")}, * FROM stored_bundles""",
}


class Answer(NamedTuple):
    """Rows of a question; `more` says that there were more than were asked for."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    more: bool


class Questions:
    """The tables of one archive at one version, ready to be asked.

    Raises:
        ArchiveError: there is no archive, or not in that version any more.
    """

    def __init__(self, folder: Path, pin: Pin | None = None) -> None:
        self._builder = QueryBuilder()
        for table, handle in opened(folder, pin).items():
            self._builder.register(_RAW + table, handle)
        for table, view in _VIEWS.items():  # a view that another one joins stands before it
            self._builder.execute(f"CREATE VIEW {table} AS {view}")

    def ask(self, sql: str, limit: int) -> Answer:
        """Return up to `limit` rows.

        Raises:
            ArchiveError: it isn't SQL that reads, names what isn't there, or a file can't be read.
        """
        if not _READS.match(sql):
            raise ArchiveError("only questions are taken: begin with SELECT, WITH, VALUES, DESCRIBE or SHOW")
        try:
            reader = pa.RecordBatchReader.from_stream(self._builder.execute(sql))
            rows = list(_first(reader, limit + 1))
        except (DeltaError, pa.ArrowException, OSError) as error:
            raise ArchiveError(f"the question wasn't answered: {error}") from error
        return Answer(tuple(reader.schema.names), rows[:limit], more=len(rows) > limit)


def _first(reader: pa.RecordBatchReader, count: int) -> Iterator[tuple[Any, ...]]:
    """Yield a reader's first rows, and read no more of it than that takes."""
    for batch in reader:
        part = batch.slice(0, count)
        yield from zip(*(column.to_pylist() for column in part.columns), strict=True)
        count -= part.num_rows
        if count <= 0:
            return


class Kept(NamedTuple):
    """What the archive has of one lane of one source."""

    source: str
    lane: Lane
    rows: int
    ids: int
    first: int
    last: int

    @property
    def missing(self) -> int:
        """How many records between the first and the last aren't there, or not yet."""
        return self.last - self.first + 1 - self.ids

    @property
    def repeated(self) -> int:
        """How many rows repeat a record that is there: promised never to be."""
        return self.rows - self.ids


def kept(questions: Questions, limit: int) -> Sequence[Kept]:
    """Return what is kept of each source and lane, counted row by row.

    Raises:
        ArchiveError: a file can't be read.
    """
    found: list[Kept] = []
    for table, lane in (("decisions", Lane.DECISIONS), ("events", Lane.EVENTS)):
        sql = f"SELECT source, count(*), count(DISTINCT seq), min(seq), max(seq) FROM {table} GROUP BY 1 ORDER BY 1"
        found += [Kept(source, lane, *counts) for source, *counts in questions.ask(sql, limit).rows]
    return found
