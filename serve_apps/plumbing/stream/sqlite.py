"""The log in one SQLite file, for a cloud without servers: one machine, one writer at a time, any number of readers.

Write-ahead log with full synchronisation: what was committed survives the power. Who writes holds a token that is kept
in the file itself, so that a writer that was replaced can't commit, in whatever process it lives on.
"""

import contextlib
import os
import sqlite3
import tempfile
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from serve_apps.plumbing.stream import log
from serve_apps.plumbing.stream.ports import (
    DamagedError,
    FencedError,
    Message,
    MismatchError,
    Place,
    Stored,
    UnavailableError,
    UnknownOutcomeError,
    UnknownTopicError,
)
from tidegate.clock import Clock
from tidegate.errors import TidegateError
from tidegate.limits import LOG_BUSY_S_MAX, LOG_CHECKED_BYTES_MAX, LOG_POLL_S, LOG_TRIM_MESSAGES, LOG_WAL_BYTES

_APPLICATION: Final = 0x54474C31  # "TGL1"
_FORMAT: Final = 1
_PAGE_BYTES: Final = 16_384  # a live frame costs four pages, a frame of 400 KB as few as 25
_PLACE_BITS: Final = 40  # of an id: the offset in its partition, a million million of them
_CAUSES: Final = {
    sqlite3.SQLITE_BUSY: "another process writes for longer than is waited for",
    sqlite3.SQLITE_FULL: "the disk is full: free space on it",
    sqlite3.SQLITE_READONLY: "the file may not be written: see to its owner and mode",
    sqlite3.SQLITE_CANTOPEN: "the file can't be opened: see to its folder, owner and mode",
}
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

_SCHEMA: Final = """
CREATE TABLE partitions (
    id INTEGER PRIMARY KEY, topic TEXT NOT NULL, number INTEGER NOT NULL,
    first INTEGER NOT NULL DEFAULT 0, next INTEGER NOT NULL DEFAULT 0, UNIQUE (topic, number)) STRICT;
CREATE TABLE messages (id INTEGER PRIMARY KEY, time_us INTEGER NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL) STRICT;
CREATE TABLE writers (committer TEXT PRIMARY KEY, token INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE cursors (
    committer TEXT NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (committer, name)) STRICT, WITHOUT ROWID;
CREATE TABLE consumers (
    name TEXT NOT NULL, partition INTEGER NOT NULL, next INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (name, partition)) STRICT, WITHOUT ROWID;
"""


