"""A house under a seed lives through policies and lists; a backtest of its journal decides what it decided then."""

import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from actors.gate.deadline import Deadline
from actors.gate.gate import Gate
from actors.gate.history import JournalHistory
from actors.journal.memory import MemoryDisk
from tidegate.decided import Decided
from tidegate.decision import Outcome
from tidegate.errors import NotFoundError
from tidegate.history import Table
from tidegate.ids import GateId, SiteId
from tidegate.payment import LabelRequest
from tidegate.policy.active import ActivePolicy
from tidegate.records import Kind
from training.backtest.memory import MemoryArchive
from training.backtest.spans import Span
from training.backtest.tally import Measure, Tally
from training.backtest.trial import try_policy
from training.backtest.truth import Truth

House = Any
RULES = (
    {"id": "often", "when": "card_count_24h > 1.0", "outcome": "decline", "brake": {"declines": 3, "minutes": 600}},
    {"id": "large", "when": "amount / card_mean > 2.0 && has_card_mean", "outcome": "review", "state": "shadow"},
    {"id": "never", "when": "card_mean / card_mean > 0.5", "outcome": "challenge"},
)
LISTS = (
    "hard_block,card,card-1",
    "allow,card,card-2",
    "watch,terminal,t-3",
    "soft_block,card,card-4,2026-11-26T00:00:00Z,",
    "suppress,card,card-5,2026-12-26T00:00:00Z,often",
)
PRESSED = Deadline(10, 0.0, 0.005, lambda: 0.006)
EVER = Span(0, 1 << 62)


def decide(house: House, gate: Gate, rng: random.Random, numbers: range) -> Iterator[Decided]:
    """Decide payments; every seventh is told to be fraud, and every second of those good again."""
    for number in numbers:
        house.clock.advance(rng.choice((1_000, 40_000_000, 3_600_000_000)))
        request = house.request(number)
        yield gate.decide(request, PRESSED if number % 31 == 30 else None).decided
        if number % 7 == 3:
            for verdict in ("fraud", "legit")[: 1 + number % 2]:
                body = {"label_id": f"l-{number}-{verdict}", "merchant": "m-1", "source": "chargeback"}
                body |= {"transaction_id": request.transaction_id, "verdict": verdict}
                gate.label(
                    LabelRequest.model_validate(body | {"known_at": f"2026-11-2{3 + (verdict == 'legit')}T00:00:00Z"})
                )
        gate.journal.commit()


def lived(house: House, seed: int) -> tuple[Gate, list[Decided]]:
    """Live a while: other rules, other lists, a restart, rules that go on under another policy, a brake."""
    rng, told, gate = random.Random(seed), list[Decided](), house.start()
    told += decide(house, gate, rng, range(30))
    house.obey(gate, *RULES)
    told += decide(house, gate, rng, range(30, 80))
    house.list(gate, *LISTS)
    told += decide(house, gate, rng, range(80, 110))
    gate.journal.close()
    gate = house.start()
    told += decide(house, gate, rng, range(110, 150))
    house.list(gate, *LISTS[2:], "hard_block,card,card-9")
    house.obey(gate, *RULES[:1], watch_outcome="challenge")
    told += decide(house, gate, rng, range(150, 200))
    return gate, told


def history_of(
    house: House, *, orders: MemoryDisk | None = None, span: Span = EVER
) -> tuple[dict[Table, list[Any]], JournalHistory]:
    history = JournalHistory(
        site=SiteId("site-1"),
        gate=GateId("g0"),
        journal=house.journal_disk,
        orders=house.orders_disk if orders is None else orders,
    )
    tables = defaultdict[Table, list[Any]](list)
    for table, batch in history.tables(*span, lambda _: house.scorer.bundle.manifest.trained_at_us):
        tables[table].append(batch)
    return tables, history


def tried(tables: dict[Table, list[Any]], history: JournalHistory, policy: ActivePolicy) -> Tally:
    return try_policy(MemoryArchive(tables), policy, EVER, history.summary.known_until_us, lambda _: None)


def judged(tally: Tally) -> int:
    return sum(int(cells[Measure.COUNT].sum()) for cells in tally.cells.values())


