"""The whole house under a seed: crashes, torn writes, retries, clock steps; what was acknowledged stays."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from actors.gate.gate import Gate
from actors.gate.start import store_checkpoint
from actors.journal.memory import PowerCut
from tests.deltas import OTHER, posted, used
from tidegate.deltas import Deltas
from tidegate.frames import Origin
from tidegate.ids import GateId, SiteId
from tidegate.payment import LabelRequest, PaymentRequest

SEEDS = 200
STEPS = 60
House = Any


class Told:
    """What the outside world was told: the first answer to each id, by the only source of truth, the answers."""

    def __init__(self) -> None:
        self.requests: dict[str, PaymentRequest] = {}
        self.answers: dict[str, dict[str, Any]] = {}
        self.labels = 0

    def check(self, gate: Gate, transaction_id: str) -> None:
        again = gate.decide(self.requests[transaction_id])
        answer = gate.answer(again)

        assert again.replayed
        assert answer | {"replayed": False} == self.answers[transaction_id]


def _pay(house: House, gate: Gate, told: Told, rng: random.Random, number: int) -> list[tuple[str, dict[str, Any]]]:
    """Decide a few payments and commit them together: told only after the commit returned."""
    made = []
    for offset in range(rng.randrange(1, 5)):
        request = house.request(number * 10 + offset)
        decision = gate.decide(request)
        told.requests[request.transaction_id] = request
        made.append((request.transaction_id, gate.answer(decision)))
    gate.journal.commit()
    return made


def _label(gate: Gate, told: Told, rng: random.Random) -> None:
    told.labels += 1
    transaction = rng.choice(sorted(told.answers))
    body = {
        "label_id": f"label-{told.labels}",
        "merchant": "m-1",
        "transaction_id": transaction,
        "verdict": rng.choice(("fraud", "fraud", "legit")),
        "source": "chargeback",
        "known_at": "2026-11-24T00:00:00Z",
    }
    gate.label(LabelRequest.model_validate(body))
    gate.journal.commit()


def _swap(house: House, gate: Gate, rng: random.Random) -> None:
    """Decide by another policy or other lists from the next payment on; a crash may come before it is durable."""
    if rng.random() < 0.5:
        declines = {"declines": rng.randrange(1, 4), "minutes": rng.choice((1, 600))}
        when = f"card_count_24h >= {rng.randrange(1, 4)}"
        house.obey(gate, {"id": "often", "when": when, "outcome": "decline", "brake": declines})
    else:
        house.list(gate, f"hard_block,card,card-{rng.randrange(40)}", f"watch,terminal,t-{rng.randrange(6)}")
    if rng.random() < 0.7:
        gate.journal.commit()


def _hear(house: House, gate: Gate, told: Told, rng: random.Random) -> None:
    """Learn what other sites did, or that they did nothing; a crash may come before it is kept, counted or durable."""
    version = gate.window.overlay.reached.version
    if version and rng.random() < 0.1:
        gate.nothing_came(gate.now_us())
        return
    own = Origin(SiteId(house.settings.site), GateId(house.settings.gate), gate.epoch)
    at_us = gate.now_us() - rng.choice((0, 1_000_000, 7_200_000_000, -60_000_000))
    cards = [f"card-{rng.randrange(40)}" for _ in range(rng.randrange(1, 40))]
    rows = [used(*cards, at_us=at_us, origin=origin).rows for origin in (OTHER, own) if rng.random() < 0.8]
    known = sorted(told.answers)
    rows += [posted(int(rng.choice(known)[3:]), at_us=gate.now_us()).rows for _ in range(3) if known]
    if rng.random() < 0.2:
        house.orders_disk.cut_at(rng.randrange(1, 12))
    if rows:
        since = version + (rng.random() < 0.05)
        house.hear(gate, Deltas(np.concatenate(rows)), since=since, until=since + rng.randrange(1, 4))
    if rng.random() < 0.7:
        gate.journal.commit()


def _checkpoint(house: House, gate: Gate, told: Told, rng: random.Random, number: int) -> None:
    """Copy the window row by row while payments go on, and store the copy once its position is durable."""
    pos, copy = gate.journal.last_pos, gate.window.copy()
    made: list[tuple[str, dict[str, Any]]] = []
    steps = ((copy.terminals, 1), (copy.cards, rng.randrange(1, 9)), (copy.overlay.cards, rng.randrange(1, 9)))
    while not all(table.step(rows) for table, rows in steps):
        if rng.random() < 0.05:
            _hear(house, gate, told, rng)
        if rng.random() < 0.2 and len(made) < 5:
            request = house.request(1_000_000 + number * 10 + len(made))
            made.append((request.transaction_id, gate.answer(gate.decide(request))))
            told.requests[request.transaction_id] = request
    gate.journal.commit()
    told.answers.update(made)
    store_checkpoint(house.checkpoint_disk, gate.epoch, pos, copy)


def _power_cut(house: House, rng: random.Random) -> Gate:
    """End the process and what the disk hadn't synced; start again."""
    house.journal_disk.crash(rng)
    house.checkpoint_disk.crash(rng)
    house.orders_disk.crash(rng)
    gate: Gate = house.start()
    return gate


