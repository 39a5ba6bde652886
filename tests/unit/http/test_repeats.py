"""Fields that a body says twice: refused by name, however they are written, and nothing else is."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_nodes.http.fast import parse_batch
from tidegate.bodies import parse, parse_label
from tidegate.errors import InvalidError
from tidegate.payment import PaymentRequest

GOOD = {
    "transaction_id": "o-1",
    "occurred_at": "2026-11-24T09:30:00Z",
    "amount": {"minor": 1, "currency": "EUR"},
    "card": "c-1",
    "terminal": "t-1",
    "merchant": "m-1",
    "channel": "moto",
}
LABEL = {
    "label_id": "l-1",
    "merchant": "m-1",
    "transaction_id": "o-1",
    "verdict": "fraud",
    "source": "issuer",
    "known_at": "2026-11-24T09:30:00Z",
}


def places(parsed: Any, body: str) -> list[str]:
    """Return the fields that are refused."""
    with pytest.raises(InvalidError) as refused:
        parsed(body.encode())
    return [field.field for field in refused.value.fields]


def with_first(member: str, body: dict[str, Any]) -> str:
    """Return a body with one more member in front."""
    return "{" + member + "," + json.dumps(body)[1:]


@pytest.mark.parametrize("field", GOOD)
@pytest.mark.parametrize("first", ['"x"', "null", "7", "[]", '{"a": {"b": [1, 2]}}', '"\\u002c"', "9" * 4_000])
def test_a_field_of_a_payment_that_is_there_twice_is_refused_by_name(field: str, first: str) -> None:
    assert places(parse, with_first(f'"{field}": {first}', GOOD)) == [field]


@pytest.mark.parametrize("written", ['"card" : "c-0"', '"\\u0063ard":"c-0"', '\n"card"\t:\t"c-0"\n'])
def test_a_field_that_is_written_in_another_way_is_the_same_field(written: str) -> None:
    assert places(parse, with_first(written, GOOD | {"terminal": "t-1"})) == ["card"]


def test_a_field_within_the_amount_and_the_amount_itself_are_told_apart() -> None:
    twice = json.dumps(GOOD).replace('"minor": 1', '"minor": 5, "minor": 1')
    assert places(parse, twice) == ["amount.minor"]
    assert places(parse, with_first('"amount": {"minor": 5, "currency": "EUR"}', GOOD)) == ["amount"]


@pytest.mark.parametrize("field", LABEL)
def test_a_field_of_a_label_that_is_there_twice_is_refused_by_name(field: str) -> None:
    assert places(parse_label, with_first(f'"{field}": "x"', LABEL)) == [field]


@given(
    optional=st.fixed_dictionaries(
        {},
        optional={
            "country": st.sampled_from([None, "DE"]),
            "mcc": st.sampled_from([None, "5411"]),
            "entry_mode": st.sampled_from([None, "chip"]),
            "device": st.sampled_from([None, "d:1.2_3-4"]),
        },
    ),
    indent=st.sampled_from([None, 0, 3]),
    escaped=st.booleans(),
)
@settings(max_examples=60)
def test_a_body_that_says_each_field_once_is_taken(
    optional: dict[str, str | None], indent: int | None, *, escaped: bool
) -> None:
    body = json.dumps(GOOD | optional, indent=indent)
    body = body.replace("c-1", "\\u0063-1") if escaped else body

    assert parse(body.encode()) == parse(json.dumps(GOOD | optional).encode())


def test_a_payment_of_a_batch_that_says_a_field_twice_is_refused_alone() -> None:
    good, twice = json.dumps(GOOD), with_first('"card": "c-0"', GOOD)

    first, second, third = parse_batch(f'{{"decisions": [{good}, {twice}, {good}]}}'.encode())

    assert isinstance(second, InvalidError)
    assert [field.field for field in second.fields] == ["decisions.1.card"]
    assert second.message == "decisions.1.card: is there more than once; send it once"
    assert isinstance(first, PaymentRequest)
    assert first == third


def test_no_escape_makes_up_for_what_a_batch_says_twice() -> None:
    twice = with_first('"card": "c-0"', GOOD | {"country": "$"}).replace("$", "\\u002c")

    (refused,) = parse_batch(f'{{"decisions": [{twice}]}}'.encode())

    assert isinstance(refused, InvalidError)
    assert [field.field for field in refused.fields] == ["decisions.0.card"]


def test_two_lists_of_payments_are_no_batch() -> None:
    good = json.dumps(GOOD)
    assert places(parse_batch, f'{{"decisions": [{good}, {good}], "decisions": [{good}]}}') == ["decisions"]


@pytest.mark.parametrize("item", ["7", "null", '"x"', "[]", "[[]]", "true"])
def test_what_is_no_object_in_a_batch_is_told_by_its_place(item: str) -> None:
    good = json.dumps(GOOD)

    _, refused = parse_batch(f'{{"decisions": [{good}, {item}]}}'.encode())

    assert isinstance(refused, InvalidError)
    assert refused.message == "decisions.1: an object with a payment is expected"
    assert [field.field for field in refused.fields] == ["decisions.1"]


def test_the_sentence_about_a_payment_of_a_batch_says_which_one_it_is() -> None:
    (refused,) = parse_batch(json.dumps({"decisions": [GOOD | {"mcc": "x"}]}).encode())

    assert isinstance(refused, InvalidError)
    assert refused.message.startswith("decisions.0.mcc: ")
