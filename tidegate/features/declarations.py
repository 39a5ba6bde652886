"""The declared features: name, unit, window and meaning, in the order of the vector; their fingerprint names them.

The kernel beside this file computes them. A change of meaning is a new kernel version, so that no model is ever
served a vector of another meaning than it was trained on.
"""

from dataclasses import dataclass
from typing import Final, Literal

from tidegate.features.state import CARD, TERMINAL
from tidegate.records import FEATURE_SLOTS, fingerprint

KERNEL_VERSION: Final = 1
LABEL_DELAY_DAYS: Final = 7
"""An approval that nobody called fraud for this long counts as known good when risk is read."""
BIG_RATIO: Final = 2.6
"""An amount this many times a card's cleaned mean is a big one (field measurements on recorded payments)."""
CLEAN_RATIO: Final = 3.0
"""The cleaned mean leaves out amounts above this many times the median."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One input of the model; `default` is what a rule reads where the value is missing (NaN in the vector)."""

    name: str
    entity: Literal["request", "card", "terminal"]
    window: str
    unit: str
    meaning: str
    default: float = 0.0


_MONTH_S: Final = 2_592_000.0
_NEVER_DAYS: Final = 99.0

FEATURES: Final = (
    Feature("amount", "request", "now", "minor units", "The amount itself."),
    Feature("hour", "request", "now", "hour", "Hour of day of the payment, UTC, 0 to 23."),
    Feature("weekday", "request", "now", "day", "Day of week of the payment, UTC, Monday is 0."),
    Feature("card_count_10m", "card", "10 min", "payments", "The card's payments in the current and last 5 minutes."),
    Feature("card_count_1h", "card", "1 h", "payments", "The card's payments in the last 12 buckets of 5 minutes."),
    Feature("card_sum_1h", "card", "1 h", "minor units", "Their sum."),
    Feature("card_count_24h", "card", "24 h", "payments", "The card's payments in the last 24 hours."),
    Feature("card_sum_24h", "card", "24 h", "minor units", "Their sum."),
    Feature("card_mean_24h", "card", "24 h", "minor units", "Their mean."),
    Feature("card_count_7d", "card", "7 d", "payments", "The card's payments in the last 7 days, today included."),
    Feature("card_mean_7d", "card", "7 d", "minor units", "Their mean."),
    Feature("card_count_30d", "card", "30 d", "payments", "The card's payments in the last 30 days."),
    Feature("card_mean_30d", "card", "30 d", "minor units", "Their mean."),
    Feature("card_terminals_1h", "card", "1 h", "terminals", "Distinct terminals this hour, by a sketch of 32 bits."),
    Feature("card_terminals_24h", "card", "24 h", "terminals", "Distinct terminals in the last 24 hours."),
    Feature("card_since_last", "card", "life", "seconds", "Since the card's latest payment before this.", _MONTH_S),
    Feature("card_history", "card", "life", "payments", "The card's payments before this one."),
    Feature("card_mean", "card", "life", "minor units", "Mean amount before this one."),
    Feature("card_clean_mean", "card", "life", "minor units", "Mean without amounts above 3 times the median."),
    Feature("amount_ratio", "card", "life", "ratio", "Amount over the cleaned mean.", 1.0),
    Feature("amount_spread", "card", "life", "deviations", "Amount less mean over the spread between bins."),
    Feature("amount_rank", "card", "life", "share", "Share of the card's payments in lower bins of amount.", 0.5),
    Feature("card_max_ratio_14d", "card", "14 d", "ratio", "Largest amount of the last 14 days over the cleaned mean."),
    Feature("card_big_days_14d", "card", "14 d", "days", "Days of the last 14 with a big amount."),
    Feature("card_since_big", "card", "14 d", "days", "Since the latest such day.", _NEVER_DAYS),
    Feature("card_frauds_30d", "card", "30 d", "frauds", "Known frauds of the card by day of the payment."),
    Feature("terminal_count_1h", "terminal", "1 h", "payments", "The terminal's payments in this hour and the last."),
    Feature("terminal_count_1d", "terminal", "1 d", "payments", "The terminal's payments today."),
    Feature("terminal_count_7d", "terminal", "7 d", "payments", "In the last 7 days."),
    Feature("terminal_count_30d", "terminal", "30 d", "payments", "In the last 30 days."),
    Feature("terminal_risk_7d", "terminal", "7 d", "share", "Known frauds over known payments, newest 7 known days."),
    Feature("terminal_risk_28d", "terminal", "28 d", "share", "The same over the newest 28 known days."),
    Feature("terminal_frauds_28d", "terminal", "35 d", "frauds", "Known frauds since 28 days before the label delay."),
    Feature("terminal_run", "terminal", "39 d", "frauds", "Length of the trailing run of known frauds."),
    Feature("terminal_run_first", "terminal", "39 d", "days", "Since the run's first day.", _NEVER_DAYS),
    Feature("terminal_run_last", "terminal", "39 d", "days", "Since the run's last day.", _NEVER_DAYS),
    Feature("terminal_run_gap", "terminal", "39 d", "days", "From the last known good day to the run.", _NEVER_DAYS),
    Feature("terminal_since_good", "terminal", "39 d", "days", "Since the last known good day.", _NEVER_DAYS),
)
FEATURE_COUNT: Final = len(FEATURES)
NAMES: Final = tuple(feature.name for feature in FEATURES)
FINGERPRINT: Final = fingerprint(
    repr((KERNEL_VERSION, LABEL_DELAY_DAYS, BIG_RATIO, CLEAN_RATIO, FEATURES, CARD.descr, TERMINAL.descr))
)

if len(set(NAMES)) != FEATURE_COUNT or FEATURE_COUNT > FEATURE_SLOTS:
    raise AssertionError("feature names are unique and fit the record")
