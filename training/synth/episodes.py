"""Generated fraud: what thieves do with cards and terminals, in episodes of minutes to days, and when it is noticed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from tidegate.limits import DAY_US, HOUR_US, MINUTE_US
from training.synth.world import CATEGORIES, KINDS, ROW, Floats, Ints, Rows, SynthConfig, World

EPISODE_DAYS_MAX: Final = 16
"""No episode has a payment this many days or more after the day on which it began."""
AMOUNT_MINOR_LOW: Final = 50
AMOUNT_MINOR_HIGH: Final = 900_000
_CONTACTLESS, _CHIP, _MAGSTRIPE, _MANUAL, _ONLINE = range(5)
_CONTACTLESS_MINOR_MAX: Final = 5_000
_TAKEN_OVER_TRADE: Final = 2.0
"""Fraud at a taken-over terminal, times its usual trade: most of what is paid there."""

Rng = np.random.Generator


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fraud: its share of all fraud, its usual size, and how late it is noticed.

    The size is in payments or, where `by_trade`, in days of a terminal's usual trade.
    """

    share: float
    size: float
    delay_median_us: int
    delay_spread: float
    never_noticed: float
    by_trade: bool = False


FRAUDS: Final = {
    "card_testing": Kind(0.25, 12, 1 * DAY_US, 0.6, 0.10),
    "terminal": Kind(0.35, 21, 3 * DAY_US, 0.5, 0.05, by_trade=True),
    "lost": Kind(0.20, 8.5, 2 * DAY_US, 0.7, 0.03),
    "account_takeover": Kind(0.20, 14, 5 * DAY_US, 0.6, 0.08),
    "new_pattern": Kind(0.40, 6, 5 * DAY_US, 0.5, 0.05),
}


def entry_modes(rng: Rng, channel: Ints, amount: Ints, magstripe: float) -> Ints:
    """Return how cards are read: small amounts mostly without contact; `magstripe` is a share in the street."""
    draw = rng.random(len(channel))
    small = (amount <= _CONTACTLESS_MINOR_MAX) & (draw < 0.75)  # noqa: PLR2004 - a habit, not a bound
    street = np.where(small, _CONTACTLESS, _CHIP)
    street = np.where(rng.random(len(channel)) < magstripe, _MAGSTRIPE, street)
    by_channel = (street, np.full_like(street, _ONLINE), np.full_like(street, _MANUAL))
    return np.choose(channel, by_channel).astype(np.int64)


def usual_amounts(rng: Rng, world: World, card: Ints, terminal: Ints, times: Floats | float = 1.0) -> Ints:
    """Return amounts as the cards would usually pay at the terminals, times a factor; minor units."""
    category = world.terminal_category[terminal]
    median = np.array([float(c.median_minor) for c in CATEGORIES])[category]
    spread = np.array([c.spread for c in CATEGORIES])[category]
    drawn = median * world.card_factor[card] * np.exp(spread * rng.normal(size=len(card))) * times
    return np.clip(drawn, AMOUNT_MINOR_LOW, AMOUNT_MINOR_HIGH).astype(np.int64)


def rows(rng: Rng, world: World, occurred: Ints, card: Ints, terminal: Ints, amount: Ints, magstripe: float) -> Rows:
    """Return payments as rows without kind and label."""
    made = np.zeros(len(occurred), ROW)
    channel = np.array([c.channel for c in CATEGORIES])[world.terminal_category[terminal]]
    made["occurred_us"], made["card"], made["terminal"], made["amount_minor"] = occurred, card, terminal, amount
    made["channel"] = channel
    made["entry"] = entry_modes(rng, channel, amount, magstripe)
    return made


def usual_trade(world: World) -> float:
    """Return how many payments a terminal takes a day, the mean of all."""
    return float(world.card_rate.sum() / len(world.terminal_site))


def _card_testing(rng: Rng, world: World, count: int, day_us: int) -> Rows:
    """A few stolen numbers are tried at one shop online with tiny amounts; what works is used once in earnest."""
    each = rng.integers(8, 17, count)
    of = np.repeat(np.arange(count), each)
    tried = rng.integers(len(world.card_rate), size=(count, 3))
    card = tried[of, rng.integers(3, size=len(of))]
    terminal = rng.choice(world.at(1), count)[of]
    start = day_us + rng.integers(DAY_US, size=count)
    occurred = start[of] + rng.integers(40 * MINUTE_US, size=len(of))
    earnest = rng.random(len(of)) < 1 / 8
    amount = np.where(earnest, rng.integers(5_000, 40_000, len(of)), rng.integers(50, 400, len(of)))
    return rows(rng, world, occurred, card, terminal, amount, 0.0)


