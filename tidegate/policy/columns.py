"""A policy over columns: what it would have decided of many payments, for backtests and before it is activated.

Rules and costs are computed for all rows at once, by the kernel that serves; only rows on which a brake may close are
walked one after another, since there what came before counts. The same outcome as one payment at a time, to the bit.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar, cast

import numpy as np
from numba import njit

from tidegate.decision import NO_SCORE, Mode, Outcome
from tidegate.payment import CHANNELS, ENTRY_MODES
from tidegate.policy.active import ActivePolicy, Facts, Modes
from tidegate.policy.brake import Brakes
from tidegate.policy.costs import MILLION, Liability, expected_costs
from tidegate.policy.grammar import TextIs
from tidegate.policy.program import run_columns
from tidegate.policy.rules import Matched
from tidegate.policy.terms import Policy, Rungs, outcome_of, policy_id
from tidegate.policy.variables import TEXTS, Inputs
from tidegate.policy.verdict import Hit, Strength
from tidegate.records import DECISION

_F = TypeVar("_F", bound=Callable[..., Any])
Array = np.ndarray[Any, Any]
_READ: Final = ("amount_minor", "probability", "risk_score")
_CODED: Final = {
    "channel": {number: word for word, number in CHANNELS.items()},
    "entry_mode": {number: word or "" for word, number in ENTRY_MODES.items()},
}


def _kernel(function: _F) -> _F:
    return cast("_F", njit(cache=True, nogil=True)(function))


class Listings(NamedTuple):
    """What lists say of some rows: `rows` ascending, and for each its hits and the bits of the rules it is spared."""

    rows: Array
    hits: list[list[Hit]]
    spared: list[int]


NO_LISTINGS: Final = Listings(np.zeros(0, np.int64), [], [])


class Outcomes(NamedTuple):
    """A column each: outcome uint8, and uint64 bits of rules as in a decision's record."""

    outcome: Array
    hit: Array
    failed: Array
    suppressed: Array
    braked: Array
    deciding: Array


def decide_columns(
    policy: ActivePolicy, rows: Array, *, modes: Array, listings: Listings = NO_LISTINGS, brakes: Brakes | None = None
) -> Outcomes:
    """Return what a policy decides of rows of dtype `records.DECISION`, in the order of their time.

    `modes` is uint8 [n, 3]: how fresh bundle, lists and policy are taken to be. `brakes` goes on from what it has
    counted, so that chunks may follow each other; without it no rule is braked.
    """
    hit, failed = _matched(policy, rows)
    suppressed = np.zeros(len(rows), np.uint64)
    suppressed[listings.rows] = np.array(listings.spared, np.uint64)
    active = np.uint64(policy.book.active)
    acting = hit & active & ~suppressed
    model, floor = _model(policy, rows, modes), _floors(policy, rows, modes)
    outcome, deciding = np.zeros(len(rows), np.uint8), np.zeros(len(rows), np.uint64)
    said, strengths = policy.book.tables()
    _verdicts(acting, said, strengths, model, floor, outcome, deciding)
    found = Outcomes(outcome, hit, failed, suppressed & hit & active, np.zeros(len(rows), np.uint64), deciding)
    listed = dict(zip(listings.rows.tolist(), listings.hits, strict=True))
    braking = np.flatnonzero(acting & np.uint64(policy.book.braked)) if brakes is not None else listings.rows
    for at in np.union1d(braking, listings.rows).tolist():
        _one(policy, rows, modes, at, listed.get(at, []), brakes, found)
    return found


def _matched(policy: ActivePolicy, rows: Array) -> tuple[Array, Array]:
    hit, failed = np.zeros(len(rows), np.uint64), np.zeros(len(rows), np.uint64)
    book = policy.book
    if book.runs:
        vectors = np.ascontiguousarray(rows["features"])
        amounts, probabilities, scores = (np.ascontiguousarray(rows[name]) for name in _READ)
        texts = _texts(book.program.tests, rows)
        run_columns(*book.arrays, vectors, amounts, probabilities, scores, texts, hit, failed)
    return hit, failed


def _texts(tests: tuple[TextIs, ...], rows: Array) -> Array:
    mask = np.zeros(len(rows), np.uint64)
    for bit, test in enumerate(tests):
        mask |= _passing(test, rows[test.name]).astype(np.uint64) << np.uint64(bit)
    return mask


def _passing(test: TextIs, column: Array) -> Array:
    """Return which rows pass one test of text."""
    if test.name in _CODED:
        words = _CODED[test.name]
        passing = [number for number, word in words.items() if _word_passes(test, word)]
        return np.isin(column, passing)
    literals = [literal.encode("utf-8") for literal in test.literals]
    if test.test == "in":
        return cast("Array", np.logical_or.reduce([column == literal for literal in literals]))
    if test.test == "contains":
        return cast("Array", np.strings.find(column, literals[0]) >= 0)
    if test.test == "startsWith":
        return cast("Array", np.strings.startswith(column, literals[0]))
    return cast("Array", np.strings.endswith(column, literals[0]))


def _word_passes(test: TextIs, word: str) -> bool:
    literal = test.literals[0]
    if test.test == "in":
        return word in test.literals
    if test.test == "startsWith":
        return word.startswith(literal)
    return word.endswith(literal) if test.test == "endsWith" else literal in word


