"""What outcomes cost, by who bears a loss: the thresholds of a policy, in integers, the same on every machine.

The formulas take Python integers for one payment and `int64` columns for many; no product leaves 63 bits.
"""

from enum import IntEnum
from typing import Annotated, Any, Final, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from tidegate.decision import Outcome
from tidegate.limits import AMOUNT_MINOR_MAX

MILLION: Final = 1_000_000
_THOUSAND: Final = 1_000

Ppm = Annotated[int, Field(ge=0, le=MILLION)]
Minor = Annotated[int, Field(ge=0, le=MILLION)]
Whole = TypeVar("Whole", int, np.ndarray[Any, np.dtype[np.int64]])


class Liability(IntEnum):
    """Who bears the loss of an approved fraud, as stored; fixed when the payment is decided."""

    MERCHANT = 0
    PLATFORM = 1
    ISSUER = 2


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


if MILLION * (AMOUNT_MINOR_MAX + MILLION) // _THOUSAND * MILLION >= 1 << 63:
    raise AssertionError("the costs of the largest amount fit 63 bits")


def expected_costs(probability_ppm: Whole, amount_minor: Whole, costs: Costs) -> tuple[Whole, Whole, Whole, Whole]:
    """Return the expected cost of each outcome, indexed by it, in millionths of a minor unit.

    With p the probability, L the loss of an approved fraud and G the loss of a refused good payment:
    approve p·L; challenge f + p·miss·L + (1-p)·abandon·G; review f + p·miss·L; decline (1-p)·G.
    """
    loss = amount_minor * costs.liability_ppm // MILLION + costs.fraud_fixed_minor
    refused = amount_minor * costs.margin_ppm // MILLION + costs.decline_fixed_minor
    fraud, good = probability_ppm * loss, (MILLION - probability_ppm) * refused
    missed = fraud // _THOUSAND
    abandoned = good // _THOUSAND * costs.challenge_abandon_ppm // _THOUSAND
    return (
        fraud,
        costs.challenge_fixed_minor * MILLION + missed * costs.challenge_miss_ppm // _THOUSAND + abandoned,
        costs.review_fixed_minor * MILLION + missed * costs.review_miss_ppm // _THOUSAND,
        good,
    )


_OUTCOMES: Final = tuple(Outcome)


def cheapest(probability_ppm: int, amount_minor: int, costs: Costs) -> Outcome:
    """Return the outcome of the lowest expected cost; of equals the mildest."""
    prices = expected_costs(probability_ppm, amount_minor, costs)
    return _OUTCOMES[prices.index(min(prices))]
