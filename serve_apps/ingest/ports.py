"""What ingest needs beside the stream: whose keys it trusts, and a place for frames that nobody may lose or apply."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


@dataclass(frozen=True, slots=True)
class SiteKey:
    """A site's public key: 32 bytes of Ed25519, and until when it may sign."""

    key_id: str
    site: str
    public: bytes
    enrolled_us: int
    revoked_us: int | None = None
    why: str = ""


class Keys(Protocol):
    """Which keys may sign for which site."""

    def key(self, key_id: str) -> SiteKey | None:
        """Return a key, revoked or not; None: nobody has enrolled it."""


class Case(NamedTuple):
    """A frame that was kept aside: who signed it, what it said it holds, why it isn't in the stream."""

    case_id: int
    time_us: int
    site: str
    gate: str
    epoch: str
    lane: int
    first: int
    last: int
    key: str
    reason: str
    message: str
    size: int


class Quarantine(Protocol):
    """Keeps frames that are signed and wrong, so that a person can look at them; bounded, the oldest go first."""

    def keep(self, cases: Sequence[tuple[Case, bytes]]) -> None:
        """Keep frames aside, durably; their `case_id` is given here. The same bytes again are the same case.

        Raises:
            TemporaryError: there is no way to keep them now.
        """

    def page(self, *, before: int | None, items: int, site: str | None = None) -> list[Case]:
        """Return cases, newest first, from below the case `before` on."""

    def frame(self, case_id: int) -> bytes | None:
        """Return the bytes of a case; None: there is none any more."""

    def counts(self) -> dict[str, int]:
        """Return how many cases were ever kept, by reason."""
