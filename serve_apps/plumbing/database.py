"""A small SQLite file of one application: made whole, private, durable; several processes read while one writes.

For what is looked up by key and changed by people. The log has a file and rules of its own: `stream/sqlite.py`.
"""

import contextlib
import os
import sqlite3
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from tidegate.errors import DiskFullError, SettingsError, TemporaryError, TidegateError
from tidegate.limits import LOG_BUSY_S_MAX

Value = int | str | bytes | None
Row = tuple[Any, ...]
_CAUSES: Final = {
    sqlite3.SQLITE_BUSY: "another process writes for longer than is waited for",
    sqlite3.SQLITE_READONLY: "the file may not be written: see to its owner and mode",
    sqlite3.SQLITE_CANTOPEN: "the file can't be opened: see to its folder, owner and mode",
    sqlite3.SQLITE_CORRUPT: "the file is damaged: put a copy from before in its place",
    sqlite3.SQLITE_NOTADB: "the file is damaged: put a copy from before in its place",
}


class DatabaseError(TemporaryError):
    """The file can't be read or written now."""

    code = "STORE_UNAVAILABLE"


class Layout(NamedTuple):
    """What a file holds: four letters that say whose it is, the number of its format, its tables."""

    mark: bytes
    version: int
    tables: str

    @property
    def pragmas(self) -> str:
        """What writes mark and version into a file."""
        return f"PRAGMA application_id = {self._mark}; PRAGMA user_version = {self.version};"

    @property
    def _mark(self) -> int:
        return int.from_bytes(self.mark, "big")

    def check(self, path: Path, mark: int, version: int) -> None:
        """Refuse another program's file, and another format.

        Raises:
            SettingsError: it is one.
        """
        if mark != self._mark:
            raise SettingsError(f"{path}: it isn't the file that is expected there; name another place")
        if version != self.version:
            told = f"{path}: it has the format {version}, and this program reads {self.version}; update it"
            raise SettingsError(told)


class Database:
    """One connection for all threads of a process, one at a time; the file is made where it is missing."""

    def __init__(self, path: Path, layout: Layout) -> None:
        self._path = path
        self._lock = threading.RLock()
        if not path.exists():
            _make(path, layout)
        self._connection = _connected(path)
        try:
            layout.check(path, self.number("PRAGMA application_id"), self.number("PRAGMA user_version"))
        except TidegateError:
            self.close()
            raise

    def rows(self, statement: str, values: Sequence[Value] = ()) -> list[Row]:
        """Return what a statement finds, or run one that finds nothing.

        Raises:
            DatabaseError: it can't be run now.
            DiskFullError: there is no room.
        """
        with self._lock, self._errors():
            return self._connection.execute(statement, values).fetchall()

    def number(self, statement: str, values: Sequence[Value] = ()) -> int:
        """Return the one number that a statement finds."""
        ((found,),) = self.rows(statement, values)
        return int(found)

    @contextmanager
    def change(self) -> Iterator[None]:
        """Make one change of what is run within: durable at the end, or, where that raises, nothing of it.

        Where the end itself fails, nobody knows; a change that is made again then has to be right.
        """
        with self._lock:
            self.rows("BEGIN IMMEDIATE")
            try:
                yield
                self.rows("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # a failed disk has undone it by itself
                    self._connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.ProgrammingError:  # ours
            raise
        except sqlite3.DatabaseError as error:
            raise _told(self._path, error) from error


def _told(path: Path, error: sqlite3.DatabaseError) -> TemporaryError:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF  # the rest tells where, not what
    if code == sqlite3.SQLITE_FULL:
        return DiskFullError(f"{path}: the disk is full: free space on it")
    return DatabaseError(f"{path}: {_CAUSES.get(code, str(error))}")


def _connected(path: Path) -> sqlite3.Connection:
    try:
        made = sqlite3.connect(path, timeout=LOG_BUSY_S_MAX, isolation_level=None, check_same_thread=False)
        made.execute("PRAGMA synchronous = FULL")
    except sqlite3.DatabaseError as error:
        raise _told(path, error) from error
    return made


def _make(path: Path, layout: Layout) -> None:
    """Make the file, whole or not at all: beside its place first, then under its name, unless another was quicker."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # readable by its owner alone
    os.close(handle)
    beside = Path(name)
    try:
        with contextlib.closing(sqlite3.connect(beside, isolation_level=None)) as made:
            made.execute("PRAGMA journal_mode = WAL")
            made.execute("PRAGMA synchronous = FULL")
            made.executescript(f"BEGIN; {layout.tables} {layout.pragmas} COMMIT")
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(beside)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(folder)
        os.close(folder)
    finally:
        beside.unlink()
