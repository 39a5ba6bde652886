"""What a keeper needs: the cloud's log of deltas and the gate that counts them, the cloud's catalogue, and a folder."""

from typing import NamedTuple, Protocol

from tidegate.errors import TemporaryError


class NoDeltasError(TemporaryError):
    """The cloud gave none, for a reason that is told; `asked_s` is how long it asks to wait, 0 where it doesn't say."""

    code = "NO_DELTAS"

    def __init__(self, message: str, asked_s: float = 0.0) -> None:
        super().__init__(message)
        self.asked_s = asked_s


class BeganAgainError(NoDeltasError):
    """The log of deltas has never had the version that was asked for: it was lost, or put back from a copy."""

    code = "DELTAS_BEGAN_AGAIN"


class Found(NamedTuple):
    """A batch as it came: it has the versions from `since` on and before `until`."""

    since: int
    until: int
    wire: bytes


class Quiet(NamedTuple):
    """There was no batch; up to `as_of_us` the cloud had all that sites sent in its deltas, 0: it doesn't say."""

    as_of_us: int


class Source(Protocol):
    """The log of deltas."""

    def after(self, version: int) -> Found | Quiet:
        """Return the first batch of a version or above, or that there was none for as long as the cloud waits.

        Where the cloud has let that version go, the batch begins later. Blocks, for a bounded time.

        Raises:
            BeganAgainError: the cloud never had that version.
            NoDeltasError: none could be had; ask again.
        """


class Orders(Protocol):
    """The gate's side; every call may block for a bounded time."""

    def version(self) -> int:
        """Return where its overlay is.

        Raises:
            TemporaryError: it doesn't answer now.
        """

    def take(self, asked: int, found: Found) -> int:
        """Have it count a batch that was asked for by a version, durably; return where its overlay is then.

        Raises:
            TemporaryError: it doesn't, for now, or because its overlay is elsewhere than was asked for.
        """

    def nothing_came(self, asked: int, quiet: Quiet) -> int:
        """Tell it that there is nothing of a version or above; return where its overlay is.

        Raises:
            TemporaryError: it doesn't answer now.
        """

    def began_again(self, asked: int) -> int:
        """Have it forget other sites, whose log has never had a version; return where its overlay is then.

        Raises:
            TemporaryError: it doesn't answer now.
        """


class NoCatalogueError(TemporaryError):
    """The cloud gave no file of the catalogue, or no part of an artifact, for a reason that is told."""

    code = "NO_CATALOGUE"


class CatalogueSource(Protocol):
    """The cloud's catalogue and artifacts; nothing of it is believed."""

    def read(self, name: str) -> bytes | None:
        """Return a file of the catalogue; None: there is none. Blocks, for a bounded time.

        Raises:
            NoCatalogueError: it couldn't be had; ask again.
        """

    def part(self, sha256: str, first: int, behind: int) -> bytes:
        """Return some bytes of an artifact from `first` on, one at least, and none from `behind` on.

        Raises:
            NoCatalogueError: they couldn't be had; ask again.
        """


class Store(Protocol):
    """A folder of a keeper's own."""

    def names(self) -> list[str]:
        """Return what is there."""

    def read(self, name: str) -> bytes | None:
        """Return a file; None: there is none."""

    def replace(self, name: str, data: bytes) -> None:
        """Make a file's content another, durably and at once.

        Raises:
            DiskFullError: there is no room.
        """

    def append(self, name: str, data: bytes) -> None:
        """Add to a file, which is made where it is missing; a power cut may take some of it back.

        Raises:
            DiskFullError: there is no room.
        """

    def remove(self, name: str) -> None:
        """Remove a file."""
