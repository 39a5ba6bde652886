"""A policy over columns decides of every row what it decides of that payment by itself, brakes and lists included."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.decision import NO_SCORE, Mode, Outcome
from tidegate.payment import CHANNELS, ENTRY_MODES
from tidegate.policy.active import ActivePolicy, Facts, Modes
from tidegate.policy.brake import Brakes
from tidegate.policy.columns import Listings, decide_columns
from tidegate.policy.rules import NOTHING
from tidegate.policy.terms import Policy, policy_id
from tidegate.policy.variables import Inputs
from tidegate.policy.verdict import Hit, Strength
from tidegate.records import DECISION

CHANNEL_WORDS = {number: word for word, number in CHANNELS.items()}
ENTRY_WORDS = {number: word or "" for word, number in ENTRY_MODES.items()}
WHEN = st.sampled_from(
    [
        "amount > 5000.0",
        "card_count_1h >= 2",
        "channel == 'online' || country in ['US', 'GB']",
        "!has_country && entry_mode != 'chip'",
        "merchant.startsWith('m-') && !merchant.contains('9') && terminal.endsWith('1')",
        "probability > 0.05 && card_mean / card_mean > 0.5",
        "channel.startsWith('o') || entry_mode.contains('hi') || has_entry_mode && risk_score >= 20",
        "true",
    ]
)


@st.composite
def policies(draw: st.DrawFn) -> ActivePolicy:
    rules = []
    for number in draw(st.lists(st.integers(1, 64), max_size=4, unique=True)):
        outcome = draw(st.sampled_from(["approve", "challenge", "review", "decline"]))
        strength = {"approve": "override", "decline": draw(st.sampled_from(["soft", "override", "hard"]))}
        rule: dict[str, Any] = {"number": number, "id": f"r-{number}", "outcome": outcome, "when": draw(WHEN)}
        rule |= {"strength": strength.get(outcome, "soft"), "reason": "RULE_OTHER", "text": "t"}
        if outcome == "decline" and draw(st.booleans()):
            rule["brake"] = {"declines": draw(st.integers(1, 3)), "minutes": draw(st.integers(1, 5))}
        rules.append(rule | {"state": draw(st.sampled_from(["active", "active", "shadow", "draft"]))})
    issuer = [{"bearer": "issuer", "channels": ["card_present"], "entry_modes": ["chip"]}]
    terms = Policy.model_validate({"rules": rules, "liability": issuer})
    return ActivePolicy(policy_id(terms), terms, 0)


@st.composite
def decisions(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    count = draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 30)))
    rows = np.zeros(count, DECISION)
    rows["time_us"] = np.cumsum(rng.integers(0, 90_000_000, count))
    rows["amount_minor"] = rng.choice([1, 100, 4_000, 9_000, 60_000, 100_000_000], count)
    rows["features"] = rng.choice([0.0, 1.0, 3.0, 500.0, np.nan], (count, 40))
    rows["risk_score"] = rng.choice([0, 20, 90, NO_SCORE], count)
    rows["probability"] = np.where(rows["risk_score"] == NO_SCORE, np.nan, rng.choice([0.0, 1e-4, 0.04, 0.3, 1], count))
    rows["channel"], rows["entry_mode"] = rng.integers(1, 4, count), rng.integers(0, 6, count)
    rows["country"] = rng.choice([b"", b"US", b"DE"], count)
    rows["merchant"], rows["terminal"] = rng.choice([b"m-1", b"m-9", b"x"], count), rng.choice([b"t-1", b"t-2"], count)
    return rows


def inputs(row: Any) -> Inputs:
    """Return what the rules read of one row."""
    words = {"channel": CHANNEL_WORDS[int(row["channel"])], "entry_mode": ENTRY_WORDS[int(row["entry_mode"])]}
    names = ("card", "device", "terminal", "merchant", "country", "mcc", "currency", "channel", "entry_mode")
    texts = tuple(words.get(name) or ("" if name in words else row[name].decode()) for name in names)
    return Inputs(row["features"], int(row["amount_minor"]), float(row["probability"]), int(row["risk_score"]), texts)


HITS = st.lists(st.builds(Hit, st.sampled_from(Strength), st.sampled_from(Outcome), st.just(200)), max_size=2)


@given(policies(), decisions(), st.data(), st.sampled_from(["braked", "free"]))
@settings(max_examples=150)
def test_columns_decide_what_rows_decide(
    policy: ActivePolicy, rows: np.ndarray[Any, Any], data: st.DataObject, way: str
) -> None:
    braked = way == "braked"
    modes = data.draw(st.lists(st.tuples(*[st.sampled_from(Mode)] * 3), min_size=len(rows), max_size=len(rows)))
    on_lists = sorted(data.draw(st.sets(st.integers(0, len(rows) - 1))))
    hits = [data.draw(HITS) for _ in on_lists]
    spared = [data.draw(st.integers(0, (1 << 64) - 1)) for _ in on_lists]
    listings = Listings(np.array(on_lists, np.int64), hits, spared)
    one, all_of_them = Brakes(), Brakes()
    one.fit(policy.terms)
    all_of_them.fit(policy.terms)

    found = decide_columns(
        policy, rows, modes=np.array(modes, np.uint8), listings=listings, brakes=all_of_them if braked else None
    )

    for at, row in enumerate(rows):
        asked = inputs(row)
        matched = policy.book.match(asked) if policy.book.runs else NOTHING
        listed, spares = (hits[on_lists.index(at)], spared[on_lists.index(at)]) if at in on_lists else ([], 0)
        facts = Facts(
            probability=None if asked.risk_score == NO_SCORE else asked.probability,
            amount_minor=asked.amount_minor,
            bearer=policy.bearer(int(row["channel"]), int(row["entry_mode"])),
            matched=matched,
            listed=listed,
            suppressed=spares,
            braked=one.closed(int(row["time_us"])) if braked else 0,
            modes=Modes(*modes[at]),
            system=(),
        )
        verdict, left_out, held = policy.conclude(facts)
        if braked and verdict.outcome is Outcome.DECLINE:
            one.count(verdict.deciding, int(row["time_us"]))
        told = (found.outcome[at], found.hit[at], found.failed[at], found.suppressed[at], found.braked[at])
        assert tuple(map(int, told)) == (verdict.outcome, *matched, left_out, held)
        assert int(found.deciding[at]) == verdict.deciding
    assert one.held() == all_of_them.held() or not braked
