"""Rules: what the kernel says of a payment is what the CEL library says, for any rule and any payment."""

import contextlib

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tidegate.decision import NO_SCORE
from tidegate.policy.grammar import RuleError, parse
from tidegate.policy.oracle import Oracle
from tidegate.policy.program import TextTests, build, run_columns, run_one
from tidegate.policy.variables import BOOLS, DOUBLES, TEXTS, Inputs, Vector
from tidegate.records import FEATURE_SLOTS

DECIMALS = st.sampled_from(["0.0", "1.0", "2.5", "1e3", "0.1", "3.0", "1000000.0"])
NUMBERS = st.one_of(DECIMALS, st.sampled_from(["0", "1", "5", "-3", "1000"]))
LITERALS = st.sampled_from(["online", "US", "GB", "card-1", "", "o", "é"])
QUOTED = LITERALS.map(lambda text: f'"{text}"')
OPTIONAL_TEXT = LITERALS.filter(str.isascii)
VALUES = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 2.5, 3.0, 5.0, 1000.0, float("nan"), 1e30, -7.25]), st.floats(width=32)
)


def _more_doubles(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pair = st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})")
    chosen = st.tuples(st.sampled_from(BOOLS), inner, inner).map(lambda t: f"({t[0]} ? {t[1]} : {t[2]})")
    return st.one_of(pair, chosen, inner.map(lambda x: f"-{x}"))


DOUBLE = st.recursive(st.one_of(st.sampled_from(DOUBLES), DECIMALS), _more_doubles, max_leaves=4)
COMPARED = st.tuples(DOUBLE, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), st.one_of(DOUBLE, NUMBERS)).map(
    " ".join
)
MEMBER = st.tuples(DOUBLE, st.lists(NUMBERS, min_size=1, max_size=3)).map(lambda t: f"{t[0]} in [{', '.join(t[1])}]")
EQUAL_TEXT = st.tuples(st.sampled_from(TEXTS), st.sampled_from(["==", "!="]), QUOTED).map(" ".join)
TEXT_MEMBER = st.tuples(st.sampled_from(TEXTS), st.lists(QUOTED, min_size=1, max_size=3)).map(
    lambda t: f"{t[0]} in [{', '.join(t[1])}]"
)
TESTED = st.tuples(
    st.sampled_from(TEXTS), st.sampled_from(["startsWith", "endsWith", "contains"]), st.sampled_from(["o", "US", "-1"])
).map(lambda t: f"{t[0]}.{t[1]}('{t[2]}')")
PLAIN = st.one_of(COMPARED, MEMBER, EQUAL_TEXT, TEXT_MEMBER, TESTED, st.sampled_from([*BOOLS, "true", "false"]))


def _more_bools(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pair = st.tuples(inner, st.sampled_from(["&&", "||"]), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})")
    equal = st.tuples(inner, st.sampled_from(["==", "!="]), inner).map(lambda t: f"(({t[0]}) {t[1]} ({t[2]}))")
    chosen = st.tuples(inner, inner, inner).map(lambda t: f"(({t[0]}) ? ({t[1]}) : ({t[2]}))")
    return st.one_of(pair, equal, chosen, inner.map(lambda x: f"!({x})"))


RULES = st.recursive(PLAIN, _more_bools, max_leaves=6).filter(lambda text: len(text) <= 512)


@st.composite
def payments(draw: st.DrawFn) -> Inputs:
    """Return a payment of any vector, missing values included."""
    vector = np.full(FEATURE_SLOTS, 2.5, np.float32)
    for at in draw(st.lists(st.integers(0, FEATURE_SLOTS - 1), max_size=12, unique=True)):
        vector[at] = draw(VALUES)
    score = draw(st.sampled_from([0, 40, 100, NO_SCORE]))
    probability = float("nan") if score == NO_SCORE else draw(st.floats(0, 1))
    texts = tuple(draw(OPTIONAL_TEXT) for _ in TEXTS)
    return Inputs(vector, draw(st.integers(1, 100_000_000)), probability, score, texts)


def served(rules: list[str], payment: Inputs) -> list[bool | None]:
    """Return what the kernel says of each rule; None where it fails."""
    program = build([(1 << at, parse(text)) for at, text in enumerate(rules)])
    mask = np.uint64(TextTests(program.tests).mask(payment.texts))
    vector, amount, probability, score, _ = payment
    arrays = (program.steps, program.ends, program.consts, program.bits, program.depth)
    hit, failed = (int(mask) for mask in run_one(*arrays, vector, float(amount), probability, float(score), mask))
    assert hit & failed == 0
    return [None if failed >> at & 1 else bool(hit >> at & 1) for at in range(len(rules))]


@given(st.lists(RULES, min_size=1, max_size=4), payments())
@example(["0.0 / 0.0 > 1.0 || true"], Inputs(np.zeros(FEATURE_SLOTS, np.float32), 1, 0.5, 1, ("",) * len(TEXTS)))
@example(["0.0 / 0.0 > 1.0 && false"], Inputs(np.zeros(FEATURE_SLOTS, np.float32), 1, 0.5, 1, ("",) * len(TEXTS)))
@example(["0.0 / 0.0 == 0.0 / 0.0"], Inputs(np.zeros(FEATURE_SLOTS, np.float32), 1, 0.5, 1, ("",) * len(TEXTS)))
@settings(max_examples=300)
def test_the_kernel_says_of_every_rule_what_the_library_says(rules: list[str], payment: Inputs) -> None:
    assert served(rules, payment) == Oracle(rules).run(payment)


@given(st.lists(RULES, min_size=1, max_size=3), st.lists(payments(), min_size=1, max_size=4))
@settings(max_examples=50)
def test_columns_say_what_each_row_says(rules: list[str], rows: list[Inputs]) -> None:
    program = build([(1 << at, parse(text)) for at, text in enumerate(rules)])
    tests = TextTests(program.tests)
    vectors: Vector = np.stack([row.vector for row in rows])
    hit, failed = np.zeros(len(rows), np.uint64), np.zeros(len(rows), np.uint64)
    run_columns(
        program.steps,
        program.ends,
        program.consts,
        program.bits,
        program.depth,
        vectors,
        np.array([row.amount_minor for row in rows]),
        np.array([row.probability for row in rows]),
        np.array([row.risk_score for row in rows], np.uint8),
        np.array([tests.mask(row.texts) for row in rows], np.uint64),
        hit,
        failed,
    )
    for at, row in enumerate(rows):
        expected = served(rules, row)
        assert [bool(int(hit[at]) >> bit & 1) for bit in range(len(rules))] == [said is True for said in expected]
        assert [bool(int(failed[at]) >> bit & 1) for bit in range(len(rules))] == [said is None for said in expected]


@given(st.text(max_size=60))
@settings(max_examples=200)
def test_any_text_is_a_rule_or_refused_with_its_place(text: str) -> None:
    with contextlib.suppress(RuleError):
        assert parse(text) is not None


@pytest.mark.parametrize("rule", ["(" * 40 + "true" + ")" * 40, "!" * 400 + "true", "-" * 300 + "1.0 > 0.0"])
def test_what_nests_without_end_is_refused(rule: str) -> None:
    with pytest.raises(ValueError, match="character"):
        parse(rule)
