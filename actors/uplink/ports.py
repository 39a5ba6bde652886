"""What an uplink needs: the journal's files, a way to the cloud, and a file that remembers."""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

from tidegate.errors import TemporaryError
from tidegate.ids import EpochId
from tidegate.passages import Head, Passage
from tidegate.records import Lane


class Journal(Protocol):
    """What gates made durable; see `actors.journal.tail.Tail`."""

    def refresh(self, *, everything: bool = False) -> bool:
        """Look what there is now; return whether anything became durable since the last look.

        `everything`: look for other epochs, too, and for segments that were removed.
        """

    def epochs(self) -> tuple[EpochId, ...]:
        """Return the epochs, oldest first; the last is the one a gate writes to."""

    def durable_pos(self) -> int:
        """Return the position up to which the newest epoch is durable; 0: nothing of it is."""

    def last(self, epoch: EpochId, lane: Lane) -> int:
        """Return the last durable sequence number of a lane; 0: none."""

    def head(self, epoch: EpochId, lane: Lane) -> Head:
        """Return where a lane stands, with what is durable."""

    def read(
        self, epoch: EpochId, lane: Lane, first: int, *, through: int, records_max: int, bytes_max: int
    ) -> Passage | None:
        """Return the passage that begins at `first`, or at the first record behind it that can be read.

        None: nothing of `first` to `through` can be read.
        """


class NoWayError(TemporaryError):
    """The cloud can't be reached now, or no answer came: what was sent may have arrived."""

    code = "NO_WAY"


class Reply(NamedTuple):
    """What came back: an HTTP status, how long the cloud asks to wait (0: it doesn't say), body and headers.

    Headers are by their names in small letters.
    """

    status: int
    retry_after_s: float
    body: bytes
    headers: Mapping[str, str] = MappingProxyType({})


class Carrier(Protocol):
    """The way to the cloud: one request at a time."""

    def post(self, path: str, body: bytes, media_type: str) -> Reply:
        """Send a request and wait for the answer. Blocks, for a bounded time.

        Raises:
            NoWayError: no whole answer came.
        """


class Texts(Protocol):
    """What the site has of the texts that records name by digest."""

    def names(self) -> Collection[str]:
        """Return what records call them: `l-` or `b-`, and digits."""

    def read(self, name: str) -> bytes | None:
        """Return a text; None: it isn't kept any more."""


class Memory(Protocol):
    """One small file: what the cloud is known to have, so that the journal goes only behind it."""

    def save(self, data: bytes) -> None:
        """Make it durable, at once: after a crash it is the old or the new.

        Raises:
            DiskFullError: there is no room; the old stands.
        """
