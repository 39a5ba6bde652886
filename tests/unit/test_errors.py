"""Errors: each is temporary or permanent, and carries what a caller needs to act."""

import pytest

from tidegate.errors import (
    CardNumberError,
    DiskFullError,
    FieldError,
    InvalidError,
    PermanentError,
    TemporaryError,
    TidegateError,
)


def test_trying_again_helps_or_does_not_and_every_error_says_which() -> None:
    assert set(TidegateError.__subclasses__()) == {TemporaryError, PermanentError}


def test_a_temporary_error_changed_nothing_and_says_when_to_try_again() -> None:
    assert TemporaryError("x").delay_s == 1.0
    assert DiskFullError("x", delay_s=30).delay_s == 30
    assert DiskFullError("x").fields == ()


def test_a_card_number_is_a_kind_of_invalid_input() -> None:
    error = CardNumberError("send the token", fields=(FieldError("card", "holds one"),))

    assert isinstance(error, InvalidError)
    assert (str(error), error.message, error.fields[0].field) == ("send the token", "send the token", "card")


def test_what_is_said_of_a_field_cannot_be_changed_afterwards() -> None:
    with pytest.raises(AttributeError):
        FieldError("a", "b").message = "c"  # type: ignore[misc]
