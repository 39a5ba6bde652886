"""Decisions replayed from what a house under a seed left on its disks: equal to the bit, or the difference is told."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from actors.gate.gate import Gate
from actors.gate.replay import Difference, Replay
from actors.gate.start import store_checkpoint
from actors.scorer.model import Scorer
from tests.deltas import used
from tidegate.errors import BundleError, NotFoundError
from tidegate.ids import BundleId, RecordId
from tidegate.payment import LabelRequest
from tidegate.records import Kind

House = Any
LISTS = (
    "hard_block,card,card-1",
    "allow,card,card-2",
    "watch,terminal,t-3",
    "soft_block,card,card-4,2026-11-26T00:00:00Z,",
    "suppress,card,card-5,2026-12-26T00:00:00Z,often",
)
RULES = (
    {"id": "often", "when": "card_count_24h > 1.0", "outcome": "decline", "brake": {"declines": 3, "minutes": 600}},
    {"id": "large", "when": "amount / card_mean > 2.0 && has_card_mean", "outcome": "review", "state": "shadow"},
    {"id": "never", "when": "card_mean / card_mean > 0.5", "outcome": "challenge"},
)


def lived(house: House, rng: random.Random) -> tuple[Gate, list[str]]:
    """Live a while: late payments, labels, evictions, a clock set back, other lists, a restart, a checkpoint."""
    gate: Gate = house.start()
    told: list[str] = []
    for number in range(120):
        house.clock.advance(rng.choice((1_000, 40_000_000, 3_600_000_000, -9_000_000)))
        request = house.request(number)
        told.append(str(gate.answer(gate.decide(request))["decision_id"]))
        gate.journal.commit()
        if number % 7 == 3:
            known = "2026-11-24T00:00:00Z"
            body = {"label_id": f"l-{number}", "merchant": "m-1", "transaction_id": request.transaction_id}
            body |= {"verdict": "fraud", "source": "chargeback", "known_at": known}
            gate.label(LabelRequest.model_validate(body))
            gate.journal.commit()
        if number % 5 == 1:
            version, cards = gate.window.overlay.reached.version, [f"card-{rng.randrange(40)}" for _ in range(9)]
            heard = used(*cards, at_us=gate.now_us() - rng.choice((0, 5_000_000)))
            house.hear(gate, heard, since=version + (number == 81), until=version + 2)
        if number == 60:
            pos, copy = gate.journal.last_pos, gate.window.copy()
            while not copy.step():
                pass
            store_checkpoint(house.checkpoint_disk, gate.epoch, pos, copy)
        if number == 90:
            gate.journal.close()
            gate = house.start()
        if number == 25:
            house.obey(gate, *RULES)
        if number == 75:
            house.list(gate, *LISTS)
        if number == 100:
            house.obey(gate, *RULES[:1], watch_outcome="challenge")
    return gate, told


def replay(house: House, decision: str, scorer: Scorer) -> Replay:
    def load(bundle: BundleId) -> Scorer:
        if bundle != scorer.bundle.id:
            raise BundleError(f"{bundle}: not here")
        return scorer

    wanted = RecordId.parse(decision)
    assert wanted is not None
    return Replay(
        wanted=wanted,
        journal=house.journal_disk,
        checkpoints=house.checkpoint_disk,
        orders=house.orders_disk,
        load=load,
    )


@pytest.mark.parametrize("seed", range(6))
def test_every_decision_is_replayed_to_the_bit_while_its_gate_is_running(
    seed: int, house: Callable[[int], House], scorer: Scorer
) -> None:
    built, rng = house(seed), random.Random(seed)
    gate, told = lived(built, rng)

    happened = {record.kind for _, record in gate.journal.scan()}
    assert happened >= {Kind.CLOCK_STEPPED, Kind.CARD_EVICTED, Kind.LISTS_ACTIVATED, Kind.LABEL_RECEIVED}
    assert happened >= {Kind.POLICY_ACTIVATED, Kind.OVERLAY_APPLIED}
    assert gate.window.overlay.evictions
    for decision in rng.sample(told, 25):
        found = replay(built, decision, scorer)
        assert found.stored().differences == ()
        assert found.recompute().differences == ()


def test_a_recomputation_begins_at_the_newest_checkpoint_before_the_decision(
    house: Callable[[int], House], scorer: Scorer
) -> None:
    built = house(3)
    _, told = lived(built, random.Random(3))
    with_it = replay(built, told[100], scorer).recompute()
    built.checkpoint_disk = type(built.checkpoint_disk)()
    assert with_it == replay(built, told[100], scorer).recompute()
    assert with_it.equal


def test_a_replay_by_another_model_tells_each_field_that_differs(
    house: Callable[[int], House], scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = house(4)
    _, told = lived(built, random.Random(4))
    found = replay(built, told[5], scorer)
    score = Scorer.score
    monkeypatch.setattr(Scorer, "score", lambda self, row: score(self, row)._replace(margin=1.5))
    stored, recomputed = found.stored(), found.recompute()
    expected = Difference("margin", float(found.decided.margin).hex(), "0x1.8000000000000p+0")
    assert stored.differences == recomputed.differences == (expected,)
    assert not stored.equal


@pytest.mark.parametrize(
    "wanted", ["site-1.g0.{epoch}.L1.999", "site-1.g0.0123456789abcdef.L1.1", "site-1.g0.{epoch}.L2.1"]
)
def test_a_decision_that_the_journal_does_not_hold_is_not_found(
    house: Callable[[int], House], scorer: Scorer, wanted: str
) -> None:
    built = house(5)
    gate, _ = lived(built, random.Random(5))
    with pytest.raises(NotFoundError):
        replay(built, wanted.format(epoch=gate.epoch), scorer)
