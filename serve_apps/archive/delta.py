"""The archive's tables as Delta Lake tables in a local folder; `append` is the only function that writes rows.

Exactly once rests on it: the offset that a table has of a partition is compared on the very handle that then commits
rows and offsets together. delta-rs refuses the loser of two such commits of one partition, and nothing but that handle
closes the race: a fresh one with an old offset would be taken, and would move the offset back.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, Field, PostCommitHookProperties, Transaction, WriterProperties
from deltalake import write_deltalake as write_rows
from deltalake.exceptions import CommitFailedError, DeltaError, DeltaProtocolError, TableNotFoundError

from serve_apps.archive import durability
from serve_apps.archive.durability import Sync
from serve_apps.archive.known import Asked, unknown
from serve_apps.archive.ports import ArchiveError, Piece, UnavailableError
from tidegate.archived import BY_DAY, GROWN, KEPT, Kept, Pin, lacking, schema_of, told_of
from tidegate.limits import (
    ARCHIVE_CHECKPOINT_COMMITS,
    ARCHIVE_COMMIT_RETRIES,
    ARCHIVE_FILE_BYTES,
    ARCHIVE_FILES_MAX,
    ARCHIVE_RETENTION_DAYS,
    ARCHIVE_ROW_GROUP_ROWS,
    ARCHIVE_TEND_COMMITS,
)

_LOG: Final = logging.getLogger(__name__)
_HOURS: Final = 24
_MARK: Final = "#"
"""Behind a partition's name: the number that its last message's mark is kept as, beside its offset."""
_REJOINED: Final = "?"
"""Behind a partition's name: it was rejoined."""
_NO_HOOKS: Final = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)
"""Checkpoints are made, and old commits removed, where they can be synced: by `vacuum`."""
_WRITTEN: Final = WriterProperties(
    compression="ZSTD", compression_level=1, max_row_group_size=ARCHIVE_ROW_GROUP_ROWS, statistics_truncate_length=64
)
_FOUND_BY: Final[Mapping[Kept, str]] = {
    "decisions": "source,seq,pos,time_us",
    "events": "source,seq,pos,time_us",
    "labels": "source,received_us",
}
"""Columns whose least and greatest values the log has of each file; of the other tables it has all."""


class Upkeep(NamedTuple):
    """How tables are kept: for how many days old versions can be read, and how many small files a day may have."""

    retention_days: int = ARCHIVE_RETENTION_DAYS
    merge_files: int = ARCHIVE_FILES_MAX

    @property
    def properties(self) -> dict[str, str]:
        """What the tables' own logs say of it."""
        kept_for = f"interval {self.retention_days} days"
        return {"delta.logRetentionDuration": kept_for, "delta.deletedFileRetentionDuration": kept_for}


_USUAL: Final = Upkeep()


