"""Rules as data: steps of a stack machine, run by one kernel for one payment and for millions.

The CEL library says what a rule means and proves each at load; to serve with it would cost 0.7 µs a rule and 1 µs a
variable. This kernel takes about 2 µs for twenty rules, and is compiled once, not anew for each policy.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

import numpy as np
from numba import njit

from tidegate.decision import NO_SCORE
from tidegate.features.declarations import NAMES
from tidegate.limits import RULE_TEXT_TESTS_MAX
from tidegate.policy.grammar import Member, Node, Number, Operation, RuleError, Text, TextIs, Truth, Variable, kind_of
from tidegate.policy.variables import AMOUNT, BOOLS, DEFAULTS, DOUBLES, OPTIONAL, PRESENT, TEXTS

_F = TypeVar("_F", bound=Callable[..., Any])
Array = np.ndarray[Any, Any]
STEP: Final = np.dtype([("op", "<i4"), ("arg", "<i4"), ("count", "<i4")])
_CONST, _DOUBLE, _KNOWN, _TEXT, _ADD, _SUB, _MUL, _DIV, _NEG = range(9)
_LT, _LE, _GT, _GE, _EQ, _NE, _AND, _OR, _NOT, _CHOOSE, _MEMBER = range(9, 20)
_OPS: Final = {"+": _ADD, "-": _SUB, "*": _MUL, "/": _DIV, "neg": _NEG, "!": _NOT, "&&": _AND, "||": _OR}
_OPS.update({"<": _LT, "<=": _LE, ">": _GT, ">=": _GE, "==": _EQ, "!=": _NE, "?:": _CHOOSE})
_FEATURES: Final = len(NAMES)
_PROBABILITY: Final = DOUBLES.index("probability")
_DEFAULTS: Final = np.array(DEFAULTS, np.float64)


def _kernel(function: _F) -> _F:
    return cast("_F", njit(cache=True, nogil=True, error_model="numpy")(function))


@dataclass(frozen=True, slots=True)
class Program:
    """Rules compiled together. `ends[i]` is where rule i's steps end; `tests` are tests of text, by their bits."""

    steps: Array
    ends: Array
    consts: Array
    bits: Array
    depth: int
    tests: tuple[TextIs, ...]

    @property
    def names(self) -> frozenset[str]:
        """The text variables that have to be tested."""
        return frozenset(test.name for test in self.tests)


