"""Every feature is told in a sentence of its own, with its value and unit, high, low or missing."""

import math
import re

import pytest

from tidegate.features.declarations import FEATURES, NAMES
from tidegate.features.phrases import PHRASES, sentence, spelled

UNITS = sorted({feature.unit for feature in FEATURES})


def test_each_declared_feature_has_its_phrase_and_there_are_no_others() -> None:
    assert tuple(PHRASES) == NAMES
    assert len({phrase.label for phrase in PHRASES.values()}) == len(NAMES)
    assert len({phrase.high for phrase in PHRASES.values()}) == len(NAMES)


@pytest.mark.parametrize("value", [0.0, 1.0, 5.0, 1e9, -3.0, 3e38, math.nan, math.inf])
def test_any_value_makes_a_whole_sentence(value: float) -> None:
    told = [sentence(name, value, 2.0, "EUR") for name in NAMES]

    whole = re.compile(r"[A-Z][^{}]*\.")
    assert [each for each in told if not whole.fullmatch(each) or re.search(r"\bnan\b|\binf\b|only no", each)] == []


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("amount_ratio", 9.0, "Amount is 9 times this card's usual."),
        ("amount_ratio", 0.41, "Amount is only 0.4 times this card's usual."),
        ("amount_ratio", math.nan, "This card has no history here."),
        ("amount", 250_000.0, "Amount is 2500.00 EUR, which is high here."),
        ("card_count_10m", 7.0, "This card made 7 payments within 10 minutes."),
        ("card_count_10m", 1.0, "This card made only 1 payment within 10 minutes."),
        ("card_since_last", 260.0, "This card was last used 4 minutes before."),
        ("card_since_last", 0.4, "This card was last used only 1 second before."),
        ("card_since_big", 0.0, "This card's latest big amount was less than a day before."),
        ("card_frauds_30d", 0.0, "This card had no known frauds within 30 days."),
        ("terminal_risk_7d", 0.125, "Of this terminal's known payments of 7 days, 12 % were frauds."),
        ("terminal_run", 0.0, "There is no run of known frauds at this terminal."),
        ("terminal_run", 3.0, "What is known last of this terminal is a run of 3 known frauds."),
        ("amount_spread", -1.5, "Amount is 1.5 deviations below this card's average."),
        ("weekday", 5.0, "It was paid on a Saturday."),
        ("hour", 7.0, "It was paid in the hour from 07:00 UTC."),
    ],
)
def test_sentences_read_as_a_person_would_say_them(name: str, value: float, told: str) -> None:
    assert sentence(name, value, 2.0, "EUR") == told


def test_money_is_told_in_the_decimals_of_its_currency() -> None:
    assert [spelled("minor units", 1250.4, currency) for currency in ("EUR", "JPY", "KWD")] == [
        "12.50 EUR",
        "1250 JPY",
        "1.250 KWD",
    ]


@pytest.mark.parametrize("unit", UNITS)
def test_every_unit_is_spelled(unit: str) -> None:
    assert spelled(unit, 4.0, "EUR")


def test_where_nothing_is_typical_a_value_counts_as_high() -> None:
    assert sentence("card_history", 4.0, math.nan, "EUR") == "This card is known here by 4 payments before this one."
