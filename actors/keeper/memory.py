"""The twins in memory of what the cloud has, of a gate's orders and of a keeper's folder, for tests."""

from collections.abc import Mapping

from actors.keeper.ports import Found, NoCatalogueError, NoDeltasError
from tidegate.errors import TemporaryError


class MemorySource:
    """Batches by version; `begin` is the first version that was not let go, `away` how often nobody answers."""

    def __init__(self) -> None:
        self.batches: dict[int, bytes] = {}
        self.begin, self.away, self.asked_s = 0, 0, 0.0
        self.asked: list[int] = []

    def after(self, version: int) -> Found | None:
        """Return the first batch of a version or above."""
        self.asked.append(version)
        if self.away:
            self.away -= 1
            raise NoDeltasError("nobody answers", self.asked_s)
        since = max(version, self.begin)
        at = min((at for at in self.batches if at >= since), default=None)
        return None if at is None else Found(since, at + 1, self.batches[at])


class MemoryOrders:
    """What a gate was given; `away` is how often it doesn't answer."""

    def __init__(self) -> None:
        self.at, self.away = 0, 0
        self.taken: list[Found] = []
        self.current: list[int] = []

    def version(self) -> int:
        """Return where its overlay is."""
        self._answer()
        return self.at

    def take(self, found: Found) -> int:
        """Count a batch."""
        self._answer()
        self.taken.append(found)
        self.at = found.until
        return self.at

    def nothing_came(self, version: int) -> None:
        """Remember that."""
        self._answer()
        self.current.append(version)

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
