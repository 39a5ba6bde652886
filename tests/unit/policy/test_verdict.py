"""The policy: the cheapest outcome by whole numbers, who overrules whom, and reasons that always fit."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.decision import NO_SCORE, NUMBERS, REASONS, Outcome, RiskLevel, Source, Verdict
from tidegate.limits import AMOUNT_MINOR_MAX
from tidegate.policy.costs import MILLION, Costs, Liability, cheapest, expected_costs
from tidegate.policy.terms import Policy
from tidegate.policy.verdict import Hit, Strength, decide, risk_level
from tidegate.records import REASON_SLOTS

AMOUNTS = st.integers(1, AMOUNT_MINOR_MAX)
PPM = st.integers(0, MILLION)
COSTS = Costs()
SYSTEM = [number for number, reason in REASONS.items() if reason.source is Source.SYSTEM]
HITS = st.builds(Hit, st.sampled_from(Strength), st.sampled_from(Outcome), st.sampled_from([200, 201, 202, 3, 4, 5]))
APPROVED, DECLINED = 0.0, 1.0


def verdict(probability: float, *hits: Hit, system: tuple[int, ...] = (), amount: int = 5_000) -> Verdict:
    """Return what the default policy says."""
    return decide(
        probability=probability,
        amount_minor=amount,
        bearer=Liability.MERCHANT,
        policy=Policy(),
        hits=hits,
        system=system,
    )


@given(PPM, PPM, AMOUNTS)
@settings(max_examples=20)
def test_a_higher_probability_never_gives_a_milder_outcome(one: int, other: int, amount: int) -> None:
    low, high = sorted((one, other))

    assert cheapest(low, amount, COSTS) <= cheapest(high, amount, COSTS)


@given(PPM, PPM, AMOUNTS)
@settings(max_examples=20)
def test_fraud_makes_approving_dearer_and_declining_cheaper(one: int, other: int, amount: int) -> None:
    low, high = (expected_costs(p, amount, COSTS) for p in sorted((one, other)))

    assert low[Outcome.APPROVE] <= high[Outcome.APPROVE]
    assert low[Outcome.REVIEW] <= high[Outcome.REVIEW]
    assert low[Outcome.DECLINE] >= high[Outcome.DECLINE]


@given(PPM, AMOUNTS, AMOUNTS)
@settings(max_examples=20)
def test_no_outcome_gets_cheaper_with_the_amount(ppm: int, one: int, other: int) -> None:
    small, large = (expected_costs(ppm, amount, COSTS) for amount in sorted((one, other)))

    assert all(a <= b for a, b in zip(small, large, strict=True))


def test_every_outcome_is_somebodys_cheapest_in_order_of_severity() -> None:
    found = [cheapest(ppm, 20_000, COSTS) for ppm in range(0, MILLION + 1, 1_000)]

    assert list(dict.fromkeys(found)) == list(Outcome)


def test_costs_are_what_the_formulas_say() -> None:
    loss, refused = 10_000 + 1_500, 1_500 + 500
    approve, challenge, review, decline = (cost / MILLION for cost in expected_costs(200_000, 10_000, COSTS))

    assert approve == pytest.approx(0.2 * loss)
    assert challenge == pytest.approx(15 + 0.2 * 0.2 * loss + 0.8 * 0.06 * refused)
    assert review == pytest.approx(500 + 0.2 * 0.05 * loss)
    assert decline == pytest.approx(0.8 * refused)


@given(PPM, AMOUNTS)
@settings(max_examples=20)
def test_costs_are_whole_numbers_however_large(ppm: int, amount: int) -> None:
    assert {type(cost) for cost in expected_costs(ppm, amount, COSTS)} == {int}
    assert min(expected_costs(ppm, amount, COSTS)) >= 0


def test_of_equal_costs_the_mildest_wins() -> None:
    free = Costs(**dict.fromkeys(Costs.model_fields, 0))

    assert cheapest(500_000, 1_000, free) is Outcome.APPROVE


def test_a_clean_payment_is_approved_without_a_reason_and_a_sure_fraud_declined_with_one() -> None:
    assert verdict(APPROVED) == Verdict(Outcome.APPROVE, ())
    assert verdict(DECLINED) == Verdict(Outcome.DECLINE, (NUMBERS["MODEL_DECLINE"],))


@given(st.floats(0, 1), st.lists(HITS, min_size=1, max_size=4), AMOUNTS)
@settings(max_examples=20)
def test_a_hard_block_overrules_an_override_and_that_a_soft_block_and_the_model(
    probability: float, hits: list[Hit], amount: int
) -> None:
    model = verdict(probability, amount=amount).outcome
    worst = {strength: [hit.outcome for hit in hits if hit.strength is strength] for strength in Strength}
    expected = max(worst[Strength.HARD] or worst[Strength.OVERRIDE] or [*worst[Strength.SOFT], model])

    assert verdict(probability, *hits, amount=amount).outcome is expected


@given(st.floats(0, 1), st.lists(HITS, max_size=12), st.lists(st.sampled_from(SYSTEM), unique=True))
@settings(max_examples=20)
def test_reasons_fit_their_slots_and_how_the_decision_was_made_is_always_among_them(
    probability: float, hits: list[Hit], system: list[int]
) -> None:
    made = verdict(probability, *hits, system=tuple(system))

    assert len(made.reasons) <= REASON_SLOTS
    assert set(system[:REASON_SLOTS]) <= set(made.reasons)


def test_more_system_reasons_than_slots_leave_no_room_for_others_and_break_nothing() -> None:
    many = tuple(range(900, 900 + REASON_SLOTS + 2))

    assert verdict(DECLINED, system=many).reasons == many[:REASON_SLOTS]
    assert verdict(APPROVED, Hit(Strength.HARD, Outcome.DECLINE, 200), system=many).reasons == many[:REASON_SLOTS]


@given(st.floats(0, 1), st.lists(HITS, max_size=4))
@settings(max_examples=20)
def test_whatever_is_not_approved_says_why(probability: float, hits: list[Hit]) -> None:
    made = verdict(probability, *hits)

    assert made.outcome is Outcome.APPROVE or made.reasons


def test_only_those_who_brought_the_outcome_about_are_named_each_once() -> None:
    block, review = Hit(Strength.SOFT, Outcome.DECLINE, 202), Hit(Strength.SOFT, Outcome.REVIEW, 3)

    assert verdict(APPROVED, review, block, block).reasons == (202,)
    assert verdict(DECLINED, review).reasons == (NUMBERS["MODEL_DECLINE"],)


@pytest.mark.parametrize(
    ("score", "level"),
    [
        (0, RiskLevel.NORMAL),
        (64, RiskLevel.NORMAL),
        (65, RiskLevel.ELEVATED),
        (74, RiskLevel.ELEVATED),
        (75, RiskLevel.HIGHEST),
        (100, RiskLevel.HIGHEST),
        (NO_SCORE, RiskLevel.NOT_ASSESSED),
    ],
)
def test_a_score_lies_in_its_band_and_no_score_in_none(score: int, level: RiskLevel) -> None:
    assert risk_level(score, Policy()) is level
