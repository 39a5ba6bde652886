"""What a policy must pass before it may decide: it reads, compiles, means what CEL means, is quick, and keeps numbers.

Every error is told, with its line where there is a text to have lines.
"""

import re
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from pydantic import ValidationError

from tidegate.errors import FieldError, PolicyError, joined
from tidegate.limits import POLICY_BYTES_MAX, RULE_CHARS_MAX, RULES_MAX, RULES_P99_US_MAX
from tidegate.policy.grammar import RuleError, parse
from tidegate.policy.oracle import Oracle
from tidegate.policy.rules import RuleBook
from tidegate.policy.terms import Policy, Rule
from tidegate.policy.variables import AMOUNT, TEXTS, Inputs

Array = np.ndarray[Any, Any]
_PASSES: Final = 5
_MICRO: Final = 1e6
_PERCENTILE: Final = 99
_HEADER: Final = re.compile(r"\s*\[\[?\s*([A-Za-z0-9_.]+)\s*\]\]?\s*(?:#.*)?$")


class Golden(NamedTuple):
    """Rows of the model that a policy is tried on: features float32 [n, features], probabilities, scores."""

    features: Array
    probabilities: Array
    scores: Array


@dataclass(frozen=True, slots=True)
class Report:
    """What a policy costs: the 99th percentile over the golden rows, and how many of them each rule is true of."""

    p99_us: float
    rows: int
    hits: dict[int, int]


def read(name: str, text: str) -> Policy:
    """Return the policy of a TOML text.

    Raises:
        PolicyError: it is none; each error with its line.
    """
    if len(text.encode()) > POLICY_BYTES_MAX:
        raise PolicyError(f"{name}: more than {POLICY_BYTES_MAX} bytes; 64 rules fit a quarter of that")
    try:
        terms = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PolicyError(f"{name}: {error}; mend the line") from error
    return validated(name, terms, lambda place: _line(text, place))


def validated(name: str, terms: Any, line: Callable[[tuple[int | str, ...]], int | None]) -> Policy:  # noqa: ANN401
    """Return the policy that JSON or TOML values say; `line` tells where a place stands.

    Raises:
        PolicyError: it is none; each error with its place.
    """
    try:
        policy = Policy.model_validate(terms)
    except ValidationError as error:
        said = [_told(details["loc"], details["msg"]) for details in error.errors(include_input=False)]
        said += [one for one in _uncompiled_of(terms) if one[0] not in {place for place, _ in said}]
        raise _refused(name, [(place, message, line(place)) for place, message in said]) from error
    wrong = [(place, message, line(place)) for place, message in uncompiled(policy)]
    if wrong:
        raise _refused(name, wrong)
    return policy


def uncompiled(policy: Policy) -> list[tuple[tuple[int | str, ...], str]]:
    """Return place and reason of each rule that doesn't compile; empty where all do."""
    return [
        (("rules", at, "when"), f"{rule.id}: {message}")
        for at, rule in enumerate(policy.rules)
        for message in _uncompiled(rule.when)
    ]


def _uncompiled_of(terms: Any) -> Iterator[tuple[tuple[int | str, ...], str]]:  # noqa: ANN401 - whatever was sent
    """Yield place and reason of what is a rule's text and doesn't compile, in values that are no policy yet."""
    rules = terms.get("rules") if isinstance(terms, dict) else None
    for at, rule in enumerate(rules[:RULES_MAX] if isinstance(rules, list) else ()):
        when = rule.get("when") if isinstance(rule, dict) else None
        if isinstance(when, str) and len(when) <= RULE_CHARS_MAX:
            yield from ((("rules", at, "when"), message) for message in _uncompiled(when))


def _told(place: tuple[int | str, ...], message: str) -> tuple[tuple[int | str, ...], str]:
    """Return place and message; of what several fields say together, the message begins with the one to change."""
    message = message.removeprefix("Value error, ")
    field, colon, rest = message.partition(": ")
    if colon and re.fullmatch(r"[a-z_]+", field):
        return ((*place, field), rest)
    return place, message


def _uncompiled(when: str) -> list[str]:
    """Return why a rule isn't one: by this house's grammar, and by the CEL library's."""
    try:
        parse(when)
        Oracle([when])
    except RuleError as error:
        return [str(error)]
    except ValueError as error:
        return [f"the CEL library refuses it: {str(error).splitlines()[0]}"]
    return []


def _refused(name: str, wrong: Sequence[tuple[tuple[int | str, ...], str, int | None]]) -> PolicyError:
    fields = [
        FieldError((f"line {line}: " if line else "") + (".".join(map(str, place)) or "policy"), message)
        for place, message, line in sorted(wrong, key=lambda one: one[2] or 0)
    ]
    return PolicyError(f"{name}: {joined(fields)}", fields=tuple(fields))


