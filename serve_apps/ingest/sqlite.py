"""Registry, quarantine and posted labels in SQLite files: any process of ingest opens them, whoever writes."""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import Final

from serve_apps.ingest.ports import Case, Refusal, SiteEntry, SiteKey
from serve_apps.ingest.sharing import Share, crowding
from serve_apps.plumbing.database import Database, Layout
from tidegate.limits import LABELS_POSTED_MAX, TIDE_CASES_BYTES_MAX, TIDE_CASES_MAX, TIDE_REFUSALS_MAX

_REGISTER: Final = Layout(
    b"TGR1",
    1,
    """
CREATE TABLE sites (
    name TEXT PRIMARY KEY, made_us INTEGER NOT NULL, made_by TEXT NOT NULL,
    token TEXT NOT NULL, token_until_us INTEGER NOT NULL, token_key TEXT NOT NULL,
    revoked_us INTEGER, why TEXT NOT NULL, by TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE keys (
    key_id TEXT NOT NULL UNIQUE, site TEXT NOT NULL, public BLOB NOT NULL UNIQUE,
    enrolled_us INTEGER NOT NULL, revoked_us INTEGER, why TEXT NOT NULL, by TEXT NOT NULL,
    retires_us INTEGER, number INTEGER PRIMARY KEY) STRICT;
CREATE INDEX keys_of_site ON keys (site, number);
""",
)
_ONE_KEY: Final = "SELECT key_id, site, public, enrolled_us, revoked_us, why, by, retires_us FROM keys WHERE key_id = ?"
_SITES_KEYS: Final = (
    "SELECT key_id, site, public, enrolled_us, revoked_us, why, by, retires_us FROM keys WHERE site = ? ORDER BY number"
)
_QUARANTINE: Final = Layout(
    b"TGQ1",
    1,
    """
CREATE TABLE cases (
    case_id INTEGER PRIMARY KEY AUTOINCREMENT, time_us INTEGER NOT NULL, site TEXT NOT NULL, gate TEXT NOT NULL,
    epoch TEXT NOT NULL, lane INTEGER NOT NULL, first BLOB NOT NULL, last BLOB NOT NULL, key TEXT NOT NULL,
    reason TEXT NOT NULL, message TEXT NOT NULL, size INTEGER NOT NULL, sha256 BLOB NOT NULL UNIQUE) STRICT;
CREATE TABLE frames (case_id INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;
CREATE TABLE counts (reason TEXT PRIMARY KEY, count INTEGER NOT NULL) STRICT, WITHOUT ROWID;
""",
)
_REFUSALS: Final = """
CREATE TABLE IF NOT EXISTS refusals (
    site TEXT NOT NULL, key TEXT NOT NULL, reason TEXT NOT NULL, count INTEGER NOT NULL,
    first_us INTEGER NOT NULL, last_us INTEGER NOT NULL, vouched INTEGER NOT NULL,
    number INTEGER PRIMARY KEY, UNIQUE (site, key, reason, vouched)) STRICT
"""
"""Made where it is missing: quarantines of before have none."""
_FORGET: Final = (
    "DELETE FROM refusals WHERE number IN "
    "(SELECT number FROM refusals WHERE vouched = ? ORDER BY last_us DESC, number DESC LIMIT -1 OFFSET ?)"
)
_BOOK: Final = Layout(
    b"TGL1",
    1,
    """
CREATE TABLE labels (
    label_id TEXT NOT NULL UNIQUE, digest BLOB NOT NULL, number INTEGER PRIMARY KEY AUTOINCREMENT) STRICT;
""",
)
_SEQ_BYTES: Final = 8
"""A `seq` may have 64 bits, one more than SQLite's numbers."""


