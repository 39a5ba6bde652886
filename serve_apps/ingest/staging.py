"""Parts of texts on their way: kept in memory until the last one came and the whole proves to be what records name.

Nothing of a text is in the log before all of it is proven, so that no site can put another text under a digest. What is
staged is forgotten by a restart, or where others need the room; the site then begins again with the first part.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tidegate.artifacts import Part, trained_at_us
from tidegate.frames import FrameError
from tidegate.limits import ARTIFACTS_STAGED_BYTES_MAX

_FIRST: Final = 1
_CUT_DIGITS: Final = 16


class Proven(NamedTuple):
    """All parts of a text, as they came, proven to be what its digest names."""

    sha256: str
    parts: tuple[bytes, ...]
    cut: str = ""
    """Names where the text is cut: texts of one digest may be cut otherwise, and their parts don't mix."""


@dataclass(slots=True)
class _Staged:
    parts: list[bytes] = field(default_factory=list)
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    cuts: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    text_bytes: int = 0
    held_bytes: int = 0

    def add(self, part: Part, text: bytes) -> None:
        self.parts.append(part.data)
        self.digest.update(text)
        self.cuts.update(b"%d," % len(text))
        self.text_bytes += len(text)
        self.held_bytes += len(self.parts[-1])


class Staging:
    """The texts that sites are sending; for one thread. A site's parts are taken in order."""

    def __init__(self, bytes_max: int = ARTIFACTS_STAGED_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._staged: dict[tuple[str, str, int], _Staged] = {}

    def take(self, part: Part) -> Proven | int:
        """Take a part or an offer; return the whole once it is there and proven, else which part is wanted next.

        Raises:
            FrameError: malformed, oversized, count or sha256: all of the text's parts are forgotten.
        """
        key = (part.header.site, part.header.sha256, part.header.parts)
        staged = self._staged.pop(key, None) or _Staged()
        if part.header.part == len(staged.parts) + 1:
            staged.add(part, part.text())
            if staged.text_bytes > part.header.size:
                raise FrameError("count", f"more than the {part.header.size} bytes that the header says")
            if part.header.part == part.header.parts:
                return _proven(part, staged)
        if staged.parts:
            self._staged[key] = staged  # behind all others: the idlest are the first
            self._make_room()
        return len(staged.parts) + 1 if key in self._staged else _FIRST

    def _make_room(self) -> None:
        while sum(staged.held_bytes for staged in self._staged.values()) > self._bytes_max:
            del self._staged[next(iter(self._staged))]


def _proven(last: Part, staged: _Staged) -> Proven:
    header = last.header
    if staged.text_bytes != header.size:
        raise FrameError("count", f"{staged.text_bytes} bytes, the header says {header.size}")
    if staged.digest.hexdigest() != header.sha256:
        raise FrameError("sha256", "the text isn't the one whose digest was signed")
    if header.kind == "bundle":
        _prove_manifest(last)
    return Proven(header.sha256, tuple(staged.parts), staged.cuts.hexdigest()[:_CUT_DIGITS])


def _prove_manifest(part: Part) -> None:
    try:
        trained_at_us(part.text())
    except ValueError as error:
        raise FrameError("malformed", str(error)) from None
