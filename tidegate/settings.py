"""Settings of a site: TOML files, merged in order, validated, frozen. Every field says unit, default and why."""

import tomllib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from tidegate.errors import FieldError, SettingsError, joined
from tidegate.limits import (
    ANSWERS_MAX,
    CARDS_MAX,
    CHECKPOINT_EVERY_RECORDS,
    JOURNAL_BYTES_MAX,
    JOURNAL_RESERVE_BYTES,
    MIB,
    SEGMENT_BYTES,
    SEGMENT_BYTES_MAX,
    SEGMENT_BYTES_MIN,
    TERMINALS_MAX,
)
from tidegate.money import decimals
from tidegate.records import fingerprint


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Door(_Section):
    """Where the site listens, and behind what."""

    via: Annotated[
        Literal["actor", "serve"],
        Field(
            description="word; actor, because the gate that owns its socket answers several times as fast; serve puts "
            "the same application behind Ray Serve, with HAProxy where that is installed"
        ),
    ] = "actor"

    host: Annotated[
        str,
        Field(
            min_length=1,
            description="IP address; loopback, because TLS ends in front of the door and no key may pass in clear",
        ),
    ] = "127.0.0.1"
    port: Annotated[
        int,
        Field(
            ge=0, le=65535, description="TCP port; 8410, because site n's door is 84n0; 0 takes a free one, for tests"
        ),
    ] = 8410
    origins: Annotated[
        tuple[Annotated[str, Field(pattern=r"^https?://[a-zA-Z0-9.:\[\]-]+$")], ...],
        Field(
            max_length=16,
            description="address of each other door whose live page may read here, and this page there; none, because "
            "a browser should read one site only unless somebody wants several on a page",
        ),
    ] = ()


class Journal(_Section):
    """How much the journal may take and how it reaches the disk."""

    segment_bytes: Annotated[
        int,
        Field(
            ge=SEGMENT_BYTES_MIN,
            le=SEGMENT_BYTES_MAX,
            description="bytes of one segment file; 16 MiB, because sealing is rare then and one still ships whole",
        ),
    ] = SEGMENT_BYTES
    bytes_max: Annotated[
        int,
        Field(
            ge=64 * MIB,
            description="bytes of all segments; 8 GiB, because its 12 million decisions outlast a week cut off",
        ),
    ] = JOURNAL_BYTES_MAX
    flush: Annotated[
        Literal["auto", "inline", "thread"],
        Field(
            description="word for who waits for the disk: the loop (a fast disk loses more by the hand-over) or a "
            "thread; auto, because which is faster is measured at each start"
        ),
    ] = "auto"

    @model_validator(mode="after")
    def _roomy(self) -> Self:
        if self.bytes_max < JOURNAL_RESERVE_BYTES + 2 * self.segment_bytes:
            raise ValueError(
                "bytes_max must hold the reserve of 32 MiB and two segments: raise it, or segment_bytes less"
            )
        return self


class Window(_Section):
    """How much history the site holds."""

    cards_max: Annotated[
        int,
        Field(
            ge=16, le=10_000_000, description="cards of 1 KiB each; 100,000, because a small machine can spare 100 MiB"
        ),
    ] = CARDS_MAX
    terminals_max: Annotated[
        int,
        Field(
            ge=1, le=1_000_000, description="terminals of this site; 4,096, because that leaves the largest site room"
        ),
    ] = TERMINALS_MAX
    answers_max: Annotated[
        int,
        Field(
            ge=1_000,
            le=100_000_000,
            description="payment ids whose first answer a retry finds, 32 bytes each; 5,000,000, because eight days at "
            "seven decisions a second fit",
        ),
    ] = ANSWERS_MAX
    checkpoint_every_records: Annotated[
        int,
        Field(ge=100, description="records between checkpoints; 200,000, because a start replays them in two seconds"),
    ] = CHECKPOINT_EVERY_RECORDS


class ClockSettings(_Section):
    """Where time comes from."""

    source: Annotated[
        Literal["system", "events"],
        Field(
            description="word; system, because money is decided at wall time; events follows a replayed stream and is "
            "refused in production"
        ),
    ] = "system"
    begins: Annotated[
        Literal["stream", "now"],
        Field(
            description="word; where a clock of events begins: stream, because a recorded stream brings its own times; "
            "now for one that is made up on the spot"
        ),
    ] = "stream"


