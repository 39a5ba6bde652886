"""What the tide takes from a gate: `python -m tests.bench.tide_gate`, about two minutes.

`python -m tests.bench.tide` tells it, too, unless `--no-gate`, and holds it against what was promised.

A gate in a process of its own, asked 200 times a second in an open loop: a payment is sent at its time, whether or not
the one before is answered, and its wait counts from that time. Rounds without a tide take turns with rounds beside it:
an uplink niced as Ray has it sends all that the gate journals; ingest and the archive, at niceness 19, take it.
"""

import json
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from tests.bench.load import whole
from tests.bench.payments import START, rests
from tests.bench.tide_faults import House, Kept, living, small_bundle

RATE: Final = 200
SECONDS: Final = 8.0
ROUNDS: Final = 4
WARM: Final = 400
_READ_BYTES: Final = 65_536
_SPIN_S: Final = 0.001
UPLINK_NICE: Final = 15  # Ray's own for a worker
CLOUD_NICE: Final = 19


class Asker:
    """One kept connection, and payments without end; plain bytes, so that the asker's own time is small."""

    def __init__(self, house: House) -> None:
        self._socket = socket.create_connection(("127.0.0.1", house.port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._head = f"POST /v1/decisions HTTP/1.1\r\nhost: site\r\nauthorization: Bearer {house.key}\r\n"
        self._rests = rests(int(RATE * SECONDS), time.time_ns() // 1_000).splitlines()
        self._number = 0

    def ask(self) -> None:
        """Have one payment decided.

        Raises:
            ValueError: it wasn't.
        """
        self._number += 1
        body = START % self._number + self._rests[self._number % len(self._rests)]
        told = f"{self._head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        self._socket.sendall(told.encode() + body)
        answer = self._socket.recv(_READ_BYTES)
        while not whole(answer):
            answer += self._socket.recv(_READ_BYTES)

    def round(self) -> list[float]:
        """Return the waits of a round in milliseconds."""
        waits, began = [], time.perf_counter()
        for number in range(int(RATE * SECONDS)):
            due = began + number / RATE
            if (early := due - time.perf_counter()) > 0:
                _wait(early)
            self.ask()
            waits.append((time.perf_counter() - due) * 1e3)
        return waits

    def close(self) -> None:
        """Let go of the connection."""
        self._socket.close()


def _wait(seconds: float) -> None:
    """Wait, and be there in time: the kernel's own wait ends late by more than a decision takes."""
    until = time.perf_counter() + seconds
    while (left := until - time.perf_counter()) > 0:
        if left > _SPIN_S:
            threading.Event().wait(left - _SPIN_S)


def beside(say: Callable[[str], None]) -> dict[str, float]:
    """Return the gate's median and 99th percentile in milliseconds, without the tide and with it."""
    told: dict[str, list[float]] = {"alone": [], "with_tide": []}
    with living("sqlite", small_bundle(), only=("gate",)) as house:
        asker = Asker(house)
        for _ in range(WARM):
            asker.ask()
        for number in range(ROUNDS):
            told["alone"] += asker.round()
            tide = [Kept(role, house.order | {"nice": nice}) for role, nice in _TIDE]
            try:
                asker.round()  # while they start, which takes seconds of the machine
                told["with_tide"] += asker.round()
            finally:
                for each in tide:
                    each.stop()
            say(f"round {number + 1} of {ROUNDS}")
        asker.close()
    numbers = {f"{name}_p{p}_ms": float(np.percentile(waits, p)) for name, waits in told.items() for p in (50, 99)}
    return numbers | {"p50_ratio": numbers["with_tide_p50_ms"] / numbers["alone_p50_ms"]}


_TIDE: Final[tuple[tuple[str, Any], ...]] = (
    ("ingest", CLOUD_NICE),
    ("uplink", UPLINK_NICE),
    ("archive", CLOUD_NICE),
)


def main() -> None:
    """Measure, print a table and one JSON object."""
    numbers = beside(lambda text: print(text, file=sys.stderr))
    for what, value in numbers.items():
        sys.stdout.write(f"{what:<18} {value:>10,.3f}\n")
    sys.stdout.write(f"{json.dumps(numbers)}\n")


if __name__ == "__main__":
    main()