def _told(path: Path, error: sqlite3.Error) -> TidegateError:
    """Return what an error of SQLite's means to a caller of the port."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF  # the rest tells where, not what
    if code in _DAMAGED:
        return _damaged(path, str(error))
    return UnavailableError(f"{path}: {_CAUSES.get(code, str(error))}")


def _damaged(path: Path, what: str) -> DamagedError:
    return DamagedError(
        f"{path}: the log is damaged ({what}). Stop what uses it, keep the file and those beside it (-wal, -shm) as "
        "they are, and put a copy from before in their place; what the sites still hold they send again. The archive, "
        "where it is ahead of the copy, stops and says what to do"
    )


class _File:
    """One connection, whose errors are those of the port."""

    def __init__(self, path: Path, *, write: bool) -> None:
        self.path = path
        self._write = write
        self.open()

    def open(self) -> None:
        with self.errors():
            self._connection = sqlite3.connect(
                self.path, timeout=LOG_BUSY_S_MAX, isolation_level=None, check_same_thread=False
            )
            self.run("PRAGMA synchronous = FULL")
            self.run(f"PRAGMA wal_autocheckpoint = {LOG_WAL_BYTES // _PAGE_BYTES}")
            self.run(f"PRAGMA journal_size_limit = {LOG_WAL_BYTES}")
            self.run("PRAGMA secure_delete = OFF")  # zeroing what is given back to the system would write it again
            self.run(f"PRAGMA query_only = {'OFF' if self._write else 'ON'}")

    @contextmanager
    def errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.ProgrammingError):  # ours: closed, or used by two threads
                raise
            raise _told(self.path, error) from error

    def run(self, statement: str, values: Sequence[int | str | bytes] = ()) -> sqlite3.Cursor:
        return self._connection.execute(statement, values)

    def rows(self, statement: str, values: Sequence[int | str | bytes] = ()) -> list[tuple[int | str | bytes, ...]]:
        with self.errors():
            return self.run(statement, values).fetchall()

    @contextmanager
    def change(self) -> Iterator[None]:
        """Make one change of what is in the block; where the end of it fails, nobody knows.

        A failed write of the last page may have reached the disk, where a start after a crash would find it.
        """
        with self.errors():
            self.run("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self.undo()
                raise
        try:
            self.run("COMMIT")
        except sqlite3.Error as error:
            self.close()
            told = f"{self.path}: {error}; open another writer and look at its cursors"
            raise UnknownOutcomeError(told) from error

    @contextmanager
    def repeatable(self) -> Iterator[None]:
        """Make one change that may be made twice: where nobody knows whether it was, making it again is right."""
        try:
            with self.change():
                yield
        except UnknownOutcomeError as error:
            self.open()
            raise UnavailableError(f"{self.path}: the change may not have been made; try again") from error

    @contextmanager
    def view(self) -> Iterator[None]:
        """Read everything in the block as of one moment."""
        with self.errors():
            self.run("BEGIN")
            try:
                yield
            finally:
                self.undo()

    def undo(self) -> None:
        if self._connection.in_transaction:
            with contextlib.suppress(sqlite3.OperationalError):  # a failed disk undoes by itself
                self._connection.execute("ROLLBACK")

    def close(self) -> None:
        with contextlib.suppress(sqlite3.OperationalError):  # closing writes ahead what was written, which can wait
            self._connection.close()

    def place(self, topic: str, partition: int) -> tuple[int, int, int]:
        """Return a partition's id, first offset and next offset."""
        found = self.run("SELECT id, first, next FROM partitions WHERE topic = ? AND number = ?", (topic, partition))
        row: tuple[int, int, int] | None = found.fetchone()
        if row is None:
            raise UnknownTopicError(f"{topic}/{partition}: no such topic or partition; create it first")
        return row

    def count(self, topic: str) -> int:
        """Return how many partitions a topic has."""
        found: tuple[int] = self.run("SELECT count(*) FROM partitions WHERE topic = ?", (topic,)).fetchone()
        if not found[0]:
            raise UnknownTopicError(f"{topic}: no such topic; create it first")
        return found[0]


