"""What ingest needs beside the stream: whose keys it trusts, and a place for frames that nobody may lose or apply."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, Protocol, Self

ROTATED: Final = "rotated"
"""Why a key ended that another took the place of."""


@dataclass(frozen=True, slots=True)
class SiteKey:
    """A site's public key: 32 bytes of Ed25519, and until when it may sign."""

    key_id: str
    site: str
    public: bytes
    enrolled_us: int
    revoked_us: int | None = None
    why: str = ""
    by: str = ""
    """Who revoked it."""
    retires_us: int | None = None
    """When it ends by itself, since another took its place."""

    def as_of(self, now_us: int) -> Self:
        """Return it as it is at a time: one that has retired by then is revoked like any other."""
        if self.revoked_us is not None or self.retires_us is None or now_us < self.retires_us:
            return self
        return replace(self, revoked_us=self.retires_us, why=ROTATED, by=self.site)


@dataclass(frozen=True, slots=True)
class SiteEntry:
    """A site's name in the registry, and the one-time token made for it last."""

    name: str
    made_us: int
    made_by: str
    token: str = ""
    """The token's digest; empty: none may be used."""
    token_until_us: int = 0
    token_key: str = ""
    """The key that was enrolled with it; empty: it waits."""
    revoked_us: int | None = None
    why: str = ""
    by: str = ""


class Register(Protocol):
    """Where sites and keys are kept, durably. Whoever reads sees what was changed last, from whatever process.

    Each method may raise TemporaryError: there is no way to read or to write now.
    """

    def site(self, name: str) -> SiteEntry | None:
        """Return a site; None: there is none of that name."""

    def sites(self, *, after: str, items: int) -> list[SiteEntry]:
        """Return sites in the order of their names, from behind `after` on."""

    def count(self) -> int:
        """Return how many sites there are."""

    def key(self, key_id: str) -> SiteKey | None:
        """Return a key as it was put; None: there is none."""

    def keys(self, site: str) -> list[SiteKey]:
        """Return a site's keys, in the order in which they were enrolled."""

    def change(self) -> AbstractContextManager["Draft"]:
        """Make one change of all that is put within: durable at the end, or, where that raises, nothing of it.

        Nobody else changes anything meanwhile.
        """


class Draft(Register, Protocol):
    """A register while it is changed."""

    def put_site(self, site: SiteEntry) -> None:
        """Add a site, or replace it."""

    def put_key(self, key: SiteKey) -> None:
        """Add a key, or replace it."""


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


class Refusal(NamedTuple):
    """In whose name something was refused, why, how often and when; of it nothing was kept."""

    site: str
    key: str
    reason: str
    times: int
    first_us: int
    last_us: int
    vouched: bool
    """The site has or had this key. Other names are whatever a stranger wrote, and take no room from these."""


class Book(Protocol):
    """Which labels were posted: a digest of each by its id; bounded, and those that came first are forgotten first."""

    def digests(self, label_ids: Collection[str]) -> dict[str, bytes]:
        """Return the digests of those that are known.

        Raises:
            TemporaryError: it can't be asked.
        """

    def note(self, digests: Mapping[str, bytes]) -> None:
        """Remember labels, durably; ids that are known keep their digest.

        Raises:
            TemporaryError: it can't be written; nothing of it is remembered.
        """


class Quarantine(Protocol):
    """Keeps frames that are signed and wrong, so that a person can look at them; bounded.

    Where there are too many, the oldest go of the site that has most, so that no site can flush what others left.
    """

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

    def refuse(self, refusals: Sequence[Refusal]) -> None:
        """Note what was refused, durably, added to what was before in the same name for the same reason.

        Of those that are vouched and of those that aren't as many are kept, those that came last.

        Raises:
            TemporaryError: there is no way to keep them now.
        """

    def refusals(self, *, items: int, site: str | None = None) -> list[Refusal]:
        """Return what was refused, the latest first."""