class Uplink(_Section):
    """The way to the cloud."""

    url: Annotated[
        str,
        Field(
            pattern=r"^(https?://[^\s]+)?$",
            description="address of the cloud's ingest; empty, because a site decides without one; http only in a demo",
        ),
    ] = ""
    key: Annotated[
        str,
        Field(
            description="file of the site's private key, which `tidegate site enrol` makes; empty, because a site "
            "without a cloud signs nothing"
        ),
    ] = ""
    authority: Annotated[
        str,
        Field(
            description="file of who may vouch for the cloud, as PEM; empty, because the system's authorities mostly do"
        ),
    ] = ""
    client_certificate: Annotated[
        str, Field(description="file of the certificate that the site shows; empty, because frames are signed anyway")
    ] = ""
    client_key: Annotated[
        str, Field(description="file of that certificate's key; empty, because there is none without")
    ] = ""

    features_key: Annotated[
        str,
        Field(
            description="file of an API key of the cloud's, of the scope features, by which the site learns what other "
            "sites did; empty, because a site decides by what it knows itself until somebody gives it one"
        ),
    ] = ""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.features_key and not self.url:
            raise ValueError("features_key means something only beside url: name the cloud, or no key")
        if self.url and not self.key:
            raise ValueError("key must name the site's private key where url names a cloud: tidegate site enrol")
        if bool(self.client_certificate) != bool(self.client_key):
            raise ValueError("client_certificate and client_key go together: name both or neither")
        return self


class PolicySettings(_Section):
    """What a policy must not do without somebody who answers for it."""

    declines_max_ppm: Annotated[
        int,
        Field(
            ge=0,
            le=1_000_000,
            description="millionths of the last day's decisions that a new policy may decline without an override; "
            "100,000, because a tenth of a day's payers sent away is no policy but a mistake",
        ),
    ] = 100_000


class SiteSettings(_Section):
    """Everything a site is told.

    Data lives in `data_dir`; the machine mark outside it, so that a copied folder is noticed on another machine.
    """

    site: Annotated[
        str,
        Field(
            pattern=r"^[a-z0-9][a-z0-9-]{0,31}$",
            description="name of the site; site-1, because one machine runs one until it is told otherwise",
        ),
    ] = "site-1"
    gate: Annotated[
        str,
        Field(
            pattern=r"^[a-z0-9][a-z0-9-]{0,31}$",
            description="name of the gate; g0, because a site has one, and identities leave room for more",
        ),
    ] = "g0"
    profile: Annotated[
        Literal["production", "demo", "sandbox"],
        Field(
            description="word; production, because what is unsafe has to be asked for; sandbox takes declared test "
            "cards, which force their answers, and is for those who write callers"
        ),
    ] = "production"
    currency: Annotated[
        str,
        Field(description="ISO 4217 code; EUR, and one a site, because sums of amounts mean something in one only"),
    ] = "EUR"
    data_dir: Annotated[
        str,
        Field(
            min_length=1,
            description="folder of journal, checkpoints, bundles, keys; no default, because losing it matters",
        ),
    ]
    machine_mark: Annotated[
        str,
        Field(
            min_length=1,
            description="file that names this machine; no default, because it must not move with data_dir",
        ),
    ]
    door: Door = Door()
    journal: Journal = Journal()
    window: Window = Window()
    clock: ClockSettings = ClockSettings()
    uplink: Uplink = Uplink()
    policy: PolicySettings = PolicySettings()

    @field_validator("currency")
    @classmethod
    def _paid_with(cls, currency: str) -> str:
        decimals(currency)
        return currency

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if f"{self.machine_mark}/".startswith(self.data_dir.rstrip("/") + "/"):
            raise ValueError("machine_mark: it lies in data_dir; a copy of the folder would bring its machine along")
        if self.profile == "production" and self.clock.source == "events":
            raise ValueError('clock.source: "events" is refused under the production profile')
        if self.profile == "production" and self.uplink.url.startswith("http:"):
            raise ValueError('uplink.url: a production site speaks https; say https://, or profile = "demo"')
        return self

    @property
    def fingerprint(self) -> str:
        """16 hex digits that name these settings in every decision."""
        return fingerprint(self.model_dump_json())


def merge(layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the layers merged table by table; a later layer wins, and what it doesn't say stays."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            old = merged.get(key)
            merged[key] = merge([old, value]) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return merged


def parse(name: str, text: str) -> dict[str, Any]:
    """Return a TOML text as tables.

    Raises:
        SettingsError: it is no TOML; names file, line and reason.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{name}: {error}. Mend the file and start again.") from error


def _told(details: ErrorDetails) -> FieldError:
    message = details["msg"].removeprefix("Value error, ")
    if details["loc"]:
        return FieldError(".".join(map(str, details["loc"])), message)
    field, _, rest = message.partition(": ")  # of what two fields say together, the message names the one to change
    return FieldError(field, rest)


def site_settings(layers: Sequence[Mapping[str, Any]], *, names: str) -> SiteSettings:
    """Return the validated settings of a site; `names` says which files the layers came from.

    Raises:
        SettingsError: a field is unknown, missing or out of bounds; each is named.
    """
    try:
        return SiteSettings.model_validate(merge(layers))
    except ValidationError as error:
        fields = tuple(map(_told, error.errors()))
        raise SettingsError(f"{names}: {joined(fields)}", fields=fields) from error
