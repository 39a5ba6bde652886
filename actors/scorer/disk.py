"""The site's shelf of bundles: a folder a bundle, and a pointer to the active one."""

import os
from pathlib import Path
from typing import Final

from tidegate.bundle import MANIFEST, PARTS, Bundle, decode
from tidegate.errors import BundleError
from tidegate.ids import BundleId

_ACTIVE: Final = "active"


class BundleFolder:
    """Bundles in a folder; what is active is a small file that is replaced whole."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def ids(self) -> list[BundleId]:
        """Return the bundles that are there, oldest first."""
        found = [path for path in self._folder.glob("b-*") if (path / MANIFEST).is_file()]
        return [BundleId(path.name) for path in sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name))]

    def load(self, wanted: BundleId) -> Bundle:
        """Return a bundle, verified whole.

        Raises:
            BundleError: it isn't there, is damaged, or its content isn't what its name says.
        """
        folder = self._folder / wanted
        files = {name: (folder / name).read_bytes() for name in (MANIFEST, *PARTS) if (folder / name).is_file()}
        bundle = decode(files)
        if bundle.id != wanted:
            raise BundleError(f"{wanted}: holds {bundle.id}; fetch or package the bundle again")
        return bundle

    def active_id(self) -> BundleId | None:
        """Return the id of the active bundle, or None."""
        path = self._folder / _ACTIVE
        return BundleId(path.read_text().strip()) if path.is_file() else None

    def active(self) -> Bundle:
        """Return the active bundle.

        Raises:
            BundleError: there is none, or it is broken.
        """
        wanted = self.active_id()
        if wanted is None:
            raise BundleError(f"{self._folder}: no active bundle; train one: `tidegate train`")
        return self.load(wanted)

    def activate(self, wanted: BundleId) -> None:
        """Point to a bundle that loads: after a crash the pointer is the old one or the new one."""
        self.load(wanted)
        scratch = self._folder / f"{_ACTIVE}.new"
        with scratch.open("w") as file:
            file.write(f"{wanted}\n")
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(self._folder / _ACTIVE)
        handle = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
