"""A house under a seed: gate, journal, disk and clock in one process, with the test's hand on all of them."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from actors.gate.gate import Gate
from actors.gate.orders import Orders
from actors.gate.start import open_gate
from actors.gate.tideline import Tideline
from actors.journal.memory import MemoryDisk
from actors.journal.recovery import Recovery
from actors.scorer.model import Scorer
from actors.window.checkpoint import encode
from tidegate.bundle import decode
from tidegate.clock import ManualClock, rfc3339
from tidegate.deltas import Deltas
from tidegate.lists import ListIndex, parse
from tidegate.payment import PaymentRequest
from tidegate.policy.active import ActivePolicy
from tidegate.policy.terms import Policy, policy_id
from tidegate.settings import SiteSettings, site_settings


@dataclass
class House:
    """One site in the test's hand."""

    scorer: Scorer
    settings: SiteSettings
    rng: random.Random
    clock: ManualClock
    journal_disk: MemoryDisk = field(default_factory=MemoryDisk)
    checkpoint_disk: MemoryDisk = field(default_factory=MemoryDisk)
    orders_disk: MemoryDisk = field(default_factory=MemoryDisk)
    tide_disk: MemoryDisk = field(default_factory=MemoryDisk)
    recovery: Recovery | None = None

    def start(self) -> Gate:
        """Open the gate from what the disks hold."""
        gate, self.recovery = open_gate(
            settings=self.settings,
            machine_mark="machine",
            journal_disk=self.journal_disk,
            checkpoint_disk=self.checkpoint_disk,
            scorer=self.scorer,
            orders=Orders(self.orders_disk),
            clock=self.clock,
            entropy=self.rng.randbytes,
            tideline=self.tideline(),
        )
        return gate

    def tideline(self) -> Tideline:
        """Return what the uplink wrote down."""
        return Tideline(self.tide_disk, self.journal_disk)

    def hear(self, gate: Gate, batch: Deltas, *, since: int, until: int) -> None:
        """Have a gate know what other sites did, as its intake does: labels, then the pack, then the overlay."""
        for label in batch.labels():
            gate.take_posted(label)
        Orders(self.orders_disk).packs().put(until, batch, batch.to_bytes())
        gate.take_deltas(batch, since=since, until=until)

    def list(self, gate: Gate, *lines: str) -> ListIndex:
        """Make other lists active; each line is list, entity, value, and where wanted date and rule."""
        content = parse(
            "test",
            ["list,entity,value,expires_at,rule", *(f"{line},," if line.count(",") == 2 else line for line in lines)],
        )
        orders, before = Orders(self.orders_disk), gate.basis.lists.activation
        lists = orders.store(content, before, as_of_us=gate.now_us(), by="test", why="")
        gate.activate_lists(lists)
        return lists

    def obey(self, gate: Gate, *rules: dict[str, Any], **terms: Any) -> ActivePolicy:
        """Make another policy active, of these rules."""
        made = [
            {"number": n, "state": "active", "reason": "RULE_OTHER", "text": "t"} | r for n, r in enumerate(rules, 1)
        ]
        policy = Policy.model_validate({"rules": made, **terms})
        active = ActivePolicy(policy_id(policy), policy, gate.now_us(), "test")
        gate.activate_policy(active)
        return active

    def state_bytes(self, gate: Gate) -> bytes:
        """Return the gate's whole window as bytes."""
        copy = gate.window.copy()
        while not copy.step():
            pass
        return encode(gate.epoch, gate.journal.durable_pos, copy)

    def request(self, number: int) -> PaymentRequest:
        """Return a payment that follows from its number and the seed's clock."""
        card, terminal = self.rng.randrange(40), self.rng.randrange(6)
        body = {
            "transaction_id": f"tx-{number}",
            "occurred_at": rfc3339(self.clock.now_us() - self.rng.choice((0, 0, 0, 90_000_000, 86_400_000_000))),
            "amount": {"minor": self.rng.randrange(1, 90_000), "currency": "EUR"},
            "card": f"card-{card}",
            "terminal": f"t-{terminal}",
            "merchant": "m-1",
            "channel": "card_present",
        }
        return PaymentRequest.model_validate(body)


@pytest.fixture(scope="session")
def scorer(bundle_files: dict[str, bytes]) -> Scorer:
    """The scorer of the small real bundle."""
    return Scorer(decode(bundle_files))


@pytest.fixture
def house(scorer: Scorer, now_us: int) -> Callable[[int], House]:
    """Return what builds a house of a seed."""

    def build(seed: int) -> House:
        small = {"cards_max": 24, "terminals_max": 4, "checkpoint_every_records": 100, "answers_max": 5_000}
        layer = {"data_dir": "x", "machine_mark": "y", "window": small, "journal": {"segment_bytes": 65536}}
        settings = site_settings([layer], names="simulation")
        return House(scorer, settings, random.Random(seed), ManualClock(now_us))

    return build
