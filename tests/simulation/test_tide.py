"""The tide under a seed: whatever fails at sites, on the way and in the cloud, every record arrives whole and once."""

import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors.journal.reader import Reader
from serve_apps.plumbing.stream.ports import FencedError
from tests.simulation.tide import Site, World
from tidegate.limits import SECOND_US, TIDE_GAP_AGE_US
from tidegate.records import DECISION, Lane

SEEDS = 300
STEPS = 50
House = Any
ROOT = Path(__file__).resolve().parents[2]


def commit_of_this() -> str:
    """Return which commit is tested, for who has to repeat it."""
    return subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()


def fail_site(site: Site, rng: random.Random) -> None:
    """Let something befall one site."""
    what = rng.randrange(7)
    if what == 0:
        site.crash()
    elif what == 1:
        site.restart_uplink()
    elif what == 2:
        site.network.cut = not site.network.cut
    elif what == 3:
        site.clock.offset_us += rng.choice((-90, -3, 3, 90)) * SECOND_US
    elif what == 4:
        site.network.bad = rng.choice((0.0, 0.1, 0.4))
    elif what == 5:
        site.house.journal_disk.kill()
        site.gate = site.house.start()
    elif rng.random() < 0.2:
        site.reimage()


def live(world: World) -> None:
    """Let an hour or so pass."""
    rng = world.rng
    for _ in range(STEPS):
        site = rng.choice(world.sites)
        what = rng.random()
        if what < 0.35:
            site.pay(rng.randrange(1, 12))
        elif what < 0.8:
            for each in world.sites:
                each.uplink.step()
        elif what < 0.93:
            fail_site(site, rng)
        elif what < 0.97:
            world.cloud.restart()
        else:
            world.cloud.faults = rng.choice((0.0, 0.3))
        world.clock.advance(rng.randrange(1, 20) * SECOND_US)


def check(world: World) -> None:
    """Promises 1 and 3: what was acknowledged is there, and nothing journaled is lost, doubled or another record."""
    found = world.cloud.records()
    assert {key for key, copies in found.items() if len(copies) > 1} == set()
    for site in world.sites:
        durable = site.durable()
        for key, data in durable.items():
            assert found.get(key) == [data], key
        rows = [np.frombuffer(data, DECISION)[0] for key, data in durable.items() if key[2] == Lane.DECISIONS]
        assert site.acknowledged <= {row["transaction_id"].decode() for row in rows}
    there = {(site.name, str(epoch)) for site in world.sites for epoch in Reader(site.house.journal_disk).epochs()}
    epochs = {(site, epoch.partition("-")[2]) for site, epoch in there}
    for origin, held in world.cloud.committer.holdings().items():
        assert not held.forked
        for lane, claim in held.claims.items():
            whole = held.ranges(lane).missing(claim.seq) == ()
            assert whole or (origin.site, origin.epoch) not in epochs, (origin, lane)
            later = world.clock.now_us() + TIDE_GAP_AGE_US
            assert held.gaps(lane, later) == held.ranges(lane).missing(claim.seq)  # a lost machine's are named
    assert world.cloud.quarantine.counts() == {}


@pytest.mark.parametrize("seed", range(SEEDS))
def test_whatever_fails_every_record_arrives_whole_and_once(seed: int, house: Callable[[int], House]) -> None:
    world = World(seed, house)
    try:
        live(world)
        world.heal()
        world.until_quiet()
        check(world)
    except (AssertionError, FencedError) as error:
        raise AssertionError(f"seed {seed} at {commit_of_this()}: {error}") from error
