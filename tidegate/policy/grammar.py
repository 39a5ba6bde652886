"""The rules' language: a typed part of CEL, read into a tree; whatever has no bound or no type is refused with a place.

Numbers are doubles, text is compared with literals alone. There are no loops, no calls but three tests of text, no
lists but literal ones: what a rule costs is known from its length. Grammar: github.com/google/cel-spec, langdef.md.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, NoReturn

from tidegate.limits import RULE_DEPTH_MAX
from tidegate.policy.variables import BOOLS, DOUBLES, PRESENT, TEXTS

Kind = Literal["number", "bool", "text"]
TextTest = Literal["in", "startsWith", "endsWith", "contains"]
_TEXT_TESTS: Final[tuple[TextTest, ...]] = ("startsWith", "endsWith", "contains")
_EXACT_MAX: Final = 1 << 53
_COMPARE: Final = ("<", "<=", ">", ">=")
_ARITHMETIC: Final = ("+", "-", "*", "/", "neg")
_EQUAL: Final = ("==", "!=")


class RuleError(ValueError):
    """A rule that is refused; `at` is the place in its text, from 0."""

    def __init__(self, at: int, message: str) -> None:
        super().__init__(f"character {at + 1}: {message}")
        self.at = at


@dataclass(frozen=True, slots=True)
class Number:
    """A literal number; an integer one may only be compared, as in CEL."""

    value: float
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Truth:
    """A literal truth value."""

    value: bool


@dataclass(frozen=True, slots=True)
class Text:
    """A literal text."""

    value: str


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of any kind."""

    name: str


@dataclass(frozen=True, slots=True)
class Operation:
    """An operator and its operands, all of kinds that it takes."""

    operator: str
    operands: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Member:
    """Whether a number is one of some literal ones."""

    value: "Node"
    items: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class TextIs:
    """Whether a text variable is, begins with, ends with or contains a literal, or is one of several."""

    name: str
    test: TextTest
    literals: tuple[str, ...]


Node = Number | Truth | Text | Variable | Operation | Member | TextIs


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a rule's text."""

    kind: str
    text: str
    at: int


_TOKENS: Final = re.compile(
    r"""(?P<blank>\s+)
      |(?P<number>[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)
      |(?P<text>"[^"\\\n]*"|'[^'\\\n]*')
      |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
      |(?P<operator>&&|\|\||[<>=!]=|[-+*/<>!?:()\[\],.])""",
    re.VERBOSE,
)


def _tokens(text: str) -> Iterator[Token]:
    at = 0
    while at < len(text):
        found = _TOKENS.match(text, at)
        if found is None:
            raise RuleError(at, f"{text[at]!r} is no part of a rule's language")
        if found.lastgroup == "number" and re.match(r"[A-Za-z_]", text[found.end() :]):
            raise RuleError(at, "a number ends in a letter; write it in decimal digits, such as 5 or 5.0")
        if found.lastgroup != "blank":
            yield Token(str(found.lastgroup), found.group(), at)
        at = found.end()
    yield Token("end", "", len(text))


def kind_of(node: Node) -> Kind:
    """Return what kind of value a node has."""
    match node:
        case Number():
            return "number"
        case Text():
            return "text"
        case Variable(name):
            return "number" if name in DOUBLES else "text" if name in TEXTS else "bool"
        case Operation(operator, operands):
            return kind_of(operands[-1]) if operator == "?:" else "number" if operator in _ARITHMETIC else "bool"
        case _:
            return "bool"


