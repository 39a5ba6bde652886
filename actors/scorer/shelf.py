"""The shelf: the bundles that a gate has at hand, and the pointer to the one that decides."""

import json
import re
from collections.abc import Collection, Mapping
from typing import Final

from actors.scorer.ports import Folder
from tidegate.bundle import ACTIVE, MANIFEST, Bundle, canonical, card_of_override, check_admitted, decode, overridden
from tidegate.errors import BundleError
from tidegate.ids import BundleId
from tidegate.limits import BUNDLES_KEPT, BUNDLES_NAMED_MAX

_ID: Final = re.compile(r"b-[0-9a-f]{12}")


class Shelf:
    """The bundles of one folder, each in a folder named by its id; they never change once they are there."""

    def __init__(self, *, folder: Folder) -> None:
        self._folder = folder

    def ids(self) -> tuple[BundleId, ...]:
        """Return what is on the shelf, oldest first by time of training; a damaged manifest counts as oldest."""
        found = [BundleId(name) for name in self._folder.names() if _ID.fullmatch(name)]
        return tuple(sorted(found, key=lambda one: (self._trained_at_us(one), one)))

    def load(self, bundle: BundleId) -> Bundle:
        """Return a verified bundle.

        Raises:
            BundleError: it is not there, damaged, of another version or feature kernel, or its id is another's.
        """
        try:
            loaded = decode(self._folder.files(self._named(bundle)))
        except FileNotFoundError as error:
            raise BundleError(f"{bundle}: not on the shelf; fetch or package it, or name one that is there") from error
        except BundleError as error:
            raise BundleError(f"{bundle}: {error.message}") from error
        if loaded.id != bundle:
            raise BundleError(f"{bundle}: the manifest is that of {loaded.id}; fetch or package the bundle again")
        return loaded

    def files(self, bundle: BundleId) -> dict[str, bytes]:
        """Return the files of a verified bundle, its cards with them; raises as `load`."""
        return self._folder.files(self.load(bundle).id)

    def active(self) -> BundleId | None:
        """Return the bundle that decides, or None where none was ever activated.

        Raises:
            BundleError: the pointer holds something else than an id.
        """
        try:
            text = self._folder.read(ACTIVE)
        except FileNotFoundError:
            return None
        name = text.decode("ascii", errors="replace").strip()
        if not _ID.fullmatch(name):
            raise BundleError(f"{ACTIVE}: holds no bundle's id; activate a bundle again")
        return BundleId(name)

    def activate(self, bundle: BundleId) -> None:
        """Make a bundle the active one, durably, after it proved whole and admitted.

        Raises:
            BundleError: it can't be loaded, or its gate failed without an override; the active one stays.
        """
        check_admitted(self.load(bundle).manifest)
        self._folder.replace(ACTIVE, f"{bundle}\n".encode())

    def put(self, files: Mapping[str, bytes]) -> BundleId:
        """Place a bundle on the shelf and return its id; one that is there already stays as it is.

        Raises:
            BundleError: the files are no whole bundle; nothing was changed.
        """
        bundle = decode(files).id
        if bundle not in self._folder.names():
            self._folder.make(bundle, files)
        return bundle

    def override(self, bundle: BundleId, *, by: str, why: str, at_us: int) -> BundleId:
        """Place a copy of a bundle on the shelf that records who wants it although the gate said no; return its id.

        Raises:
            BundleError: it can't be loaded, the gate has passed it, or it isn't said who or why.
        """
        changed, files = overridden(self.load(bundle).manifest, by=by, why=why, at_us=at_us), self._folder.files(bundle)
        return self.put({**files, **card_of_override(files, changed, bundle), MANIFEST: canonical(changed)})

    def prune(self, named: Collection[str] = ()) -> tuple[BundleId, ...]:
        """Keep the active bundle and the newest others, `BUNDLES_KEPT` in all, and `named`; return what was removed.

        Of those kept for being named alone, the oldest go where they are more than `BUNDLES_NAMED_MAX`.
        """
        active = self.active()
        others = [bundle for bundle in self.ids() if bundle != active]
        older = others[: max(len(others) - (BUNDLES_KEPT - (active is not None)), 0)]
        kept = [bundle for bundle in older if bundle in named][-BUNDLES_NAMED_MAX:]
        gone = tuple(bundle for bundle in older if bundle not in kept)
        for bundle in gone:
            self._folder.remove(bundle)
        return gone

    def _trained_at_us(self, bundle: BundleId) -> int:
        """Return when a bundle was trained, unverified: it only orders the shelf."""
        try:
            manifest = json.loads(self._folder.read(f"{bundle}/{MANIFEST}"))
            return int(manifest["trained_at_us"])
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return -1

    @staticmethod
    def _named(bundle: BundleId) -> str:
        if not _ID.fullmatch(bundle):
            raise BundleError(f"bundle: {bundle!r} is no id; ids are b- and 12 hex digits")
        return bundle
