"""The overlay counts what other sites did, bounded, and knows of each card whether anything may be missing."""

from typing import Any

import numpy as np

from actors.window.checkpoint import decode, encode
from actors.window.overlay import Overlay, Reached
from actors.window.window import Window
from tidegate.deltas import ROW
from tidegate.features import kernel
from tidegate.features.state import CARD, empty_cards
from tidegate.limits import DAY_US, KIB

NOW_US = 20_416 * DAY_US


def rows(*cards: str, amount: int = 100) -> Any:
    """Return a use of each card, a second after the other."""
    made = np.zeros(len(cards), ROW)
    made["kind"], made["amount_minor"], made["card"] = 1, amount, [card.encode() for card in cards]
    made["time_us"] = made["event_us"] = NOW_US + np.arange(len(cards)) * 1_000_000
    return made


def overlay(*batches: tuple[str, ...], bound: int = 3) -> Overlay:
    made = Overlay(bound)
    for version, cards in enumerate(batches, 1):
        made.apply(rows(*cards), made.reached.then(version, NOW_US, gap=False))
    return made


def held(made: Overlay) -> set[str]:
    return {token.decode() for token in made.cards.holders["token"].tolist()} - {""}


def test_a_row_is_no_more_than_a_kibibyte() -> None:
    assert Overlay(1).cards.state.itemsize <= KIB


def test_rows_of_a_batch_are_counted_in_their_order_by_the_kernel() -> None:
    made, expected = overlay(("a", "b", "a")), empty_cards(2)
    told = rows("a", "b", "a")
    names = ("kind", "time_us", "event_us", "amount_minor", "terminal_hash")
    kernel.fold(expected, np.array([0, 1, 0]), *(told[name].astype(np.int64) for name in names))
    assert made.states[:2].tobytes() == expected.tobytes()


def test_at_its_bound_the_least_recently_used_card_goes_and_one_of_the_same_batch_never_does() -> None:
    made = overlay(("a", "b", "c"))
    assert made.use("a") >= 0
    made.apply(rows("d", "b"), made.reached.then(2, NOW_US, gap=False))
    assert held(made) == {"a", "b", "d"}
    assert (len(made.cards), made.evictions) == (3, 1)


def test_a_batch_of_more_cards_than_there_is_room_for_leaves_the_last_ones() -> None:
    made = overlay(("a", "b", "c", "d", "e"))
    assert {"d", "e"} <= held(made)
    assert made.states["bin_count"].sum() == 3


def test_a_card_that_nobody_used_elsewhere_is_known_until_something_is_left_out() -> None:
    made = overlay(("a", "b"))
    assert made.knows("x", held=True)
    assert not made.knows("x", held=False)
    assert made.knows("a", held=False)
    made.apply(rows("c", "d"), made.reached.then(2, NOW_US, gap=False))
    assert made.knows("d", held=False)
    assert not made.knows("x", held=True)
    made.apply(rows("e"), made.reached.then(3, NOW_US, gap=False))
    assert not made.knows("e", held=True)


def test_a_gap_makes_all_rows_partial_and_those_that_come_later() -> None:
    made = overlay(("a",))
    made.apply(rows("b"), made.reached.then(9, NOW_US, gap=True))
    assert not any(made.knows(card, held=True) for card in ("a", "b", "x"))
    assert made.reached == Reached(9, NOW_US, 1, whole=False)


def window() -> Window:
    """Return a window in which a card did something here and elsewhere."""
    made = Window(cards_max=4, terminals_max=2)
    pay(made, NOW_US)
    made.overlay.apply(rows("a", "b"), made.overlay.reached.then(5, NOW_US, gap=False))
    return made


def pay(made: Window, now_us: int) -> bytes:
    at = {"now_us": now_us, "feature_us": now_us, "amount_minor": 700}
    return made.observe(card="a", terminal="t", **at).tobytes()


def stored(made: Window) -> bytes:
    copy = made.copy()
    while not copy.step():
        pass
    return encode("0123456789abcdef", 1, copy)


def test_a_checkpoint_holds_the_overlay() -> None:
    made = window()
    again = decode(stored(made)).window
    assert again.overlay.reached == Reached(5, NOW_US)
    for at in range(1, 4):
        assert pay(again, NOW_US + at) == pay(made, NOW_US + at)
    assert stored(again) == stored(made)


def test_a_copy_is_of_its_moment_also_where_the_overlay_goes_on_meanwhile() -> None:
    made, expected = window(), stored(window())
    copy = made.copy()
    made.overlay.apply(rows("a", "c", "d", "e", "b"), made.overlay.reached.then(8, NOW_US, gap=True))
    while not copy.step():
        pass
    assert encode("0123456789abcdef", 1, copy) == expected


def test_a_payment_reads_what_the_card_did_elsewhere_and_adds_to_its_own_state_alone() -> None:
    made, alone = window(), Window(cards_max=4, terminals_max=2)
    pay(alone, NOW_US)
    before = made.overlay.states.tobytes()
    over, own = (np.frombuffer(pay(one, NOW_US + 1), np.float32) for one in (made, alone))
    assert (over[3], own[3]) == (3, 2)
    assert made.overlay.states.tobytes() == before
    assert made.cards.state.tobytes() == alone.cards.state.tobytes()
    assert made.cards.state.dtype == CARD
