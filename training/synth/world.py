"""The people and places of generated payments: cards with habits, merchants with opening hours, terminals at sites."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tidegate.limits import DAY_US, HOUR_US

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Rows = np.ndarray[Any, np.dtype[np.void]]

KINDS: Final = ("none", "card_testing", "terminal", "lost", "account_takeover", "new_pattern")
CHANNELS: Final = ("card_present", "online", "moto")
ENTRY_MODES: Final = ("contactless", "chip", "magstripe", "manual", "online")
COUNTRIES: Final = ("NL", "BE", "DE", "FR", "GB")
_COUNTRY_SHARES: Final = (0.85, 0.05, 0.05, 0.03, 0.02)

ROW: Final = np.dtype(
    [
        ("occurred_us", "<i8"),
        ("amount_minor", "<i8"),
        ("card", "<i4"),
        ("terminal", "<i4"),
        ("entry", "i1"),
        ("channel", "i1"),
        ("kind", "i1"),
        ("known_us", "<i8"),
        ("corrected_us", "<i8"),
    ]
)
"""A payment as numbers; `known_us` and `corrected_us` are 0 where that never happens."""

FAVOURITES: Final = 10
SEED_MAX: Final = 9_999_999  # with the day's number behind it fewer than the 13 digits of a card number
_NEIGHBOURHOOD: Final = 12  # favourite terminals lie this many places from home, one standard deviation
_START_US: Final = 20_605 * DAY_US  # 2026-06-01


@dataclass(frozen=True, slots=True)
class Category:
    """A kind of shop. Hours are UTC; the spread is the standard deviation of the log amount."""

    mcc: str
    median_minor: int
    spread: float
    opens: int
    closes: int
    on_sundays: bool
    share: float
    channel: int = 0


CATEGORIES: Final = (
    Category("5411", 2_600, 0.7, 7, 22, True, 0.24),  # groceries
    Category("5814", 1_100, 0.5, 8, 24, True, 0.15),  # fast food
    Category("5812", 3_600, 0.6, 11, 23, True, 0.10),  # restaurants
    Category("5541", 5_200, 0.4, 0, 24, True, 0.08),  # fuel
    Category("4111", 320, 0.3, 0, 24, True, 0.12),  # transit
    Category("5912", 1_700, 0.6, 8, 19, False, 0.07),  # pharmacies
    Category("5651", 5_500, 0.6, 10, 20, False, 0.07),  # clothes
    Category("5732", 11_000, 0.8, 10, 19, False, 0.03),  # electronics
    Category("5999", 3_200, 0.9, 0, 24, True, 0.12, channel=1),  # shops online
    Category("4722", 16_000, 0.8, 9, 18, False, 0.02, channel=2),  # travel agents by telephone
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthConfig:
    """What to generate. The same values give the same payments for ever.

    `payments_a_day` is of one card; `fraud_share` is of all payments, before a new pattern adds its own.
    """

    seed: int = 7
    start_us: int = _START_US
    days: int = 60
    cards: int = 2_000
    terminals: int = 600
    sites: int = 3
    payments_a_day: float = 2.6
    fraud_share: float = 0.01
    new_pattern_from: int | None = None

    def __post_init__(self) -> None:
        """Refuse what can't be generated.

        Raises:
            ValueError: a field is out of bounds; the message names it.
        """
        if not 0 <= self.seed <= SEED_MAX:
            raise ValueError(f"seed: must be 0 to {SEED_MAX}, got {self.seed}")
        if self.start_us % DAY_US or self.start_us < 0:
            raise ValueError("start_us: must be the start of a UTC day since 1970")
        if self.days < 1 or self.cards < 1 or self.sites < 1:
            raise ValueError("days, cards and sites: must be 1 or more")
        if self.terminals < 4 * len(CATEGORIES):
            raise ValueError(f"terminals: must be {4 * len(CATEGORIES)} or more, so that each kind of shop has some")


@dataclass(frozen=True, slots=True)
class World:
    """Who pays, where, and by which habits; arrays by card or by terminal."""

    terminal_merchant: Ints
    terminal_site: Ints
    terminal_category: Ints
    opens_us: Ints
    closes_us: Ints
    on_sundays: NDArray[np.bool_]
    card_rate: Floats
    card_factor: Floats
    card_hour: Floats
    card_weekend: Floats
    card_country: Ints
    favourites: Ints

    def at(self, channel: int) -> Ints:
        """Return the terminals that take payments of a channel."""
        channels = np.array([c.channel for c in CATEGORIES])
        return np.flatnonzero(channels[self.terminal_category] == channel)

    def at_all_hours(self) -> Ints:
        """Return the terminals in the street that never close."""
        here = self.at(0)
        return np.asarray(here[self.closes_us[here] - self.opens_us[here] == DAY_US])

    def is_open(self, terminal: Ints, occurred_us: Ints) -> NDArray[np.bool_]:
        """Tell for each payment whether its terminal is open then."""
        day, time_us = occurred_us // DAY_US, occurred_us % DAY_US
        sunday = (day + 3) % 7 == 6  # noqa: PLR2004 - 1970-01-01 was a Thursday
        hours = (self.opens_us[terminal] <= time_us) & (time_us < self.closes_us[terminal])
        return np.asarray(hours & (self.on_sundays[terminal] | ~sunday))

    def time_within_hours(self, terminal: Ints, part: Floats) -> Ints:
        """Return the time of day at `part` of the terminals' opening hours; parts beyond 0 and 1 are mirrored in."""
        inside = 1 - np.abs(1 - np.abs(part))
        opens, length = self.opens_us[terminal], self.closes_us[terminal] - self.opens_us[terminal]
        return np.asarray(opens + (np.clip(inside, 0, 1 - 1e-9) * length).astype(np.int64))


