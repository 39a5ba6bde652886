"""What a backtest counts: each decision once, money by who bears it, rules alone and together, parts in any order."""

from typing import Any

import numpy as np
import pytest

from tidegate.decision import NO_SCORE, Mark, Outcome
from tidegate.features.declarations import FINGERPRINT
from tidegate.history import batch_of, decisions_batch
from tidegate.limits import DAY_US
from tidegate.payment import Channel, EntryMode
from tidegate.policy.active import ActivePolicy
from tidegate.policy.terms import Policy, policy_id
from tidegate.records import DECISION
from training.backtest import tally as counting
from training.backtest.memory import MemoryArchive
from training.backtest.ports import BacktestError
from training.backtest.report import Asked, numbers
from training.backtest.spans import Span
from training.backtest.tally import Tally
from training.backtest.trial import try_policy

SOURCE = "site-1.g0.0123456789abcdef"
EVER = Span(0, 1 << 62)
NOW_US = 1_795_500_000_000_000
COSTS = {"liability_ppm": 1_000_000, "fraud_fixed_minor": 100, "margin_ppm": 100_000, "decline_fixed_minor": 10}
RULES = (
    {"number": 1, "id": "large", "when": "amount > 5000.0", "outcome": "decline"},
    {"number": 3, "id": "us", "when": "country == 'US'", "outcome": "decline"},
    {"number": 9, "id": "seen", "when": "amount > 1000.0", "outcome": "review", "state": "shadow"},
)


def policy(*rules: dict[str, Any]) -> ActivePolicy:
    made = [{"state": "active", "reason": "RULE_OTHER", "text": "t"} | rule for rule in rules]
    issuer = [{"bearer": "issuer", "entry_modes": ["chip"]}]
    terms = Policy.model_validate({"rules": made, "costs": {"merchant": COSTS}, "liability": issuer})
    return ActivePolicy(policy_id(terms), terms, NOW_US)


def decisions(*given: dict[str, Any]) -> np.ndarray[Any, Any]:
    rows = np.zeros(len(given), DECISION)
    usual = {"merchant": b"m-1", "currency": b"EUR", "channel": Channel.CARD_PRESENT, "amount_minor": 2_000}
    for at, one in enumerate(given):
        told = {**usual, "transaction_id": f"tx-{at}", "card": f"card-{at}", "time_us": NOW_US + at, "seq": at + 1}
        for name, value in {**told, "feature_fingerprint": FINGERPRINT, "probability": 1e-6, **one}.items():
            rows[name][at] = value
    return rows


def labels(**verdicts: str) -> list[dict[str, Any]]:
    usual = {"source": SOURCE, "received_us": NOW_US, "merchant": "m-1", "known_us": NOW_US}
    return [
        {**usual, "transaction_id": name.replace("_", "-"), "label_id": name, "verdict": verdict}
        for name, verdict in verdicts.items()
    ]


def tried(
    rows: np.ndarray[Any, Any], *told: dict[str, Any], by: ActivePolicy, known_us: int = NOW_US, parts: int = 1
) -> Tally:
    batches = [decisions_batch(SOURCE, each) for each in np.array_split(rows, parts)]
    whole = Tally()
    for batch in batches:
        archive = MemoryArchive({"decisions": [batch], "labels": [batch_of("labels", told)]})
        whole.merge(try_policy(archive, by, EVER, known_us, lambda _: None))
    return whole


def report(tally: Tally, by: ActivePolicy) -> dict[str, Any]:
    return numbers(by, Asked("p.toml", Span(NOW_US, NOW_US + 1), NOW_US), tally)


def test_money_is_counted_by_what_became_of_the_payment_and_by_the_policys_own_costs() -> None:
    rows = decisions(
        {"amount_minor": 8_000},  # a fraud approved then, declined now
        {"amount_minor": 9_000},  # a good one declined now
        {"amount_minor": 700, "outcome": Outcome.DECLINE},  # a good one declined then, approved now
        {"amount_minor": 4_000},  # a fraud approved then and now
        {"amount_minor": 50_000},  # nobody knows
    )
    by = policy(*RULES)
    told = labels(tx_0="fraud", tx_1="legit", tx_2="legit", tx_3="fraud")

    (own, whole) = report(tried(rows, *told, by=by), by)["money"]

    assert (own["bearer"], whole["bearer"]) == ("merchant", "all")
    assert own["then"]["fraud_let_through_minor"] == 12_000
    assert own["now"]["fraud_stopped_minor"] == 8_000
    assert own["then"]["good_declined_minor"] == 700
    assert own["now"]["good_declined_minor"] == 9_000
    assert own["then"]["cost_minor"] == (8_000 + 100) + (4_000 + 100) + (70 + 10)
    assert own["now"]["cost_minor"] == (4_000 + 100) + (900 + 10)
    assert whole["saved_minor"] == own["then"]["cost_minor"] - own["now"]["cost_minor"]