class _Parser:
    """Recursive descent over CEL's levels of precedence."""

    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._next = 0
        self._depth = 0

    def rule(self) -> Node:
        node = self._choice()
        if self._here.kind != "end":
            self._refuse(f"{self._here.text!r} wasn't expected here")
        if kind_of(node) != "bool":
            raise RuleError(0, f"a rule is true or false, and this is a {kind_of(node)}; compare it with something")
        return node

    @property
    def _here(self) -> Token:
        return self._tokens[self._next]

    def _refuse(self, message: str) -> NoReturn:
        raise RuleError(self._here.at, message)

    def _take(self, *texts: str) -> Token | None:
        token = self._here
        if token.kind == "end" or token.text not in texts or token.kind == "text":
            return None
        self._next += 1
        return token

    def _expect(self, text: str) -> None:
        if self._take(text) is None:
            self._refuse(f"{text!r} is missing here")

    def _want(self, node: Node, kind: Kind, at: int, operator: str) -> Node:
        if kind_of(node) != kind:
            raise RuleError(at, f"{operator} takes a {kind}, and this is a {kind_of(node)}")
        return node

    def _choice(self) -> Node:
        self._depth += 1
        if self._depth > RULE_DEPTH_MAX:
            self._refuse(f"more than {RULE_DEPTH_MAX} parentheses within each other; make it two rules")
        at = self._here.at
        node = self._logic("||", "&&")
        if self._take("?"):
            self._want(node, "bool", at, "?:")
            at = self._here.at
            yes = self._decimal(self._logic("||", "&&"), at)
            self._expect(":")
            at = self._here.at
            no = self._decimal(self._choice(), at)
            if kind_of(yes) != kind_of(no) or kind_of(yes) == "text":
                raise RuleError(at, "both sides of ':' must be numbers, or both true or false")
            node = Operation("?:", (node, yes, no))
        self._depth -= 1
        return node

    def _logic(self, operator: str, *tighter: str) -> Node:
        at = self._here.at
        node = self._logic(*tighter) if tighter else self._relation()
        while self._take(operator):
            self._want(node, "bool", at, operator)
            at = self._here.at
            right = self._want(self._logic(*tighter) if tighter else self._relation(), "bool", at, operator)
            node = Operation(operator, (node, right))
        return node

    def _relation(self) -> Node:
        at = self._here.at
        node = self._sum()
        while operator := self._take(*_COMPARE, *_EQUAL, "in"):
            listed = operator.text == "in"
            node = self._member(node, at) if listed else self._compared(operator, node, self._sum(), at)
        return node

    def _compared(self, operator: Token, left: Node, right: Node, at: int) -> Node:
        kinds = {kind_of(left), kind_of(right)}
        if kinds == {"text"}:
            return self._text_compared(operator, left, right)
        allowed: tuple[set[str], ...] = ({"number"},) if operator.text in _COMPARE else ({"number"}, {"bool"})
        if kinds not in allowed:
            raise RuleError(at, f"{operator.text} can't compare a {kind_of(left)} with a {kind_of(right)}")
        return Operation(operator.text, (left, right))

    @staticmethod
    def _text_compared(operator: Token, left: Node, right: Node) -> Node:
        if isinstance(left, Text):
            left, right = right, left
        if operator.text not in _EQUAL or not isinstance(left, Variable) or not isinstance(right, Text):
            raise RuleError(operator.at, "text is compared with a literal by == or !=, or tested by in and startsWith")
        same = TextIs(left.name, "in", (right.value,))
        return same if operator.text == "==" else Operation("!", (same,))

    def _member(self, node: Node, at: int) -> Node:
        self._expect("[")
        items: list[Node] = []
        while not items or self._take(","):
            items.append(self._unary())
        self._expect("]")
        if isinstance(node, Variable) and kind_of(node) == "text":
            literals = tuple(item.value for item in items if isinstance(item, Text))
            if len(literals) == len(items):
                return TextIs(node.name, "in", literals)
        numbers = tuple(item.value for item in items if isinstance(item, Number))
        if kind_of(node) != "number" or len(numbers) != len(items):
            raise RuleError(at, "in takes a text variable and literal texts, or a number and literal numbers")
        return Member(node, numbers)

    def _sum(self) -> Node:
        return self._arithmetic(("+", "-"), self._product)

    def _product(self) -> Node:
        return self._arithmetic(("*", "/"), self._unary)

    def _arithmetic(self, operators: tuple[str, ...], tighter: Callable[[], Node]) -> Node:
        at = self._here.at
        node = tighter()
        while operator := self._take(*operators):
            left = self._decimal(self._want(node, "number", at, operator.text), at)
            at = self._here.at
            right = self._decimal(self._want(tighter(), "number", at, operator.text), at)
            node = Operation(operator.text, (left, right))
        return node

    @staticmethod
    def _decimal(node: Node, at: int) -> Node:
        if isinstance(node, Number) and node.whole:
            raise RuleError(at, f"all values are decimals here: write {node.value:.1f}")
        return node

    def _unary(self) -> Node:
        at = self._here.at
        if self._take("!"):
            return Operation("!", (self._want(self._nested(), "bool", at, "!"),))
        if self._take("-"):
            node = self._want(self._nested(), "number", at, "-")
            return Number(-node.value, node.whole) if isinstance(node, Number) else Operation("neg", (node,))
        return self._primary()

    def _nested(self) -> Node:
        self._depth += 1
        if self._depth > RULE_DEPTH_MAX:
            self._refuse(f"more than {RULE_DEPTH_MAX} signs in a row; leave some out")
        node = self._unary()
        self._depth -= 1
        return node

    def _primary(self) -> Node:
        token = self._here
        self._next += token.kind != "end"
        match token.kind:
            case "number":
                return self._number(token)
            case "text":
                return Text(token.text[1:-1])
            case "name":
                return self._name(token)
            case _ if token.text == "(":
                node = self._choice()
                self._expect(")")
                return node
        raise RuleError(token.at, f"a value is missing here, before {token.text or 'the end'!r}")

    @staticmethod
    def _number(token: Token) -> Number:
        whole = token.text.isdigit()
        if whole and int(token.text) > _EXACT_MAX:
            raise RuleError(token.at, "the number is larger than a decimal can hold exactly")
        return Number(float(token.text), whole)

    def _name(self, token: Token) -> Node:
        if token.text in {"true", "false"}:
            return Truth(token.text == "true")
        if self._take("("):
            hint = f"; ask {PRESENT}<name> instead" if token.text == "has" else ""
            raise RuleError(token.at, f"{token.text}(): rules call nothing but startsWith, endsWith, contains{hint}")
        if token.text not in DOUBLES and token.text not in TEXTS and token.text not in BOOLS:
            raise RuleError(token.at, f"{token.text}: no such variable; `tidegate policy variables` names them")
        return self._tested(token) if self._take(".") else Variable(token.text)

    def _tested(self, token: Token) -> Node:
        test = next((test for test in _TEXT_TESTS if self._take(test)), None)
        if test is None or token.text not in TEXTS:
            self._refuse("only text has a dot, followed by startsWith, endsWith or contains: there are no loops")
        self._expect("(")
        literal = self._primary()
        self._expect(")")
        if not isinstance(literal, Text) or not literal.value:
            raise RuleError(token.at, f"{test} takes one literal text")
        return TextIs(token.text, test, (literal.value,))


def parse(text: str) -> Node:
    """Return the tree of a rule.

    Raises:
        RuleError: it is no rule; says where and why.
    """
    return _Parser(text).rule()
