"""The words of the features: what each says of a payment, with its value and unit, for people who read reasons."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tidegate.features.declarations import FEATURES
from tidegate.money import Money


@dataclass(frozen=True, slots=True)
class Phrase:
    """How one feature is told: `label` alone, or a sentence by whether its value is high, low or missing.

    High is above `pivot`; without one, above what is typical of the payments that the model was proven on.
    """

    label: str
    high: str
    low: str
    missing: str
    pivot: float | None = None


_NO_HISTORY: Final = "This card has no history here."
_NO_TERMINAL: Final = "This terminal has no history here."
_NO_RUN: Final = "There is no run of known frauds at this terminal."
_UNKNOWN: Final = "Nothing is known yet of how payments at this terminal turned out."


def _same(label: str, sentence: str, missing: str) -> Phrase:
    return Phrase(label, sentence, sentence, missing)


def _only(label: str, sentence: str, missing: str = _NO_HISTORY, pivot: float | None = None) -> Phrase:
    """Return a phrase whose low value is told by `only`."""
    return Phrase(label, sentence, sentence.replace("{value}", "only {value}"), missing, pivot)


def _counted(label: str, sentence: str, missing: str = _NO_HISTORY) -> Phrase:
    """Return a phrase of something that is there or isn't: none of it is told without `only`."""
    return Phrase(label, sentence, sentence, missing, pivot=0.0)


def _level(label: str, what: str) -> Phrase:
    """Return a phrase of a card's usual amount, high or low against what is usual here."""
    return Phrase(
        label, f"{what} is {{value}}, which is high here.", f"{what} is {{value}}, not high here.", _NO_HISTORY
    )


PHRASES: Final = {
    "amount": Phrase(
        "Amount", "Amount is {value}, which is high here.", "Amount is {value}, not high here.", "Amount isn't known."
    ),
    "hour": _same("Hour of day", "It was paid in the hour from {value}.", "The hour isn't known."),
    "weekday": _same("Day of the week", "It was paid on a {value}.", "The day isn't known."),
    "card_count_10m": _only("Card's payments, 10 minutes", "This card made {value} within 10 minutes."),
    "card_count_1h": _only("Card's payments, an hour", "This card made {value} within an hour."),
    "card_sum_1h": _only("Card's spending, an hour", "This card spent {value} within an hour."),
    "card_count_24h": _only("Card's payments, 24 hours", "This card made {value} within 24 hours."),
    "card_sum_24h": _only("Card's spending, 24 hours", "This card spent {value} within 24 hours."),
    "card_mean_24h": _level("Card's average, 24 hours", "This card's average of 24 hours"),
    "card_count_7d": _only("Card's payments, 7 days", "This card made {value} within 7 days."),
    "card_mean_7d": _level("Card's average, 7 days", "This card's average of 7 days"),
    "card_count_30d": _only("Card's payments, 30 days", "This card made {value} within 30 days."),
    "card_mean_30d": _level("Card's average, 30 days", "This card's average of 30 days"),
    "card_terminals_1h": _only("Card's terminals, an hour", "This card was used at {value} this hour."),
    "card_terminals_24h": _only("Card's terminals, 24 hours", "This card was used at {value} within 24 hours."),
    "card_since_last": _only("Since the card's last payment", "This card was last used {value} before."),
    "card_history": _only("Card's payments known here", "This card is known here by {value} before this one."),
    "card_mean": _level("Card's average", "This card's average"),
    "card_clean_mean": _level("Card's usual amount", "This card's usual amount, outliers left out,"),
    "amount_ratio": _only("Amount against the card's usual", "Amount is {value} this card's usual.", pivot=1.0),
    "amount_spread": Phrase(
        "Amount against the card's spread",
        "Amount is {value} above this card's average.",
        "Amount is {value} below this card's average.",
        _NO_HISTORY,
        pivot=0.0,
    ),
    "amount_rank": Phrase(
        "Amount's rank for the card",
        "Amount is above {value} of this card's earlier payments.",
        "Amount is above no more than {value} of this card's earlier payments.",
        _NO_HISTORY,
        pivot=0.5,
    ),
    "card_max_ratio_14d": _only(
        "Card's largest amount, 14 days", "This card's largest amount of 14 days is {value} its usual.", pivot=1.0
    ),
    "card_big_days_14d": Phrase(
        "Card's days of big amounts",
        "This card had {value} of big amounts within 14 days.",
        "This card had no day of big amounts within 14 days.",
        _NO_HISTORY,
        pivot=0.0,
    ),
    "card_since_big": _only(
        "Since the card's last big amount",
        "This card's latest big amount was {value} before.",
        "This card had no big amount within 14 days.",
    ),
    "card_frauds_30d": _counted("Card's known frauds, 30 days", "This card had {value} within 30 days."),
    "terminal_count_1h": _only(
        "Terminal's payments, this hour", "This terminal took {value} this hour and the last.", _NO_TERMINAL
    ),
    "terminal_count_1d": _only("Terminal's payments, today", "This terminal took {value} today.", _NO_TERMINAL),
    "terminal_count_7d": _only(
        "Terminal's payments, 7 days", "This terminal took {value} within 7 days.", _NO_TERMINAL
    ),
    "terminal_count_30d": _only(
        "Terminal's payments, 30 days", "This terminal took {value} within 30 days.", _NO_TERMINAL
    ),
    "terminal_risk_7d": _counted(
        "Terminal's share of frauds, 7 days",
        "Of this terminal's known payments of 7 days, {value} were frauds.",
        _UNKNOWN,
    ),
    "terminal_risk_28d": _counted(
        "Terminal's share of frauds, 28 days",
        "Of this terminal's known payments of 28 days, {value} were frauds.",
        _UNKNOWN,
    ),
    "terminal_frauds_28d": _counted(
        "Terminal's known frauds, 5 weeks", "This terminal had {value} within five weeks.", _UNKNOWN
    ),
    "terminal_run": Phrase(
        "Terminal's run of frauds",
        "What is known last of this terminal is a run of {value}.",
        _NO_RUN,
        _NO_RUN,
        pivot=0.0,
    ),
    "terminal_run_first": _only(
        "Since the run's first day", "This terminal's run of frauds began {value} before.", _NO_RUN
    ),
    "terminal_run_last": _only(
        "Since the run's last day", "This terminal's run of frauds went on until {value} before.", _NO_RUN
    ),
    "terminal_run_gap": _only(
        "From the last good day to the run",
        "This terminal's run of frauds began {value} after its last good day.",
        "There is no run of known frauds at this terminal, or no good day before it.",
    ),
    "terminal_since_good": _only(
        "Since the terminal's last good day", "This terminal's last known good day was {value} before.", _UNKNOWN
    ),
}
"""By name; a test holds that each declared feature has one."""