def _cautions(policy: ActivePolicy, modes: Array) -> Array:
    """Return what the ladder multiplies the probability by, in millionths."""
    ladder, most = policy.terms.ladder, np.full(len(modes), MILLION, np.int64)
    for part, rungs in enumerate((ladder.bundle, ladder.lists, ladder.policy)):
        table = np.array([step.caution_ppm if step else MILLION for step in map(rungs.step, Mode)], np.int64)
        np.maximum(most, table[modes[:, part]], out=most)
    return most


def _model(policy: ActivePolicy, rows: Array, modes: Array) -> Array:
    """Return the model's own outcome of each row; of what wasn't scored, what the policy says of that."""
    amounts = np.ascontiguousarray(rows["amount_minor"])
    unscored = rows["risk_score"] == NO_SCORE
    probability = np.where(unscored, 0.0, rows["probability"])
    cautions = _cautions(policy, modes)
    careful = np.where((modes != 0).any(axis=1), np.minimum(probability * cautions / MILLION, 1.0), probability)
    ppm = np.rint(careful * MILLION).astype(np.int64)  # half to even, as round does
    outcome = np.zeros(len(rows), np.uint8)
    bearers = policy.bearers(rows["channel"], rows["entry_mode"])
    for bearer in Liability:
        own = np.flatnonzero(bearers == bearer)
        if len(own):
            prices = np.stack(expected_costs(ppm[own], amounts[own], policy.terms.costs.of(bearer)))
            outcome[own] = prices.argmin(axis=0)
    none = np.where(amounts <= policy.terms.unscored_minor, Outcome.REVIEW, Outcome.DECLINE)
    return np.where(unscored, none, outcome).astype(np.uint8)


def _floors(policy: ActivePolicy, rows: Array, modes: Array) -> Array:
    """Return the mildest outcome that the site's age allows for each row."""
    ladder, floor = policy.terms.ladder, np.zeros(len(rows), np.uint8)
    for part, rungs in enumerate((ladder.bundle, ladder.lists, ladder.policy)):
        for mode in Mode:
            step = _step(rungs, mode)
            if step is not None:
                held = (modes[:, part] == mode) & (rows["amount_minor"] > step[0])
                floor[held] = np.maximum(floor[held], step[1])
    return floor


def _step(rungs: Rungs, mode: Mode) -> tuple[int, int] | None:
    step = rungs.step(mode)
    return None if step is None else (step.floor_minor, int(outcome_of(step.outcome)))


@_kernel
def _verdicts(
    acting: Array, said: Array, strengths: Array, model: Array, floor: Array, outcome: Array, deciding: Array
) -> None:
    """Fill outcome and deciding bits from rules, model and floor, as `verdict.decide` does for one payment."""
    for row in range(len(acting)):
        bits = acting[row]
        strongest = final = np.int64(-1)
        for bit in range(64):
            if bits >> np.uint64(bit) & np.uint64(1):
                if strengths[bit] > strongest:
                    strongest, final = strengths[bit], said[bit]
                elif strengths[bit] == strongest and said[bit] > final:
                    final = said[bit]
        if strongest <= 0:
            final = max(final, np.int64(model[row]))
        chosen = np.uint64(0)
        for bit in range(64):
            one = np.uint64(1) << np.uint64(bit)
            if bits & one and strengths[bit] == strongest and said[bit] == final:
                chosen |= one
        if final < floor[row]:
            final, chosen = np.int64(floor[row]), np.uint64(0)
        outcome[row], deciding[row] = final, chosen


def _one(
    policy: ActivePolicy, rows: Array, modes: Array, at: int, listed: list[Hit], brakes: Brakes | None, found: Outcomes
) -> None:
    """Decide one row by itself: one on a list, or one on which a brake may be closed."""
    row, now_us = rows[at], int(rows["time_us"][at])
    hit, spared = int(found.hit[at]), int(found.suppressed[at])
    facts = Facts(
        probability=None if row["risk_score"] == NO_SCORE else float(row["probability"]),
        amount_minor=int(row["amount_minor"]),
        bearer=policy.bearer(int(row["channel"]), int(row["entry_mode"])),
        matched=Matched(hit, int(found.failed[at])),
        listed=listed,
        suppressed=spared,
        braked=brakes.closed(now_us) if brakes is not None and hit & policy.book.braked else 0,
        modes=Modes(*(Mode(mode) for mode in modes[at].tolist())),
        system=(),
    )
    verdict, _, braked = policy.conclude(facts)
    if brakes is not None and verdict.outcome is Outcome.DECLINE:
        brakes.count(verdict.deciding, now_us)
    found.outcome[at], found.braked[at], found.deciding[at] = verdict.outcome, braked, verdict.deciding


if min(Strength) != 0 or _CODED.keys() - set(TEXTS):
    raise AssertionError("the kernel of verdicts takes the weakest strength for 0, and codes are of texts")


def warm() -> None:
    """Compile the kernels of rules and verdicts into their cache: no policy may wait for that beside decisions."""
    rule = {"number": 1, "id": "warm", "state": "active", "when": "amount > 0.0", "outcome": "review"}
    terms = Policy.model_validate({"rules": [{**rule, "reason": "RULE_OTHER", "text": "Compiles the kernels."}]})
    policy, rows = ActivePolicy(policy_id(terms), terms, 0), np.zeros(1, DECISION)
    rows["channel"] = min(CHANNELS.values())
    decide_columns(policy, rows, modes=np.zeros((1, 3), np.uint8))
    policy.book.match(Inputs(rows["features"][0].copy(), 1, 0.5, 50, ("",) * len(TEXTS)))