@pytest.mark.parametrize("seed", range(5))
def test_decided_again_as_it_was_every_decision_is_what_the_journal_holds(
    seed: int, house: Callable[[int], House]
) -> None:
    built = house(seed)
    gate, told = lived(built, seed)
    tables, history = history_of(built)

    tally = tried(tables, history, gate.basis.policy)

    pressed, braked = sum(bool(one.marks) for one in told), sum(bool(one.rules_braked) for one in told)
    assert len({one.policy for one in told}) == 3
    assert len({one.lists_version for one in told}) == 3
    assert braked
    assert tally.apart == {"deadline": pressed, "sandbox": 0}
    assert tally.checked == {"equal": len(told) - pressed - braked, "braked": braked, "differing": 0}
    assert judged(tally) == history.summary.decisions - pressed == len(told) - pressed


@pytest.mark.parametrize("seed", range(5))
def test_the_policy_that_held_all_along_gives_its_own_outcomes_brakes_included(
    seed: int, house: Callable[[int], House]
) -> None:
    built = house(seed)
    rng = random.Random(seed)
    gate = built.start()
    policy = built.obey(gate, *RULES)
    told = list(decide(built, gate, rng, range(60)))
    built.list(gate, *LISTS)
    told += decide(built, gate, rng, range(60, 120))
    tables, history = history_of(built)

    tally = tried(tables, history, policy)

    counts = sum(cells[Measure.COUNT] for cells in tally.cells.values()).sum(axis=(0, 3))
    assert any(one.rules_braked for one in told)
    assert counts.trace() == judged(tally)
    assert counts.sum(axis=0).tolist() == [
        sum(one.outcome is outcome and not one.marks for one in told) for outcome in Outcome
    ]


def test_a_decision_that_was_journaled_otherwise_than_its_policy_says_is_told(house: Callable[[int], House]) -> None:
    built = house(1)
    gate, _ = lived(built, 1)
    tables, history = history_of(built)
    (batch,) = tables["decisions"]
    at, outcomes = batch.schema.get_field_index("outcome"), np.array(batch.column("outcome"))
    outcomes[5] = (outcomes[5] + 1) % len(Outcome)
    tables["decisions"] = [batch.set_column(at, batch.schema.field(at), pa.array(outcomes))]

    tally = tried(tables, history, gate.basis.policy)

    assert tally.checked["differing"] == 1
    assert tally.differing == [f"site-1.g0.{gate.epoch}.L1.6"]


def test_labels_are_those_that_stand_at_the_end_and_the_rest_is_not_known(house: Callable[[int], House]) -> None:
    built = house(2)
    gate, told = lived(built, 2)
    tables, history = history_of(built)

    tally = tried(tables, history, gate.basis.policy)

    counts = sum(cells[Measure.COUNT] for cells in tally.cells.values()).sum(axis=(0, 1, 2))
    numbers = [number for number, one in enumerate(told) if not one.marks]
    labelled = [number for number in numbers if number % 7 == 3]
    assert counts[Truth.GOOD] == sum(number % 2 for number in labelled)
    assert counts[Truth.FRAUD] == len(labelled) - counts[Truth.GOOD]
    assert counts[[Truth.PRESUMED, Truth.UNKNOWN]].sum() == len(numbers) - len(labelled)


def test_lists_that_are_no_longer_kept_are_named_with_where_to_begin(house: Callable[[int], House]) -> None:
    built = house(3)
    lived(built, 3)

    with pytest.raises(NotFoundError, match=r"lists version 1: no longer kept.*begin at 2026-1[12]-"):
        history_of(built, orders=MemoryDisk())


def test_a_history_of_a_span_holds_its_decisions_alone_and_what_they_name(house: Callable[[int], House]) -> None:
    built = house(4)
    gate, _ = lived(built, 4)
    times = [record.time_us for _, record in gate.journal.scan() if record.kind is Kind.DECISION]
    span = Span(times[20], times[60])
    tables, history = history_of(built, span=span)

    assert history.summary.decisions == 40
    assert [sum(batch.num_rows for batch in tables[name]) for name in ("decisions", "lists", "policies")] == [40, 0, 2]
