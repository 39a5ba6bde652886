"""The registry's book in a SQLite file."""

import json
from pathlib import Path
from typing import Any, Final

from serve_apps.models.ports import Done, Entry, Told
from serve_apps.plumbing.database import Database, Layout
from tidegate.rollout import Report
from tidegate.trust import Target

_BOOK: Final = Layout(
    b"TGM1",
    1,
    """
CREATE TABLE bundles (
    number INTEGER PRIMARY KEY, bundle TEXT NOT NULL UNIQUE, added_us INTEGER NOT NULL, by TEXT NOT NULL,
    manifest BLOB NOT NULL, files TEXT NOT NULL) STRICT;
CREATE TABLE course (one INTEGER PRIMARY KEY CHECK (one = 1), said TEXT NOT NULL) STRICT;
CREATE TABLE changes (number INTEGER PRIMARY KEY, at_us INTEGER NOT NULL, by TEXT NOT NULL, told TEXT NOT NULL) STRICT;
CREATE TABLE reports (site TEXT PRIMARY KEY, at_us INTEGER NOT NULL, report TEXT NOT NULL) STRICT, WITHOUT ROWID;
""",
)
_ENTRY: Final = "SELECT bundle, added_us, by, manifest, files FROM bundles"


class SqliteBook:
    """The book of one file."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, _BOOK)

    def add(self, entry: Entry) -> None:
        """Add a bundle; see the port."""
        files = json.dumps({name: list(target) for name, target in entry.files.items()})
        values = (entry.bundle, entry.added_us, entry.by, entry.manifest, files)
        self._database.rows(
            "INSERT OR IGNORE INTO bundles (bundle, added_us, by, manifest, files) VALUES (?, ?, ?, ?, ?)", values
        )

    def entry(self, bundle: str) -> Entry | None:
        """Return a bundle; see the port."""
        found = self._database.rows(f"{_ENTRY} WHERE bundle = ?", (bundle,))
        return _entry(found[0]) if found else None

    def entries(self, items: int) -> list[Entry]:
        """Return bundles; see the port."""
        return [_entry(row) for row in self._database.rows(f"{_ENTRY} ORDER BY number DESC LIMIT ?", (items,))]

    def count(self) -> int:
        """Return how many bundles there are; see the port."""
        return self._database.number("SELECT count(*) FROM bundles")

    def course(self) -> str | None:
        """Return how things stand; see the port."""
        found = self._database.rows("SELECT said FROM course")
        return str(found[0][0]) if found else None

    def change(self, course: str, done: Done) -> None:
        """Write how things stand; see the port."""
        with self._database.change():
            self._database.rows("INSERT OR REPLACE INTO course (one, said) VALUES (1, ?)", (course,))
            self._database.rows("INSERT INTO changes (at_us, by, told) VALUES (?, ?, ?)", done)

    def changes(self, items: int) -> list[Done]:
        """Return changes; see the port."""
        found = self._database.rows("SELECT at_us, by, told FROM changes ORDER BY number DESC LIMIT ?", (items,))
        return [Done(*row) for row in found]

    def report(self, site: str, told: Told) -> None:
        """Keep a report; see the port."""
        values = (site, told.at_us, told.report.model_dump_json())
        self._database.rows("INSERT OR REPLACE INTO reports (site, at_us, report) VALUES (?, ?, ?)", values)

    def reports(self) -> dict[str, Told]:
        """Return reports; see the port."""
        found = self._database.rows("SELECT site, at_us, report FROM reports ORDER BY site")
        return {site: Told(at_us, Report.model_validate_json(said)) for site, at_us, said in found}

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def _entry(row: tuple[Any, ...]) -> Entry:
    bundle, added_us, by, manifest, files = row
    targets = {name: Target(*target) for name, target in json.loads(files).items()}
    return Entry(bundle, added_us, by, manifest, targets)