def test_money_of_two_currencies_and_two_bearers_is_never_added_up() -> None:
    rows = decisions({"currency": b"USD"}, {}, {"entry_mode": EntryMode.CHIP})
    by = policy()

    told = report(tried(rows, *labels(tx_0="fraud", tx_1="fraud", tx_2="fraud"), by=by), by)["money"]

    assert [(one["currency"], one["bearer"]) for one in told] == [
        ("EUR", "merchant"),
        ("EUR", "issuer"),
        ("EUR", "all"),
        ("USD", "merchant"),
        ("USD", "all"),
    ]
    assert {one["then"]["fraud_let_through_minor"] for one in told if one["bearer"] != "all"} == {2_000}


def test_a_rule_is_counted_with_its_frauds_alone_and_as_deciding_and_a_shadow_rule_decides_nothing() -> None:
    rows = decisions(
        {"amount_minor": 8_000, "country": b"US"}, {"country": b"US", "amount_minor": 500}, {"amount_minor": 2_000}, {}
    )
    by = policy(*RULES)

    large, us, seen = report(tried(rows, *labels(tx_0="fraud", tx_1="legit"), by=by), by)["rules"]

    assert (large["hits"], large["unique"], large["deciding"], large["precision"]) == (1, 0, 1, 1.0)
    assert (us["hits"], us["unique"], us["deciding"], us["precision"]) == (2, 1, 2, 0.5)
    assert (seen["state"], seen["hits"], seen["unique"], seen["deciding"]) == ("shadow", 3, 2, 0)
    assert large["fraud_minor"] == {"EUR": 8_000}


def test_an_approval_that_nobody_called_fraud_for_a_week_is_presumed_good_and_a_decline_is_not() -> None:
    rows = decisions({"amount_minor": 8_000}, {"amount_minor": 8_000, "outcome": Outcome.DECLINE}, {})
    rows["time_us"][2] += DAY_US
    by = policy(*RULES)

    told = report(tried(rows, by=by, known_us=NOW_US + 7 * DAY_US + 5), by)

    assert told["confusion"]["now"]["by_truth"]["presumed"] == {"approve": 0, "challenge": 0, "review": 0, "decline": 1}
    assert told["confusion"]["now"]["by_truth"]["unknown"] == {"approve": 1, "challenge": 0, "review": 0, "decline": 1}
    assert told["good_cards_declined"]["worst"][0]["card"] == "card-0"


def test_examples_are_the_largest_with_their_ids_and_the_rule_that_decided() -> None:
    rows = decisions(*({"amount_minor": 6_000 + at} for at in range(30)))
    by = policy(*RULES)

    told = report(tried(rows, *labels(**{f"tx_{at}": "legit" for at in range(30)}), by=by), by)

    good = told["examples"]["good_declined"]
    assert [one["amount_minor"] for one in good] == list(range(6_029, 6_019, -1))
    assert good[0]["decision_id"] == f"{SOURCE}.L1.30"
    assert {tuple(one["by"]) for one in good} == {("large",)}
    assert told["examples"]["fraud_let_through"] == []


@pytest.mark.parametrize("parts", [2, 3, 7])
def test_parts_of_a_history_add_up_to_the_whole(parts: int) -> None:
    chance = np.random.default_rng(parts)
    rows = decisions(*({} for _ in range(40)))
    rows["amount_minor"], rows["outcome"] = chance.integers(1, 20_000, 40), chance.integers(0, 4, 40)
    rows["country"], rows["card"] = chance.choice([b"US", b"DE"], 40), chance.choice([b"card-1", b"card-2"], 40)
    told = labels(**{f"tx_{at}": str(chance.choice(["fraud", "legit"])) for at in range(0, 40, 2)})
    by = policy(*RULES)

    assert report(tried(rows, *told, by=by, parts=parts), by) == report(tried(rows, *told, by=by), by)


def test_what_a_test_card_forced_or_a_deadline_cut_short_is_left_out_and_counted() -> None:
    unscored = {"risk_score": NO_SCORE, "probability": np.nan, "marks": Mark.SCORE_LEFT_OUT | Mark.RULES_LEFT_OUT}
    by = policy(*RULES)

    told = report(tried(decisions({"marks": Mark.SANDBOX}, unscored, unscored, {}), by=by), by)["decisions"]

    assert told == {"judged": 1, "apart": {"sandbox": 1, "deadline": 2}}


def test_decisions_made_with_other_features_are_refused() -> None:
    with pytest.raises(BacktestError, match="was made with features 0000000000000000"):
        tried(decisions({"feature_fingerprint": b"0" * 16}), by=policy())


def test_good_cards_beyond_the_bound_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "BACKTEST_CARDS_MAX", 2)
    rows = decisions(*({"amount_minor": 6_000 + at} for at in range(5)))
    by = policy(*RULES)

    cards = report(tried(rows, *labels(**{f"tx_{at}": "legit" for at in range(5)}), by=by), by)["good_cards_declined"]

    assert (cards["cards"], cards["declines"], cards["of_cards_not_told_apart"]) == (2, 5, 3)
