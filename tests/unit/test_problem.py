"""Problems: a status and a code for every error, the fields that are wrong, and nothing that a caller sent."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import tidegate.errors
from tidegate.errors import (
    CardNumberError,
    FieldError,
    InvalidError,
    TemporaryError,
    TidegateError,
    UnauthenticatedError,
)
from tidegate.payment import PaymentRequest
from tidegate.problem import document, invalid, render, status_of

SECRET = "s3cr3t-Wort"
GOOD = {
    "transaction_id": "o-1",
    "occurred_at": "2026-11-24T09:30:00Z",
    "amount": {"minor": 1, "currency": "EUR"},
    "card": "c-1",
    "terminal": "t-1",
    "merchant": "m-1",
    "channel": "moto",
}


def _tree(kind: type[TidegateError]) -> Iterator[type[TidegateError]]:
    yield kind
    for child in kind.__subclasses__():
        if child.__module__ == tidegate.errors.__name__:
            yield from _tree(child)


ERRORS = list(_tree(TidegateError))


def refused(body: Any) -> InvalidError:
    """Return what is said of a body that is wrong."""
    with pytest.raises(ValidationError) as error:
        PaymentRequest.model_validate_json(json.dumps(body))
    return invalid(error.value)


def test_every_error_has_a_code_of_its_own_and_says_in_its_docstring_what_to_do() -> None:
    assert len({kind.code for kind in ERRORS}) == len(ERRORS)
    assert [kind for kind in ERRORS if kind.code != kind.code.upper() or not kind.__doc__] == []


@pytest.mark.parametrize("kind", ERRORS)
def test_every_error_renders_as_a_problem_with_its_code(kind: type[TidegateError]) -> None:
    status, headers, body = render(kind("what to do"))
    told = json.loads(body)

    assert told["status"] == status == status_of(kind("x"))
    assert (told["code"], told["detail"]) == (kind.code, "what to do")
    assert told["type"] == f"urn:tidegate:error:{kind.code.lower()}"
    assert (b"content-type", b"application/problem+json") in headers
    assert status >= 400


def test_each_branch_of_the_tree_has_its_status() -> None:
    named = {"UNAUTHENTICATED": 401, "FORBIDDEN": 403, "NOT_FOUND": 404, "IDEMPOTENCY_CONFLICT": 422}
    named |= {"INVALID_REQUEST": 422, "CARD_NUMBER_REFUSED": 422, "SYS_DISK_FULL": 503, "ERROR": 500}

    assert {kind.code: status_of(kind("x")) for kind in ERRORS if kind.code in named} == named


def test_only_what_may_be_tried_again_says_when() -> None:
    for kind in ERRORS:
        names = {name for name, _ in render(kind("x"))[1]}

        assert (b"retry-after" in names) == issubclass(kind, TemporaryError) == (status_of(kind("x")) == 503)


@pytest.mark.parametrize(("delay_s", "told"), [(0.01, b"1"), (1.0, b"1"), (4.2, b"4"), (60.0, b"60")])
def test_a_delay_is_whole_seconds_and_never_none(delay_s: float, told: bytes) -> None:
    assert (b"retry-after", told) in render(TemporaryError("x", delay_s=delay_s))[1]


def test_who_is_not_known_is_asked_for_a_bearer_key() -> None:
    assert (b"www-authenticate", b'Bearer realm="tidegate"') in render(UnauthenticatedError("x"))[1]


def test_a_status_may_be_another_than_the_errors_own() -> None:
    assert document(InvalidError("x"), 413)["status"] == 413


def test_fields_are_told_one_by_one_and_left_out_where_there_are_none() -> None:
    error = InvalidError("x", fields=(FieldError("a", "b"), FieldError("c", "d")))

    assert document(error)["errors"] == [{"field": "a", "message": "b"}, {"field": "c", "message": "d"}]
    assert "errors" not in document(InvalidError("x"))


@pytest.mark.parametrize("field", GOOD)
@pytest.mark.parametrize("value", [f" {SECRET}", {SECRET: 1}, [SECRET], f"{SECRET}\n" * 99])
def test_a_wrong_field_is_named_and_its_value_never(field: str, value: object) -> None:
    error = refused(GOOD | {field: value})

    assert {found.field.split(".")[0] for found in error.fields} == {field}
    assert SECRET not in render(error)[2].decode()


@given(st.text(min_size=1).filter(lambda name: not (name.isascii() and name.isidentifier()) and name not in "amount"))
@settings(max_examples=40)
def test_a_field_name_that_a_caller_made_up_is_not_repeated(name: str) -> None:
    error = refused(GOOD | {name: 1})

    assert [found.field for found in error.fields] == ["?"]


@pytest.mark.parametrize("name", ["4111111111111111", "c4111111111111111", "note-4111 1111 1111 1111"])
def test_a_card_number_in_place_of_a_field_name_is_not_repeated(name: str) -> None:
    assert b"1111" not in render(refused(GOOD | {name: 1}))[2]


@pytest.mark.parametrize("field", ["card", "transaction_id", "merchant", "terminal"])
def test_a_card_number_has_an_error_of_its_own_that_does_not_repeat_it(field: str) -> None:
    error = refused(GOOD | {field: "c-4111111111111111"})

    assert isinstance(error, CardNumberError)
    assert b"4111" not in render(error)[2]


def test_a_thousand_wrong_fields_are_told_of_by_the_first_twenty() -> None:
    assert len(refused(GOOD | {f"f{n}": n for n in range(1_000)}).fields) == 20
