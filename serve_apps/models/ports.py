"""What models need of the world: a place for artifacts, a place for the catalogue, and keys that sign it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from securesystemslib.signer import Signer

from tidegate.errors import InvalidError
from tidegate.trust import Target


class ArtifactError(InvalidError):
    """Bytes that aren't what their digest says, or too many of them: nothing was kept."""

    code = "ARTIFACT_REFUSED"


class Artifacts(Protocol):
    """Immutable files by the SHA-256 of their bytes."""

    def put(self, target: Target, chunks: Iterable[bytes]) -> None:
        """Keep bytes, durably and whole, or nothing; what is there already is left as it is.

        Raises:
            ArtifactError: they aren't `target`, or beyond the bound.
            DiskFullError: there is no room.
        """

    def size(self, sha256: str) -> int | None:
        """Return how many bytes an artifact has; None: it isn't there."""

    def read(self, sha256: str, first: int, count: int) -> bytes:
        """Return up to `count` bytes from the byte `first` on.

        Raises:
            NotFoundError: it isn't there.
        """


class Published(Protocol):
    """The files of the catalogue, as sites fetch them by name."""

    def read(self, name: str) -> bytes | None:
        """Return a file; None: there is none."""

    def newest(self, role: str) -> int:
        """Return the highest version of a role that was ever written; 0: none."""

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write files, durably, in the order given; each at once. What is read between shows some of them."""


class Keys(Protocol):
    """Private keys that sign for roles; a folder now, a key management service later."""

    def signers(self, role: str) -> Sequence[Signer]:
        """Return all keys that were made for a role, oldest first, revoked ones included."""

    def make(self, role: str) -> Signer:
        """Make a key for a role; it is durable before anybody learns of it."""