def _line(text: str, place: tuple[int | str, ...]) -> int | None:
    """Return the line on which a place of a TOML text stands, as near as its headers and keys tell."""
    tables = [str(part) for part in place if isinstance(part, str)]
    wanted = next((part for part in place if isinstance(part, int)), 0)
    best, depth, here, seen = None, 0, (), dict[str, int]()
    for number, line in enumerate(text.splitlines(), start=1):
        header = _HEADER.match(line)
        if header:
            here = tuple(header[1].split("."))
            seen[header[1]] = seen.get(header[1], -1) + 1
        if list(here) != tables[: len(here)] or (here and seen.get(".".join(here), 0) != wanted and wanted):
            continue
        key = re.match(r"\s*([A-Za-z0-9_]+)\s*=", line)
        reached = len(here) + (1 if key and tables[len(here) : len(here) + 1] == [key[1]] else 0)
        if reached > depth:
            best, depth = number, reached
    return best


def examine(name: str, policy: Policy, golden: Golden, ticks: Callable[[], float]) -> Report:
    """Run a policy's rules on golden rows, beside the CEL library.

    Raises:
        PolicyError: some rule says otherwise than the library, or all together are too slow.
    """
    book, rows = RuleBook(policy), _inputs(policy, golden)
    running = [rule for rule in policy.rules if rule.state.runs]
    oracle = Oracle([rule.when for rule in running])
    hits = dict.fromkeys((rule.number for rule in running), 0)
    for row in rows if running else ():
        matched = book.match(row)
        for rule, said in zip(running, oracle.run(row), strict=True):
            own = None if matched.failed & rule.bit else bool(matched.hit & rule.bit)
            if own is not said:
                raise PolicyError(
                    f"{name}: rule {rule.id}: the CEL library says {said} of a golden row, this says {own}"
                )
            hits[rule.number] += own is True
    p99_us = _p99_us(book, rows, ticks) if running else 0.0
    if p99_us > RULES_P99_US_MAX:
        raise PolicyError(
            f"{name}: rules take {p99_us:.0f} µs on the golden rows, allowed are {RULES_P99_US_MAX:.0f}; retire some"
        )
    return Report(p99_us, len(rows), hits)


def _p99_us(book: RuleBook, rows: Sequence[Inputs], ticks: Callable[[], float]) -> float:
    """Return the 99th percentile of what a row costs, the best of some passes each: the machine does other things."""
    best = np.full(len(rows), np.inf)
    for _ in range(_PASSES):
        for at, row in enumerate(rows):
            started = ticks()
            book.match(row)
            best[at] = min(best[at], ticks() - started)
    return float(np.percentile(best, _PERCENTILE) * _MICRO)


def _inputs(policy: Policy, golden: Golden) -> list[Inputs]:
    """Return golden rows as payments, whose texts take turns among those that the rules ask for."""
    literals: dict[str, list[str]] = {name: [""] for name in TEXTS}
    for test in RuleBook(policy).program.tests:
        literals[test.name] += [literal for literal in test.literals if literal.isascii()]
    amounts = np.nan_to_num(golden.features[:, AMOUNT], nan=1.0, posinf=1.0, neginf=1.0).clip(1, 1e8)
    rows = []
    for at, vector in enumerate(golden.features):
        texts = tuple(literals[name][at % len(literals[name])] for name in TEXTS)
        score = (float(golden.probabilities[at]), int(golden.scores[at]))
        rows.append(Inputs(np.ascontiguousarray(vector, np.float32), int(amounts[at]), *score, texts))
    return rows


def check_successor(name: str, old: Policy, new: Policy) -> None:
    """Refuse a policy that gives a rule's number to another rule, or changes a rule under its old version.

    Raises:
        PolicyError: it does; each such rule is named.
    """
    numbers, known = {rule.number: rule for rule in old.rules}, {rule.id: rule for rule in old.rules}
    wrong: list[tuple[tuple[int | str, ...], str, int | None]] = []
    for at, rule in enumerate(new.rules):
        holder, before = numbers.get(rule.number), known.get(rule.id)
        if holder is not None and holder.id != rule.id:
            told = f"{rule.id}: number {rule.number} is {holder.id}'s; take another, and keep {holder.id} as retired"
            wrong.append((("rules", at, "number"), told, None))
        if before is not None and before.number != rule.number:
            told = f"{rule.id}: has the number {before.number} in records; keep it"
            wrong.append((("rules", at, "number"), told, None))
        if before is not None and before.version >= rule.version and _said(before) != _said(rule):
            wrong.append((("rules", at, "version"), f"{rule.id}: was changed; raise it above {before.version}", None))
    if wrong:
        raise _refused(name, wrong)


def _said(rule: Rule) -> tuple[object, ...]:
    """Return what a rule's version stands for: all but its state, which changes without."""
    return rule.when, rule.outcome, rule.strength, rule.reason, rule.brake
