"""Brakes: how many declines each rule caused lately, by the gate's clock; rebuilt from the journal at a start."""

from collections import deque

from tidegate.limits import MINUTE_US
from tidegate.policy.terms import Policy


class Brakes:
    """The times of each rule's latest declines, as many as its brake allows in a period."""

    def __init__(self) -> None:
        self._times: dict[int, deque[int]] = {}
        self._ids: dict[int, str] = {}
        self._periods: dict[int, int] = {}

    def fit(self, policy: Policy) -> None:
        """Take over a policy's brakes; a rule that goes on keeps its latest declines."""
        braked = [rule for rule in policy.rules if rule.brake is not None]
        kept = {rule.bit: self._times.get(rule.bit, ()) for rule in braked if self._ids.get(rule.bit) == rule.id}
        self._times = {
            rule.bit: deque(kept.get(rule.bit, ()), maxlen=rule.brake.declines) for rule in braked if rule.brake
        }
        self._ids = {rule.bit: rule.id for rule in braked}
        self._periods = {rule.bit: rule.brake.minutes * MINUTE_US for rule in braked if rule.brake}

    def closed(self, now_us: int) -> int:
        """Return the bits of the rules that have declined as often as they may."""
        mask = 0
        for bit, times in self._times.items():
            if len(times) == times.maxlen and now_us - times[0] < self._periods[bit]:
                mask |= bit
        return mask

    def count(self, deciding: int, now_us: int) -> None:
        """Count a decline that the rules of these bits brought about."""
        if deciding:
            for bit, times in self._times.items():
                if bit & deciding:
                    times.append(now_us)

    def held(self) -> dict[int, tuple[int, ...]]:
        """Return the times remembered, by the rule's number, for comparison and for people."""
        return {bit.bit_length(): tuple(times) for bit, times in self._times.items() if times}
