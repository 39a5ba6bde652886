"""Generated payments, a day at a time and without end, so that a live stream needs no more memory than a day."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from tidegate.limits import DAY_US
from training.synth.episodes import EPISODE_DAYS_MAX, begun_on, delays, rows, usual_amounts
from training.synth.world import FAVOURITES, Ints, Rows, SynthConfig, World, build

_FAVOURITE_SHARE: Final = 0.9
_MAGSTRIPE_SHARE: Final = 0.03
_MISTAKEN_SHARE: Final = 0.0003
"""Of honest payments, those that somebody calls fraud and takes back later."""
_MISTAKEN_US: Final = 4 * DAY_US
_TAKEN_BACK_US: Final = 9 * DAY_US


def days(config: SynthConfig, first_day: int) -> Iterator[tuple[int, Rows]]:
    """Yield (day since 1970, its payments in time order) from `first_day` on, without end.

    A day's payments depend on the configuration and the day alone, wherever the iterator starts.
    """
    world = build(config)
    before = range(max(first_day - EPISODE_DAYS_MAX, 0), first_day)
    pending = np.concatenate([begun_on(world, config, day) for day in (*before, first_day)])
    day = first_day
    while True:
        ends = (day + 1) * DAY_US
        fraud = pending[(pending["occurred_us"] >= day * DAY_US) & (pending["occurred_us"] < ends)]
        made = np.concatenate([_honest(world, config, day), fraud])
        made = made[world.is_open(made["terminal"], made["occurred_us"])]
        yield day, made[np.argsort(made["occurred_us"], kind="stable")]
        day += 1
        pending = np.concatenate([pending[pending["occurred_us"] >= ends], begun_on(world, config, day)])


def _honest(world: World, config: SynthConfig, day: int) -> Rows:
    rng = np.random.default_rng([config.seed, 2, day])
    weekend = (day + 3) % 7 >= 5  # noqa: PLR2004 - 1970-01-01 was a Thursday
    rate = world.card_rate * world.card_weekend if weekend else world.card_rate
    card = np.repeat(np.arange(config.cards), rng.poisson(rate))
    terminal = _chosen(rng, world, card)
    occurred = day * DAY_US + world.time_within_hours(terminal, rng.normal(world.card_hour[card], 0.22))
    amount = usual_amounts(rng, world, card, terminal)
    made = rows(rng, world, occurred, card, terminal, amount, _MAGSTRIPE_SHARE)
    called = np.flatnonzero(rng.random(len(made)) < _MISTAKEN_SHARE)
    known = occurred[called] + delays(rng, len(called), _MISTAKEN_US, 0.5)
    made["known_us"][called] = known
    made["corrected_us"][called] = known + delays(rng, len(called), _TAKEN_BACK_US, 0.5)
    return made


def _chosen(rng: np.random.Generator, world: World, card: Ints) -> Ints:
    """Return where the cards go: mostly a favourite, the first the most often, sometimes anywhere."""
    weights = 1 / np.arange(1, FAVOURITES + 1)
    nth = rng.choice(FAVOURITES, len(card), p=weights / weights.sum())
    anywhere = rng.integers(len(world.terminal_site), size=len(card))
    return np.where(rng.random(len(card)) < _FAVOURITE_SHARE, world.favourites[card, nth], anywhere)
