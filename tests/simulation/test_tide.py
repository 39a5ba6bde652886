"""The tide under a seed: whatever fails at sites, on the way and in the cloud, every record arrives whole and once."""

import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors.journal.reader import Reader
from serve_apps.ingest.ports import Case
from serve_apps.plumbing.stream.ports import FencedError
from tests.simulation.tide import FAST, RecordKey, Site, World
from tidegate.errors import NotFoundError
from tidegate.limits import SECOND_US, TIDE_GAP_AGE_US, TIDE_RANGES_MAX
from tidegate.records import DECISION, Lane
from tidegate.tide import FORKED
from tidegate.tideline import COMMITTED, WITNESS

SEEDS = range(*map(int, os.environ.get("TIDEGATE_SEEDS", "0:300").split(":")))  # others: see tests/soak.py
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
    network = site.network
    rng.choice(
        (
            site.crash,
            site.restart_uplink,
            site.kill,
            site.copy,
            site.checkpoint,
            site.tend,
            lambda: setattr(network, "cut", not network.cut),
            lambda: setattr(network, "bad", rng.choice((0.0, 0.1, 0.4))),
            lambda: setattr(network, "bytes_a_second", rng.choice((FAST, 2_000, 200))),
            lambda: site.clock.step(rng.choice((-90, -3, 3, 90)) * SECOND_US),
            lambda: site.fill(rng.choice((None, 0, 60_000))),
            lambda: lose(site, rng.random()),
        )
    )()


def lose(site: Site, chance: float) -> None:
    """Lose the machine, seldom: a copy of it is put back, or a new one takes its place."""
    if chance < 0.5:
        site.put_back()
    elif chance < 0.6:
        site.reimage()


def fail_cloud(world: World, rng: random.Random) -> None:
    """Let something befall the cloud."""
    what = rng.randrange(5)
    if what == 4 and world.busy:
        world.season()
    elif what == 0:
        world.cloud.restart()
    elif what == 1:
        world.cloud.restart_archive()
    else:
        world.cloud.faults = rng.choice((0.0, 0.3))


def live(world: World) -> None:
    """Let an hour or so pass."""
    rng = world.rng
    for _ in range(STEPS):
        site = rng.choice(world.sites)
        what = rng.random()
        if what < 0.35:
            site.pay(rng.randrange(1, 60 if world.busy else 12))
        elif what < 0.75:
            for each in world.sites:
                each.uplink.step()
                each.mind()
            world.cloud.archive_some()
        elif what < 0.92:
            fail_site(site, rng)
        else:
            fail_cloud(world, rng)
        world.clock.advance(rng.randrange(1, 20) * SECOND_US)


def check_site(site: Site, found: dict[RecordKey, list[bytes]], aside: list[Case]) -> None:
    """Promise 1, and of promise 3 that nothing is lost: all that is durable here is in the cloud, as it is here.

    Where a copy was put back the epoch may hold records that the cloud can't join: they are there under the same
    numbers as others, or kept aside.
    """
    durable, left = site.durable(), site.restored()
    assert all(found.get(key) == [data] for key, data in site.dropped.items())
    for key, data in durable.items():
        if found.get(key) == [data]:
            continue
        _, epoch, lane, seq = key
        kept_aside = any((c.epoch, c.lane) == (epoch, lane) and c.first <= seq <= c.last for c in aside)
        assert epoch in left, key
        assert key not in site.common, key
        assert key in found or kept_aside, key
    here = site.dropped | durable
    rows = [np.frombuffer(data, DECISION)[0] for key, data in here.items() if key[2] == Lane.DECISIONS]
    assert site.acknowledged <= {row["transaction_id"].decode() for row in rows}
    assert site.gate.epoch not in left
    assert not site.uplink.standing.restored


def check_replay(site: Site, rng: random.Random) -> None:
    """Promise 4: a decision of this epoch comes out again to the bit, from what is stored here."""
    places = site.gate.state.places.get(site.gate.epoch)
    seq = rng.randrange(1, places.last + 1) if places is not None else 0
    if places is None or places.find(seq) is None:
        return
    replay = site.replay(seq)
    assert replay.stored().equal
    try:
        assert replay.recompute().equal
    except NotFoundError:
        assert site.dropped


def check_bounds(world: World) -> None:
    """Promise 10: what is kept of a lane has its bound, whatever happened."""
    for held in world.cloud.committer.holdings().values():
        assert all(len(each.ranges) <= TIDE_RANGES_MAX for each in held.lanes.values())
    assert all(len(site.house.tide_disk.sizes()) <= len((COMMITTED, WITNESS)) for site in world.sites)


def check(world: World) -> None:
    """Promises 1 and 3: what was acknowledged is there, and nothing journaled is lost, doubled or another record."""
    found = world.cloud.records()
    assert {key for key, copies in found.items() if len(copies) > 1} == set()
    assert sorted(world.cloud.archived()) == sorted(found)
    aside = world.cloud.quarantine.page(before=None, items=1 << 20)
    ever: dict[RecordKey, set[bytes]] = {}
    for site in world.sites:
        check_site(site, found, [case for case in aside if case.site == site.name])
        check_replay(site, world.rng)
        ever |= {key: {data} | site.before.get(key, set()) for key, data in (site.dropped | site.durable()).items()}
        ever |= {key: data for key, data in site.before.items() if key not in ever}
    assert all(copies[0] in ever[key] for key, copies in found.items())  # nothing that no site journaled
    check_claims(world)
    check_bounds(world)


def check_claims(world: World) -> None:
    """Promise 3, the proof: of each epoch that goes on the cloud has all, without a fork; what a lost machine claimed
    is named as missing."""
    there = {(site.name, str(epoch)) for site in world.sites for epoch in Reader(site.house.journal_disk).epochs()}
    left = {(site.name, epoch) for site in world.sites for epoch in site.restored()}
    epochs = {(site, epoch.partition("-")[2]) for site, epoch in there} - left
    for origin, held in world.cloud.committer.holdings().items():
        assert not (held.forked or held.rival) or (origin.site, origin.epoch) not in epochs, origin
        for lane, claim in held.claims.items():
            whole = held.ranges(lane).missing(claim.seq) == ()
            assert whole or (origin.site, origin.epoch) not in epochs, (origin, lane)
            later = world.clock.now_us() + TIDE_GAP_AGE_US
            assert held.gaps(lane, later) == held.ranges(lane).missing(claim.seq)
    assert set(world.cloud.quarantine.counts()) <= {FORKED}


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_fails_every_record_arrives_whole_and_once(seed: int, house: Callable[[int], House]) -> None:
    world = World(seed, house)
    try:
        live(world)
        world.heal()
        world.until_quiet()
        check(world)
    except (AssertionError, FencedError) as error:
        raise AssertionError(f"seed {seed} at {commit_of_this()}: {error}") from error
