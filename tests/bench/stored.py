"""Feature state in Redis, as a well-made peer keeps it: two round trips a payment, correct with any number of workers.

One key an entity, its value a version and the same bytes that the gate's window holds. `MGET` brings both states, the
compiled kernel computes the vector and the new states here, and a script writes both back if neither has changed
meanwhile; otherwise all is done again. Nothing is computed in Redis, whose one thread would be the bound. The client is
redis-py with hiredis over a unix socket, asynchronous. Redis keeps nothing on the disk.
"""

import time
from typing import Any, Final

import numpy as np
import redis.asyncio
from redis.commands.core import AsyncScript

from tests.bench.scoring import Probability, Vector, Verdict, verdict
from tidegate.features import kernel
from tidegate.features.state import CARD, TERMINAL
from tidegate.payment import PaymentRequest
from tidegate.policy.costs import Costs
from tidegate.records import FEATURE_SLOTS

PUT: Final = """
for i = 1, 2 do
  if redis.call('GETRANGE', KEYS[i], 0, 7) ~= ARGV[i] then return 0 end
end
redis.call('SET', KEYS[1], ARGV[3])
redis.call('SET', KEYS[2], ARGV[4])
return 1
"""
_VERSION_BYTES: Final = 8
_ATTEMPTS_MAX: Final = 1_000


def _read(value: Any, kind: "np.dtype[np.void]") -> tuple[bytes, Any]:
    """Return a stored version and a state that can be written to; empty ones where nothing is stored."""
    if value is None:
        return b"", np.zeros(1, kind)
    return value[:_VERSION_BYTES], np.frombuffer(bytearray(value), kind, 1, _VERSION_BYTES)


def _written(version: bytes, state: Any) -> bytes:
    return (int.from_bytes(version, "little") + 1).to_bytes(_VERSION_BYTES, "little") + bytes(state.tobytes())


class Stored:
    """Features in Redis, score and outcome in this process."""

    def __init__(self, probability: Probability, socket: str) -> None:
        self._redis = redis.asyncio.Redis(unix_socket_path=socket)
        self._put: AsyncScript = self._redis.register_script(PUT)
        self._probability = probability
        self._costs = Costs()
        self._hashes: dict[str, int] = {}

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def decide(self, payment: PaymentRequest) -> Verdict:
        """Decide one payment."""
        return verdict(payment, self._probability(await self.observe(payment)), self._costs)

    async def observe(self, payment: PaymentRequest) -> Vector:
        """Count a payment and return its vector.

        Raises:
            RuntimeError: others were always faster.
        """
        keys = [f"c:{payment.card}", f"t:{payment.terminal}"]
        for _ in range(_ATTEMPTS_MAX):
            card, terminal = await self._redis.mget(keys)
            card_version, cards = _read(card, CARD)
            terminal_version, terminals = _read(terminal, TERMINAL)
            vector = self._vector(payment, cards, terminals)
            new = [_written(card_version, cards), _written(terminal_version, terminals)]
            if await self._put(keys, [card_version, terminal_version, *new]):
                return vector
        raise RuntimeError(f"{keys}: changed by others {_ATTEMPTS_MAX} times in a row")

    def _vector(self, payment: PaymentRequest, cards: Any, terminals: Any) -> Vector:
        vector: Vector = np.zeros(FEATURE_SLOTS, np.float32)
        known = self._hashes.get(payment.terminal)
        if known is None:
            known = self._hashes[payment.terminal] = kernel.token_hash(payment.terminal)
        now_us = time.time_ns() // 1000
        occurred_us = min(payment.occurred_us, now_us)
        kernel.observe(cards, 0, terminals, 0, known, now_us, occurred_us, payment.amount.minor, vector)
        return vector
