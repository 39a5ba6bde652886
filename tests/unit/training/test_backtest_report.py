"""The report of a backtest: what stands on top, what is in all three forms, and that no token is taken for markup."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tidegate.limits import DAY_US
from tidegate.policy.active import ActivePolicy
from tidegate.policy.terms import Policy, policy_id
from training.backtest import render
from training.backtest.options import MANIFEST, Options, command, parser
from training.backtest.ports import BacktestError
from training.backtest.report import Asked, numbers
from training.backtest.spans import Span
from training.backtest.submit import resolved, submission_id
from training.backtest.tally import CardCount, Change, Example, Tally

START_US = 1_795_500_000_000_000


def told(**changes: Any) -> dict[str, Any]:
    terms = Policy(name="strict")
    policy = ActivePolicy(policy_id(terms), terms, START_US)
    tally = Tally(cards={"card|<b>`1": CardCount(3, 900, "site-1.g0.0123456789abcdef.L1.7")})
    tally.checked.update(equal=10, braked=2)
    tally.examples[Change.GOOD_DECLINED] = [
        Example(123_456, "site-1.g0.0123456789abcdef.L1.7", "EUR", "card|<b>`1", 0, 3, 1, 0, False, START_US)
    ]
    for name, value in changes.items():
        setattr(tally, name, value)
    return numbers(policy, Asked("p.toml", Span(START_US, START_US + DAY_US), START_US + DAY_US), tally)


def test_a_page_needs_nothing_beside_it_and_no_script() -> None:
    page = render.page(told())

    assert "<script" not in page
    assert "http" not in page
    assert "src=" not in page
    assert "prefers-color-scheme: dark" in page
    assert "<h1>Backtest of strict</h1>" in page


def test_what_came_out_otherwise_stands_on_top_and_is_marked() -> None:
    found = told(checked={"equal": 9, "differing": 1}, differing=["site-1.g0.0123456789abcdef.L1.3"])
    text, page = render.markdown(found), render.page(found)

    assert (
        "**1 of 10 decisions came out otherwise than they were journaled**" in text.split("## In short", maxsplit=1)[0]
    )
    assert "`site-1.g0.0123456789abcdef.L1.3`" in text
    assert '<blockquote class="bad">' in page
    assert '<blockquote class="bad">' not in render.page(told())


def test_a_token_is_never_taken_for_markup() -> None:
    page = render.page(told())

    assert "<b>" not in page
    assert "card|&lt;b&gt;'1" in page


def test_numbers_are_the_same_in_json_and_on_the_page() -> None:
    found = told()

    assert json.loads(render.as_json(found)) == found
    assert "1,234.56 EUR" in render.markdown(found)
    assert "2 on which a brake was closed" in render.markdown(found)
    assert found["from"] == "2026-11-24T06:00:00.000000Z"


def test_an_amount_of_an_unknown_currency_is_told_in_minor_units() -> None:
    one = Example(1_000, "site-1.g0.0123456789abcdef.L1.7", "ZZZ", "card-1", 0, 3, 1, 0, True, START_US)

    assert "1,000 ZZZ" in render.markdown(told(examples={change: [one] for change in Change}))


@pytest.fixture
def options(tmp_path: Path) -> Options:
    (tmp_path / "p.toml").write_text('name = "a"\n')
    (tmp_path / MANIFEST).write_text("{}")
    return Options(history=tmp_path, policy=tmp_path / "p.toml", out=tmp_path, from_us=1, to_us=2, known_until_us=3)


def test_the_command_line_gives_the_options_back(options: Options) -> None:
    assert Options(**vars(parser().parse_args(command(options)))) == options


def test_equal_work_has_one_id_and_another_policy_history_or_span_another(options: Options, tmp_path: Path) -> None:
    first = submission_id(options)
    ids = {first, submission_id(replace(options, to_us=5))}
    options.policy.write_text('name = "b"\n')
    ids.add(submission_id(options))
    (tmp_path / MANIFEST).write_text('{"decisions": 1}')
    ids.add(submission_id(options))
    options.policy.write_text('name = "a"\n')
    (tmp_path / MANIFEST).write_text("{}")

    assert len(ids) == 4
    assert submission_id(options) == first


def test_a_file_that_is_not_there_is_named(options: Options, tmp_path: Path) -> None:
    with pytest.raises(BacktestError, match=r"--policy: .*none\.toml is no file"):
        resolved(replace(options, policy=tmp_path / "none.toml"))
