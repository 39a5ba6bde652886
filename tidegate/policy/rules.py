"""Rules made ready: compiled at load, run once a payment, told by their bits."""

from typing import Final, NamedTuple

from tidegate.decision import NUMBERS
from tidegate.policy.oracle import Oracle
from tidegate.policy.terms import Policy, Rule, RuleState, outcome_of
from tidegate.policy.variables import Inputs
from tidegate.policy.verdict import Hit, Strength

_STRENGTHS: Final = {"soft": Strength.SOFT, "override": Strength.OVERRIDE, "hard": Strength.HARD}


class Matched(NamedTuple):
    """The bits of the rules that are true of a payment, shadow ones included, and of those that failed."""

    hit: int
    failed: int


NOTHING: Final = Matched(0, 0)


class RuleBook:
    """The rules of a policy that run."""

    def __init__(self, policy: Policy) -> None:
        running = [rule for rule in policy.rules if rule.state.runs]
        active = [rule for rule in running if rule.state is RuleState.ACTIVE]
        self._bits = [rule.bit for rule in running]
        self.runs = bool(running)
        self._oracle = Oracle([rule.when for rule in running])
        self.active = sum(rule.bit for rule in active)
        self.braked = sum(rule.bit for rule in active if rule.brake is not None)
        self._hits = {rule.bit: _hit(rule) for rule in active}
        self._by_id = {rule.id: rule.bit for rule in active}

    def match(self, inputs: Inputs) -> Matched:
        """Run the rules on one payment."""
        hit = failed = 0
        for bit, said in zip(self._bits, self._oracle.run(inputs), strict=True):
            if said is None:
                failed |= bit
            elif said:
                hit |= bit
        return Matched(hit, failed)

    def hits(self, acting: int) -> list[Hit]:
        """Return what the active rules of these bits say."""
        return [hit for bit, hit in self._hits.items() if bit & acting]

    def bits(self, ids: tuple[str, ...]) -> int:
        """Return the bits of the active rules of these ids; one that there is none of has none."""
        mask = 0
        for one in ids:
            mask |= self._by_id.get(one, 0)
        return mask


def _hit(rule: Rule) -> Hit:
    return Hit(_STRENGTHS[rule.strength], outcome_of(rule.outcome), NUMBERS[rule.reason], rule.bit)
