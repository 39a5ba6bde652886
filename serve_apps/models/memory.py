"""Artifacts, catalogue, keys and book held in memory, for tests and simulations."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from securesystemslib.signer import CryptoSigner, Signer

from serve_apps.models.ports import ArtifactError, Done, Entry, Told
from tidegate.errors import NotFoundError
from tidegate.limits import MODEL_ARTIFACT_BYTES_MAX
from tidegate.trust import Target


class MemoryArtifacts:
    """Artifacts by their digest."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def put(self, target: Target, chunks: Iterable[bytes]) -> None:
        """Keep bytes; see the port."""
        data = b"".join(chunks)
        if target.size > MODEL_ARTIFACT_BYTES_MAX or len(data) != target.size:
            raise ArtifactError(f"body: {len(data)} bytes, where {target.size} were told of; send them whole")
        if hashlib.sha256(data).hexdigest() != target.sha256:
            raise ArtifactError("body: not the bytes of that sha256; send it again")
        self.kept.setdefault(target.sha256, data)

    def size(self, sha256: str) -> int | None:
        """Return the size; see the port."""
        return len(self.kept[sha256]) if sha256 in self.kept else None

    def read(self, sha256: str, first: int, count: int) -> bytes:
        """Return bytes; see the port."""
        if sha256 not in self.kept:
            raise NotFoundError("sha256: there is no artifact of that digest")
        return self.kept[sha256][first : first + count]


class MemoryPublished:
    """A catalogue's files by name."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def read(self, name: str) -> bytes | None:
        """Return a file; see the port."""
        return self.files.get(name)

    def newest(self, role: str) -> int:
        """Return the highest version; see the port."""
        return max((int(name.split(".")[0]) for name in self.files if name.endswith(f".{role}.json")), default=0)

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write files; see the port."""
        self.files |= files


class MemoryKeys:
    """Keys by role."""

    def __init__(self) -> None:
        self._signers: dict[str, list[Signer]] = {}

    def signers(self, role: str) -> Sequence[Signer]:
        """Return a role's keys; see the port."""
        return tuple(self._signers.get(role, ()))

    def make(self, role: str) -> Signer:
        """Make a key; see the port."""
        made = CryptoSigner.generate_ed25519()
        self._signers.setdefault(role, []).append(made)
        return made


class MemoryBook:
    """The registry's book."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._course: str | None = None
        self._changes: list[Done] = []
        self._reports: dict[str, Told] = {}

    def add(self, entry: Entry) -> None:
        """Add a bundle; see the port."""
        self._entries.setdefault(entry.bundle, entry)

    def entry(self, bundle: str) -> Entry | None:
        """Return a bundle; see the port."""
        return self._entries.get(bundle)

    def entries(self, items: int) -> list[Entry]:
        """Return bundles; see the port."""
        return list(self._entries.values())[::-1][:items]

    def count(self) -> int:
        """Return how many bundles there are; see the port."""
        return len(self._entries)

    def course(self) -> str | None:
        """Return how things stand; see the port."""
        return self._course

    def change(self, course: str, done: Done) -> None:
        """Write how things stand; see the port."""
        self._course = course
        self._changes.append(done)

    def changes(self, items: int) -> list[Done]:
        """Return changes; see the port."""
        return self._changes[::-1][:items]

    def report(self, site: str, told: Told) -> None:
        """Keep a report; see the port."""
        self._reports[site] = told

    def reports(self) -> dict[str, Told]:
        """Return reports; see the port."""
        return dict(sorted(self._reports.items()))
