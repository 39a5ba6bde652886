"""What a site should have by the signed catalogue: looked up, proven against what was known, fetched, kept. Pure.

All that is known of a catalogue is one file, exchanged at once, so that what was proven is there whole or as it was
before. Files go on where they were cut off, and count only once their length and digest are those that were signed.
"""

import json
from typing import Final

from actors.keeper.ports import CatalogueSource, Store
from tidegate.ids import BundleId, SiteId
from tidegate.limits import MODEL_FETCH_BYTES, MODEL_FILES_MAX
from tidegate.rollout import ASSIGNMENTS, Assignments
from tidegate.trust import Catalogue, CatalogueError, Target, check_bytes, check_follows, proven

_KNOWN: Final = "catalogue.json"


class Keeping:
    """One site's catalogue."""

    def __init__(self, *, pinned: bytes, source: CatalogueSource, store: Store) -> None:
        """Take `pinned`, the root that the site was installed with."""
        self._pinned, self._source, self._store = pinned, source, store

    def known(self) -> Catalogue | None:
        """Return the catalogue as it was proven last, from the disk alone; None: there was none yet.

        Raises:
            CatalogueError: what is kept doesn't hold any more.
        """
        files = self._files()
        return proven(self._pinned, files.get) if files else None

    def look(self, now_us: int) -> Catalogue:
        """Return the newest catalogue, proven, and keep it.

        Raises:
            CatalogueError: it doesn't hold, goes back, says two things, or is out of date; what was kept stays.
            TemporaryError: there is no way to it now.
        """
        before, kept, used = self.known(), self._files(), dict[str, bytes]()

        def read(name: str) -> bytes | None:
            found = kept.get(name) if name != "timestamp.json" else None
            found = found or self._source.read(name)
            if found is not None:
                used[name] = found
            return found

        after = proven(self._pinned, read)
        if before is not None:
            check_follows(before, after)
        if late := after.expired(now_us):
            raise CatalogueError(
                f"{', '.join(late)}: out of date; somebody may withhold the newest, or this clock is wrong"
            )
        texts = {name: data.decode() for name, data in used.items()}
        self._store.replace(_KNOWN, json.dumps(texts, sort_keys=True).encode())
        return after

    def bundle(self, catalogue: Catalogue, site: SiteId) -> BundleId | None:
        """Return the bundle that a site should have; None: it is asked for none. Raises as `files`.

        Raises:
            BundleError: the catalogue's word of who should have what is none.
        """
        if ASSIGNMENTS not in catalogue.targets:
            raise CatalogueError(f"{ASSIGNMENTS}: the catalogue doesn't name it")
        found = Assignments.parse(self._fetched(ASSIGNMENTS, catalogue.targets[ASSIGNMENTS])).bundle_of(site)
        return None if found is None else BundleId(found)

    def files(self, catalogue: Catalogue, bundle: BundleId) -> dict[str, bytes]:
        """Fetch the files of a bundle by their names, each as it was signed for.

        Raises:
            CatalogueError: bytes aren't those that were signed; they are fetched anew at the next call.
            TemporaryError: there is no way to them now; the next call goes on from there.
        """
        folder = f"models/{bundle}/"
        targets = {path: target for path, target in catalogue.targets.items() if path.startswith(folder)}
        if not 0 < len(targets) <= MODEL_FILES_MAX:
            raise CatalogueError(f"{folder}: {len(targets)} files are signed for, a bundle has 1 to {MODEL_FILES_MAX}")
        return {path.removeprefix(folder): self._fetched(path, target) for path, target in targets.items()}

    def tidy(self) -> None:
        """Let go of what was fetched: it is on the shelf now, or was no bundle."""
        for name in self._store.names():
            if name != _KNOWN:
                self._store.remove(name)

    def _files(self) -> dict[str, bytes]:
        data = self._store.read(_KNOWN)
        if data is None:
            return {}
        try:
            return {name: text.encode() for name, text in json.loads(data).items()}
        except (ValueError, AttributeError) as error:
            raise CatalogueError(
                f"{_KNOWN}: no catalogue ({error}); put the file's copy back, or enrol the site anew"
            ) from error

    def _fetched(self, path: str, target: Target) -> bytes:
        name = f"{target.sha256}.part"
        data = self._store.read(name) or b""
        while len(data) < target.size:
            part = self._source.part(target.sha256, len(data), min(len(data) + MODEL_FETCH_BYTES, target.size))
            self._store.append(name, part)
            data += part
        try:
            check_bytes(path, target, data)
        except CatalogueError:
            self._store.remove(name)
            raise
        return data
