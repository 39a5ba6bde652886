"""The policy: from a calibrated probability and what lists (and rules) say to one verdict. No I/O, no clock.

Outcomes are chosen by expected cost: each outcome has a price that follows from the probability of fraud and the
amount, in integers, so that the same inputs give the same verdict on every machine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from tidegate.decision import NO_SCORE, NUMBERS, Outcome, RiskLevel, Verdict
from tidegate.records import REASON_SLOTS

MILLION: Final = 1_000_000

Ppm = Annotated[int, Field(ge=0, le=MILLION)]
Minor = Annotated[int, Field(ge=0, le=MILLION)]


class Strength(IntEnum):
    """Which word wins: a hard block over an override over a soft block over the model."""

    SOFT = 0
    OVERRIDE = 1
    HARD = 2


@dataclass(frozen=True, slots=True)
class Hit:
    """What one list entry or one rule says of a payment."""

    strength: Strength
    outcome: Outcome
    reason: int


class Costs(BaseModel):
    """What right and wrong outcomes cost, in minor units of the site's currency and in millionths."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    liability_ppm: Annotated[Ppm, Field(description="share of the amount lost when a fraud is approved")] = MILLION
    fraud_fixed_minor: Annotated[Minor, Field(description="fee and work of one dispute")] = 1_500
    margin_ppm: Annotated[Ppm, Field(description="share of the amount lost when a good payment is declined")] = 150_000
    decline_fixed_minor: Annotated[Minor, Field(description="good will lost with a declined good payer")] = 500
    challenge_fixed_minor: Annotated[Minor, Field(description="one request to confirm")] = 15
    challenge_abandon_ppm: Annotated[Ppm, Field(description="good payers who give up when asked")] = 60_000
    challenge_miss_ppm: Annotated[Ppm, Field(description="frauds that pass the request")] = 200_000
    review_fixed_minor: Annotated[Minor, Field(description="one look by a person")] = 500
    review_miss_ppm: Annotated[Ppm, Field(description="frauds that a person lets through")] = 50_000


class Policy(BaseModel):
    """What a bundle says beside its model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Annotated[int, Field(ge=1)] = 1
    costs: Costs = Costs()
    unscored_minor: Annotated[
        Minor, Field(description="largest amount that is reviewed where no model spoke; above it the answer is decline")
    ] = 5_000
    elevated_score: Annotated[int, Field(ge=1, le=100, description="lowest risk score called elevated")] = 65
    highest_score: Annotated[int, Field(ge=1, le=100, description="lowest risk score called highest")] = 75


def risk_level(score: int, policy: Policy) -> RiskLevel:
    """Return the band of a risk score of 0 to 100, or `NOT_ASSESSED` for no score."""
    if score == NO_SCORE:
        return RiskLevel.NOT_ASSESSED
    if score >= policy.highest_score:
        return RiskLevel.HIGHEST
    return RiskLevel.ELEVATED if score >= policy.elevated_score else RiskLevel.NORMAL


def expected_costs(probability_ppm: int, amount_minor: int, costs: Costs) -> tuple[int, int, int, int]:
    """Return the expected cost of each outcome, indexed by it, in millionths of millionths of a minor unit.

    With p the probability, L the loss of an approved fraud and G the loss of a refused good payment:
    approve p·L; challenge f + p·miss·L + (1-p)·abandon·G; review f + p·miss·L; decline (1-p)·G.
    """
    fraud = probability_ppm
    good = MILLION - fraud
    loss = amount_minor * costs.liability_ppm + costs.fraud_fixed_minor * MILLION
    refused = amount_minor * costs.margin_ppm + costs.decline_fixed_minor * MILLION
    missed = fraud * loss // MILLION
    challenge = missed * costs.challenge_miss_ppm + good * refused // MILLION * costs.challenge_abandon_ppm
    fixed = MILLION * MILLION
    return (
        fraud * loss,
        costs.challenge_fixed_minor * fixed + challenge,
        costs.review_fixed_minor * fixed + missed * costs.review_miss_ppm,
        good * refused,
    )


_MODEL_REASONS: Final[dict[Outcome, tuple[int, ...]]] = {
    Outcome.APPROVE: (),
    Outcome.CHALLENGE: (NUMBERS["MODEL_CHALLENGE"],),
    Outcome.REVIEW: (NUMBERS["MODEL_REVIEW"],),
    Outcome.DECLINE: (NUMBERS["MODEL_DECLINE"],),
}
_UNSCORED: Final[tuple[int, ...]] = (NUMBERS["LIMIT_UNSCORED"],)


_OUTCOMES: Final = tuple(Outcome)


def cheapest(probability_ppm: int, amount_minor: int, costs: Costs) -> Outcome:
    """Return the outcome of the lowest expected cost; of equals the mildest."""
    prices = expected_costs(probability_ppm, amount_minor, costs)
    return _OUTCOMES[prices.index(min(prices))]


def unscored(amount_minor: int, policy: Policy) -> Outcome:
    """Return the outcome where no model spoke: never approve, since nothing spoke for it."""
    return Outcome.REVIEW if amount_minor <= policy.unscored_minor else Outcome.DECLINE


def decide(
    *, probability: float | None, amount_minor: int, hits: Sequence[Hit], system: tuple[int, ...], policy: Policy
) -> Verdict:
    """Return the verdict on one payment.

    `probability` is the calibrated probability of fraud, None where no model spoke; `hits` is what lists and rules
    say; `system` are the numbers of the `SYS_*` reasons that mark how the decision was made. They are kept whatever
    the outcome.
    """
    if probability is None:
        outcome, own = unscored(amount_minor, policy), _UNSCORED
    else:
        outcome = cheapest(round(probability * MILLION), amount_minor, policy.costs)
        own = _MODEL_REASONS[outcome]
    if not hits:
        return Verdict(outcome, _fitting(own, system))
    strongest = max(hit.strength for hit in hits)
    winners = [hit for hit in hits if hit.strength is strongest]
    final = max(hit.outcome for hit in winners)
    if strongest is Strength.SOFT:
        final = max(final, outcome)
    named = tuple(dict.fromkeys(hit.reason for hit in winners if hit.outcome is final)) or own
    return Verdict(final, _fitting(named, system))


def _fitting(named: tuple[int, ...], system: tuple[int, ...]) -> tuple[int, ...]:
    """Return the reasons that have a slot: how a decision was made is kept before who brought it about."""
    kept = system[:REASON_SLOTS]
    return named[: REASON_SLOTS - len(kept)] + kept
