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


class Mark(IntEnum):
    """How a decision was made otherwise than usual, a bit each, as stored: a replay leaves out what was left out.

    For ever. No `IntFlag`: each `&` of one runs Python code, on a path that asks three times.
    """

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
    """One entry of the catalogue. Number and code are for ever: neither is reused.

    `text` says what it means, `action` what to do about it; both are for the merchant's or the site's own people.
    """

    number: int
    code: str
    source: Source
    text: str
    action: str


_ALL: Final = (
    Reason(
        100,
        "MODEL_CHALLENGE",
        Source.MODEL,
        "The expected loss is above the cost of asking the payer to confirm.",
        "Ask the payer to confirm.",
    ),
    Reason(
        101,
        "MODEL_REVIEW",
        Source.MODEL,
        "The expected loss is above the cost of a person's look.",
        "Let a person look at the features that raised the risk, and say how it turned out with a label.",
    ),
    Reason(
        102,
        "MODEL_DECLINE",
        Source.MODEL,
        "The expected loss is above the cost of declining.",
        "Take another means of payment; a good payer who comes often can be put on the allow list.",
    ),
    Reason(
        200,
        "LIST_HARD_BLOCK",
        Source.LIST,
        "A block list names it, and no override is allowed.",
        "Don't accept the payment; only who keeps the list can take the entry out.",
    ),
    Reason(201, "LIST_OVERRIDE", Source.LIST, "An allow list names it.", "Nothing: somebody vouched for it."),
    Reason(
        202,
        "LIST_SOFT_BLOCK",
        Source.LIST,
        "A block list names it.",
        "Don't accept the payment; where the entry is wrong, take it out or put it on the allow list.",
    ),
    Reason(
        203,
        "LIST_WATCH",
        Source.LIST,
        "A watch list names it.",
        "Look at the payment; take the entry out once it has been looked at long enough.",
    ),
    Reason(
        300,
        "RULE_VELOCITY",
        Source.RULE,
        "The card pays more often than the site's rules allow.",
        "Ask why the card is used so often; a good payer's rule can be suppressed until a date.",
    ),
    Reason(
        301,
        "RULE_VELOCITY_AMOUNT",
        Source.RULE,
        "The card pays more in a short time than the site's rules allow.",
        "Ask the payer to confirm the sum of the last payments.",
    ),
    Reason(
        302,
        "RULE_AMOUNT",
        Source.RULE,
        "The amount is above what the site's rules allow.",
        "Take another means of payment, or split the purchase by agreement.",
    ),
    Reason(
        303,
        "RULE_AMOUNT_UNUSUAL",
        Source.RULE,
        "The amount is far from what this card usually pays.",
        "Ask the payer to confirm the amount.",
    ),
    Reason(
        304,
        "RULE_NEW_CARD",
        Source.RULE,
        "The card has little or no history at this site.",
        "Ask the payer to confirm; the next payments make history.",
    ),
    Reason(
        305,
        "RULE_NEW_TERMINAL",
        Source.RULE,
        "The terminal has little or no history.",
        "Check that the terminal is the site's own.",
    ),
    Reason(
        306,
        "RULE_TERMINALS",
        Source.RULE,
        "The card was used at many terminals in a short time.",
        "Ask the payer where the card is.",
    ),
    Reason(
        307,
        "RULE_TERMINAL_RISK",
        Source.RULE,
        "The terminal had known frauds lately.",
        "Look at the terminal: it may have been tampered with.",
    ),
    Reason(
        308,
        "RULE_CARD_FRAUD",
        Source.RULE,
        "The card had known frauds lately.",
        "Don't accept the payment; the issuer can give the payer a new card.",
    ),
    Reason(
        309,
        "RULE_TESTING",
        Source.RULE,
        "Small payments in a row look like a card being tried out.",
        "Don't accept the payment; watch the terminal for more of them.",
    ),
    Reason(
        310,
        "RULE_DORMANT",
        Source.RULE,
        "The card pays after a long silence.",
        "Ask the payer to confirm.",
    ),
    Reason(
        311,
        "RULE_COUNTRY",
        Source.RULE,
        "The card's country needs more care at this site.",
        "Ask the payer to confirm, or take another means of payment.",
    ),
    Reason(
        312,
        "RULE_CATEGORY",
        Source.RULE,
        "The merchant's category needs more care at this site.",
        "Ask the payer to confirm.",
    ),
    Reason(
        313,
        "RULE_ENTRY",
        Source.RULE,
        "The way the card was read needs more care at this site.",
        "Read the card's chip, or let the payer tap it.",
    ),
    Reason(
        314,
        "RULE_HOUR",
        Source.RULE,
        "The hour needs more care at this site.",
        "Ask the payer to confirm.",
    ),
    Reason(
        315,
        "RULE_SCORE",
        Source.RULE,
        "The model's score is above what the site's rules allow.",
        "Look at the features that raised the risk.",
    ),
    Reason(
        316,
        "RULE_TRUSTED",
        Source.RULE,
        "A rule of the site trusts it.",
        "Nothing: the site's people wrote that rule.",
    ),
    Reason(
        317,
        "RULE_OTHER",
        Source.RULE,
        "A rule of the site applies.",
        "Look up which one: the decision names it where it is asked for with explain=true.",
    ),
    Reason(
        800,
        "LIMIT_UNSCORED",
        Source.LIMIT,
        "Without a score, small amounts are reviewed and larger ones are declined.",
        "Give the decision a longer deadline, or find out what keeps the site busy.",
    ),
    Reason(
        900,
        "SYS_FEATURES_PARTIAL",
        Source.SYSTEM,
        "Some of the card's history isn't at this site, or what other sites told is old.",
        "Nothing for a card's first payment; said of most, raise window.cards_max, or see the site's overlay.",
    ),
    Reason(
        901,
        "SYS_CLOCK",
        Source.SYSTEM,
        "The site's clock was set back; the highest time seen was used.",
        "Set the machine's clock by NTP and find out who set it back; it has to catch up.",
    ),
    Reason(
        902,
        "SYS_CLOCK_EVENTS",
        Source.SYSTEM,
        "The site's clock follows a replayed stream.",
        "Nothing in a replay; a site that takes money needs clock.source system.",
    ),
    Reason(
        903,
        "SYS_TIME_CLAMPED",
        Source.SYSTEM,
        "The payment is older than the feature windows; it counts at their edge.",
        "Send payments as they happen; check the device's clock where this one did.",
    ),
    Reason(
        904,
        "SYS_BUNDLE_AGING",
        Source.SYSTEM,
        "The model is older than it should be.",
        "Train a model on newer payments and activate it.",
    ),
    Reason(
        905,
        "SYS_BUNDLE_STALE",
        Source.SYSTEM,
        "The model is too old to be trusted fully.",
        "Train and activate a new model today; look at more payments until then.",
    ),
    Reason(
        906,
        "SYS_BUNDLE_BLIND",
        Source.SYSTEM,
        "The model is so old that its score says little.",
        "Train and activate a new model now; don't rest on the score until then.",
    ),
    Reason(
        907,
        "SYS_OFFLINE_CLOSED",
        Source.SYSTEM,
        "The journal was damaged or the clock set back: this site takes no money while cut off.",
        "Verify the journal, mend clock or disk, and let the cloud close the old epoch.",
    ),
    Reason(
        908,
        "SYS_DEADLINE_SCORE",
        Source.SYSTEM,
        "The caller's deadline left no time for the model.",
        "Allow more time; where it is said often, find out what keeps the site busy.",
    ),
    Reason(
        909,
        "SYS_DEADLINE_RULES",
        Source.SYSTEM,
        "The caller's deadline left no time for the rules.",
        "Allow more time, or retire rules that take long.",
    ),
    Reason(
        910,
        "SYS_SANDBOX",
        Source.SYSTEM,
        "A test card of a sandbox forced this answer; it counts nowhere.",
        "Nothing: take a card that isn't a test card for a real answer.",
    ),
    Reason(
        920,
        "SYS_LISTS_AGING",
        Source.SYSTEM,
        "The lists are older than they should be.",
        "Load the lists anew, also where nothing changed: that says they were looked at.",
    ),
    Reason(
        921,
        "SYS_LISTS_STALE",
        Source.SYSTEM,
        "The lists are too old to be trusted fully.",
        "Load the lists anew, also where nothing changed: that says they were looked at.",
    ),
    Reason(
        922,
        "SYS_LISTS_BLIND",
        Source.SYSTEM,
        "The lists are so old that they say little.",
        "Load the lists anew, also where nothing changed: that says they were looked at.",
    ),
    Reason(
        923,
        "SYS_POLICY_AGING",
        Source.SYSTEM,
        "The policy is older than it should be.",
        "Look the policy through and activate it anew.",
    ),
    Reason(
        924,
        "SYS_POLICY_STALE",
        Source.SYSTEM,
        "The policy is too old to be trusted fully.",
        "Look the policy through and activate it anew.",
    ),
    Reason(
        925,
        "SYS_POLICY_BLIND",
        Source.SYSTEM,
        "The policy is so old that it says little.",
        "Look the policy through and activate it anew.",
    ),
    Reason(
        926,
        "SYS_FLOOR_LIMIT",
        Source.SYSTEM,
        "The amount is above what a site of this age decides alone.",
        "Bring bundle, lists or policy up to date; the mode of each is in the answer.",
    ),
    Reason(
        927,
        "SYS_RULE_FAILED",
        Source.SYSTEM,
        "A rule could not be evaluated; it was left out.",
        "Look up which one: a decision names it where it is asked for with explain=true; then mend the rule.",
    ),
    Reason(
        928,
        "SYS_RULE_BRAKED",
        Source.SYSTEM,
        "A rule declined as often as it may in its period; it was left out.",
        "Find out why the rule declines so much; mend it, or raise its brake.",
    ),
)
PAYER_WORDS: Final[dict[OutcomeWord, str]] = {
    "approve": "Paid.",
    "challenge": "Please confirm this payment.",
    "review": "This payment is being looked at. You will hear from us.",
    "decline": "This payment can't be accepted. Please pay another way, or ask your bank.",
}
"""What a payer may be told. Never why: it would tell a thief what to change, and of whom a list warns."""
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
