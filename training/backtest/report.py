"""The numbers of a backtest as one JSON object: what the rendered reports show, and what programs read."""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np

from tidegate.clock import rfc3339
from tidegate.decided import rule_numbers
from tidegate.decision import OUTCOME_WORDS, Outcome
from tidegate.limits import BACKTEST_EXAMPLES
from tidegate.policy.active import ActivePolicy
from tidegate.policy.costs import MILLION, Costs, Liability
from tidegate.policy.terms import Rule
from training.backtest.spans import Span
from training.backtest.tally import Change, Example, Measure, Tally, Use
from training.backtest.truth import Truth

Numbers = dict[str, Any]
Ints = np.ndarray[Any, np.dtype[np.int64]]
TRUTH_WORDS: Final = tuple(truth.name.lower() for truth in Truth)
BEARERS: Final = tuple(bearer.name.lower() for bearer in Liability)
_SIDES: Final = ("then", "now")
_CHANGES: Final = {change: change.name.lower() for change in Change}


class Asked(NamedTuple):
    """What was asked: the policy's file, the span, until when anything is known of how payments turned out, of whom."""

    file: str
    span: Span
    known_until_us: int
    past: str = "the site's journal"


def numbers(policy: ActivePolicy, asked: Asked, tally: Tally) -> Numbers:
    """Return all that a report says. Money is in minor units of its currency."""
    counts = sum((cells[Measure.COUNT] for cells in tally.cells.values()), np.zeros((1, 4, 4, len(Truth)), np.int64))
    by_change: Ints = counts.sum(axis=0)
    return {
        "policy": {"id": policy.id, "name": policy.terms.name, "file": asked.file, "rules": len(policy.terms.rules)},
        "past": asked.past,
        "from": rfc3339(asked.span.from_us),
        "to": rfc3339(asked.span.to_us),
        "known_until": rfc3339(asked.known_until_us),
        "decisions": {"judged": int(by_change.sum()), "apart": {"sandbox": 0, "deadline": 0} | dict(tally.apart)},
        "check": _check(tally),
        "brakes": "replayed in order" if policy.book.braked else "none",
        "outcomes": {side: _by_outcome(_of_side(by_change, side).sum(axis=1)) for side in _SIDES},
        "changes": _matrix(by_change.sum(axis=2)),
        "confusion": {side: _confusion(_of_side(by_change, side)) for side in _SIDES},
        "money": list(_money(policy, tally)),
        "rules": [_rule(rule, tally) for rule in policy.terms.rules if rule.state.runs],
        "good_cards_declined": _cards(tally),
        "examples": {
            _CHANGES[change]: [_example(policy, one) for one in kept] for change, kept in tally.examples.items()
        },
    }


def _of_side(by_change: Ints, side: str) -> Ints:
    """Return counts by outcome and truth: of what was decided then, or of what would be now."""
    made: Ints = by_change.sum(axis=1 if side == "then" else 0)
    return made


def _by_outcome(counts: Ints) -> dict[str, int]:
    return dict(zip(OUTCOME_WORDS, counts.tolist(), strict=True))


def _matrix(counts: Ints) -> dict[str, dict[str, int]]:
    """Return how many decisions went from each outcome of then to each of now."""
    return {word: _by_outcome(row) for word, row in zip(OUTCOME_WORDS, counts, strict=True)}


def _confusion(by_truth: Ints) -> Numbers:
    """Return outcomes by what became of the payment; good are those said to be and those presumed to be."""
    fraud = by_truth[:, Truth.FRAUD]
    good = by_truth[:, Truth.GOOD] + by_truth[:, Truth.PRESUMED]
    found = {word: _by_outcome(by_truth[:, truth]) for truth, word in enumerate(TRUTH_WORDS)}
    declined, stopped = int(fraud[Outcome.DECLINE]), int(fraud.sum() - fraud[Outcome.APPROVE])
    return {
        "by_truth": found,
        "frauds": int(fraud.sum()),
        "frauds_declined": _share(declined, int(fraud.sum())),
        "frauds_not_approved": _share(stopped, int(fraud.sum())),
        "precision_of_declines": _share(declined, declined + int(good[Outcome.DECLINE])),
        "good_declined": _share(int(good[Outcome.DECLINE]), int(good.sum())),
    }


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 6) if whole else None


def _check(tally: Tally) -> Numbers:
    told = {"equal": 0, "differing": 0, "braked": 0, "policy_lost": 0} | dict(tally.checked)
    return {**told, "examples": tally.differing}


