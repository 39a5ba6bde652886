"""The words of a verdict: outcomes, risk levels, modes and the one catalogue of reason codes."""

from dataclasses import dataclass
from enum import IntEnum, IntFlag, StrEnum
from typing import Final, Literal, NamedTuple


class Outcome(IntEnum):
    """What becomes of a payment, in order of severity: of two verdicts the higher number wins."""

    APPROVE = 0
    CHALLENGE = 1
    REVIEW = 2
    DECLINE = 3

    @property
    def word(self) -> "OutcomeWord":
        """The outcome as it is written in answers."""
        return OUTCOME_WORDS[self]


OutcomeWord = Literal["approve", "challenge", "review", "decline"]
OUTCOME_WORDS: Final[tuple[OutcomeWord, ...]] = ("approve", "challenge", "review", "decline")


class RiskLevel(IntEnum):
    """The band of a risk score; `NOT_ASSESSED` where no model spoke."""

    NORMAL = 0
    ELEVATED = 1
    HIGHEST = 2
    NOT_ASSESSED = 3


class Mode(IntEnum):
    """How fresh the oldest thing was that a decision rests on: the worst step of its parts."""

    FRESH = 0
    AGING = 1
    STALE = 2
    BLIND = 3


class Mark(IntFlag):
    """How a decision was made otherwise than usual, as stored: a replay leaves out what was left out. For ever."""

    SCORE_LEFT_OUT = 1
    RULES_LEFT_OUT = 2
    SANDBOX = 4


NO_SCORE: Final = 255
"""Stored in place of a risk score where no model spoke: an error never looks like a score."""


class Source(StrEnum):
    """Who gave a reason."""

    RULE = "rule"
    MODEL = "model"
    LIST = "list"
    LIMIT = "limit"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class Reason:
    """One entry of the catalogue. Number and code are for ever: neither is reused."""

    number: int
    code: str
    source: Source
    text: str


_ALL: Final = (
    Reason(100, "MODEL_CHALLENGE", Source.MODEL, "The expected loss is above the cost of asking the payer to confirm."),
    Reason(101, "MODEL_REVIEW", Source.MODEL, "The expected loss is above the cost of a person's look."),
    Reason(102, "MODEL_DECLINE", Source.MODEL, "The expected loss is above the cost of declining."),
    Reason(200, "LIST_HARD_BLOCK", Source.LIST, "A block list names it, and no override is allowed."),
    Reason(201, "LIST_OVERRIDE", Source.LIST, "An allow list names it."),
    Reason(202, "LIST_SOFT_BLOCK", Source.LIST, "A block list names it."),
    Reason(
        800, "LIMIT_UNSCORED", Source.LIMIT, "Without a score, small amounts are reviewed and larger ones are declined."
    ),
    Reason(900, "SYS_FEATURES_PARTIAL", Source.SYSTEM, "The card's history isn't at this site; defaults were used."),
    Reason(901, "SYS_CLOCK", Source.SYSTEM, "The site's clock was set back; the highest time seen was used."),
    Reason(902, "SYS_CLOCK_EVENTS", Source.SYSTEM, "The site's clock follows a replayed stream."),
    Reason(
        903,
        "SYS_TIME_CLAMPED",
        Source.SYSTEM,
        "The payment is older than the feature windows; it counts at their edge.",
    ),
    Reason(904, "SYS_BUNDLE_AGING", Source.SYSTEM, "The model is older than it should be."),
    Reason(905, "SYS_BUNDLE_STALE", Source.SYSTEM, "The model is too old to be trusted fully."),
    Reason(906, "SYS_BUNDLE_BLIND", Source.SYSTEM, "The model is so old that its score says little."),
    Reason(
        907,
        "SYS_OFFLINE_CLOSED",
        Source.SYSTEM,
        "The journal was damaged or the clock set back: this site takes no money while cut off.",
    ),
    Reason(908, "SYS_DEADLINE_SCORE", Source.SYSTEM, "The caller's deadline left no time for the model."),
    Reason(909, "SYS_DEADLINE_RULES", Source.SYSTEM, "The caller's deadline left no time for the rules."),
    Reason(910, "SYS_SANDBOX", Source.SYSTEM, "A test card of a sandbox forced this answer; it counts nowhere."),
)
REASONS: Final = {reason.number: reason for reason in _ALL}
NUMBERS: Final = {reason.code: reason.number for reason in _ALL}

if len(REASONS) != len(_ALL) or len(NUMBERS) != len(_ALL):
    raise AssertionError("reason numbers and codes are unique")


class Verdict(NamedTuple):
    """What the policy says of one payment: the outcome and the numbers of its reasons, weightiest first.

    There are `REASON_SLOTS` reasons at the most: so many the record holds.
    """

    outcome: Outcome
    reasons: tuple[int, ...]