def build(config: SynthConfig) -> World:
    """Return the world of a configuration."""
    rng = np.random.default_rng([config.seed, 0])
    places = _places(rng, config)
    return World(*places, *_habits(rng, config, places[1]))


def _places(rng: np.random.Generator, config: SynthConfig) -> tuple[Ints, Ints, Ints, Ints, Ints, NDArray[np.bool_]]:
    merchants = config.terminals // 4
    shares = np.array([c.share for c in CATEGORIES])
    kinds = rng.choice(len(CATEGORIES), merchants, p=shares)
    kinds[: len(CATEGORIES)] = np.arange(len(CATEGORIES))
    row = np.arange(config.terminals)
    merchant = rng.permutation(row * merchants // config.terminals)
    category = kinds[merchant]
    opens = np.array([c.opens for c in CATEGORIES])[category] * HOUR_US
    closes = np.array([c.closes for c in CATEGORIES])[category] * HOUR_US
    sundays = np.array([c.on_sundays for c in CATEGORIES])[category]
    return merchant, row * config.sites // config.terminals, category, opens, closes, sundays


def _habits(
    rng: np.random.Generator, config: SynthConfig, terminal_site: Ints
) -> tuple[Floats, Floats, Floats, Floats, Ints, Ints]:
    home = rng.integers(config.terminals, size=config.cards)
    near = home[:, None] + np.rint(rng.normal(0, _NEIGHBOURHOOD, (config.cards, FAVOURITES))).astype(np.int64)
    first = np.searchsorted(terminal_site, terminal_site[home])[:, None]
    last = np.searchsorted(terminal_site, terminal_site[home], side="right")[:, None] - 1
    return (
        config.payments_a_day * rng.gamma(4, 1 / 4, config.cards),
        np.exp(rng.normal(0, 0.35, config.cards)),
        rng.uniform(0.2, 0.8, config.cards),
        np.exp(rng.normal(0, 0.3, config.cards)),
        rng.choice(len(COUNTRIES), config.cards, p=_COUNTRY_SHARES),
        np.clip(near, first, last),
    )
