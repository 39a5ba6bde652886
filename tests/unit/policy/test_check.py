"""What a policy must pass: each error with its line, the same meaning as CEL, its cost, and numbers that stay."""

from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tidegate.errors import PolicyError
from tidegate.features.declarations import FEATURE_COUNT
from tidegate.limits import RULES_P99_US_MAX
from tidegate.policy.check import Golden, check_successor, examine, read
from tidegate.policy.rules import RuleBook
from tidegate.policy.terms import Policy, RuleState, policy_id

DEFAULT = Path(__file__).parents[3] / "configs" / "policy" / "default.toml"
RULE = """
name = "a"

[[rules]]
number = 1
id = "first"
state = "active"
when = "amount > 5.0"
outcome = "review"
reason = "RULE_OTHER"
text = "t"

[[rules]]
number = 2
id = "second"
state = "active"
when = "{when}"
outcome = "{outcome}"
reason = "RULE_OTHER"
text = "t"
"""


def text(when: str = "true", outcome: str = "review") -> str:
    return RULE.replace("{when}", when).replace("{outcome}", outcome)


def golden(rows: int = 64) -> Golden:
    rng = np.random.default_rng(5)
    features = (rng.random((rows, FEATURE_COUNT)) * 1_000).astype(np.float32)
    features[rng.random(features.shape) < 0.2] = np.nan
    return Golden(features, rng.random(rows), rng.integers(0, 101, rows).astype(np.uint8))


def rule(number: int = 1, name: str = "first", **changes: Any) -> dict[str, Any]:
    base = {"number": number, "id": name, "when": "true", "outcome": "review", "reason": "RULE_OTHER", "text": "t"}
    return base | {"state": "active"} | changes


def policy(*rules: dict[str, Any]) -> Policy:
    return Policy.model_validate({"rules": list(rules)})


@pytest.mark.parametrize(
    ("when", "reason"),
    [
        ("amount >", "a value is missing"),
        ("amount > 5.0)", "wasn't expected"),
        ("amout > 5.0", "no such variable"),
        ("amount", "true or false, and this is a number"),
        ("amount * 2 > 5.0", "write 2.0"),
        ("amount > 'x'", "can't compare a number with a text"),
        ("country > 'x'", "text is compared with a literal"),
        ("country == merchant", "text is compared with a literal"),
        ("[1, 2].all(x, x > 0)", "a value is missing"),
        ("country.matches('^a+$')", "there are no loops"),
        ("card.map(x, x)", "there are no loops"),
        ("has(country)", "ask has_<name>"),
        ("size(country) > 2", "rules call nothing"),
        ("amount > 5u", "a number ends in a letter"),
        ("amount % 2.0 > 1.0", "no part of a rule's language"),
        ("card in ['a', 1]", "in takes"),
        ("country.startsWith('')", "one literal text"),
        ("amount ? true : false", "takes a bool"),
        ("true ? 1.0 : true", "both sides"),
        ("card == 'a\\\\b'", "no part of a rule's language"),
    ],
)
def test_a_rule_that_is_none_is_told_with_its_line_its_name_and_why(when: str, reason: str) -> None:
    with pytest.raises(PolicyError) as refused:
        read("a.toml", text(when))

    assert refused.value.message.startswith("a.toml: line 17: rules.1.when: second: character ")
    assert reason in refused.value.message


def test_every_error_is_told_not_only_the_first() -> None:
    wrong = text("amout > 5.0").replace("amount > 5.0", "nothing")
    with pytest.raises(PolicyError) as refused:
        read("a.toml", wrong)

    assert [field.field.partition(": ")[2] for field in refused.value.fields] == ["rules.0.when", "rules.1.when"]
    assert "line 8: " in refused.value.message
    assert "line 17: " in refused.value.message