def _make(path: Path) -> None:
    """Make the file, whole or not at all: beside its place first, then under its name, unless another was quicker."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # readable by its owner alone
    os.close(handle)
    beside = Path(name)
    try:
        with contextlib.closing(sqlite3.connect(beside, isolation_level=None)) as made:
            made.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            made.execute("PRAGMA auto_vacuum = INCREMENTAL")
            made.execute("PRAGMA journal_mode = WAL")
            made.execute("PRAGMA synchronous = FULL")
            marks = f"PRAGMA application_id = {_APPLICATION}; PRAGMA user_version = {_FORMAT};"
            made.executescript(f"BEGIN; {_SCHEMA} {marks} COMMIT")
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(beside)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(folder)
        os.close(folder)
    finally:
        beside.unlink()


class SqliteStream:
    """A log in the file at `path`, made where it is missing; its folder must exist."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        if not path.exists():
            _make(path)
        self._file = _File(path, write=True)
        try:
            with self._file.errors():
                self._check()
        except TidegateError:
            self._file.close()
            raise

    def _check(self) -> None:
        """Refuse another program's file, another format, and what is damaged as far as can be seen in good time."""
        mark: int = self._file.run("PRAGMA application_id").fetchone()[0]
        version: int = self._file.run("PRAGMA user_version").fetchone()[0]
        if mark != _APPLICATION:
            raise MismatchError(f"{self._path}: no log of Tidegate's; name another file")
        if version != _FORMAT:
            raise MismatchError(f"{self._path}: a log of format {version}, and this program reads {_FORMAT}; update it")
        if self._path.stat().st_size <= LOG_CHECKED_BYTES_MAX:
            found: str = self._file.run("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise _damaged(self._path, found)

    def create(self, topic: str, partitions: int) -> None:
        """Make a topic, or see that it is there."""
        log.check_topic(topic, partitions)
        with self._file.repeatable():
            found: int = self._file.run("SELECT count(*) FROM partitions WHERE topic = ?", (topic,)).fetchone()[0]
            if found not in {0, partitions}:
                raise MismatchError(f"{topic} has {found} partitions, not {partitions}: their number never changes")
            for number in range(found, partitions):
                self._file.run("INSERT INTO partitions (topic, number) VALUES (?, ?)", (topic, number))

    def writer(self, committer: str) -> "SqliteWriter":
        """Open the writer of a committer."""
        log.check_name("committer", committer)
        return SqliteWriter(_File(self._path, write=True), self._clock, committer)

    def reader(self) -> "SqliteReader":
        """Open a reader."""
        return SqliteReader(_File(self._path, write=False))

    def consumers(self) -> "SqliteConsumers":
        """Open the book of consumers."""
        return SqliteConsumers(_File(self._path, write=True))

    def close(self) -> None:
        """Close the stream's own connection."""
        self._file.close()


class SqliteWriter:
    """One opening of a committer's writer, which has a token of its own."""

    def __init__(self, file: _File, clock: Clock, committer: str) -> None:
        self._file = file
        self._clock = clock
        self._committer = committer
        self._over: TidegateError | None = None
        try:
            self._token, self._cursors = self._opened()
        except TidegateError:
            file.close()
            raise

    def _opened(self) -> tuple[int, dict[str, bytes]]:
        claim = (
            "INSERT INTO writers VALUES (?, 1) ON CONFLICT (committer) DO UPDATE SET token = token + 1 RETURNING token"
        )
        with self._file.repeatable():
            token: int = self._file.run(claim, (self._committer,)).fetchone()[0]
            found = self._file.run("SELECT name, value FROM cursors WHERE committer = ?", (self._committer,))
            cursors: dict[str, bytes] = dict(found.fetchall())
        return token, cursors

    def cursors(self) -> dict[str, bytes]:
        """Return what was noted."""
        return dict(self._cursors)

    def commit(self, messages: Sequence[Message], cursors: Mapping[str, bytes | None]) -> None:
        """Append and note in one change of the file."""
        if self._over is not None:
            raise self._over
        log.check_commit(messages, cursors, self._cursors)
        try:
            with self._file.change():
                self._fence()
                self._append(messages)
                self._note(cursors)
        except (FencedError, UnknownOutcomeError, DamagedError) as error:
            self._over = error
            raise
        log.noted(self._cursors, cursors)

    def close(self) -> None:
        """Close the connection."""
        self._file.close()

    def _fence(self) -> None:
        held = self._file.run("SELECT token FROM writers WHERE committer = ?", (self._committer,)).fetchone()
        if held != (self._token,):
            raise FencedError(f"{self._file.path}: another writer of {self._committer} was opened: this one is over")

    def _append(self, messages: Sequence[Message]) -> None:
        time_us = log.stamp_us(self._clock)
        counts: dict[str, int] = {}
        ids: dict[Place, int] = {}
        for message in messages:
            count = counts.get(message.topic) or counts.setdefault(message.topic, self._file.count(message.topic))
            place = message.topic, log.partition(message.key, count)
            if place not in ids:
                number, _, following = self._file.place(*place)
                ids[place] = number << _PLACE_BITS | following
            values = (ids[place], time_us, message.key, message.value)
            self._file.run("INSERT INTO messages VALUES (?, ?, ?, ?)", values)
            ids[place] += 1
        for following in ids.values():
            offset, number = following & ((1 << _PLACE_BITS) - 1), following >> _PLACE_BITS
            self._file.run("UPDATE partitions SET next = ? WHERE id = ?", (offset, number))

    def _note(self, cursors: Mapping[str, bytes | None]) -> None:
        for name, value in cursors.items():
            if value is None:
                self._file.run("DELETE FROM cursors WHERE committer = ? AND name = ?", (self._committer, name))
            else:
                self._file.run("INSERT OR REPLACE INTO cursors VALUES (?, ?, ?)", (self._committer, name, value))


class SqliteReader:
    """Reads the file as of its latest commit; never waits for a writer, and no writer for it."""

    def __init__(self, file: _File) -> None:
        self._file = file

    def partitions(self, topic: str) -> int:
        """Return how many there are."""
        with self._file.errors():
            return self._file.count(topic)

    def begin(self, topic: str, partition: int) -> int:
        """Return the lowest offset."""
        with self._file.errors():
            return self._file.place(topic, partition)[1]

    def end(self, topic: str, partition: int) -> int:
        """Return the next offset."""
        with self._file.errors():
            return self._file.place(topic, partition)[2]

    def read(
        self, topic: str, partition: int, offset: int, *, messages_max: int, bytes_max: int, wait_s: float = 0.0
    ) -> list[Stored]:
        """Return what is there, or becomes so while waiting; looks every few milliseconds."""
        deadline = time.monotonic() + wait_s
        while True:
            with self._file.view():
                number, begin, end = self._file.place(topic, partition)
                log.check_range((topic, partition), offset, begin, end)
                found = self._found(number, offset, messages_max, bytes_max)
            left_s = deadline - time.monotonic()
            if found or left_s <= 0:
                return found
            threading.Event().wait(min(left_s, LOG_POLL_S))

    def close(self) -> None:
        """Close the connection."""
        self._file.close()

    def _found(self, number: int, offset: int, messages_max: int, bytes_max: int) -> list[Stored]:
        base = number << _PLACE_BITS
        rows = self._file.run(
            "SELECT id, key, value, time_us FROM messages WHERE id >= ? AND id < ? ORDER BY id LIMIT ?",
            (base | offset, base + (1 << _PLACE_BITS), messages_max),
        )
        found: list[Stored] = []
        with contextlib.closing(rows):
            for row, key, value, time_us in rows:
                bytes_max -= len(key) + len(value)
                if found and bytes_max < 0:
                    break
                found.append(Stored(row - base, key, value, time_us))
        return found


class SqliteConsumers:
    """The book of consumers, in the same file."""

    def __init__(self, file: _File) -> None:
        self._file = file

    def register(self, name: str, topics: Collection[str]) -> None:
        """Keep what `name` reads."""
        log.check_name("consumer", name)
        with self._file.repeatable():
            wanted = {row[0] for topic in topics for row in self._places(topic)}
            held = self._file.run("SELECT partition FROM consumers WHERE name = ?", (name,)).fetchall()
            for (left,) in held:
                if left not in wanted:
                    self._file.run("DELETE FROM consumers WHERE name = ? AND partition = ?", (name, left))
            for number in wanted:
                self._file.run("INSERT OR IGNORE INTO consumers (name, partition) VALUES (?, ?)", (name, number))

    def store(self, name: str, offsets: Mapping[Place, int]) -> None:
        """Note how far `name` is."""
        with self._file.repeatable():
            log.check_stored(name, {topic for topic, _ in self._held().get(name, {})}, offsets)
            for (topic, partition), offset in offsets.items():
                number = self._file.place(topic, partition)[0]
                values = (offset, name, number)
                self._file.run("UPDATE consumers SET next = ? WHERE name = ? AND partition = ?", values)

    def registered(self) -> dict[str, dict[Place, int]]:
        """Return everybody's offsets."""
        with self._file.view():
            return self._held()

    def forget(self, name: str) -> None:
        """Keep nothing for `name`."""
        with self._file.repeatable():
            self._file.run("DELETE FROM consumers WHERE name = ?", (name,))

    def trim(self) -> dict[Place, int]:
        """Drop what nobody needs, a piece at a time, and give the disk back."""
        lowest = log.trimmable(self.registered().values())
        begins = {place: self._trimmed(place, offset) for place, offset in lowest.items()}
        self._give_back()
        return begins

    def close(self) -> None:
        """Close the connection."""
        self._file.close()

    def _places(self, topic: str) -> list[tuple[int]]:
        self._file.count(topic)
        return self._file.run("SELECT id FROM partitions WHERE topic = ?", (topic,)).fetchall()

    def _held(self) -> dict[str, dict[Place, int]]:
        found = self._file.run(
            "SELECT name, topic, number, consumers.next FROM consumers JOIN partitions ON partition = id"
        )
        held: dict[str, dict[Place, int]] = {}
        for name, topic, number, offset in found:
            held.setdefault(name, {})[topic, number] = offset
        return held

    def _trimmed(self, place: Place, offset: int) -> int:
        while True:
            with self._file.repeatable():
                number, first, following = self._file.place(*place)
                stop = min(first + LOG_TRIM_MESSAGES, offset, following)
                if stop <= first:
                    return first
                base = number << _PLACE_BITS
                self._file.run("DELETE FROM messages WHERE id >= ? AND id < ?", (base, base + stop))
                self._file.run("UPDATE partitions SET first = ? WHERE id = ?", (stop, number))

    def _give_back(self) -> None:
        """Return freed pages to the system, a piece at a time; the next checkpoint shortens the file."""
        piece = f"PRAGMA incremental_vacuum({LOG_WAL_BYTES // _PAGE_BYTES})"
        left = self._free()
        while left:
            self._file.rows(piece)
            before, left = left, self._free()
            if left >= before:
                break
        self._file.rows("PRAGMA wal_checkpoint(PASSIVE)")

    def _free(self) -> int:
        with self._file.errors():
            pages: int = self._file.run("PRAGMA freelist_count").fetchone()[0]
        return pages
