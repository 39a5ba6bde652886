"""Settings of a site: TOML files, merged in order, validated, frozen. Every field says unit, default and why."""

import tomllib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tidegate.errors import FieldError, SettingsError
from tidegate.limits import (
    CARDS_MAX,
    CHECKPOINT_EVERY_RECORDS,
    JOURNAL_BYTES_MAX,
    MIB,
    SEGMENT_BYTES,
    SEGMENT_BYTES_MIN,
    TERMINALS_MAX,
)
from tidegate.money import CURRENCIES
from tidegate.records import fingerprint


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Door(_Section):
    """Where the site listens."""

    host: Annotated[str, Field(description="address; loopback by default, since TLS ends in front of the door")] = (
        "127.0.0.1"
    )
    port: Annotated[int, Field(ge=0, le=65535, description="port of the HTTP door; 0 takes a free one")] = 8410


class Journal(_Section):
    """How much the journal may take and how it reaches the disk."""

    segment_bytes: Annotated[int, Field(ge=SEGMENT_BYTES_MIN, description="bytes of one segment file")] = SEGMENT_BYTES
    bytes_max: Annotated[int, Field(ge=64 * MIB, description="bytes of all segments")] = JOURNAL_BYTES_MAX
    flush: Annotated[
        Literal["auto", "inline", "thread"],
        Field(
            description="who waits for the disk: the loop itself (a fast disk loses more by the hand-over), a thread, "
            "or whichever suits the flush measured at the start"
        ),
    ] = "auto"


class Window(_Section):
    """How much history the site holds."""

    cards_max: Annotated[int, Field(ge=16, le=10_000_000, description="cards, 1 KiB each")] = CARDS_MAX
    terminals_max: Annotated[int, Field(ge=1, le=1_000_000, description="terminals of this site")] = TERMINALS_MAX
    checkpoint_every_records: Annotated[
        int, Field(ge=100, description="records between checkpoints; more means a longer start")
    ] = CHECKPOINT_EVERY_RECORDS


class Ages(_Section):
    """From which age on the model counts as older: hours since it was trained."""

    aging_hours: Annotated[int, Field(ge=1, description="a model is retrained weekly: two were missed")] = 14 * 24
    stale_hours: Annotated[int, Field(ge=1, description="a month of missed retraining")] = 45 * 24
    blind_hours: Annotated[int, Field(ge=1, description="a season: habits have changed")] = 120 * 24

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if not self.aging_hours < self.stale_hours < self.blind_hours:
            raise ValueError("aging_hours, stale_hours and blind_hours must ascend")
        return self


class ClockSettings(_Section):
    """Where time comes from."""

    source: Annotated[
        Literal["system", "events"], Field(description="events follows a replayed stream; refused in production")
    ] = "system"


class SiteSettings(_Section):
    """Everything a site is told.

    Data lives in `data_dir`; the machine mark outside it, so that a copied folder is noticed on another machine.
    """

    site: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$", description="name of the site")] = "site-1"
    gate: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$", description="name of the gate")] = "g0"
    profile: Annotated[Literal["production", "demo"], Field(description="production refuses what is unsafe there")] = (
        "production"
    )
    currency: Annotated[str, Field(description="ISO 4217; one a site, so that sums of amounts mean something")] = "EUR"
    data_dir: Annotated[str, Field(min_length=1, description="folder of journal, checkpoints, bundles, keys")]
    machine_mark: Annotated[str, Field(min_length=1, description="file outside data_dir that names this machine")]
    door: Door = Door()
    journal: Journal = Journal()
    window: Window = Window()
    ages: Ages = Ages()
    clock: ClockSettings = ClockSettings()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.currency not in CURRENCIES:
            raise ValueError(f"currency: {self.currency!r} is no ISO 4217 code that people pay with")
        if self.profile == "production" and self.clock.source == "events":
            raise ValueError('clock.source: "events" is refused under the production profile')
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


def site_settings(layers: Sequence[Mapping[str, Any]], *, names: str) -> SiteSettings:
    """Return the validated settings of a site; `names` says which files the layers came from.

    Raises:
        SettingsError: a field is unknown, missing or out of bounds; each is named.
    """
    try:
        return SiteSettings.model_validate(merge(layers))
    except ValidationError as error:
        fields = tuple(FieldError(".".join(map(str, e["loc"])) or "settings", e["msg"]) for e in error.errors())
        said = "; ".join(f"{field.field}: {field.message}" for field in fields)
        raise SettingsError(f"{names}: {said}", fields=fields) from error
