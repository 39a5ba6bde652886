"""The payments that every contender of the gate's bench is asked about, as the bytes that go over the wire.

Light, since the load generator imports it, too: what makes payments is imported where they are made.
"""

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

START: Final = b'{"transaction_id":"bench-%09d",'
"""How a body begins; the number makes each payment another one."""
BATCH: Final = 1_000
CARDS: Final = 20_000


def made(cards: int, now_us: int) -> Iterator[dict[str, Any]]:
    """Yield generated payments without end, as bodies without an id: habits of people and shops, taking place now."""
    from tidegate.clock import rfc3339  # noqa: PLC0415
    from training.stream import generated  # noqa: PLC0415 - see above
    from training.synth import SynthConfig  # noqa: PLC0415

    for item in generated(SynthConfig(seed=11, cards=cards), now_us):
        rest = {name: value for name, value in item.body.items() if name != "transaction_id"}
        yield rest | {"occurred_at": rfc3339(now_us)}


def rests(count: int, now_us: int) -> bytes:
    """Return what follows `START` in so many payments, a line each."""
    lines = (json.dumps(body, separators=(",", ":"))[1:] for body in islice(made(CARDS, now_us), count))
    return "\n".join(lines).encode()


def batches(cards: int, now_us: int) -> Iterator[bytes]:
    """Yield bodies of the batch route in which each of so many cards pays once."""
    source = made(cards, now_us)
    for first in range(0, cards, BATCH):
        numbers = range(first, min(first + BATCH, cards))
        paid = [
            {"transaction_id": f"card-{number}", **body, "card": f"card-{number:06d}"}
            for number, body in zip(numbers, source, strict=False)
        ]
        yield json.dumps({"decisions": paid}).encode()
