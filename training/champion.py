"""The champion: the bundle that decides at the site whose shelf a job trains for."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tidegate.bundle import ACTIVE, Bundle, decode
from tidegate.errors import BundleError
from tidegate.trees import Floats
from training.mapping import DatasetError


@dataclass(frozen=True, slots=True)
class Champion:
    """A site's active bundle, or why it can't score what this release computes."""

    id: str
    bundle: Bundle | None
    said: str = ""

    def margins(self, rows: Floats) -> Floats:
        """Return the margins of rows, float32 [n, features].

        Raises:
            DatasetError: it can't score.
        """
        if self.bundle is None:
            raise DatasetError(f"{self.id}: {self.said}")
        return self.bundle.trees.margins(np.ascontiguousarray(rows))


def active_id(shelf: Path) -> str | None:
    """Return the id of a shelf's active bundle, None where nothing was ever activated."""
    pointer = shelf / ACTIVE
    return pointer.read_text("ascii", errors="replace").strip() if pointer.is_file() else None


def champion(shelf: Path) -> Champion | None:
    """Return a shelf's champion, None where nothing was ever activated.

    One that is broken or of another feature kernel can't be measured: the verdict will say so.
    """
    name = active_id(shelf)
    if name is None:
        return None
    folder = shelf / name
    try:
        return Champion(name, decode({path.name: path.read_bytes() for path in folder.glob("*") if path.is_file()}))
    except BundleError as error:
        return Champion(name, None, error.message)