_UNITS: Final = {feature.name: feature.unit for feature in FEATURES}
_WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_SPANS: Final = ((86_400.0, "day"), (3_600.0, "hour"), (60.0, "minute"), (1.0, "second"))
_ROUND_FROM: Final = 10
"""A ratio of ten or more is told whole, a smaller one with a decimal."""


def _plural(count: float, noun: str) -> str:
    whole = round(count)
    return f"{whole or 'no'} {noun}{'' if whole == 1 else 's'}"


def _decimal(value: float) -> str:
    return f"{value:.0f}" if value >= _ROUND_FROM else f"{value:.1f}".removesuffix(".0")


def _span(seconds: float) -> str:
    """Return a time in the largest unit that it has at least one of."""
    length, unit = next((span for span in _SPANS if seconds >= span[0]), (1.0, "second"))
    return _plural(max(seconds // length, 1), unit)


_SPELLED: Final[dict[str, Callable[[float], str]]] = {
    "hour": lambda value: f"{round(value):02d}:00 UTC",
    "day": lambda value: _WEEKDAYS[round(value) % len(_WEEKDAYS)],
    "seconds": _span,
    "days": lambda value: _plural(value, "day") if value >= 1 else "less than a day",
    "ratio": lambda value: f"{_decimal(value)} times",
    "deviations": lambda value: f"{_decimal(abs(value))} deviations",
    "share": lambda value: f"{_decimal(100 * value)} %",
    "frauds": lambda value: _plural(value, "known fraud"),
    "payments": lambda value: _plural(value, "payment"),
    "terminals": lambda value: _plural(value, "terminal"),
}


def spelled(unit: str, value: float, currency: str) -> str:
    """Return a value, which isn't missing, as it is read aloud."""
    return str(Money(round(value), currency)) if unit == "minor units" else _SPELLED[unit](value)


def sentence(name: str, value: float, typical: float, currency: str) -> str:
    """Return what a feature says of a payment; `typical` is its value in most payments, NaN where it has none."""
    phrase = PHRASES[name]
    if not math.isfinite(value):
        return phrase.missing
    pivot = typical if phrase.pivot is None else phrase.pivot
    chosen = phrase.low if value <= pivot else phrase.high
    return (
        chosen.format(value=spelled(_UNITS[name], value, currency))
        .replace("only no ", "no ")
        .replace("only less ", "less ")
    )
