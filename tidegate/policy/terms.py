"""The terms of a policy: rules, costs by who bears a loss, the ladder of age. Validated, frozen, named by content."""

import hashlib
import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tidegate.decision import NUMBERS, OUTCOME_WORDS, REASONS, Mode, Outcome, OutcomeWord, Source
from tidegate.ids import PolicyId
from tidegate.limits import (
    AMOUNT_MINOR_MAX,
    BRAKE_DECLINES_MAX,
    BRAKE_MINUTES_MAX,
    FLOOR_HOURS_MAX,
    HOUR_US,
    RULE_CHARS_MAX,
    RULE_TEXT_CHARS_MAX,
    RULES_MAX,
)
from tidegate.payment import ChannelWord, EntryWord
from tidegate.policy.costs import MILLION, Costs, Liability

_ID_HEX: Final = 12
_DAY: Final = 24

Word = Literal["merchant", "platform", "issuer"]
RuleStrength = Literal["soft", "override", "hard"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def outcome_of(word: OutcomeWord) -> Outcome:
    """Return the outcome that a word of a policy names."""
    return Outcome(OUTCOME_WORDS.index(word))


class RuleState(StrEnum):
    """The life of a rule: written, watched, applied, kept for its number."""

    DRAFT = "draft"
    SHADOW = "shadow"
    ACTIVE = "active"
    RETIRED = "retired"

    @property
    def runs(self) -> bool:
        """Whether the rule is evaluated at all."""
        return self in {RuleState.SHADOW, RuleState.ACTIVE}


class Brake(_Section):
    """How many declines one rule may cause in a period before it is left out until the period has passed."""

    declines: Annotated[int, Field(ge=1, le=BRAKE_DECLINES_MAX)]
    minutes: Annotated[int, Field(ge=1, le=BRAKE_MINUTES_MAX)]


class Rule(_Section):
    """One rule. `number` is its bit in every decision's record, for as long as any policy names it."""

    number: Annotated[int, Field(ge=1, le=RULES_MAX, description="1 to 64, given once and never to another rule")]
    id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,47}$")]
    version: Annotated[int, Field(ge=1, description="grows with each change of the rule")] = 1
    state: RuleState = RuleState.DRAFT
    when: Annotated[str, Field(min_length=1, max_length=RULE_CHARS_MAX, description="CEL, true where the rule hits")]
    outcome: OutcomeWord
    strength: Annotated[
        RuleStrength, Field(description="soft adds to the model, override wins over it, hard wins over all")
    ] = "soft"
    reason: Annotated[str, Field(description="a code of the catalogue whose source is rule")]
    text: Annotated[str, Field(min_length=1, max_length=RULE_TEXT_CHARS_MAX, description="why, for people")]
    brake: Brake | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.reason not in NUMBERS or REASONS[NUMBERS[self.reason]].source is not Source.RULE:
            raise ValueError("reason: none of the catalogue's rule reasons; `tidegate policy reasons` names them")
        if self.outcome == "approve" and self.strength != "override":
            raise ValueError('strength: a rule that approves overrides the model or says nothing; set "override"')
        if self.strength == "hard" and self.outcome != "decline":
            raise ValueError('strength: only a decline is a hard block; set outcome = "decline", or another strength')
        if self.brake is not None and self.outcome != "decline":
            raise ValueError("brake: it bounds declines, and this rule declines nothing; leave it out")
        return self

    @property
    def bit(self) -> int:
        """The rule's bit in a record's masks."""
        return 1 << (self.number - 1)


class Step(_Section):
    """One step of the ladder: from which age on, and what is different then."""

    hours: Annotated[int, Field(ge=1, le=FLOOR_HOURS_MAX, description="age at which the step begins")]
    floor_minor: Annotated[
        int, Field(ge=0, le=AMOUNT_MINOR_MAX, description="amounts above it get at least `outcome`; minor units")
    ] = AMOUNT_MINOR_MAX
    outcome: OutcomeWord = "review"
    caution_ppm: Annotated[
        int, Field(ge=MILLION, le=10 * MILLION, description="what the probability is multiplied by, in millionths")
    ] = MILLION


