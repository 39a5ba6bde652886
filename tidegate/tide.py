"""What the cloud answers to frames and heads: what became of each, what it has, how much it takes next.

Both tiers speak it; docs/tide.md describes it. Fields that a reader doesn't know are additions of a newer writer, which
it passes over.
"""

from enum import StrEnum
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from tidegate.limits import FRAMES_BODY_BYTES_MAX, TIDE_RANGES_MAX, TIDE_RETRY_MS_MAX
from tidegate.records import Lane

FRAMES_PATH: Final = "/v1/frames"
HEADS_PATH: Final = "/v1/heads"
HEAD_MEDIA_TYPE: Final = "application/vnd.tidegate.head"
EPOCHS: Final = "epochs"
"""The reason for which a frame or a head of a new epoch is refused: its site has as many as it may."""
TEXTS: Final = "texts"
"""The reason for which a new text is refused: its site has handed in as many as it may."""
FORKED: Final = "forked"
"""The reason for which a frame or a head is kept aside that doesn't continue what is there."""

_Seq = Annotated[int, Field(ge=1, lt=1 << 64)]
_Lane = Annotated[int, Field(ge=min(Lane), le=max(Lane))]


class Status(StrEnum):
    """What became of a frame."""

    COMMITTED = "committed"
    """It is in the stream, durably."""
    DUPLICATE = "duplicate"
    """All of it was there before."""
    OVERLAP = "overlap"
    """A part of it was there before: cut it anew by what the cursor says."""
    REWIND = "rewind"
    """The lane is taken in order, or has too many gaps: send first what is missing first."""
    QUARANTINED = "quarantined"
    """It was kept aside with the reason, and is not in the stream."""
    REFUSED = "refused"
    """Nothing of it was kept: see the reason."""


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Result(_Told):
    """What became of the frame at the same place in the request."""

    status: Status
    reason: str = ""
    """A stable word where the frame was quarantined or refused."""
    message: str = ""


class Cursor(_Told):
    """What the cloud has of one lane of one epoch."""

    epoch: str
    lane: _Lane
    committed: Annotated[list[tuple[_Seq, _Seq]], Field(max_length=TIDE_RANGES_MAX)]
    """First and last, ascending, apart from each other."""
    rewind_to: _Seq | None = None
    """What has to come next, where the lane is taken in order."""
    chain: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] = ""
    """The lane's running hash behind the last of `committed`; empty: unknown, or an older cloud's."""


class Answer(_Told):
    """The answer to a request of frames, or to a head."""

    results: list[Result] = []
    cursors: list[Cursor] = []
    credit_bytes: Annotated[int, Field(ge=0, le=FRAMES_BODY_BYTES_MAX)]
    """How large the next request may be."""
    retry_after_ms: Annotated[int, Field(ge=0, le=TIDE_RETRY_MS_MAX)] = 0
    """How long to wait before it; add up to half of it by chance."""


class RangeAnswer(_Told):
    """Records that the cloud has, and the lane's running hash before and after them, in hex digits."""

    first: _Seq
    last: _Seq
    before: str
    after: str


class LaneAnswer(_Told):
    """What the cloud has of one lane, for who compares it with a journal."""

    through: int
    last: int
    ranges: list[RangeAnswer]


def lane_path(site: str, gate: str, epoch: str, lane: int | str) -> str:
    """Return where a LaneAnswer is asked for."""
    return f"/v1/sites/{site}/gates/{gate}/epochs/{epoch}/lanes/{lane}"
