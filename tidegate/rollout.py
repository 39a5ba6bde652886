"""Which bundle each site should have: rings, pins, what one signed file says of all of them, and how it changes. Pure.

Rings widen: the canary sites that somebody named, a quarter of all by a hash of the name, all. The file is desired
state: a site that missed ten of them needs only the newest. Cloud and command line share the bodies of `/v1/models`.
"""

import hashlib
import json
from enum import StrEnum
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError

from tidegate.errors import BundleError
from tidegate.ids import SiteId
from tidegate.limits import MODEL_ARTIFACT_BYTES_MAX, MODEL_FILES_MAX, ROLLOUT_SITES_MAX, ROLLOUT_WHY_MAX

ASSIGNMENTS: Final = "models/assignments.json"
"""The path of the file in the catalogue."""
_QUARTER: Final = 4
BundleName = Annotated[str, Field(pattern="^b-[0-9a-f]{12}$")]
SiteName = Annotated[str, Field(pattern="^[a-z0-9][a-z0-9-]{0,31}$")]
FileName = Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,40}\.[a-z0-9]{1,8}$")]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
WhyText = Annotated[str, Field(min_length=1, max_length=ROLLOUT_WHY_MAX, pattern=r"^\S.*$")]
MODELS_PATH: Final = "/v1/models"


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


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileBody(_Body):
    """One file of a bundle, by its digest."""

    sha256: Digest
    bytes: Annotated[int, Field(ge=0, le=MODEL_ARTIFACT_BYTES_MAX)]


class NewBundle(_Body):
    """A bundle to add; its files are artifacts already."""

    files: Annotated[dict[FileName, FileBody], Field(min_length=1, max_length=MODEL_FILES_MAX)]


class _Change(_Body):
    why: WhyText


class Offer(_Change):
    """Begin a roll-out at the canaries."""

    act: Literal["offer"] = "offer"
    bundle: BundleName


class Promote(_Change):
    """Widen the roll-out to the next ring; behind the last one the candidate is the stable one."""

    act: Literal["promote"] = "promote"
    override: Annotated[bool, Field(description="although health doesn't allow it")] = False


class RollBack(_Change):
    """Take the candidate back; where there is none, the stable one for the one before it."""

    act: Literal["rollback"] = "rollback"


class Pin(_Change):
    """Give one site a bundle, whatever rolls out."""

    act: Literal["pin"] = "pin"
    site: SiteName
    bundle: BundleName


class Unpin(_Change):
    """Let a site have what all have again."""

    act: Literal["unpin"] = "unpin"
    site: SiteName


class Canaries(_Change):
    """Say which sites are first."""

    act: Literal["canaries"] = "canaries"
    sites: Annotated[frozenset[SiteName], Field(max_length=ROLLOUT_SITES_MAX)]


class Freeze(_Change):
    """Let nothing new roll out; back is always possible."""

    act: Literal["freeze"] = "freeze"


class Thaw(_Change):
    """End a freeze."""

    act: Literal["thaw"] = "thaw"


Change = Offer | Promote | RollBack | Pin | Unpin | Canaries | Freeze | Thaw


class ChangeBody(RootModel[Annotated[Change, Field(discriminator="act")]]):
    """One change, told by its `act`."""


class Report(_Body):
    """What became of a bundle at a site."""

    bundle: BundleName
    state: Annotated[
        Literal["active", "refused"],
        Field(
            description="refused: the bundle itself failed there, such as its golden rows; not the network or a disk"
        ),
    ]
    why: Annotated[str, Field(max_length=ROLLOUT_WHY_MAX, pattern="^.*$", description="what failed, in one line")] = ""


class CourseAnswer(_Body):
    """Which bundles are where, and what sites reported of the candidate."""

    stable: str | None
    previous: str | None
    candidate: str | None
    ring: Ring | None
    canaries: list[str]
    pins: dict[str, str]
    frozen: bool
    active: Annotated[int, Field(description="sites within the ring that decide by the candidate")]
    refused: Annotated[int, Field(description="sites within the ring at which it failed")]


class BundleAnswer(_Body):
    """A bundle of the registry."""

    bundle: str
    added_at: str
    added_by: str
    data: str
    standing: Annotated[str, Field(description="what its gate said, or who overrode it")]
    metrics: dict[str, float]
    files: dict[str, FileBody]


class BundlesAnswer(_Body):
    """Bundles, the newest first."""

    data: list[BundleAnswer]


class ChangeAnswer(_Body):
    """One change that was made."""

    at: str
    by: str
    act: str
    told: dict[str, str | bool | list[str]]


class ChangesAnswer(_Body):
    """Changes, the newest first."""

    data: list[ChangeAnswer]


class ReportAnswer(_Body):
    """What a site reported last."""

    site: str
    at: str
    bundle: str
    state: str
    why: str


class ReportsAnswer(_Body):
    """Reports in the order of the sites' names."""

    data: list[ReportAnswer]


class Rotation(_Body):
    """New keys for a role of the catalogue; those it has count no more."""

    why: WhyText


class RoleAnswer(_Body):
    """A role of the catalogue."""

    version: int
    expires_at: str
    keys: Annotated[list[str], Field(description="ids of the keys that count")]


class CatalogueAnswer(_Body):
    """The catalogue as it is published."""

    roles: dict[str, RoleAnswer]
    files: Annotated[int, Field(description="that it names")]


class KeptAnswer(_Body):
    """An artifact that is kept."""

    sha256: Digest
    bytes: int
