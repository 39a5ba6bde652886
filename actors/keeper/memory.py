"""The twins in memory of what the cloud has, of a gate's orders and of a keeper's folder, for tests."""

from collections.abc import Mapping

from actors.keeper.ports import BeganAgainError, Found, NoCatalogueError, NoDeltasError, Quiet
from tidegate.errors import TemporaryError


class MemorySource:
    """Batches by version; `begin` is the first version that was not let go, `away` how often nobody answers.

    `end` is what the log has reached, None: more than anybody asks for; `as_of_us` goes with there being nothing.
    """

    def __init__(self) -> None:
        self.batches: dict[int, bytes] = {}
        self.begin, self.away, self.asked_s, self.as_of_us = 0, 0, 0.0, 0
        self.end: int | None = None
        self.asked: list[int] = []

    def after(self, version: int) -> Found | Quiet:
        """Return the first batch of a version or above."""
        self.asked.append(version)
        if self.away:
            self.away -= 1
            raise NoDeltasError("nobody answers", self.asked_s)
        if self.end is not None and version > self.end:
            raise BeganAgainError("the log began again", self.asked_s)
        since = max(version, self.begin)
        at = min((at for at in self.batches if at >= since), default=None)
        return Quiet(self.as_of_us) if at is None else Found(since, at + 1, self.batches[at])


class MemoryOrders:
    """What a gate was given; `away` is how often it doesn't answer."""

    def __init__(self) -> None:
        self.at, self.away = 0, 0
        self.taken: list[Found] = []
        self.current: list[Quiet] = []

    def version(self) -> int:
        """Return where its overlay is."""
        self._answer()
        return self.at

    def take(self, asked: int, found: Found) -> int:
        """Count a batch."""
        self._answer()
        if asked != self.at:
            raise TemporaryError(f"the overlay is at {self.at}")
        self.taken.append(found)
        self.at = found.until
        return self.at

    def nothing_came(self, asked: int, quiet: Quiet) -> int:
        """Remember that, where it is of where the overlay is."""
        self._answer()
        if asked == self.at:
            self.current.append(quiet)
        return self.at

    def began_again(self, asked: int) -> int:
        """Forget what was counted."""
        self._answer()
        if asked == self.at:
            self.at = 0
        return self.at

    def _answer(self) -> None:
        if self.away:
            self.away -= 1
            raise TemporaryError("the gate doesn't answer")


class MemoryCatalogue:
    """A cloud's files and artifacts; `away` is how often nobody answers, `bytes_max` how much comes at a time."""

    def __init__(self, files: Mapping[str, bytes], artifacts: Mapping[str, bytes]) -> None:
        self.files, self.artifacts = dict(files), dict(artifacts)
        self.away, self.bytes_max = 0, 1 << 30
        self.parts: list[tuple[str, int]] = []

    def read(self, name: str) -> bytes | None:
        """Return a file of the catalogue."""
        self._answer()
        return self.files.get(name)

    def part(self, sha256: str, first: int, behind: int) -> bytes:
        """Return some bytes of an artifact."""
        self._answer()
        self.parts.append((sha256, first))
        return self.artifacts[sha256][first : min(behind, first + self.bytes_max)]

    def _answer(self) -> None:
        if self.away:
            self.away -= 1
            raise NoCatalogueError("nobody answers")


class MemoryStore:
    """A keeper's folder."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def names(self) -> list[str]:
        """Return what is there."""
        return sorted(self.files)

    def read(self, name: str) -> bytes | None:
        """Return a file."""
        return self.files.get(name)

    def replace(self, name: str, data: bytes) -> None:
        """Exchange a file's content."""
        self.files[name] = data

    def append(self, name: str, data: bytes) -> None:
        """Add to a file."""
        self.files[name] = self.files.get(name, b"") + data

    def remove(self, name: str) -> None:
        """Remove a file."""
        self.files.pop(name, None)
