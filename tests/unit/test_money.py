"""Money: integers of minor units, written with as many decimals as the currency has."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.money import CURRENCIES, Money, decimals


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        (1_250, "EUR", "12.50 EUR"),
        (5, "EUR", "0.05 EUR"),
        (-5, "EUR", "-0.05 EUR"),
        (0, "EUR", "0.00 EUR"),
        (1_250, "JPY", "1250 JPY"),
        (-1, "JPY", "-1 JPY"),
        (1_250, "KWD", "1.250 KWD"),
        (-1_005, "KWD", "-1.005 KWD"),
    ],
)
def test_an_amount_is_written_with_its_currencys_decimals(minor: int, currency: str, text: str) -> None:
    assert str(Money(minor, currency)) == text


@given(st.integers(-(10**18), 10**18), st.sampled_from(sorted(CURRENCIES)))
@settings(max_examples=20)
def test_no_minor_unit_is_lost_in_writing(minor: int, currency: str) -> None:
    written, code = str(Money(minor, currency)).split()

    assert Decimal(written).scaleb(decimals(currency)) == minor
    assert code == currency


@pytest.mark.parametrize("code", ["", "eur", "XTS", "XAU", "EURO", "DEM"])
def test_a_code_that_nobody_pays_with_is_refused_by_name(code: str) -> None:
    with pytest.raises(ValueError, match=f"currency: '{code}' is no ISO 4217 code"):
        decimals(code)


def test_every_currency_is_three_capital_letters_and_has_nought_two_or_three_decimals() -> None:
    assert [code for code in CURRENCIES if len(code) != 3 or not (code.isascii() and code.isupper())] == []
    assert {decimals(code) for code in CURRENCIES} == {0, 2, 3}


def test_amounts_of_two_currencies_are_never_equal() -> None:
    assert Money(1, "EUR") != Money(1, "USD")
    assert Money(1, "EUR") == Money(1, "EUR")
