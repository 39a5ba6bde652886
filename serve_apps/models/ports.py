"""What models need of the world: places for artifacts, for the catalogue and its keys, and a book of what was done."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from securesystemslib.signer import Signer

from tidegate.errors import InvalidError
from tidegate.rollout import Report
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


class Entry(NamedTuple):
    """A bundle of the registry."""

    bundle: str
    added_us: int
    by: str
    manifest: bytes
    files: Mapping[str, Target]


class Done(NamedTuple):
    """A change that was made."""

    at_us: int
    by: str
    told: str
    """The change, as JSON."""


class Told(NamedTuple):
    """What a site reported last."""

    at_us: int
    report: Report


class Book(Protocol):
    """The registry's book; each change of it is durable when its method returns, and whole."""

    def add(self, entry: Entry) -> None:
        """Add a bundle; one that is there stays as it is."""

    def entry(self, bundle: str) -> Entry | None:
        """Return a bundle; None: there is none of that id."""

    def entries(self, items: int) -> list[Entry]:
        """Return bundles, the newest first."""

    def count(self) -> int:
        """Return how many bundles there are."""

    def course(self) -> str | None:
        """Return how things stand, as it was written; None: nothing was ever changed."""

    def change(self, course: str, done: Done) -> None:
        """Write how things stand, and by what change, in one step."""

    def changes(self, items: int) -> list[Done]:
        """Return changes, the newest first."""

    def report(self, site: str, told: Told) -> None:
        """Keep what a site says, in the place of what it said before."""

    def reports(self) -> dict[str, Told]:
        """Return what each site said last, in the order of their names."""