def _terminal(rng: Rng, world: World, count: int, day_us: int) -> Rows:
    """A terminal is in a thief's hand for days: copied cards are used there, for little more than usual."""
    length = rng.integers(6, 16, count)
    each = rng.poisson(_TAKEN_OVER_TRADE * usual_trade(world) * length)
    of = np.repeat(np.arange(count), each)
    terminal = rng.choice(world.at(0), count)[of]
    card = rng.integers(len(world.card_rate), size=len(of))
    day = day_us + (rng.random(len(of)) * length[of]).astype(np.int64) * DAY_US
    occurred = day + world.time_within_hours(terminal, rng.normal(0.5, 0.25, len(of)))
    amount = usual_amounts(rng, world, card, terminal, np.exp(rng.normal(0.4, 0.3, len(of))))
    return rows(rng, world, occurred, card, terminal, amount, 0.3)


def _lost(rng: Rng, world: World, count: int, day_us: int) -> Rows:
    """A lost or stolen card is used fast, far and wide, before somebody blocks it."""
    each = rng.integers(5, 13, count)
    of = np.repeat(np.arange(count), each)
    card = rng.integers(len(world.card_rate), size=count)[of]
    terminal = rng.choice(world.at(0), len(of))
    start = day_us + rng.integers(9 * HOUR_US, 18 * HOUR_US, count)
    occurred = start[of] + rng.integers(150 * MINUTE_US, size=len(of))
    amount = usual_amounts(rng, world, card, terminal, np.exp(rng.normal(1.1, 0.4, len(of))))
    return rows(rng, world, occurred, card, terminal, amount, 0.0)


def _account_takeover(rng: Rng, world: World, count: int, day_us: int) -> Rows:
    """Somebody else shops online with the holder's account, mostly by night, for much more than usual."""
    length = rng.integers(2, 8, count)
    each = 1 + rng.poisson(3 * length)
    of = np.repeat(np.arange(count), each)
    card = rng.integers(len(world.card_rate), size=count)[of]
    terminal = rng.choice(world.at(1), len(of))
    day = day_us + (rng.random(len(of)) * length[of]).astype(np.int64) * DAY_US
    hour = (rng.normal(2, 4, count) % 23 * HOUR_US).astype(np.int64)
    occurred = day + hour[of] + rng.integers(HOUR_US, size=len(of))
    amount = usual_amounts(rng, world, card, terminal, np.exp(rng.normal(1.5, 0.5, len(of))))
    return rows(rng, world, occurred, card, terminal, amount, 0.0)


def _new_pattern(rng: Rng, world: World, count: int, day_us: int) -> Rows:
    """Pairs of ordinary amounts at terminals that never close, in the small hours of three nights."""
    pairs, nights = 2, 3
    of = np.repeat(np.arange(count), pairs * nights)
    card = rng.integers(len(world.card_rate), size=count)[of]
    terminal = np.repeat(rng.choice(world.at_all_hours(), count * nights), pairs)
    night = np.tile(np.repeat(np.arange(nights), pairs), count) * DAY_US
    first = np.repeat(rng.integers(3 * HOUR_US, 6 * HOUR_US, count * nights), pairs)
    second = np.tile(np.array([0, 1]), count * nights) * rng.integers(MINUTE_US, 8 * MINUTE_US, len(of))
    amount = usual_amounts(rng, world, card, terminal, 0.8)
    return rows(rng, world, day_us + night + first + second, card, terminal, amount, 0.0)


_MAKERS: Final[dict[str, Callable[[Rng, World, int, int], Rows]]] = {
    "card_testing": _card_testing,
    "terminal": _terminal,
    "lost": _lost,
    "account_takeover": _account_takeover,
    "new_pattern": _new_pattern,
}


def delays(rng: Rng, count: int, median_us: int, spread: float) -> Ints:
    """Return log-normal delays of an hour or more, microseconds."""
    drawn = median_us * np.exp(spread * rng.normal(size=count))
    return np.asarray(np.maximum(drawn, HOUR_US).astype(np.int64))


def begun_on(world: World, config: SynthConfig, day: int) -> Rows:
    """Return all fraud, of this day and later ones, of the episodes that begin on `day` (days since 1970)."""
    made = [_of_kind(world, config, name, day) for name in FRAUDS]
    return np.concatenate(made)


def _begin(config: SynthConfig, code: int, a_day: float, day: int) -> int:
    """Return how many episodes begin on a day: spread evenly, so that a short run, too, has its share of each kind."""
    phase = float(np.random.default_rng([config.seed, 3, code]).random())
    return int(a_day * (day + 1) + phase) - int(a_day * day + phase)


def _of_kind(world: World, config: SynthConfig, name: str, day: int) -> Rows:
    kind, code = FRAUDS[name], KINDS.index(name)
    rng = np.random.default_rng([config.seed, 1, code, day])
    size = kind.size * usual_trade(world) if kind.by_trade else kind.size
    a_day = config.cards * config.payments_a_day * config.fraud_share * kind.share / size
    made = _MAKERS[name](rng, world, _begin(config, code, a_day, day), day * DAY_US)
    made["kind"] = code
    noticed = rng.random(len(made)) >= kind.never_noticed
    late = delays(rng, len(made), kind.delay_median_us, kind.delay_spread)
    made["known_us"] = np.where(noticed, made["occurred_us"] + late, 0)
    if name != "new_pattern":
        return made
    return made[made["occurred_us"] >= config.new_pattern_from] if config.new_pattern_from is not None else made[:0]
