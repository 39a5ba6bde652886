"""A backtest's columns say of every decision what the policy says of that payment by itself; labels find their own."""

import itertools
import json
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.decision import Mode, Outcome
from tidegate.features.declarations import FINGERPRINT
from tidegate.history import batch_of, decisions_batch
from tidegate.limits import HOUR_US
from tidegate.lists import ListIndex, ListsActivation, hits_of, parse, spared
from tidegate.payment import CHANNELS, ENTRY_MODES
from tidegate.policy.active import ActivePolicy, Facts
from tidegate.policy.brake import Brakes
from tidegate.policy.terms import Policy, policy_id
from tidegate.policy.variables import Inputs
from tidegate.records import DECISION
from training.backtest.memory import MemoryArchive
from training.backtest.spans import Group, Span, cut
from training.backtest.tally import Measure
from training.backtest.trial import try_policy
from training.backtest.truth import Labels, Truth

SOURCE = "site-1.g0.0123456789abcdef"
START_US = 1_795_500_000_000_000
BUNDLE = "b-1"
TEXTS = (
    ["hard_block,card,c-1,,", "watch,terminal,t-1,,", "suppress,card,c-2,2026-12-26T00:00:00Z,often"],
    ["allow,card,c-1,,", "soft_block,merchant,m-1,2026-11-25T00:00:00Z,"],
)
WORDS = {number: word for word, number in CHANNELS.items()}
ENTRIES = {number: word or "" for word, number in ENTRY_MODES.items()}


@st.composite
def policies(draw: st.DrawFn) -> ActivePolicy:
    brake = {"declines": draw(st.integers(1, 3)), "minutes": draw(st.integers(1, 600))}
    rules: list[dict[str, Any]] = [
        {"number": 2, "id": "often", "when": "amount > 4000.0", "outcome": "decline", "brake": brake},
        {"number": 7, "id": "us", "when": "country == 'US'", "outcome": "challenge"},
        {"number": 64, "id": "all", "when": "risk_score >= 20", "outcome": "approve", "strength": "override"},
    ]
    made = [
        rule | {"reason": "RULE_OTHER", "text": "t", "state": draw(st.sampled_from(["active", "shadow", "draft"]))}
        for rule in rules
    ]
    ages = sorted(draw(st.sets(st.integers(1, 90), min_size=3, max_size=3)))
    step = {"floor_minor": 3_000, "caution_ppm": 4_000_000, "outcome": "review"}
    rungs = {name: {"hours": age, **step} for name, age in zip(("aging", "stale", "blind"), ages, strict=True)}
    terms = Policy.model_validate({"rules": made, "ladder": {"bundle": rungs, "lists": rungs}})
    return ActivePolicy(policy_id(terms), terms, START_US)


