"""Follows the log of deltas: asks for what comes next, has the gate count it, and waits longer after each failure.

It remembers nothing that the gate doesn't know better: after any failure it asks the gate where it is.
"""

from dataclasses import dataclass

from actors.keeper.ports import NoDeltasError, Orders, Source
from tidegate.clock import Clock
from tidegate.errors import TidegateError
from tidegate.ids import Entropy
from tidegate.limits import SECOND_US
from tidegate.patience import Patience


@dataclass(slots=True)
class Following:
    """How a keeper does."""

    version: int = 0
    """Where the gate's overlay is, as far as the keeper knows."""
    batches: int = 0
    """Given to the gate since the keeper's start."""
    gaps: int = 0
    """How often the cloud had let go what came next."""
    heard_us: int = 0
    """When the cloud answered last; 0: never."""
    trouble: str = ""
    """Why it doesn't go on for now; empty: it does."""


class Follower:
    """One gate's; one thread steps it."""

    def __init__(self, *, source: Source, orders: Orders, clock: Clock, entropy: Entropy) -> None:
        self.following = Following()
        self._source, self._orders, self._clock = source, orders, clock
        self._patience = Patience(entropy)
        self._version: int | None = None

    def step(self) -> float:
        """Ask once, and return how many seconds to wait before the next step."""
        now_us = self._clock.now_us()
        if now_us < self._patience.until_us:
            return (self._patience.until_us - now_us) / SECOND_US
        try:
            self._go_on()
        except TidegateError as error:
            self._failed(error)
        else:
            self._patience.went_well(now_us)
            self.following.trouble = ""
        return max(self._patience.until_us - self._clock.now_us(), 0) / SECOND_US

    def _go_on(self) -> None:
        version = self._orders.version() if self._version is None else self._version
        self._version, told = None, self.following
        found = self._source.after(version)
        told.heard_us = self._clock.now_us()
        if found is None:
            self._orders.nothing_came(version)
        else:
            told.gaps += found.since > version
            version = self._orders.take(found)
            told.batches += 1
        self._version = told.version = version

    def _failed(self, error: TidegateError) -> None:
        asked_s = error.asked_s if isinstance(error, NoDeltasError) else 0.0
        self._patience.failed(self._clock.now_us(), asked_s)
        self.following.trouble = error.message