class DeltaStore:
    """The tables of one folder; make it by `open_store`. `sync` puts a file or a folder on the disk."""

    def __init__(self, folder: Path, *, sync: Sync = durability.sync, upkeep: Upkeep = _USUAL) -> None:
        self._folder = folder
        self._sync = sync
        self._upkeep = upkeep
        self._handles: dict[Kept, DeltaTable] = {}
        self._tended: dict[Kept, int] = dict.fromkeys(KEPT, 0)

    def offset(self, table: Kept, app: str) -> int:
        """Return up to which offset a partition is in a table; see the port."""
        with self._handle(table) as handle:
            return _offset(handle, app)

    def mark(self, table: Kept, app: str) -> int:
        """Return the mark of the message at the offset; see the port."""
        with self._handle(table) as handle:
            return handle.transaction_version(app + _MARK) or 0

    def rejoined(self, table: Kept, app: str) -> bool:
        """Tell whether a partition was rejoined; see the port."""
        with self._handle(table) as handle:
            return _rejoined(handle, app)

    def rejoin(self, table: Kept, app: str) -> None:
        """Forget an offset, and look at rows from now on; see the port."""
        with self._handle(table) as handle:
            self._write(handle, table, [], {app: -1, app + _MARK: 0, app + _REJOINED: 1})

    def append(self, table: Kept, pieces: Sequence[Piece]) -> int:
        """Put rows into a table in one commit with their offsets; see the port."""
        with self._handle(table) as handle:
            fresh = [piece for piece in pieces if piece.offset > _offset(handle, piece.app)]
            if not fresh:
                return 0
            last: dict[str, int] = {}
            for piece in sorted(fresh, key=lambda piece: piece.offset):
                last |= {piece.app: piece.offset, piece.app + _MARK: piece.mark}
            apps = {piece.app for piece in fresh if _rejoined(handle, piece.app)}
            left = unknown(table, fresh, apps, lambda asked: _found(handle, asked))
            self._write(handle, table, left, last)
        return sum(batch.num_rows for batch in left)

    def _write(
        self, handle: DeltaTable, table: Kept, batches: Sequence[pa.RecordBatch], last: Mapping[str, int]
    ) -> None:
        before = handle.version()
        write_rows(
            handle,
            pa.RecordBatchReader.from_batches(schema_of(table), batches),
            mode="append",
            writer_properties=_WRITTEN,
            commit_properties=_commit(last),
            post_commithook_properties=_NO_HOOKS,
        )
        durability.sync_commits(self._folder / table, before + 1, handle.version(), self._sync)

    def pin(self) -> Pin:
        """Return the version of each table; see the port."""
        return Pin(*(self._version(table) for table in KEPT))

    def _version(self, table: Kept) -> int:
        with self._handle(table) as handle:
            return int(handle.version())

    def merge(self, table: Kept) -> int:
        """Merge the small files of days that have too many; return how many were merged. Old versions stay readable.

        Raises:
            UnavailableError: a commit didn't come through.
        """
        with self._handle(table) as handle:
            return sum(self._merge(handle, table, day) for day in _crowded(handle, table, self._upkeep.merge_files))

    def _merge(self, handle: DeltaTable, table: Kept, day: str | None) -> int:
        before = handle.version()
        told = handle.optimize.compact(
            partition_filters=None if day is None else [("day", "=", day)],
            target_size=ARCHIVE_FILE_BYTES,
            max_concurrent_tasks=1,
            writer_properties=_WRITTEN,
            commit_properties=_commit({}),
            post_commithook_properties=_NO_HOOKS,
        )
        durability.sync_commits(self._folder / table, before + 1, handle.version(), self._sync)
        return int(told["numFilesRemoved"])

    def tend(self) -> None:
        """Merge small files and shorten logs where enough was written; see the port."""
        for table in KEPT:
            if self._version(table) - self._tended[table] >= ARCHIVE_TEND_COMMITS:
                self.merge(table)
                self.checkpoint(table)
                self._tended[table] = self._version(table)

    def tidy(self) -> None:
        """Remove files that no version within the retention names; see the port."""
        for table in KEPT:
            self.vacuum(table)

    def vacuum(self, table: Kept) -> list[str]:
        """Remove a table's files that no version within the retention names, then make a checkpoint; return them.

        Raises:
            UnavailableError: a commit didn't come through.
        """
        with self._handle(table) as handle:
            before = handle.version()
            gone = handle.vacuum(
                retention_hours=self._upkeep.retention_days * _HOURS,
                dry_run=False,
                full=True,
                commit_properties=_commit({}),
                post_commithook_properties=_NO_HOOKS,
            )
            durability.sync_commits(self._folder / table, before + 1, handle.version(), self._sync)
            self._checkpoint(handle, table)
            handle.cleanup_metadata()
        return gone

    def checkpoint(self, table: Kept) -> bool:
        """Make a checkpoint where a start would otherwise read many commits; tell whether it was made."""
        with self._handle(table) as handle:
            if handle.version() - _checkpointed(self._folder / table) < ARCHIVE_CHECKPOINT_COMMITS:
                return False
            self._checkpoint(handle, table)
        return True

    def _checkpoint(self, handle: DeltaTable, table: Kept) -> None:
        handle.create_checkpoint()
        durability.sync_checkpoint(self._folder / table, handle.version(), self._sync)

    @contextmanager
    def _handle(self, table: Kept) -> Iterator[DeltaTable]:
        """Hold a table's handle, brought up to date; after an error the next one is fresh.

        Raises:
            UnavailableError: something was refused; the message says what.
        """
        handle = self._handles.pop(table, None)
        try:
            if handle is None:
                handle = DeltaTable(self._folder / table)
            else:
                handle.update_incremental()
            yield handle
        except CommitFailedError as error:
            raise UnavailableError(
                f"{table}: another writer was first ({_said(error)}); one at a time writes"
            ) from error
        except (DeltaError, OSError) as error:
            raise UnavailableError(f"{table}: not written ({_said(error)}); free its disk, or see to it") from error
        self._handles[table] = handle


def open_store(folder: Path, *, sync: Sync = durability.sync, upkeep: Upkeep = _USUAL) -> DeltaStore:
    """Return the tables of a folder, made where there are none; what a power cut tore is put aside first.

    Raises:
        ArchiveError: a table is damaged, or another program made it.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for table in KEPT:
        if durability.versions(folder / table):
            for told in durability.prove(folder / table, sync):
                _LOG.warning("archive: %s; what it held is read from the log again", told)
        else:
            _make(folder / table, table, sync, upkeep)
        handle = DeltaTable(folder / table)
        _grow(handle, folder / table, table, sync)
        _agree(handle, folder / table, sync, upkeep)
    return DeltaStore(folder, sync=sync, upkeep=upkeep)


def _agree(handle: DeltaTable, path: Path, sync: Sync, upkeep: Upkeep) -> None:
    """Have a table's log say for how long old versions are kept, where it says something else."""
    if upkeep.properties.items() <= handle.metadata().configuration.items():
        return
    before = handle.version()
    handle.alter.set_table_properties(upkeep.properties, post_commithook_properties=_NO_HOOKS)
    durability.sync_commits(path, before + 1, handle.version(), sync)


