"""Served features, computed again: the gate's own window is the oracle, and a single bit is found by name."""

from random import Random
from typing import Any

import numpy as np
import pytest

from actors.window.window import Window
from serve_apps.archive.recompute import Change, Paid, Recomputed, Recount, keys_of
from tests.sent import NOW_US, SOURCE
from tidegate.decision import Mark
from tidegate.features.declarations import FINGERPRINT
from tidegate.limits import DAY_US, HOUR_US
from tidegate.records import DECISION, Kind, event_body

ENTITY = {"card": Kind.CARD_EVICTED, "terminal": Kind.TERMINAL_EVICTED}


class Gate:
    """A gate with room for few cards, and what it journals."""

    def __init__(self, seed: int) -> None:
        self.name, self.rng, self.window = f"t{seed}", Random(seed), Window(cards_max=4, terminals_max=3)
        self.rows: list[Any] = []
        self.changes: list[Change] = []
        self.standing: dict[str, tuple[int, str, str]] = {}
        self.positions: list[int] = []
        self.pos, self.now_us = 0, NOW_US

    def event(self, kind: Kind, body: dict[str, Any]) -> None:
        self.pos += 1
        self.positions.append(self.pos)
        self.changes.append(Change(self.pos, self.now_us, kind, event_body(body)))

    def decide(self, marks: int = 0) -> None:
        card, terminal = f"card-{self.rng.randrange(7)}", f"till-{self.rng.randrange(4)}"
        row = np.zeros(1, DECISION)[0]
        row["feature_us"] = self.now_us - self.rng.choice([0, HOUR_US, 2 * DAY_US])
        row["amount_minor"], row["marks"], row["feature_fingerprint"] = (
            self.rng.randrange(1, 90_000),
            marks,
            FINGERPRINT,
        )
        row["card"], row["terminal"], row["time_us"], row["merchant"] = card, terminal, self.now_us, "m-1"
        if not marks:
            for evicted in self.window.overdue(card, terminal):
                self.window.evict(evicted)
                self.event(ENTITY[evicted.entity], {"token": evicted.token})
            told = {
                "now_us": self.now_us,
                "feature_us": int(row["feature_us"]),
                "amount_minor": int(row["amount_minor"]),
            }
            row["features"] = self.window.observe(card=card, terminal=terminal, **told)
        self.pos += 1
        row["pos"], row["seq"], row["transaction_id"] = (
            self.pos,
            len(self.rows) + 1,
            f"{self.name}-{len(self.rows) + 1}",
        )
        self.rows.append(row)

    def label(self) -> None:
        row = self.rng.choice(self.rows)
        payment, verdict = row["transaction_id"].decode(), self.rng.choice(["fraud", "legit"])
        new = (self.now_us - self.rng.choice([0, DAY_US]), f"l-{self.pos}", verdict)
        old = self.standing.get(payment)
        stands = self.standing[payment] = new if old is None else max(old, new)
        delta = int(stands[2] == "fraud") - int(old is not None and old[2] == "fraud")
        if delta and not row["marks"]:
            where = {"card": row["card"].decode(), "terminal": row["terminal"].decode()}
            self.window.label(**where, now_us=self.now_us, event_us=int(row["feature_us"]), delta=delta)
        said = {"label_id": new[1], "merchant": "m-1", "transaction_id": payment, "verdict": verdict}
        self.event(Kind.LABEL_RECEIVED, said | {"known_us": new[0], "source": "bank"})

    def live(self, count: int) -> None:
        for _ in range(count):
            self.now_us += self.rng.choice([1, HOUR_US // 7, HOUR_US, DAY_US])
            what = self.rng.random()
            if what < 0.2 and self.rows:
                self.label()
            elif what < 0.25:
                self.decide(marks=Mark.SANDBOX)
            elif what < 0.3:
                self.event(Kind.CLOCK_STEPPED, {"behind_us": 0})
            else:
                self.decide()


@pytest.fixture
def gate() -> Gate:
    made = Gate(7)
    made.live(400)
    return made


def recounted(gate: Gate, rows: list[Any] | None = None, cut: int = 100) -> Recomputed:
    told = [change for change in gate.changes if change.kind != Kind.CLOCK_STEPPED]
    paid = {
        ("m-1", row["transaction_id"].decode()): Paid(
            row["card"].decode(), row["terminal"].decode("latin-1"), int(row["feature_us"]), int(row["marks"])
        )
        for row in gate.rows
    }
    recount = Recount(SOURCE, np.array(gate.positions, np.int64), told, paid)
    given = np.array(gate.rows if rows is None else rows, DECISION)
    for start in range(0, len(given), cut):
        recount.take(given[start : start + cut])
    return recount.told


def test_what_a_gate_served_comes_out_again_to_the_bit(gate: Gate) -> None:
    told = recounted(gate)
    counted = [row for row in gate.rows if not row["marks"]]
    assert told == Recomputed(decisions=len(gate.rows), compared=len(counted))
    assert {change.kind for change in gate.changes} >= {Kind.CARD_EVICTED, Kind.TERMINAL_EVICTED, Kind.LABEL_RECEIVED}
    assert recounted(gate, cut=7) == told


def test_one_bit_of_one_feature_is_found_and_named(gate: Gate) -> None:
    gate.rows[150]["marks"] = 0
    gate.rows[150]["features"].view(np.uint32)[5] ^= 1
    told = recounted(gate)
    assert (told.differing, told.first) == (1, f"{SOURCE}.L1.151: card_sum_1h")


def test_a_label_that_was_not_counted_shows(gate: Gate) -> None:
    gate.changes = [change for change in gate.changes if change.kind != Kind.LABEL_RECEIVED]
    assert recounted(gate).differing > 0


@pytest.mark.parametrize("lost", ["decision", "event"])
def test_behind_a_record_that_is_not_there_nothing_is_compared(gate: Gate, lost: str) -> None:
    rows = list(gate.rows)
    pos = int(rows[200]["pos"]) if lost == "decision" else gate.positions[60]
    if lost == "decision":
        del rows[200]
    else:
        gate.positions.remove(pos)
        gate.changes = [change for change in gate.changes if change.pos != pos]
    told = recounted(gate, rows)
    first = next(row for row in rows if row["pos"] > pos)
    assert (told.differing, told.gap) == (0, f"{SOURCE}.L1.{int(first['seq'])}")
    assert told.compared == sum(row["pos"] < pos and not row["marks"] for row in rows)


def test_over_an_overlay_only_what_no_other_site_has_a_part_in_is_compared(gate: Gate) -> None:
    for row in gate.rows:
        row["overlay_version"] = 9
    gate.rows[50]["features"][9] += 1  # of the card
    told = recounted(gate)
    assert (told.compared, told.partly, told.differing) == (0, sum(not row["marks"] for row in gate.rows), 0)
    gate.rows[50]["features"][27] += 1  # of the terminal
    assert recounted(gate).first == f"{SOURCE}.L1.51: terminal_count_1d"


def test_features_of_another_program_are_not_compared(gate: Gate) -> None:
    for row in gate.rows:
        row["feature_fingerprint"] = "0" * 16
    assert recounted(gate) == Recomputed(decisions=len(gate.rows))


@pytest.mark.parametrize("broken", [{"card": b""}, {"terminal": b"\xff"}, {"amount_minor": 0}, {"time_us": -1}])
def test_a_row_that_no_gate_could_count_ends_the_comparison(gate: Gate, broken: dict[str, Any]) -> None:
    for name, value in broken.items():
        gate.rows[120][name] = value
    gate.rows[120]["marks"] = 0
    told = recounted(gate)
    assert (told.gap, told.differing) == (f"{SOURCE}.L1.121", 0)


def test_results_of_sources_add_up() -> None:
    one, two = Recomputed(3, 2, 1, 0, "", "a.L1.2"), Recomputed(4, 4, 0, 1, "b.L1.1: amount")
    assert one.plus(two) == Recomputed(7, 6, 1, 1, "b.L1.1: amount", "a.L1.2")


def test_labels_say_which_payments_they_are_of(gate: Gate) -> None:
    assert keys_of(gate.changes) == {("m-1", payment) for payment in gate.standing}