@pytest.mark.parametrize(
    ("changed", "line", "reason"),
    [
        (text(outcome="refuse"), 18, "outcome"),
        (text(outcome="approve"), 13, "strength: a rule that approves"),
        (text().replace("number = 2", "number = 65"), 14, "number"),
        (text().replace('id = "second"', 'id = "Second"'), 15, "id"),
        (text().replace("number = 2", "number = 1"), None, "stands twice"),
        (text() + "colour = 1\n", 21, "colour"),
        (text() + "brake = { declines = 5, minutes = 5 }\n", 21, "brake: it bounds declines"),
        (text("x" * 513), 17, "at most 512"),
        (
            "name = 'a'\n[ladder.bundle]\naging = { hours = 9 }\nstale = { hours = 8 }\nblind = { hours = 9 }\n",
            2,
            "ascend",
        ),
        ("name = 'a'\nhighest_score = 10\n", None, "highest_score"),
        ("name =\n", None, "line 1"),
    ],
)
def test_a_field_out_of_bounds_is_told_with_its_line(changed: str, line: int | None, reason: str) -> None:
    with pytest.raises(PolicyError) as refused:
        read("a.toml", changed)

    assert reason in refused.value.message
    assert line is None or f"line {line}: " in refused.value.message


def test_more_rules_than_bits_are_refused() -> None:
    many = [rule(number % 64 + 1, f"r-{number}") for number in range(65)]
    with pytest.raises(ValueError, match="at most 64"):
        policy(*many)


def test_the_default_policy_passes_and_each_rule_says_why() -> None:
    made = read("default.toml", DEFAULT.read_text())
    report = examine("default.toml", made, golden(), lambda: 0.0)

    assert report.rows == 64
    assert set(report.hits) == {rule.number for rule in made.rules}
    assert {rule.state for rule in made.rules} == {RuleState.ACTIVE, RuleState.SHADOW}


def test_drafts_and_retired_rules_never_run() -> None:
    made = policy(rule(1, "a", state="draft"), rule(2, "b", state="retired"), rule(3, "c", state="shadow"))
    report = examine("p", made, golden(), lambda: 0.0)

    assert report.hits == {3: 64}
    assert RuleBook(made).active == 0


def test_rules_that_are_too_slow_are_refused() -> None:
    slow = count(step=RULES_P99_US_MAX * 2e-6)
    with pytest.raises(PolicyError, match="rules take 120 µs on the golden rows, allowed are 60; retire some"):
        examine("p", policy(rule()), golden(), slow.__next__)


def test_a_rule_that_means_another_thing_than_cel_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate.policy.check.Oracle.run", lambda _self, _row: [False])
    with pytest.raises(PolicyError, match="rule first: the CEL library says False of a golden row, this says True"):
        examine("p", policy(rule()), golden(), lambda: 0.0)


@pytest.mark.parametrize(
    ("new", "reason"),
    [
        (rule(1, "other"), "number 1 is first's; take another"),
        (rule(2, "first"), "has the number 1 in records; keep it"),
        (rule(1, "first", when="false"), "was changed; raise it above 1"),
        (rule(1, "first", outcome="challenge"), "was changed; raise it above 1"),
    ],
)
def test_a_policy_that_takes_a_number_or_changes_a_rule_under_its_version_can_not_follow(
    new: dict[str, Any], reason: str
) -> None:
    with pytest.raises(PolicyError, match=reason):
        check_successor("p", policy(rule()), policy(new))


def test_a_rule_may_change_its_state_or_under_a_new_version_anything_but_its_number() -> None:
    check_successor("p", policy(rule()), policy(rule(1, "first", state="retired"), rule(2, "other")))
    check_successor("p", policy(rule()), policy(rule(1, "first", when="false", version=2)))


def test_policies_that_say_the_same_have_the_same_id() -> None:
    assert policy_id(read("a", text())) == policy_id(read("b", text().replace("name", " name")))
    assert policy_id(read("a", text())) != policy_id(read("a", text(outcome="challenge")))


def test_rules_that_do_not_compile_are_told_beside_fields_that_are_wrong() -> None:
    rest = 'outcome = "decline"\nreason = "RULE_OTHER"\ntext = "t"\n'
    one = f'[[rules]]\nnumber = 1\nid = "one"\nstate = "active"\nwhen = "nobody > 3"\n{rest}'
    two = f'[[rules]]\nnumber = 2\nid = "two"\nstate = "actve"\nwhen = "amount >"\n{rest}'

    with pytest.raises(PolicyError) as refused:
        read("a.toml", one + two)

    places = [wrong.field for wrong in refused.value.fields]
    assert places == ["line 5: rules.0.when", "line 12: rules.1.state", "line 13: rules.1.when"]