class Rungs(_Section):
    """How one thing that decisions rest on grows old."""

    aging: Step
    stale: Step
    blind: Step

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if not self.aging.hours < self.stale.hours < self.blind.hours:
            raise ValueError("hours: aging, stale and blind must ascend")
        return self

    def mode(self, age_us: int) -> Mode:
        """Return how fresh something of this age is."""
        hours = age_us // HOUR_US
        if hours < self.aging.hours:
            return Mode.FRESH
        if hours < self.stale.hours:
            return Mode.AGING
        return Mode.STALE if hours < self.blind.hours else Mode.BLIND

    def step(self, mode: Mode) -> Step | None:
        """Return what is different in a mode; nothing where all is fresh."""
        return (None, self.aging, self.stale, self.blind)[mode]


class Ladder(_Section):
    """The ladder of each part: a model is retrained weekly, lists come daily, a policy is looked at each quarter."""

    bundle: Rungs = Rungs(
        aging=Step(hours=14 * _DAY),
        stale=Step(hours=45 * _DAY, caution_ppm=1_250_000),
        blind=Step(hours=120 * _DAY, caution_ppm=1_500_000, floor_minor=20_000),
    )
    lists: Rungs = Rungs(
        aging=Step(hours=2 * _DAY),
        stale=Step(hours=7 * _DAY, floor_minor=50_000),
        blind=Step(hours=30 * _DAY, floor_minor=20_000),
    )
    policy: Rungs = Rungs(
        aging=Step(hours=180 * _DAY), stale=Step(hours=400 * _DAY), blind=Step(hours=800 * _DAY, floor_minor=50_000)
    )


class Bearing(_Section):
    """Who bears a loss, for payments that came in this way; nothing named is any."""

    bearer: Word
    channels: tuple[ChannelWord, ...] = ()
    entry_modes: tuple[EntryWord, ...] = ()


class BearerCosts(_Section):
    """What outcomes cost the one who decides, by who bears the loss of a fraud."""

    merchant: Costs = Costs()
    platform: Costs = Costs()
    issuer: Costs = Costs(liability_ppm=100_000, fraud_fixed_minor=300)

    def of(self, bearer: Liability) -> Costs:
        """Return the costs where this one bears the loss."""
        return (self.merchant, self.platform, self.issuer)[bearer]


class Policy(_Section):
    """All of it. Two policies that say the same have the same id."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")] = "default"
    costs: BearerCosts = BearerCosts()
    liability: Annotated[
        tuple[Bearing, ...], Field(max_length=16, description="the first that fits; else merchant")
    ] = ()
    unscored_minor: Annotated[
        int,
        Field(
            ge=0, le=MILLION, description="largest amount reviewed where no model spoke; above it the answer is decline"
        ),
    ] = 5_000
    elevated_score: Annotated[int, Field(ge=1, le=100, description="lowest risk score called elevated")] = 65
    highest_score: Annotated[int, Field(ge=1, le=100, description="lowest risk score called highest")] = 75
    watch_outcome: Annotated[OutcomeWord, Field(description="mildest outcome of what a watch list names")] = "review"
    ladder: Ladder = Ladder()
    rules: Annotated[tuple[Rule, ...], Field(max_length=RULES_MAX)] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.elevated_score > self.highest_score:
            raise ValueError("elevated_score: above highest_score; lower it")
        for field in ("number", "id"):
            seen: set[object] = set()
            for rule in self.rules:
                value = getattr(rule, field)
                if value in seen:
                    raise ValueError(f"rules: {field} {value} stands twice; each rule has one of its own")
                seen.add(value)
        return self


def canonical(terms: Mapping[str, Any]) -> bytes:
    """Return the canonical JSON of a policy's terms: what its id is the digest of."""
    return json.dumps(terms, sort_keys=True, separators=(",", ":")).encode()


def terms_of(policy: Policy) -> dict[str, Any]:
    """Return a policy as JSON values."""
    return policy.model_dump(mode="json")


def policy_id(policy: Policy) -> PolicyId:
    """Return `p-` and the first 12 hex digits of the SHA-256 of the canonical terms."""
    return PolicyId(f"p-{hashlib.sha256(canonical(terms_of(policy))).hexdigest()[:_ID_HEX]}")
