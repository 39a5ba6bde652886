"""Rules made ready: compiled at load, run once a payment, told by their bits."""

from typing import Any, Final, NamedTuple

import numpy as np

from tidegate.decision import NUMBERS
from tidegate.limits import RULES_MAX
from tidegate.policy.grammar import parse
from tidegate.policy.program import TextTests, build, run_one
from tidegate.policy.terms import Policy, Rule, RuleState, outcome_of
from tidegate.policy.variables import Inputs
from tidegate.policy.verdict import Hit, Strength

Table = np.ndarray[Any, np.dtype[np.int64]]
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
        self.runs = bool(running)
        program = build([(rule.bit, parse(rule.when)) for rule in running])
        self.program = program
        self.arrays = (program.steps, program.ends, program.consts, program.bits, program.depth)
        self._tests = TextTests(program.tests)
        self.active = sum(rule.bit for rule in active)
        self.braked = sum(rule.bit for rule in active if rule.brake is not None)
        self._hits = {rule.bit: _hit(rule) for rule in active}
        self._by_id = {rule.id: rule.bit for rule in active}

    def match(self, inputs: Inputs) -> Matched:
        """Run the rules on one payment."""
        vector, amount_minor, probability, score, texts = inputs
        passed = np.uint64(self._tests.mask(texts))
        hit, failed = run_one(*self.arrays, vector, float(amount_minor), probability, float(score), passed)
        return Matched(int(hit), int(failed))

    def hits(self, acting: int) -> list[Hit]:
        """Return what the active rules of these bits say."""
        return [hit for bit, hit in self._hits.items() if bit & acting]

    def tables(self) -> tuple[Table, Table]:
        """Return outcome and strength of each active rule by its bit's number, int64; -1 where there is none."""
        said, strengths = np.full(RULES_MAX, -1, np.int64), np.full(RULES_MAX, -1, np.int64)
        for bit, hit in self._hits.items():
            said[bit.bit_length() - 1], strengths[bit.bit_length() - 1] = hit.outcome, hit.strength
        return said, strengths

    def bits(self, ids: tuple[str, ...]) -> int:
        """Return the bits of the active rules of these ids; one that there is none of has none."""
        mask = 0
        for one in ids:
            mask |= self._by_id.get(one, 0)
        return mask


def _hit(rule: Rule) -> Hit:
    return Hit(_STRENGTHS[rule.strength], outcome_of(rule.outcome), NUMBERS[rule.reason], rule.bit)
