"""Which bundle each site should have: rings, pins, and what one signed file says of all of them. Pure.

Rings widen: the canary sites that somebody named, a quarter of all by a hash of the name, all. The file is desired
state: a site that missed ten of them needs only the newest.
"""

import hashlib
import json
from enum import StrEnum
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tidegate.errors import BundleError
from tidegate.ids import SiteId
from tidegate.limits import ROLLOUT_SITES_MAX

ASSIGNMENTS: Final = "models/assignments.json"
"""The path of the file in the catalogue."""
_QUARTER: Final = 4
BundleName = Annotated[str, Field(pattern="^b-[0-9a-f]{12}$")]
SiteName = Annotated[str, Field(pattern="^[a-z0-9][a-z0-9-]{0,31}$")]


class Ring(StrEnum):
    """How far a roll-out has come; each ring holds the one before."""

    CANARY = "canary"
    QUARTER = "quarter"
    ALL = "all"


class Assignments(BaseModel):
    """Which bundle sites should have: `stable` unless they are pinned, or within the ring of a `candidate`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    stable: BundleName | None = None
    candidate: BundleName | None = None
    ring: Ring = Ring.CANARY
    canaries: Annotated[frozenset[SiteName], Field(max_length=ROLLOUT_SITES_MAX)] = frozenset()
    pins: Annotated[dict[SiteName, BundleName], Field(max_length=ROLLOUT_SITES_MAX)] = {}

    def bundle_of(self, site: SiteId) -> str | None:
        """Return the bundle that a site should have; None: the one it has."""
        if site in self.pins:
            return self.pins[site]
        return self.candidate if self.candidate is not None and self.reaches(site) else self.stable

    def reaches(self, site: SiteId) -> bool:
        """Tell whether a site is within the ring."""
        if self.ring is Ring.ALL or site in self.canaries:
            return True
        return self.ring is Ring.QUARTER and in_quarter(site)

    def canonical(self) -> bytes:
        """Return the bytes that are signed for."""
        said = self.model_dump(mode="json") | {"canaries": sorted(self.canaries)}
        return json.dumps(said, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Return what bytes say.

        Raises:
            BundleError: they are none.
        """
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise BundleError(f"{ASSIGNMENTS}: {error.errors()[0]['msg']}; publish them again") from error


def in_quarter(site: SiteId) -> bool:
    """Tell whether a site is among the quarter that comes second: by its name, so the same one each time."""
    return hashlib.sha256(f"ring:{site}".encode()).digest()[0] % _QUARTER == 0
