"""Decisions as a gate makes them: a real gate on disks in memory decides generated payments, and its journal is read.

No Ray, no door: for benches of what happens to decisions afterwards. Payments come in their own order and times, with
UUIDv7 ids made by the device at the moment of the payment; the gate sees each some milliseconds later.
"""

import random
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

from actors.gate.gate import Gate
from actors.gate.orders import Orders
from actors.gate.start import open_gate
from actors.journal.memory import MemoryDisk
from actors.journal.reader import Reader
from actors.scorer.disk import PosixFolder
from actors.scorer.model import Scorer
from actors.scorer.shelf import Shelf
from tests.bench.model import put_on_shelf
from tidegate.clock import ManualClock, rfc3339
from tidegate.ids import uuid7
from tidegate.payment import PaymentRequest
from tidegate.records import Lane
from tidegate.settings import site_settings
from training.stream import generated
from training.synth import SynthConfig

NOW_US: Final = 1_795_500_000_000_000
CARDS: Final = 2_000  # so that each has a past soon, which makes features that compress worst
_HOP_US: Final = (2_000, 80_000)  # what a till's own network and software take
_COMMIT_EVERY: Final = 64


def _payments(rng: random.Random) -> Iterator[tuple[int, PaymentRequest]]:
    for item in generated(SynthConfig(seed=11, cards=CARDS), NOW_US):
        own = {"transaction_id": uuid7(item.occurred_us, rng.randbytes), "occurred_at": rfc3339(item.occurred_us)}
        yield item.occurred_us + rng.randrange(*_HOP_US), PaymentRequest.model_validate(item.body | own)


def _gate(disk: MemoryDisk, clock: ManualClock, rng: random.Random) -> Gate:
    layer: dict[str, Any] = {
        "data_dir": "x",
        "machine_mark": "y",
        "window": {"cards_max": CARDS, "terminals_max": 4096},
    }
    with tempfile.TemporaryDirectory(prefix="tgb-") as folder:
        put_on_shelf(Path(folder), NOW_US)
        shelf = Shelf(folder=PosixFolder(Path(folder)))
        active = shelf.active()
        assert active is not None
        scorer = Scorer(shelf.load(active))
    return open_gate(
        settings=site_settings([layer], names="bench"),
        machine_mark="machine",
        journal_disk=disk,
        checkpoint_disk=MemoryDisk(),
        scorer=scorer,
        orders=Orders(MemoryDisk()),
        clock=clock,
        entropy=rng.randbytes,
    )[0]


def decided(count: int, *, warm: int = 0) -> bytes:
    """Return the canonical bytes of so many decisions in a row, made after `warm` others."""
    rng, disk, clock = random.Random(5), MemoryDisk(), ManualClock(NOW_US)
    gate = _gate(disk, clock, rng)
    for number, (seen_us, payment) in enumerate(islice(_payments(rng), warm + count)):
        clock.advance(max(seen_us - clock.now_us(), 0))
        gate.decide(payment)
        if number % _COMMIT_EVERY == 0:
            gate.journal.commit()
    gate.journal.commit()
    made = (record for _, record in Reader(disk).entries())
    rows = (record.to_bytes() for record in made if record.lane is Lane.DECISIONS)
    return b"".join(islice(rows, warm, warm + count))
