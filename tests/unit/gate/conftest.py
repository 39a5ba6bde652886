"""A gate on disks and a clock in the test's hand."""

from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest

from actors.gate.gate import Gate
from actors.gate.orders import Orders
from actors.gate.start import open_gate
from actors.gate.tideline import Tideline
from actors.journal.memory import MemoryDisk
from actors.scorer.model import Scorer
from tidegate.bundle import decode
from tidegate.clock import Clock, ManualClock, rfc3339
from tidegate.deltas import Deltas
from tidegate.lists import ListIndex, parse
from tidegate.payment import LabelRequest, PaymentRequest
from tidegate.policy.active import ActivePolicy
from tidegate.policy.terms import Policy, policy_id
from tidegate.settings import site_settings


@dataclass
class Rig:
    """What a gate is opened on."""

    scorer: Scorer
    now_us: int
    clock: Clock
    disk: MemoryDisk = field(default_factory=MemoryDisk)
    checkpoints: MemoryDisk = field(default_factory=MemoryDisk)
    orders: MemoryDisk = field(default_factory=MemoryDisk)
    rng: Random = field(default_factory=lambda: Random(1))
    mark: str = "machine"
    layer: dict[str, Any] = field(default_factory=dict)
    tideline: Tideline | None = None

    def open(self) -> Gate:
        """Open the gate from what the disks hold."""
        base = {"data_dir": "x", "machine_mark": "y", "profile": "demo", "journal": {"segment_bytes": 65536}}
        base["window"] = {"cards_max": 16, "terminals_max": 4, "answers_max": 5_000}
        return open_gate(
            settings=site_settings([base, self.layer], names="test"),
            machine_mark=self.mark,
            journal_disk=self.disk,
            checkpoint_disk=self.checkpoints,
            scorer=self.scorer,
            orders=Orders(self.orders),
            clock=self.clock,
            entropy=self.rng.randbytes,
            tideline=self.tideline,
        )[0]

    def list(self, gate: Gate, *lines: str) -> ListIndex:
        """Make other lists active; each line is list, entity, value, and where wanted date and rule."""
        content = parse(
            "test",
            ["list,entity,value,expires_at,rule", *(f"{line},," if line.count(",") == 2 else line for line in lines)],
        )
        orders, before = Orders(self.orders), gate.basis.lists.activation
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

    def hear(self, gate: Gate, batch: Deltas, until: int, *, since: int | None = None) -> None:
        """Have a gate know what other sites did, as its intake does."""
        begin = gate.window.overlay.reached.version if since is None else since
        for label in batch.labels():
            gate.take_posted(label)
        Orders(self.orders).packs().put(until, batch, batch.to_bytes())
        gate.take_deltas(batch, since=begin, until=until)

    def reopen(self, gate: Gate) -> Gate:
        """End the process and open the gate again."""
        gate.journal.commit()
        self.disk.kill()
        return self.open()

    def payment(self, number: int = 1, **other: Any) -> PaymentRequest:
        """Return a payment of now, with some fields of its own."""
        body: dict[str, Any] = {
            "transaction_id": f"tx-{number}",
            "occurred_at": rfc3339(self.clock.now_us()),
            "amount": {"minor": 1_250, "currency": "EUR"},
            "card": "card-1",
            "terminal": "t-1",
            "merchant": "m-1",
            "channel": "card_present",
        }
        return PaymentRequest.model_validate(body | other)

    def label(self, number: int = 1, verdict: str = "fraud", **other: Any) -> LabelRequest:
        """Return a label on the payment of that number."""
        body = {"label_id": f"l-{number}", "merchant": "m-1", "transaction_id": f"tx-{number}", "verdict": verdict}
        known = {"source": "chargeback", "known_at": rfc3339(self.clock.now_us())}
        return LabelRequest.model_validate(body | known | other)


@pytest.fixture(scope="session")
def scorer(bundle_files: dict[str, bytes]) -> Scorer:
    return Scorer(decode(bundle_files))


@pytest.fixture
def rig(scorer: Scorer, now_us: int) -> Rig:
    return Rig(scorer, now_us, ManualClock(now_us))