@st.composite
def decisions(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    count, chance = draw(st.integers(1, 30)), np.random.default_rng(draw(st.integers(0, 1 << 30)))
    rows = np.zeros(count, DECISION)
    rows["time_us"] = START_US + np.cumsum(chance.integers(0, 6 * HOUR_US, count))
    rows["seq"] = np.arange(count)
    rows["amount_minor"] = chance.choice([1, 2_500, 9_000], count)
    rows["risk_score"] = chance.choice([0, 20, 90], count)
    rows["probability"] = chance.choice([0.0, 1e-3, 0.04, 0.6], count)
    rows["channel"], rows["entry_mode"] = chance.integers(1, 4, count), chance.integers(0, 6, count)
    rows["country"], rows["card"] = chance.choice([b"", b"US"], count), chance.choice([b"c-1", b"c-2", b"c-3"], count)
    rows["merchant"], rows["terminal"] = chance.choice([b"m-1", b"m-2"], count), chance.choice([b"t-1", b"t-2"], count)
    rows["lists_version"] = np.sort(chance.integers(0, 3, count))
    rows["feature_fingerprint"], rows["bundle"], rows["currency"] = FINGERPRINT.encode(), BUNDLE.encode(), b"EUR"
    return rows


def one_by_one(policy: ActivePolicy, rows: np.ndarray[Any, Any], sets: list[ListIndex]) -> list[Outcome]:
    """Decide each payment as a gate would, with the lists and the ages of its own time."""
    brakes, told = Brakes(), []
    brakes.fit(policy.terms)
    for row in rows:
        now_us, lists = int(row["time_us"]), sets[int(row["lists_version"])]
        text = {name: row[name].decode() for name in ("card", "device", "terminal", "merchant", "country", "mcc")}
        found = lists.find(tuple(text.values()), now_us)
        words = (text["card"], text["device"], text["terminal"], text["merchant"], text["country"], text["mcc"], "EUR")
        texts = (*words, WORDS[int(row["channel"])], ENTRIES[int(row["entry_mode"])])
        score = (int(row["amount_minor"]), float(row["probability"]), int(row["risk_score"]))
        matched = policy.book.match(Inputs(row["features"], *score, texts))
        modes = policy.modes(now_us=now_us, bundle_us=START_US - HOUR_US, lists_us=lists.as_of_us)
        facts = Facts(
            probability=score[1],
            amount_minor=score[0],
            bearer=policy.bearer(int(row["channel"]), int(row["entry_mode"])),
            matched=matched,
            listed=hits_of(found, policy.watch),
            suppressed=policy.book.bits(spared(found)),
            braked=brakes.closed(now_us),
            modes=modes._replace(policy=Mode.FRESH),
            system=(),
        )
        verdict = policy.conclude(facts).verdict
        if verdict.outcome is Outcome.DECLINE:
            brakes.count(verdict.deciding, now_us)
        told.append(verdict.outcome)
    return told


@given(policies(), decisions(), st.integers(1, 4))
@settings(max_examples=60)
def test_a_backtest_decides_each_payment_as_the_policy_does_by_itself_with_lists_and_ages_of_then(
    policy: ActivePolicy, rows: np.ndarray[Any, Any], batches: int
) -> None:
    header, held, sets = "list,entity,value,expires_at,rule", [], [ListIndex()]
    for version, lines in enumerate(TEXTS, start=1):
        content, as_of_us = parse("lists", [header, *lines]), START_US + version * HOUR_US
        told = ListsActivation(version=version, lists=content.id(), entries=content.entries, as_of_us=as_of_us)
        sets.append(ListIndex(told, content.index))
        row = {"source": SOURCE, "version": version, "from_us": 0, "to_us": 1 << 62, "lists": content.id()}
        held.append({**row, "as_of_us": as_of_us, "text": "".join(content.lines())})
    archive = MemoryArchive(
        {
            "decisions": [decisions_batch(SOURCE, part) for part in np.array_split(rows, batches) if len(part)],
            "lists": [batch_of("lists", held)],
            "bundles": [batch_of("bundles", [{"bundle": BUNDLE, "trained_at_us": START_US - HOUR_US}])],
        }
    )
    expected = one_by_one(policy, rows, sets)

    tally = try_policy(archive, policy, Span(0, 1 << 62), START_US, lambda _: None)

    counts = tally.cells["EUR"][Measure.COUNT].sum(axis=(0, 1, 3))
    assert counts.tolist() == [expected.count(outcome) for outcome in Outcome], json.dumps(policy.terms.model_dump())


IDENTITY = st.tuples(st.sampled_from(["m-1", "m-2", "m-10"]), st.sampled_from(["t-1", "t-2", "t-10", "1", "0"]))


@given(
    st.lists(st.tuples(IDENTITY, st.sampled_from(["fraud", "legit"]), st.integers(0, 3)), max_size=12),
    st.lists(IDENTITY, min_size=1, max_size=12),
)
def test_labels_find_their_payments_alone_and_the_one_known_last_stands(
    told: list[tuple[tuple[str, str], str, int]], asked: list[tuple[str, str]]
) -> None:
    standing: dict[tuple[str, str], tuple[int, str, str]] = {}
    labels = []
    for at, (payment, verdict, known_us) in enumerate(told):
        row = (known_us, f"l-{at:02d}", verdict)
        standing[payment] = max(standing.get(payment, row), row)
        names = {"source": SOURCE, "received_us": at, "merchant": payment[0], "transaction_id": payment[1]}
        labels.append({**names, "label_id": row[1], "verdict": verdict, "known_us": known_us})
    rows = np.zeros(len(asked), DECISION)
    rows["merchant"], rows["transaction_id"] = zip(*asked, strict=True)
    rows["outcome"] = Outcome.DECLINE

    found = Labels.of([batch_of("labels", labels)]).truths(rows, 0)

    verdicts = {"fraud": Truth.FRAUD, "legit": Truth.GOOD}
    expected = [verdicts[standing[one][2]] if one in standing else Truth.UNKNOWN for one in asked]
    assert found.tolist() == expected


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 50), st.integers(0, 9)), max_size=9), st.integers(1, 8))
def test_parts_of_a_span_meet_and_cover_it(given_groups: list[tuple[int, int, int]], parts: int) -> None:
    groups = [Group(rows, first, first + more) for rows, first, more in given_groups]
    span = Span(5, 45)

    made = cut(groups, span, parts)

    assert 1 <= len(made) <= parts
    assert (made[0].from_us, made[-1].to_us) == span
    assert all(one.to_us == next_.from_us for one, next_ in itertools.pairwise(made))
    assert all(one.from_us < one.to_us for one in made)
