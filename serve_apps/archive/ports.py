"""What the archive needs from outside beside the log: tables to put rows into."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import pyarrow as pa

from tidegate.archived import Kept, Pin
from tidegate.errors import PermanentError, TemporaryError


class ArchiveError(PermanentError):
    """An archive that isn't there, is damaged, or was made by another program; the message says what to do."""

    code = "ARCHIVE_REFUSED"


class UndecodableError(PermanentError):
    """A committed frame that can't be decoded: a bug here or at the ingest. Its partition stops until it is mended."""

    code = "FRAME_UNDECODABLE"


class UnavailableError(TemporaryError):
    """A commit didn't come through: its rows aren't there or not durable yet, and its offsets aren't acknowledged."""

    code = "ARCHIVE_UNAVAILABLE"


class Piece(NamedTuple):
    """Rows of one message for one table; `mark` tells the message from any other, 0: it can't be told."""

    app: str
    offset: int
    batch: pa.RecordBatch
    mark: int = 0


class Store(Protocol):
    """The tables. One process writes at a time; a second one is refused by the tables' own logs."""

    def offset(self, table: Kept, app: str) -> int:
        """Return the offset up to which a partition's messages are in a table, -1 where none is."""

    def mark(self, table: Kept, app: str) -> int:
        """Return the mark of the message at `offset`; 0: none was given with it."""

    def rejoined(self, table: Kept, app: str) -> bool:
        """Tell whether a person has let a partition be read again from its beginning, for good."""

    def rejoin(self, table: Kept, app: str) -> None:
        """Forget a table's offset of a partition; from now on its rows are left out where the table has them, by id.

        Raises:
            UnavailableError: as `append`.
        """

    def append(self, table: Kept, pieces: Sequence[Piece]) -> int:
        """Put rows into a table in one commit with the offsets they came from; those that are in it are left out.

        Which are in it say offsets; of partitions that were rejoined the rows themselves, too: their log was put back
        from a copy, so that a record may come at another offset, and in other company.

        Returns how many rows were new. They are durable then.

        Raises:
            UnavailableError: the commit didn't come through, such as on a full disk.
        """

    def tend(self) -> None:
        """Merge small files and shorten logs where enough was written since the last time.

        Raises:
            UnavailableError: as `append`.
        """

    def tidy(self) -> None:
        """Remove files that no version within the retention names.

        Raises:
            UnavailableError: as `append`.
        """

    def pin(self) -> Pin:
        """Return the version of each table as it is now."""
