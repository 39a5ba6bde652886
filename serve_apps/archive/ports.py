"""What the archive needs from outside: a log to read frames from, and tables to put rows into."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import pyarrow as pa

from tidegate.archived import Artifact, Kept, Pin
from tidegate.errors import PermanentError, TemporaryError
from tidegate.records import Lane


class ArchiveError(PermanentError):
    """An archive that isn't there, is damaged, or was made by another program; the message says what to do."""

    code = "ARCHIVE_REFUSED"


class UndecodableError(PermanentError):
    """A committed frame that can't be decoded: a bug here or at the ingest. Its partition stops until it is mended."""

    code = "FRAME_UNDECODABLE"


class UnavailableError(TemporaryError):
    """A commit didn't come through: its rows aren't there or not durable yet, and its offsets aren't acknowledged."""

    code = "ARCHIVE_UNAVAILABLE"


class Run(NamedTuple):
    """A contiguous run of one lane: `source` is `site.gate.epoch`, `canonical` the bytes of its records."""

    source: str
    lane: Lane
    canonical: bytes


class Partition(NamedTuple):
    """One partition of one topic of the log."""

    topic: str
    number: int

    @property
    def app(self) -> str:
        """What its position is called in a table's log."""
        return f"{self.topic}/{self.number}"


class Stored(NamedTuple):
    """One committed message of a partition."""

    offset: int
    value: bytes


class Source(Protocol):
    """The log, as far as the archive reads it: committed messages alone."""

    def partitions(self) -> Sequence[Partition]:
        """Return all partitions of the topics that the archive reads."""

    def begin(self, partition: Partition) -> int:
        """Return the first offset that is still kept."""

    def read(self, partition: Partition, offset: int, *, messages_max: int, bytes_max: int) -> Sequence[Stored]:
        """Return messages from an offset on, in order, as many as there are; at least one if there is any."""

    def acknowledge(self, offsets: Mapping[Partition, int]) -> None:
        """Say up to which offsets, included, all is archived and durable: the log may be trimmed behind them."""


class Piece(NamedTuple):
    """Rows of one message for one table."""

    app: str
    offset: int
    batch: pa.RecordBatch


class Store(Protocol):
    """The tables. One process writes at a time; a second one is refused by the tables' own logs."""

    def offset(self, table: Kept, app: str) -> int:
        """Return the offset up to which a partition's messages are in a table, -1 where none is."""

    def append(self, table: Kept, pieces: Sequence[Piece]) -> int:
        """Put rows into a table in one commit with the offsets they came from; those that are in it are left out.

        Returns how many rows were new. They are durable then.

        Raises:
            UnavailableError: the commit didn't come through, such as on a full disk.
        """

    def keep(self, artifact: Artifact) -> bool:
        """Keep a text that records name by digest, once; return whether it is new."""

    def pin(self) -> Pin:
        """Return the version of each table as it is now."""