class _Compiler:
    """Collects steps, constants and tests of text of all rules."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int, int]] = []
        self.consts: list[float] = []
        self.tests: dict[TextIs, int] = {}
        self.depth = 0

    def add(self, node: Node, held: int = 1) -> None:
        """Add the steps of a node, which leave one value on the stack; `held` is how many there are then."""
        self.depth = max(self.depth, held)
        match node:
            case Number(value):
                self._step(_CONST, self._const(value))
            case Truth(value):
                self._step(_CONST, self._const(float(value)))
            case Variable(name):
                self._variable(name)
            case TextIs():
                self._test(node)
            case Member(value, items):
                self.add(value, held)
                start = len(self.consts)
                self.consts.extend(items)
                self._step(_MEMBER, start, len(items))
            case Operation(operator, operands):
                for at, operand in enumerate(operands):
                    self.add(operand, held + at)
                self._step(_OPS[operator])
            case Text():
                raise AssertionError("a text by itself has no value; the grammar refuses it")

    def _step(self, op: int, arg: int = 0, count: int = 0) -> None:
        self.steps.append((op, arg, count))

    def _const(self, value: float) -> int:
        self.consts.append(value)
        return len(self.consts) - 1

    def _variable(self, name: str) -> None:
        if name in DOUBLES:
            self._step(_DOUBLE, DOUBLES.index(name))
        elif (text := name.removeprefix(PRESENT)) in OPTIONAL:
            self._test(TextIs(text, "in", ("",)))
            self._step(_NOT)
        else:
            self._step(_KNOWN, BOOLS.index(name))

    def _test(self, test: TextIs) -> None:
        self._step(_TEXT, self.tests.setdefault(test, len(self.tests)))


def build(rules: Sequence[tuple[int, Node]]) -> Program:
    """Return the program of rules, each a bit and a tree.

    Raises:
        RuleError: together they test text in more ways than fit a mask.
    """
    compiler, ends = _Compiler(), []
    for _, node in rules:
        if kind_of(node) != "bool":
            raise AssertionError("the grammar lets no other rule pass")
        compiler.add(node)
        ends.append(len(compiler.steps))
    if len(compiler.tests) > RULE_TEXT_TESTS_MAX:
        raise RuleError(0, f"all rules together test text in more than {RULE_TEXT_TESTS_MAX} ways; use lists instead")
    bits = np.array([bit for bit, _ in rules], np.uint64)
    arrays = (np.array(compiler.steps, STEP), np.array(ends, np.int64), np.array(compiler.consts, np.float64), bits)
    return Program(*arrays, depth=compiler.depth, tests=tuple(compiler.tests))


@_kernel
def _number(vector: Array, amount: float, probability: float, score: float, at: int) -> float:
    if at == AMOUNT:
        return amount
    if at >= _FEATURES:
        if score == NO_SCORE:
            return 0.0
        return probability if at == _PROBABILITY else score
    value = np.float64(vector[at])
    return float(_DEFAULTS[at]) if np.isnan(value) else float(value)


@_kernel
def _known(vector: Array, score: float, at: int) -> float:
    if at == AMOUNT:
        return 1.0
    if at >= _FEATURES:
        return 0.0 if score == NO_SCORE else 1.0
    return 0.0 if np.isnan(vector[at]) else 1.0


@_kernel
def _applied(op: int, a: float, b: float) -> float:  # noqa: PLR0911 - one line an operator
    if op == _ADD:
        return a + b
    if op == _SUB:
        return a - b
    if op == _MUL:
        return a * b
    if op == _DIV:
        return a / b
    if op == _EQ:
        return 1.0 if a == b else 0.0
    if op == _NE:
        return 1.0 if a != b else 0.0
    if op == _LT:
        return 1.0 if a < b else 0.0
    if op == _LE:
        return 1.0 if a <= b else 0.0
    if op == _GT:
        return 1.0 if a > b else 0.0
    return 1.0 if a >= b else 0.0


@_kernel
def _logic(op: int, a: float, a_fails: Any, b: float, b_fails: Any) -> tuple[float, bool]:
    """CEL's `&&` and `||`: one operand that decides makes the other's failure not matter."""
    decides = 0.0 if op == _AND else 1.0
    if (not a_fails and a == decides) or (not b_fails and b == decides):
        return decides, False
    return 1.0 - decides, a_fails or b_fails


@_kernel
def _in(consts: Array, start: int, count: int, value: float) -> float:
    for at in range(start, start + count):
        if consts[at] == value:
            return 1.0
    return 0.0


@_kernel
def _run(  # noqa: C901, PLR0912 - the machine's one loop
    steps: Array,
    ends: Array,
    consts: Array,
    bits: Array,
    vector: Array,
    amount: float,
    probability: float,
    score: float,
    texts: Any,
    value: Array,
    fails: Array,
) -> tuple[Any, Any]:
    hit, failed, at = np.uint64(0), np.uint64(0), 0
    for rule in range(len(ends)):
        top = -1
        while at < ends[rule]:
            op, arg = steps[at].op, steps[at].arg
            if op <= _TEXT:
                top += 1
                fails[top] = False
                if op == _CONST:
                    value[top] = consts[arg]
                elif op == _DOUBLE:
                    value[top] = _number(vector, amount, probability, score, arg)
                elif op == _KNOWN:
                    value[top] = _known(vector, score, arg)
                else:
                    value[top] = 1.0 if texts >> np.uint64(arg) & np.uint64(1) else 0.0
            elif op == _NEG:
                value[top] = -value[top]
            elif op == _NOT:
                value[top] = 1.0 - value[top]
            elif op == _MEMBER:
                value[top] = _in(consts, arg, steps[at].count, value[top])
            elif op == _CHOOSE:
                top -= 2
                chosen = top + 1 if value[top] != 0.0 else top + 2
                fails[top] = fails[top] or fails[chosen]
                value[top] = value[chosen]
            elif op in (_AND, _OR):
                top -= 1
                value[top], fails[top] = _logic(op, value[top], fails[top], value[top + 1], fails[top + 1])
            else:
                top -= 1
                a, b = value[top], value[top + 1]
                # CEL orders no NaN: a comparison with one has no value.
                unordered = _LT <= op <= _GE and (np.isnan(a) or np.isnan(b))
                fails[top] = fails[top] or fails[top + 1] or unordered
                value[top] = _applied(op, a, b)
            at += 1
        if fails[0]:
            failed |= bits[rule]
        elif value[0] != 0.0:
            hit |= bits[rule]
    return hit, failed


@_kernel
def run_one(
    steps: Array,
    ends: Array,
    consts: Array,
    bits: Array,
    depth: int,
    vector: Array,
    amount: float,
    probability: float,
    score: float,
    texts: Any,
) -> tuple[Any, Any]:
    """Return the bits of the rules that are true of one payment, and of those that failed."""
    value, fails = np.empty(depth, np.float64), np.empty(depth, np.bool_)
    return _run(steps, ends, consts, bits, vector, amount, probability, score, texts, value, fails)


@_kernel
def run_columns(
    steps: Array,
    ends: Array,
    consts: Array,
    bits: Array,
    depth: int,
    vectors: Array,
    amounts: Array,
    probabilities: Array,
    scores: Array,
    texts: Array,
    hit: Array,
    failed: Array,
) -> None:
    """Fill `hit` and `failed`, uint64 a payment, from columns; the same steps as for one payment."""
    value, fails = np.empty(depth, np.float64), np.empty(depth, np.bool_)
    for row in range(len(amounts)):
        hit[row], failed[row] = _run(
            steps,
            ends,
            consts,
            bits,
            vectors[row],
            np.float64(amounts[row]),
            probabilities[row],
            np.float64(scores[row]),
            texts[row],
            value,
            fails,
        )


class TextTests:
    """Tests of text made ready: a look-up a field, and a pass over what isn't plain equality."""

    def __init__(self, tests: tuple[TextIs, ...]) -> None:
        tables: dict[int, dict[str, int]] = {}
        self._others: list[tuple[int, TextIs, int]] = []
        for number, test in enumerate(tests):
            field = TEXTS.index(test.name)
            if test.test != "in":
                self._others.append((field, test, 1 << number))
                continue
            table = tables.setdefault(field, {})
            for literal in test.literals:
                table[literal] = table.get(literal, 0) | 1 << number
        self._tables = tuple(tables.items())

    def mask(self, texts: tuple[str, ...]) -> int:
        """Return the bits of the tests that a payment's texts pass."""
        mask = 0
        for field, table in self._tables:
            mask |= table.get(texts[field], 0)
        for field, test, bit in self._others:
            mask |= bit if _passes(texts[field], test) else 0
        return mask


def _passes(text: str, test: TextIs) -> bool:
    literal = test.literals[0]
    if test.test == "startsWith":
        return text.startswith(literal)
    return text.endswith(literal) if test.test == "endsWith" else literal in text
