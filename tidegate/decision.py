"""The words of a verdict: outcomes, risk levels, modes and the one catalogue of reason codes."""

from dataclasses import dataclass
from enum import IntEnum, StrEnum
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
    Reason(203, "LIST_WATCH", Source.LIST, "A watch list names it."),
    Reason(300, "RULE_VELOCITY", Source.RULE, "The card pays more often than the site's rules allow."),
    Reason(301, "RULE_VELOCITY_AMOUNT", Source.RULE, "The card pays more in a short time than the site's rules allow."),
    Reason(302, "RULE_AMOUNT", Source.RULE, "The amount is above what the site's rules allow."),
    Reason(303, "RULE_AMOUNT_UNUSUAL", Source.RULE, "The amount is far from what this card usually pays."),
    Reason(304, "RULE_NEW_CARD", Source.RULE, "The card has little or no history at this site."),
    Reason(305, "RULE_NEW_TERMINAL", Source.RULE, "The terminal has little or no history."),
    Reason(306, "RULE_TERMINALS", Source.RULE, "The card was used at many terminals in a short time."),
    Reason(307, "RULE_TERMINAL_RISK", Source.RULE, "The terminal had known frauds lately."),
    Reason(308, "RULE_CARD_FRAUD", Source.RULE, "The card had known frauds lately."),
    Reason(309, "RULE_TESTING", Source.RULE, "Small payments in a row look like a card being tried out."),
    Reason(310, "RULE_DORMANT", Source.RULE, "The card pays after a long silence."),
    Reason(311, "RULE_COUNTRY", Source.RULE, "The card's country needs more care at this site."),
    Reason(312, "RULE_CATEGORY", Source.RULE, "The merchant's category needs more care at this site."),
    Reason(313, "RULE_ENTRY", Source.RULE, "The way the card was read needs more care at this site."),
    Reason(314, "RULE_HOUR", Source.RULE, "The hour needs more care at this site."),
    Reason(315, "RULE_SCORE", Source.RULE, "The model's score is above what the site's rules allow."),
    Reason(316, "RULE_TRUSTED", Source.RULE, "A rule of the site trusts it."),
    Reason(317, "RULE_OTHER", Source.RULE, "A rule of the site applies."),
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
    Reason(920, "SYS_LISTS_AGING", Source.SYSTEM, "The lists are older than they should be."),
    Reason(921, "SYS_LISTS_STALE", Source.SYSTEM, "The lists are too old to be trusted fully."),
    Reason(922, "SYS_LISTS_BLIND", Source.SYSTEM, "The lists are so old that they say little."),
    Reason(923, "SYS_POLICY_AGING", Source.SYSTEM, "The policy is older than it should be."),
    Reason(924, "SYS_POLICY_STALE", Source.SYSTEM, "The policy is too old to be trusted fully."),
    Reason(925, "SYS_POLICY_BLIND", Source.SYSTEM, "The policy is so old that it says little."),
    Reason(926, "SYS_FLOOR_LIMIT", Source.SYSTEM, "The amount is above what a site of this age decides alone."),
    Reason(927, "SYS_RULE_FAILED", Source.SYSTEM, "A rule could not be evaluated; it was left out."),
    Reason(928, "SYS_RULE_BRAKED", Source.SYSTEM, "A rule declined as often as it may in its period; it was left out."),
)
REASONS: Final = {reason.number: reason for reason in _ALL}
NUMBERS: Final = {reason.code: reason.number for reason in _ALL}

if len(REASONS) != len(_ALL) or len(NUMBERS) != len(_ALL):
    raise AssertionError("reason numbers and codes are unique")


class Verdict(NamedTuple):
    """What the policy says of one payment: the outcome and the numbers of its reasons, weightiest first.

    There are `REASON_SLOTS` reasons at the most: so many the record holds. `deciding` are the bits of the rules that
    brought the outcome about.
    """

    outcome: Outcome
    reasons: tuple[int, ...]
    deciding: int = 0
