"""Follows the log of deltas: asks for what comes next, has the gate count it, and waits longer after each failure.

It remembers nothing that the gate doesn't know better: each answer of the gate says where it is, and after any failure
it is asked. A gate that came back elsewhere in between takes nothing that was asked for before.
"""

from dataclasses import dataclass

from actors.keeper.ports import BeganAgainError, NoDeltasError, Orders, Quiet, Source
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
        if left_us := self._patience.left_us(now_us):
            return left_us / SECOND_US
        try:
            self._go_on()
        except TidegateError as error:
            self._failed(error)
        else:
            self.following.trouble = ""
        return self._patience.left_us(self._clock.now_us()) / SECOND_US

    def _go_on(self) -> None:
        asked = self._orders.version() if self._version is None else self._version
        self._version, began_us = None, self._clock.now_us()
        try:
            found = self._source.after(asked)
        except BeganAgainError:
            self._orders.began_again(asked)
            raise
        now_us = self.following.heard_us = self._clock.now_us()
        self._patience.went_well(now_us)
        if isinstance(found, Quiet):
            version = self._orders.nothing_came(asked, found)
            if now_us - began_us < SECOND_US:  # a cache's answer of before: whoever asks at once gets the same
                self._patience.in_vain(now_us)
        else:
            self.following.gaps += found.since > asked
            version = self._orders.take(asked, found)
            self.following.batches += 1
        self._version = self.following.version = version

    def _failed(self, error: TidegateError) -> None:
        asked_s = error.asked_s if isinstance(error, NoDeltasError) else 0.0
        self._patience.failed(self._clock.now_us(), asked_s)
        self.following.trouble = error.message