def _make(path: Path, table: Kept, sync: Sync, upkeep: Upkeep) -> None:
    settings: dict[str, str | None] = {**upkeep.properties, "delta.appendOnly": "true"}
    if table in _FOUND_BY:
        settings["delta.dataSkippingStatsColumns"] = _FOUND_BY[table]
    DeltaTable.create(
        path,
        schema_of(table),
        name=table,
        description=told_of(table),
        partition_by=["day"] if table in BY_DAY else None,
        configuration=settings,
    )
    durability.sync_made(path, sync)
    durability.sync_commits(path, 0, 0, sync)


def check(handle: DeltaTable, table: Kept) -> list[pa.Field]:
    """Return the columns that a table lacks since an older program made it.

    Raises:
        ArchiveError: another program made it, or a newer one.
    """
    try:
        return lacking(table, handle.metadata().description, pa.schema(handle.schema().to_arrow()))
    except ValueError as error:
        raise ArchiveError(f"{handle.table_uri}: {error}") from error


def _grow(handle: DeltaTable, path: Path, table: Kept, sync: Sync) -> None:
    """Give a table of an older program the columns that it lacks; its rows have no value there, and stay as they are.

    Raises:
        ArchiveError: as `check`.
    """
    missing, before = check(handle, table), handle.version()
    if missing:
        fields = [Field(one.name, Field.from_arrow(one).type, nullable=True, metadata={GROWN: ""}) for one in missing]
        handle.alter.add_columns(fields, post_commithook_properties=_NO_HOOKS)
        _LOG.warning("archive: %s has %s now", table, ", ".join(one.name for one in missing))
    if handle.metadata().description != told_of(table):
        handle.alter.set_table_description(told_of(table))
    durability.sync_commits(path, before + 1, handle.version(), sync)


def opened(folder: Path, pin: Pin | None = None) -> dict[Kept, DeltaTable]:
    """Return the tables of an archive for reading, at a pinned version or as they are now; changes nothing.

    Raises:
        ArchiveError: there is no archive, or not in that version any more.
    """
    found: dict[Kept, DeltaTable] = {}
    for table in KEPT:
        version = None if pin is None else getattr(pin, table)
        try:
            found[table] = DeltaTable(folder / table, version=version)
        except (TableNotFoundError, DeltaProtocolError) as error:
            raise ArchiveError(
                f"{folder}: no archive is there; name the folder that has {table}/{durability.LOG}"
            ) from error
        except DeltaError as error:
            raise ArchiveError(f"{folder}: {table} version {version} isn't there ({_said(error)})") from error
        check(found[table], table)
    return found


def _offset(handle: DeltaTable, app: str) -> int:
    version = handle.transaction_version(app)
    return -1 if version is None else version


def _rejoined(handle: DeltaTable, app: str) -> bool:
    return handle.transaction_version(app + _REJOINED) is not None


def _found(handle: DeltaTable, asked: Asked) -> pa.Table:
    return handle.to_pyarrow_dataset().to_table(columns=list(asked.columns), filter=asked.where)


def _commit(last: Mapping[str, int]) -> CommitProperties:
    apps = [Transaction(app, offset) for app, offset in last.items()]
    return CommitProperties(app_transactions=apps, max_commit_retries=ARCHIVE_COMMIT_RETRIES)


def _crowded(handle: DeltaTable, table: Kept, files_max: int) -> list[str | None]:
    """Return the days that have too many small files; None stands for a table that isn't cut by days."""
    files = pa.table(handle.get_add_actions(flatten=True))
    small = files.filter(pc.less(files["size_bytes"], ARCHIVE_FILE_BYTES // 2))
    if table not in BY_DAY:
        return [None] if small.num_rows >= files_max else []
    counted = small.group_by("partition.day").aggregate([([], "count_all")]).to_pylist()
    return [*sorted(str(row["partition.day"]) for row in counted if row["count_all"] >= files_max)]


def _checkpointed(table: Path) -> int:
    """Return the version of a table's newest checkpoint, 0 where it has none."""
    found = (table / durability.LOG).glob("*.checkpoint*.parquet")
    return max((int(path.name.partition(".")[0]) for path in found), default=0)


def _said(error: Exception) -> str:
    return str(error).partition("\n")[0]
