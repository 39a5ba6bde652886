"""Whatever rows a batch has, they come back to the byte; counted, they are the state that their origin's gate has."""

from contextlib import suppress
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.deltas import ORIGIN, US, batch
from tidegate.deltas import ROW, DeltaError, DeltaKind, Deltas
from tidegate.features.declarations import FEATURE_COUNT
from tidegate.features.kernel import fold, label, observe
from tidegate.features.state import empty_cards, empty_terminals
from tidegate.limits import DAY_US

CARDS = 3


@st.composite
def histories(draw: st.DrawFn) -> Any:
    """Return rows of one origin, its clock never going back."""
    count = draw(st.integers(1, 40))
    rows = np.zeros(count, ROW)
    now_us = US
    for at, row in enumerate(rows):
        now_us += draw(st.sampled_from([0, 1_000_000, 400_000_000, DAY_US, 5 * DAY_US]))
        row["kind"] = draw(st.sampled_from([DeltaKind.USE, DeltaKind.USE, DeltaKind.FRAUD, DeltaKind.CLEARED]))
        row["card"], row["pos"], row["time_us"] = b"card-%d" % draw(st.integers(0, CARDS - 1)), at + 1, now_us
        row["event_us"] = now_us + draw(st.sampled_from([60_000_000, 0, -1_000_000, -7 * DAY_US]))
        row["amount_minor"], row["terminal_hash"] = draw(st.integers(1, 100_000_000)), draw(st.integers(0, 1 << 62))
        for name, value in ORIGIN._asdict().items():
            row[name] = value.encode()
    return rows


@given(histories())
def test_any_rows_come_back_to_the_byte(rows: Any) -> None:
    assert Deltas.from_bytes(Deltas(rows).to_bytes()).canonical == rows.tobytes()


@given(histories())
def test_counted_rows_are_the_state_that_the_gate_has(rows: Any) -> None:
    gate, terminals, out = empty_cards(CARDS), empty_terminals(1), np.zeros(FEATURE_COUNT, np.float32)
    for row in rows:
        slot, at = int(row["card"][-1:]), (int(row["time_us"]), int(row["event_us"]))
        if row["kind"] == DeltaKind.USE:
            observe(gate, slot, terminals, 0, int(row["terminal_hash"]), *at, int(row["amount_minor"]), out)
        else:
            label(gate, slot, terminals, -1, *at, 1 if row["kind"] == DeltaKind.FRAUD else -1)
    cloud = empty_cards(CARDS)
    slots = np.array([int(card[-1:]) for card in rows["card"].tolist()], np.int64)
    names = ("kind", "time_us", "event_us", "amount_minor", "terminal_hash")
    fold(cloud, slots, *(rows[name].astype(np.int64) for name in names))
    assert cloud.tobytes() == gate.tobytes()


@given(st.integers(0, 518), st.integers(1, 255))
def test_a_flipped_byte_is_refused_or_changes_no_row(at: int, flip: int) -> None:
    wire = bytearray(batch().to_bytes())
    wire[at] ^= flip
    read = batch().canonical
    with suppress(DeltaError):
        read = Deltas.from_bytes(bytes(wire)).canonical
    assert read == batch().canonical
