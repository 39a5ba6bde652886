"""Counts what a policy would have done, beside what was done and what became of it: integers, added up in any order."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final, NamedTuple, Self

import numpy as np

from tidegate.decision import Outcome
from tidegate.limits import BACKTEST_CARDS_MAX, BACKTEST_EXAMPLES, RULES_MAX
from tidegate.policy.active import ActivePolicy
from tidegate.policy.columns import Outcomes
from tidegate.policy.costs import MILLION, Liability
from training.backtest.truth import Truth

Rows = np.ndarray[Any, np.dtype[np.void]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]
Ints = np.ndarray[Any, np.dtype[np.int64]]
_OUTCOMES: Final = len(Outcome)
_TRUTHS: Final = len(Truth)
_CELLS: Final = (len(Liability), _OUTCOMES, _OUTCOMES, _TRUTHS)
_HARMLESS: Final = (Truth.GOOD, Truth.PRESUMED)


class Measure(IntEnum):
    """What is added up in each cell; money in minor units, losses by the costs of the policy that is tried."""

    COUNT = 0
    AMOUNT = 1
    LOSS = 2
    REFUSED = 3


class Use(IntEnum):
    """What is counted of each rule, by what became of the payment."""

    HIT = 0
    UNIQUE = 1
    DECIDING = 2
    SUPPRESSED = 3
    BRAKED = 4
    FAILED = 5


class Change(IntEnum):
    """Changes of which examples are kept."""

    GOOD_DECLINED = 0
    FRAUD_LET_THROUGH = 1
    FRAUD_STOPPED = 2


class Example(NamedTuple):
    """One decision that would have come out otherwise; ordered by its amount."""

    amount_minor: int
    decision_id: str
    currency: str
    card: str
    then: int
    now: int
    truth: int
    rules: int
    listed: bool
    time_us: int


class CardCount(NamedTuple):
    """How often one good card would newly be declined, for how much, and the first such decision."""

    declines: int
    amount_minor: int
    first: str


class Judged(NamedTuple):
    """A run of decisions of one source with what the tried policy says of them, and what is known; a row each."""

    source: str
    rows: Rows
    now: Outcomes
    truth: np.ndarray[Any, np.dtype[np.uint8]]
    listed: Flags


def _cells() -> Ints:
    return np.zeros((len(Measure), *_CELLS), np.int64)


@dataclass(slots=True)
class Tally:
    """All counts. `cells` and `rule_minor` are by currency, since money of two currencies has no sum."""

    cells: dict[str, Ints] = field(default_factory=dict)
    rules: Ints = field(default_factory=lambda: np.zeros((len(Use), RULES_MAX, _TRUTHS), np.int64))
    rule_minor: dict[str, Ints] = field(default_factory=dict)
    apart: Counter[str] = field(default_factory=Counter)
    checked: Counter[str] = field(default_factory=Counter)
    differing: list[str] = field(default_factory=list)
    cards: dict[str, CardCount] = field(default_factory=dict)
    cards_left: int = 0
    examples: dict[Change, list[Example]] = field(default_factory=lambda: {change: [] for change in Change})

    def add(self, policy: ActivePolicy, run: Judged) -> None:
        """Count a run."""
        for currency, chosen in _by_currency(run.rows):
            self._count(policy, run, currency, chosen)
        self._count_rules(run)
        self._note(run)

    def merge(self, other: Self) -> None:
        """Add another part's counts."""
        for mine, its in ((self.cells, other.cells), (self.rule_minor, other.rule_minor)):
            for currency, cells in its.items():
                mine[currency] = mine.get(currency, 0) + cells
        self.rules += other.rules
        self.apart += other.apart
        self.checked += other.checked
        self.differing = (self.differing + other.differing)[:BACKTEST_EXAMPLES]
        self.cards_left += other.cards_left
        for card, count in other.cards.items():
            self._card(card, count)
        for change, examples in other.examples.items():
            self._keep(change, examples)

    def _count(self, policy: ActivePolicy, run: Judged, currency: str, chosen: Any) -> None:  # noqa: ANN401 - an index
        rows = run.rows[chosen]
        amounts = np.ascontiguousarray(rows["amount_minor"])
        bearers = policy.bearers(rows["channel"], rows["entry_mode"])
        loss, refused = _losses(policy, amounts, bearers)
        cell = np.ravel_multi_index((bearers, rows["outcome"], run.now.outcome[chosen], run.truth[chosen]), _CELLS)
        cells = self.cells.setdefault(currency, _cells()).reshape(len(Measure), -1)
        cells[Measure.COUNT] += np.bincount(cell, minlength=cells.shape[1])
        for measure, values in ((Measure.AMOUNT, amounts), (Measure.LOSS, loss), (Measure.REFUSED, refused)):
            np.add.at(cells[measure], cell, values)
        by_rule = self.rule_minor.setdefault(currency, np.zeros((RULES_MAX, _TRUTHS), np.int64))
        hit, truth = run.now.hit[chosen], run.truth[chosen]
        for bit in _bits(hit):
            at = np.flatnonzero(hit & np.uint64(1 << bit))
            np.add.at(by_rule[bit], truth[at], amounts[at])

    def _count_rules(self, run: Judged) -> None:
        now, hit = run.now, run.now.hit
        unique = np.where(hit & (hit - np.uint64(1)), np.uint64(0), hit)
        used = {Use.HIT: hit, Use.UNIQUE: unique, Use.DECIDING: now.deciding, Use.SUPPRESSED: now.suppressed}
        used |= {Use.BRAKED: now.braked, Use.FAILED: now.failed}
        for use, masks in used.items():
            touched = np.flatnonzero(masks)
            said, truth = masks[touched], run.truth[touched]
            for bit in _bits(said):
                has = (said >> np.uint64(bit) & np.uint64(1)).astype(np.bool_)
                self.rules[use, bit] += np.bincount(truth[has], minlength=_TRUTHS)

    def _note(self, run: Judged) -> None:
        """Keep examples and count cards of what would have come out otherwise."""
        then, now, truth = run.rows["outcome"], run.now.outcome, run.truth
        declined = (now == Outcome.DECLINE) & (then != Outcome.DECLINE)
        good, fraud = np.isin(truth, _HARMLESS), truth == Truth.FRAUD
        let = fraud & (now == Outcome.APPROVE) & (then != Outcome.APPROVE)
        caught = fraud & (now != Outcome.APPROVE) & (then == Outcome.APPROVE)
        for change, flags in zip(Change, (declined & good, let, caught), strict=True):
            at = np.flatnonzero(flags)
            if len(at):
                largest = np.argsort(-run.rows["amount_minor"][at], kind="stable")[:BACKTEST_EXAMPLES]
                self._keep(change, [_example(run, int(place)) for place in at[largest]])
        self._count_cards(run, np.flatnonzero(declined & good))

    def _count_cards(self, run: Judged, at: Ints) -> None:
        if not len(at):
            return
        cards, first, inverse = np.unique(run.rows["card"][at], return_index=True, return_inverse=True)
        counts, minor = np.bincount(inverse), np.zeros(len(cards), np.int64)
        np.add.at(minor, inverse, run.rows["amount_minor"][at])
        seqs = run.rows["seq"][at[first]]
        for card, count, amount, seq in zip(*map(np.ndarray.tolist, (cards, counts, minor, seqs)), strict=True):
            self._card(card.decode(), CardCount(count, amount, f"{run.source}.L1.{seq}"))

    def _card(self, card: str, count: CardCount) -> None:
        """Add to a card's count; beyond the bound, decisions of cards not met before are counted together."""
        before = self.cards.get(card)
        if before is not None:
            added = (before.declines + count.declines, before.amount_minor + count.amount_minor)
            self.cards[card] = CardCount(*added, before.first)
        elif len(self.cards) < BACKTEST_CARDS_MAX:
            self.cards[card] = count
        else:
            self.cards_left += count.declines

    def _keep(self, change: Change, examples: list[Example]) -> None:
        kept = sorted(self.examples[change] + examples, key=lambda one: (-one.amount_minor, one.decision_id))
        self.examples[change] = kept[:BACKTEST_EXAMPLES]