def _live(house: House, rng: random.Random, told: Told) -> Gate:
    """Live through a number of steps, some of which are the end of the process."""
    gate: Gate = house.start()
    for number in range(STEPS):
        house.clock.advance(rng.choice((0, 1_000, 250_000, 40_000_000, 3_600_000_000, -2_000_000)))
        action = rng.random()
        try:
            if rng.random() < 0.05:
                house.journal_disk.cut_at(rng.randrange(1, 60))
            if action < 0.74:
                told.answers.update(_pay(house, gate, told, rng, number))
            elif action < 0.80 and told.answers:
                _label(gate, told, rng)
            elif action < 0.83:
                _swap(house, gate, rng)
            elif action < 0.91:
                _hear(house, gate, told, rng)
            elif action < 0.93:
                _checkpoint(house, gate, told, rng, number)
            else:
                gate = _power_cut(house, rng)
        except PowerCut:
            gate = _power_cut(house, rng)
    try:
        gate.journal.commit()
    except PowerCut:
        gate = _power_cut(house, rng)
    return gate


@pytest.mark.parametrize("seed", range(SEEDS))
def test_what_was_acknowledged_survives_every_crash_with_the_same_answer(
    seed: int, house: Callable[[int], House]
) -> None:
    rng, told, built = random.Random(seed), Told(), house(seed)

    gate = _live(built, rng, told)

    assert gate.state.offline_approvals
    assert gate.offline_approvals is not gate.state.clock_behind
    for transaction_id in told.answers:
        told.check(gate, transaction_id)


@pytest.mark.parametrize("seed", range(0, SEEDS, 5))
def test_state_after_crashes_is_what_an_uninterrupted_replay_gives(seed: int, house: Callable[[int], House]) -> None:
    rng, told, built = random.Random(seed), Told(), house(seed)
    gate = _live(built, rng, told)
    built.journal_disk.kill()

    built.checkpoint_disk = type(built.checkpoint_disk)()
    rebuilt = built.start()

    assert built.state_bytes(rebuilt) == built.state_bytes(gate)
    assert rebuilt.state.brakes.held() == gate.state.brakes.held()
    assert (rebuilt.basis.policy, rebuilt.basis.lists) == (gate.basis.policy, gate.basis.lists)


def test_a_retry_after_damage_gets_its_first_answer_with_the_id_of_its_old_epoch(
    house: Callable[[int], House],
) -> None:
    rng, told, built = random.Random(1), Told(), house(1)
    gate: Gate = built.start()
    for number in range(40):
        told.answers.update(_pay(built, gate, told, rng, number))
    old = gate.epoch
    built.journal_disk.kill()
    segment = next(name for name in built.journal_disk.sizes() if old in name and "mark" not in name)
    built.journal_disk.garble(segment, 9_000, b"\xff" * 64)

    gate = built.start()

    assert gate.epoch != old
    assert not gate.offline_approvals
    kept = [id_ for id_, request in told.requests.items() if gate.decide(request).replayed]
    assert len(told.answers) - 2 <= len(kept) < len(told.answers)
    for transaction_id in kept:
        again = gate.decide(told.requests[transaction_id])
        assert gate.answer(again)["decision_id"] == told.answers[transaction_id]["decision_id"]