class SqliteRegister:
    """Sites and keys in the file at `path`."""

    def __init__(self, path: Path) -> None:
        self._file = Database(path, _REGISTER)

    def site(self, name: str) -> SiteEntry | None:
        """Return a site."""
        found = self._file.rows("SELECT * FROM sites WHERE name = ?", (name,))
        return SiteEntry(*found[0]) if found else None

    def sites(self, *, after: str, items: int) -> list[SiteEntry]:
        """Return sites in the order of their names."""
        found = self._file.rows("SELECT * FROM sites WHERE name > ? ORDER BY name LIMIT ?", (after, items))
        return [SiteEntry(*row) for row in found]

    def count(self) -> int:
        """Return how many sites there are."""
        return self._file.number("SELECT count(*) FROM sites")

    def key(self, key_id: str) -> SiteKey | None:
        """Return a key."""
        found = self._file.rows(_ONE_KEY, (key_id,))
        return SiteKey(*found[0]) if found else None

    def keys(self, site: str) -> list[SiteKey]:
        """Return a site's keys."""
        return [SiteKey(*row) for row in self._file.rows(_SITES_KEYS, (site,))]

    @contextmanager
    def change(self) -> Iterator["SqliteRegister"]:
        """Make one change."""
        with self._file.change():
            yield self

    def put_site(self, site: SiteEntry) -> None:
        """Add or replace a site."""
        self._file.rows("INSERT OR REPLACE INTO sites VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", astuple(site))

    def put_key(self, key: SiteKey) -> None:
        """Add or replace a key."""
        self._file.rows(
            "INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL) ON CONFLICT (key_id) DO UPDATE SET "
            "revoked_us = excluded.revoked_us, why = excluded.why, by = excluded.by, retires_us = excluded.retires_us",
            astuple(key),
        )

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class SqliteQuarantine:
    """Cases in the file at `path`, at most so many and so many bytes of them."""

    def __init__(
        self,
        path: Path,
        cases_max: int = TIDE_CASES_MAX,
        bytes_max: int = TIDE_CASES_BYTES_MAX,
        refusals_max: int = TIDE_REFUSALS_MAX,
    ) -> None:
        self._bounds = cases_max, bytes_max
        self._refusals_max = refusals_max
        self._file = Database(path, _QUARANTINE)
        self._file.rows(_REFUSALS)

    def keep(self, cases: Sequence[tuple[Case, bytes]]) -> None:
        """Keep frames aside, all in one change."""
        with self._file.change():
            for case, data in cases:
                self._keep(case, data)
            self._make_room()

    def _keep(self, case: Case, data: bytes) -> None:
        values = (*_stored(case)[1:], hashlib.sha256(data).digest())
        made = self._file.rows(
            "INSERT INTO cases VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (sha256) DO NOTHING RETURNING case_id",
            values,
        )
        if made:
            self._file.rows("INSERT INTO frames VALUES (?, ?)", (made[0][0], data))
            counted = "INSERT INTO counts VALUES (?, 1) ON CONFLICT (reason) DO UPDATE SET count = count + 1"
            self._file.rows(counted, (case.reason,))

    def _make_room(self) -> None:
        """Let the oldest go of the site that has most, until nothing is beyond the bounds."""
        shares = self._file.rows("SELECT site, count(*), sum(size) FROM cases GROUP BY site")
        held = {site: Share(count, size) for site, count, size in shares}
        while (site := crowding(held, *self._bounds)) is not None:
            oldest = "SELECT case_id, size FROM cases WHERE site = ? ORDER BY case_id LIMIT 1"
            ((case_id, freed),) = self._file.rows(oldest, (site,))
            self._file.rows("DELETE FROM cases WHERE case_id = ?", (case_id,))
            self._file.rows("DELETE FROM frames WHERE case_id = ?", (case_id,))
            held[site] = Share(held[site].cases - 1, held[site].size - freed)

    def page(self, *, before: int | None, items: int, site: str | None = None) -> list[Case]:
        """Return cases, newest first."""
        found = self._file.rows(
            "SELECT * FROM cases WHERE (?1 IS NULL OR case_id < ?1) AND (?2 IS NULL OR site = ?2) "
            "ORDER BY case_id DESC LIMIT ?3",
            (before, site, items),
        )
        return [_case(row) for row in found]

    def frame(self, case_id: int) -> bytes | None:
        """Return the bytes of a case."""
        found = self._file.rows("SELECT data FROM frames WHERE case_id = ?", (case_id,))
        return bytes(found[0][0]) if found else None

    def counts(self) -> dict[str, int]:
        """Return how many cases were ever kept, by reason."""
        return dict(self._file.rows("SELECT reason, count FROM counts"))

    def refuse(self, refusals: Sequence[Refusal]) -> None:
        """Note what was refused, all in one change."""
        with self._file.change():
            for each in refusals:
                self._file.rows(
                    "INSERT INTO refusals VALUES (?, ?, ?, ?, ?, ?, ?, NULL) ON CONFLICT DO UPDATE SET "
                    "count = count + excluded.count, last_us = excluded.last_us",
                    (*each[:-1], int(each.vouched)),
                )
            for vouched in (0, 1):
                self._file.rows(_FORGET, (vouched, self._refusals_max))

    def refusals(self, *, items: int, site: str | None = None) -> list[Refusal]:
        """Return what was refused, the latest first."""
        found = self._file.rows(
            "SELECT site, key, reason, count, first_us, last_us, vouched FROM refusals "
            "WHERE ?1 IS NULL OR site = ?1 ORDER BY last_us DESC, number DESC LIMIT ?2",
            (site, items),
        )
        return [Refusal._make((*row[:-1], bool(row[-1]))) for row in found]

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _stored(case: Case) -> tuple[int | str | bytes, ...]:
    first, last = (seq.to_bytes(_SEQ_BYTES, "big") for seq in (case.first, case.last))
    return tuple(case._replace(first=first, last=last))  # type: ignore[arg-type]  # as the file has them


def _case(row: tuple[int | str | bytes, ...]) -> Case:
    case = Case(*row[: len(Case._fields)])  # type: ignore[arg-type]  # of the types of the table
    return case._replace(
        first=int.from_bytes(case.first, "big"),  # type: ignore[arg-type]  # as the file has them
        last=int.from_bytes(case.last, "big"),  # type: ignore[arg-type]  # as above
    )


class SqliteBook:
    """Labels that were posted."""

    def __init__(self, path: Path, labels_max: int = LABELS_POSTED_MAX) -> None:
        self._file = Database(path, _BOOK)
        self._labels_max = labels_max

    def digests(self, label_ids: Collection[str]) -> dict[str, bytes]:
        """Return what is known of them."""
        found: dict[str, bytes] = {}
        for name in label_ids:
            for (digest,) in self._file.rows("SELECT digest FROM labels WHERE label_id = ?", (name,)):
                found[name] = digest
        return found

    def note(self, digests: Mapping[str, bytes]) -> None:
        """Remember labels."""
        with self._file.change():
            for name, digest in digests.items():
                self._file.rows("INSERT OR IGNORE INTO labels (label_id, digest) VALUES (?, ?)", (name, digest))
            self._file.rows(
                "DELETE FROM labels WHERE number <= (SELECT max(number) FROM labels) - ?", (self._labels_max,)
            )

    def close(self) -> None:
        """Close the file."""
        self._file.close()
