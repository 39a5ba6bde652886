"""Opens an archive at a pinned version, for backtests and trainings: equal versions mean equal rows, for ever.

The tables are Delta Lake's, read by `deltalake` alone: nothing of the cloud that writes them is needed.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, DeltaProtocolError, TableNotFoundError

from tidegate.archived import BY_DAY, GROWN, KEPT, Kept, Pin, lacking
from tidegate.errors import PermanentError
from tidegate.limits import BACKTEST_BATCH_ROWS

_SEPARATOR: Final = "@"


class ArchiveError(PermanentError):
    """An archive that isn't there, not in that version any more, or of another program; the message says which."""

    code = "ARCHIVE_REFUSED"


@dataclass(frozen=True, slots=True)
class Files:
    """What a table's log says of one data file: how many rows, and between which times."""

    rows: int
    first_us: int
    last_us: int


@dataclass(frozen=True, slots=True)
class PinnedArchive:
    """An archive's tables at one version. Travels by pickle: it holds where data is, not the data."""

    folder: Path
    pin: Pin

    @classmethod
    def of(cls, text: str) -> Self:
        """Return the archive that `FOLDER` or `FOLDER@VERSION` names, the first as it is now.

        Raises:
            ArchiveError: there is none, or not in that version any more.
        """
        name, found, version = text.rpartition(_SEPARATOR)
        pin = Pin.parse(version) if found else None
        folder = Path(name if pin else text).resolve()
        if found and pin is None and not folder.is_dir():
            told = "a version is seven numbers, as `tidegate archive version` prints them"
            raise ArchiveError(f"--archive: {version or text} is no version: {told}")
        if pin is None:
            pin = Pin(**{table: _opened(folder, table, None).version() for table in KEPT})
        made = cls(folder, pin)
        for table in KEPT:
            made.table(table)
        return made

    def __str__(self) -> str:
        return f"{self.folder}{_SEPARATOR}{self.pin}"

    @property
    def name(self) -> str:
        """What reports call it: the folder's own name, and the version."""
        return f"archive {self.folder.name}{_SEPARATOR}{self.pin}"

    def table(self, table: Kept) -> DeltaTable:
        """Return one table.

        Raises:
            ArchiveError: it isn't there.
        """
        return _opened(self.folder, table, getattr(self.pin, table))

    def grown(self, table: Kept) -> frozenset[str]:
        """Return the columns that came to a table later: rows of before have no value there, which stands for zero."""
        return frozenset(field.name for field in self.table(table).schema().fields if GROWN in field.metadata)

    def files(self, table: Kept) -> list[Files]:
        """Return what the log says of a table's files, without reading one; of a table that is cut by days."""
        told = pa.table(self.table(table).get_add_actions(flatten=True))
        time = BY_DAY[table]
        names = ("num_records", f"min.{time}", f"max.{time}")
        return [Files(*row) for row in zip(*(told[name].to_pylist() for name in names), strict=True) if row[0]]

    def rows(self, table: Kept, columns: list[str], span: tuple[int, int] | None = None) -> pa.Table:
        """Return a table's rows of a span of its time, or all.

        Raises:
            ArchiveError: a file is gone or damaged.
        """
        try:
            return self._dataset(table).to_table(columns, filter=None if span is None else _within(table, span))
        except (pa.ArrowException, OSError) as error:
            raise ArchiveError(f"{self.folder}/{table}: can't be read ({error}); restore it from its copy") from error

    def batches(self, table: Kept, columns: list[str], span: tuple[int, int]) -> Iterator[pa.RecordBatch]:
        """Yield a table's rows of a span, in no order, up to `BACKTEST_BATCH_ROWS` at a time; see `rows`."""
        filtered = _within(table, span) if table in BY_DAY else None
        try:
            found = self._dataset(table).to_batches(columns, filter=filtered, batch_size=BACKTEST_BATCH_ROWS)
            yield from (batch for batch in found if batch.num_rows)
        except (pa.ArrowException, OSError) as error:
            raise ArchiveError(f"{self.folder}/{table}: can't be read ({error}); restore it from its copy") from error

    def text(self, sha256: str) -> str | None:
        """Return the text of an artifact; None: not all of its parts are there, or not yet."""
        found = self._dataset("artifacts").to_table(["part", "parts", "text"], filter=ds.field("sha256") == sha256)
        for count in set(found["parts"].to_pylist()):
            rows = found.filter(pc.equal(found["parts"], count)).sort_by("part")
            text = "".join(dict(zip(rows["part"].to_pylist(), rows["text"].to_pylist(), strict=True)).values())
            if hashlib.sha256(text.encode()).hexdigest() == sha256:
                return text
        return None

    def known_until_us(self, span: tuple[int, int]) -> int:
        """Return until when all sites that decided in a span have been heard of; 0 where none did.

        The site that was heard of longest ago sets it: of its later payments nobody knows how they turned out.
        """
        here = set(map(_site, pc.unique(self.rows("decisions", ["source"], span)["source"]).to_pylist()))
        last: dict[str, int] = dict.fromkeys(here, 0)
        for table in ("decisions", "events"):
            rows = self.rows(table, ["source", "time_us"], (span[0], np.iinfo(np.int64).max))
            for row in rows.group_by("source").aggregate([("time_us", "max")]).to_pylist():
                if (site := _site(row["source"])) in here:
                    last[site] = max(last[site], row["time_us_max"])
        return min(last.values(), default=0)

    def _dataset(self, table: Kept) -> ds.Dataset:
        return self.table(table).to_pyarrow_dataset()


def _site(source: str) -> str:
    """Return site and gate of a source, whatever its epoch."""
    return source.rpartition(".")[0]


def _opened(folder: Path, table: Kept, version: int | None) -> DeltaTable:
    try:
        found = DeltaTable(folder / table, version=version)
    except (TableNotFoundError, DeltaProtocolError) as error:
        raise ArchiveError(f"--archive: {folder}: no archive is there; it has a folder {table}") from error
    except DeltaError as error:
        said = str(error).partition("\n")[0]
        raise ArchiveError(f"--archive: {folder}: {table} version {version} isn't there ({said})") from error
    try:
        lacking(table, found.metadata().description, pa.schema(found.schema().to_arrow()))
    except ValueError as told:
        raise ArchiveError(f"--archive: {folder}/{table}: {told}") from told
    return found


def _within(table: Kept, span: tuple[int, int]) -> ds.Expression:
    """Return what is true of a table's rows of a span; files of other times are passed over by what their log says.

    Of time alone: a row of a wrong clock lies in another day's folder.
    """
    time = ds.field(BY_DAY[table])
    return (time >= span[0]) & (time < span[1])
