"""What frames and heads say of themselves: a run of one lane, and how far a site's lanes reach."""

from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from tidegate.frames.envelope import KEY_ID_HEX
from tidegate.frames.refusal import FrameError
from tidegate.ids import EPOCH_HEX, is_name
from tidegate.limits import (
    FRAME_CANONICAL_BYTES_MAX,
    FRAME_RECORDS_MAX,
    HEAD_VERSION_CHARS_MAX,
    HEAD_VERSIONS_MAX,
)
from tidegate.records import HEAD_BYTES, Lane, event_body

_U64_MAX: Final = (1 << 64) - 1


def _named(text: str) -> str:
    if not is_name(text):
        raise ValueError("expected lower case letters, digits and dashes")
    return text


def _hex(digits: int) -> StringConstraints:
    return StringConstraints(pattern=rf"^[0-9a-f]{{{digits}}}$")


_Name = Annotated[str, AfterValidator(_named)]
_Hash = Annotated[str, _hex(64)]
_Chain = Annotated[str, Field(pattern="^([0-9a-f]{64})?$")]
"""A running hash; empty where damage to the journal hides it."""
_U64 = Annotated[int, Field(ge=0, le=_U64_MAX)]
_Seq = Annotated[int, Field(ge=1, le=_U64_MAX)]
_LaneNumber = Annotated[int, Field(ge=min(Lane), le=max(Lane))]
_Version = Annotated[str, Field(pattern=rf"^[!-~]{{0,{HEAD_VERSION_CHARS_MAX}}}$")]

Coding = Literal["arrow", "batch"]
"""arrow: an Arrow IPC stream with its schema; batch: its record batch message alone. Both compressed by zstd."""


class Said(BaseModel):
    """What an envelope's header says: who signed it, and whatever else."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    site: _Name
    key: Annotated[str, _hex(KEY_ID_HEX)]
    """Names the signing key."""

    def canonical(self) -> bytes:
        """Return the header's bytes: canonical JSON."""
        return event_body(self.model_dump())

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Return what a header says.

        Raises:
            FrameError: malformed: no such header, or not its canonical bytes.
        """
        try:
            said = cls.model_validate_json(data)
        except ValidationError as error:
            where = ".".join(map(str, error.errors()[0]["loc"])) or "it"
            raise FrameError("malformed", f"header: {where}: {error.errors()[0]['msg']}") from None
        if said.canonical() != data:
            raise FrameError("malformed", "header: write it as canonical JSON: sorted keys, no blanks, each key once")
        return said


class _OfAnEpoch(Said):
    gate: _Name
    epoch: Annotated[str, _hex(EPOCH_HEX)]


class Header(_OfAnEpoch):
    """Says which records a frame holds: those from `first` to `last` of one lane of (site, gate, epoch)."""

    lane: _LaneNumber
    first: _Seq
    last: _Seq
    pos: _U64
    """Gate-wide position of the first record."""
    fingerprint: Annotated[str, _hex(16), Field(alias="schema")]
    """Fingerprint of the records' schema, see `tidegate.records.SCHEMAS`."""
    coding: Coding
    sha256: _Hash
    """Of the run's canonical bytes."""
    before: _Chain
    """The lane's chain before the first record; empty behind damage that hides it, and then `after` is, too."""
    after: _Chain
    """The lane's chain after the last record."""
    size: Annotated[int, Field(alias="bytes", ge=HEAD_BYTES, le=_U64_MAX)]
    """Length of the canonical bytes."""

    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True, validate_by_alias=True)

    @property
    def count(self) -> int:
        """How many records there are."""
        return self.last - self.first + 1

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.last < self.first:
            raise ValueError(f"last {self.last} is before first {self.first}")
        if bool(self.before) != bool(self.after):
            raise ValueError("before and after are both known or both empty")
        return self

    def bounded(self) -> Self:
        """Return itself.

        Raises:
            FrameError: oversized: more records or bytes than a frame may hold.
        """
        if self.count > FRAME_RECORDS_MAX:
            raise FrameError("oversized", f"{self.count} records, more than {FRAME_RECORDS_MAX}: send fewer at a time")
        if self.size > FRAME_CANONICAL_BYTES_MAX:
            told = f"{self.size} bytes of records, more than {FRAME_CANONICAL_BYTES_MAX}: send fewer at a time"
            raise FrameError("oversized", told)
        return self


class LaneHead(BaseModel):
    """How far a lane reaches: its last durable record (0 where there is none yet) and the chain after it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    seq: _U64
    chain: _Chain


class Head(_OfAnEpoch):
    """How far a gate's journal reaches, so that the cloud knows what it doesn't have yet."""

    heads: Annotated[dict[_LaneNumber, LaneHead], Field(max_length=len(Lane))]
    durable_pos: _U64
    """Gate-wide position of the last durable record, 0 where there is none yet."""
    time_us: Annotated[int, Field(ge=0, le=(1 << 63) - 1)]
    """By the gate's clock, microseconds UTC."""
    versions: Annotated[dict[_Name, _Version], Field(max_length=HEAD_VERSIONS_MAX)]
    """What is active, by kind: bundle, lists, policy, configuration, release."""
