"""The verdict: who overrules whom, and what is said of it. Pure: no I/O, no clock.

A hard block wins over an override, an override over a soft block, a soft block over the model; of one strength the
more severe outcome wins. Floors of an aged site hold against all of them but never make an outcome milder.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from tidegate.decision import NO_SCORE, NUMBERS, Outcome, RiskLevel, Verdict
from tidegate.policy.costs import MILLION, Liability, cheapest
from tidegate.policy.terms import Policy
from tidegate.records import REASON_SLOTS


class Strength(IntEnum):
    """Which word wins: a hard block over an override over a soft block over the model."""

    SOFT = 0
    OVERRIDE = 1
    HARD = 2


@dataclass(frozen=True, slots=True)
class Hit:
    """What one list entry or one rule says of a payment; `rule` is the rule's bit, 0 for a list."""

    strength: Strength
    outcome: Outcome
    reason: int
    rule: int = 0


_MODEL_REASONS: Final[dict[Outcome, tuple[int, ...]]] = {
    Outcome.APPROVE: (),
    Outcome.CHALLENGE: (NUMBERS["MODEL_CHALLENGE"],),
    Outcome.REVIEW: (NUMBERS["MODEL_REVIEW"],),
    Outcome.DECLINE: (NUMBERS["MODEL_DECLINE"],),
}
_UNSCORED: Final[tuple[int, ...]] = (NUMBERS["LIMIT_UNSCORED"],)
_FLOOR: Final = NUMBERS["SYS_FLOOR_LIMIT"]


def risk_level(score: int, policy: Policy) -> RiskLevel:
    """Return the band of a risk score of 0 to 100, or `NOT_ASSESSED` for no score."""
    if score == NO_SCORE:
        return RiskLevel.NOT_ASSESSED
    if score >= policy.highest_score:
        return RiskLevel.HIGHEST
    return RiskLevel.ELEVATED if score >= policy.elevated_score else RiskLevel.NORMAL


def unscored(amount_minor: int, policy: Policy) -> Outcome:
    """Return the outcome where no model spoke: never approve, since nothing spoke for it."""
    return Outcome.REVIEW if amount_minor <= policy.unscored_minor else Outcome.DECLINE


def decide(
    *,
    probability: float | None,
    amount_minor: int,
    bearer: Liability,
    policy: Policy,
    hits: Sequence[Hit],
    system: tuple[int, ...],
    floor: Outcome = Outcome.APPROVE,
) -> Verdict:
    """Return the verdict on one payment.

    `probability` is the calibrated probability of fraud, None where no model spoke; `bearer` bears a loss; `hits` is
    what lists and rules say; `system` are the numbers of the `SYS_*` reasons that mark how the decision was made,
    which are kept whatever the outcome; `floor` is the mildest outcome that the site's age allows for this amount.
    """
    if probability is None:
        outcome, own = unscored(amount_minor, policy), _UNSCORED
    else:
        outcome = cheapest(round(probability * MILLION), amount_minor, policy.costs.of(bearer))
        own = _MODEL_REASONS[outcome]
    final, named, deciding = _strongest(hits, outcome, own) if hits else (outcome, own, 0)
    if final < floor:
        return Verdict(floor, _fitting((), (_FLOOR, *system)))
    return Verdict(final, _fitting(named, system), deciding)


def _strongest(hits: Sequence[Hit], model: Outcome, own: tuple[int, ...]) -> tuple[Outcome, tuple[int, ...], int]:
    """Return the outcome before floors, the reasons of those who brought it about, and the bits of such rules.

    `own` are the model's reasons for its outcome.
    """
    strongest = max(hit.strength for hit in hits)
    winners = [hit for hit in hits if hit.strength is strongest]
    final = max(hit.outcome for hit in winners)
    if strongest is Strength.SOFT:
        final = max(final, model)
    named = [hit for hit in winners if hit.outcome is final]
    deciding = 0
    for hit in named:
        deciding |= hit.rule
    return final, tuple(dict.fromkeys(hit.reason for hit in named)) or own, deciding


def _fitting(named: tuple[int, ...], system: tuple[int, ...]) -> tuple[int, ...]:
    """Return the reasons that have a slot: how a decision was made is kept before who brought it about."""
    kept = system[:REASON_SLOTS]
    return tuple(number for number in named if number not in kept)[: REASON_SLOTS - len(kept)] + kept