def _money(policy: ActivePolicy, tally: Tally) -> Iterator[Numbers]:
    """Yield for each currency what each bearer, and all together, would have lost then and now."""
    for currency, cells in sorted(tally.cells.items()):
        told = [
            (word, {side: _costs(_facing(cells[:, at], side), policy.terms.costs.of(Liability(at))) for side in _SIDES})
            for at, word in enumerate(BEARERS)
            if cells[Measure.COUNT, at].any()
        ]
        whole = {side: _sum([sides[side] for _, sides in told]) for side in _SIDES}
        for bearer, sides in [*told, ("all", whole)]:
            saved = sides["then"]["cost_minor"] - sides["now"]["cost_minor"]
            yield {"currency": currency, "bearer": bearer, **sides, "saved_minor": saved}


def _facing(cells: Ints, side: str) -> Ints:
    """Return one bearer's measures by outcome and truth."""
    made: Ints = cells.sum(axis=2 if side == "then" else 1)
    return made


def _sum(each: list[dict[str, int]]) -> dict[str, int]:
    return {name: sum(one[name] for one in each) for name in each[0]}


def _costs(cells: Ints, costs: Costs) -> dict[str, int]:
    """Return what outcomes came to, of payments of which something is known, by a policy's own costs.

    `cells` are measures by outcome and truth. A challenge or a review stops what the costs say it does.
    """
    amount, count = cells[Measure.AMOUNT], cells[Measure.COUNT]
    good = [Truth.GOOD, Truth.PRESUMED]
    loss = cells[Measure.LOSS, :, Truth.FRAUD].tolist()
    refused = cells[Measure.REFUSED][:, good].sum(axis=1).tolist()
    known = count[:, [Truth.FRAUD, *good]].sum(axis=1).tolist()
    asked, looked = Outcome.CHALLENGE, Outcome.REVIEW
    missed = loss[asked] * costs.challenge_miss_ppm + loss[looked] * costs.review_miss_ppm
    told = {
        "fraud_stopped_minor": int(amount[Outcome.DECLINE, Truth.FRAUD]),
        "fraud_held_minor": int(amount[[asked, looked], Truth.FRAUD].sum()),
        "fraud_let_through_minor": int(amount[Outcome.APPROVE, Truth.FRAUD]),
        "good_declined_minor": int(amount[Outcome.DECLINE, Truth.GOOD]),
        "presumed_good_declined_minor": int(amount[Outcome.DECLINE, Truth.PRESUMED]),
        "fraud_loss_minor": loss[Outcome.APPROVE] + missed // MILLION,
        "margin_lost_minor": refused[Outcome.DECLINE] + refused[asked] * costs.challenge_abandon_ppm // MILLION,
        "work_minor": known[asked] * costs.challenge_fixed_minor + known[looked] * costs.review_fixed_minor,
    }
    return {**told, "cost_minor": told["fraud_loss_minor"] + told["margin_lost_minor"] + told["work_minor"]}


def _rule(rule: Rule, tally: Tally) -> Numbers:
    used = tally.rules[:, rule.number - 1]
    hits = used[Use.HIT]
    good = int(hits[Truth.GOOD] + hits[Truth.PRESUMED])
    fraud_minor = {currency: int(minor[rule.number - 1, Truth.FRAUD]) for currency, minor in tally.rule_minor.items()}
    return {
        "number": rule.number,
        "id": rule.id,
        "version": rule.version,
        "state": rule.state.value,
        "outcome": rule.outcome,
        "hits": int(hits.sum()),
        "by_truth": dict(zip(TRUTH_WORDS, hits.tolist(), strict=True)),
        "precision": _share(int(hits[Truth.FRAUD]), int(hits[Truth.FRAUD]) + good),
        "fraud_minor": fraud_minor,
        **{use.name.lower(): int(used[use].sum()) for use in Use if use is not Use.HIT},
        "unique_frauds": int(used[Use.UNIQUE, Truth.FRAUD]),
    }


def _cards(tally: Tally) -> Numbers:
    """Return how many good cards would newly be declined, and those with the most declines."""
    worst = sorted(tally.cards.items(), key=lambda each: (-each[1].declines, -each[1].amount_minor, each[0]))
    told = [
        {"card": card, "declines": count.declines, "amount_minor": count.amount_minor, "first": count.first}
        for card, count in worst[:BACKTEST_EXAMPLES]
    ]
    declines = sum(count.declines for count in tally.cards.values()) + tally.cards_left
    return {"cards": len(tally.cards), "declines": declines, "of_cards_not_told_apart": tally.cards_left, "worst": told}


def _example(policy: ActivePolicy, one: Example) -> Numbers:
    ids = {rule.number: rule.id for rule in policy.terms.rules}
    by = [ids[number] for number in rule_numbers(one.rules)] or (["lists or model"] if one.listed else ["model"])
    return {
        "decision_id": one.decision_id,
        "at": rfc3339(one.time_us),
        "card": one.card,
        "amount_minor": one.amount_minor,
        "currency": one.currency,
        "then": OUTCOME_WORDS[one.then],
        "now": OUTCOME_WORDS[one.now],
        "truth": TRUTH_WORDS[one.truth],
        "by": by,
    }