def _by_currency(rows: Rows) -> Iterator[tuple[str, Any]]:
    """Yield each currency with an index of its rows; of a run in one currency no row is copied."""
    column = rows["currency"]
    if (column == column[0]).all():
        yield column[0].decode(), slice(None)
        return
    for currency in np.unique(column):
        yield currency.decode(), np.flatnonzero(column == currency)


def _losses(policy: ActivePolicy, amounts: Ints, bearers: Any) -> tuple[Ints, Ints]:  # noqa: ANN401 - uint8 column
    """Return what approving each as a fraud, and what refusing it as a good payment, would cost; minor units."""
    loss, refused = np.zeros(len(amounts), np.int64), np.zeros(len(amounts), np.int64)
    for bearer in Liability:
        own, costs = bearers == bearer, policy.terms.costs.of(bearer)
        loss[own] = amounts[own] * costs.liability_ppm // MILLION + costs.fraud_fixed_minor
        refused[own] = amounts[own] * costs.margin_ppm // MILLION + costs.decline_fixed_minor
    return loss, refused


def _bits(masks: Any) -> Iterator[int]:  # noqa: ANN401 - uint64 column
    """Yield the bits that are set in any of some masks."""
    union = int(np.bitwise_or.reduce(masks)) if len(masks) else 0
    yield from (bit for bit in range(union.bit_length()) if union >> bit & 1)


def _example(run: Judged, at: int) -> Example:
    row = run.rows[at]
    return Example(
        amount_minor=int(row["amount_minor"]),
        decision_id=f"{run.source}.L1.{row['seq']}",
        currency=row["currency"].decode(),
        card=row["card"].decode(),
        then=int(row["outcome"]),
        now=int(run.now.outcome[at]),
        truth=int(run.truth[at]),
        rules=int(run.now.deciding[at]),
        listed=bool(run.listed[at]),
        time_us=int(row["time_us"]),
    )
