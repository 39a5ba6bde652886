"""A table gives slots, forgets the least recently used, and can be copied while it goes on changing."""

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.window.table import HOLDER, MISSING, Table, TableCopy

ROW = np.dtype([("count", "<i8")])


def table(bound: int = 4) -> Table:
    return Table(np.zeros(bound, ROW))


def act(one: Table, token: str, kind: int) -> None:
    """Use a token and count it, or evict it."""
    if kind == 0:
        one.evict(token)
        return
    gone = one.overdue(token)
    if gone is not None:
        one.evict(gone)
    one.state["count"][one.use(token)] += 1


def whole(copy: TableCopy) -> tuple[bytes, bytes, int]:
    while not copy.step(3):
        pass
    return (*copy.bytes(), copy.uses)


def loaded(copied: tuple[bytes, bytes, int], bound: int) -> Table:
    made = table(bound)
    made.fill(np.frombuffer(copied[0], HOLDER), np.frombuffer(copied[1], ROW), copied[2])
    return made


def test_a_token_keeps_its_slot_and_a_new_one_gets_the_lowest_free_one() -> None:
    one = table()
    assert [one.use(token) for token in ("a", "b", "a", "c")] == [0, 1, 0, 2]
    one.evict("b")
    assert one.find("b") == MISSING
    assert one.use("d") == 1
    assert len(one) == 3


def test_at_the_bound_the_least_recently_used_token_has_to_go() -> None:
    one = table(2)
    one.use("a")
    one.use("b")
    one.use("a")
    assert one.overdue("a") is None
    assert one.overdue("c") == "b"
    one.evict("b")
    assert one.overdue("c") is None


def test_what_is_evicted_leaves_no_state_behind() -> None:
    one = table()
    act(one, "a", 1)
    one.evict("a")
    one.evict("never seen")
    assert not any(one.state.tobytes())
    assert not any(one.holders.tobytes())


def test_looking_and_changing_are_no_use() -> None:
    one = table(2)
    one.use("a")
    one.use("b")
    one.find("a")
    assert one.change("a") == 0
    assert one.change("c") == MISSING
    assert one.overdue("c") == "a"


actions = st.lists(st.tuples(st.sampled_from("abcdefghij"), st.sampled_from([0, 1, 1, 1, 1])), max_size=60)


@settings(max_examples=60)
@given(before=actions, meanwhile=actions, after=actions, pace=st.integers(1, 3))
def test_a_copy_is_of_the_moment_it_began_whatever_changes_while_it_is_made(
    before: list[tuple[str, int]], meanwhile: list[tuple[str, int]], after: list[tuple[str, int]], pace: int
) -> None:
    live, still = table(6), table(6)
    for token, kind in before:
        act(live, token, kind)
        act(still, token, kind)
    copy = live.copy()
    for number, (token, kind) in enumerate(meanwhile):
        if number % pace == 0:
            copy.step(1)
        act(live, token, kind)

    copied = whole(copy)

    assert copied == whole(still.copy())
    again = loaded(copied, 6)
    for token, kind in after:
        act(again, token, kind)
        act(still, token, kind)
    assert whole(again.copy()) == whole(still.copy())


def test_a_copy_begun_anew_is_of_the_later_moment() -> None:
    one = table()
    act(one, "a", 1)
    one.copy().step(1)
    act(one, "a", 1)
    copied = whole(one.copy())
    assert np.frombuffer(copied[1], ROW)["count"].tolist() == [2]


@pytest.mark.parametrize("bound", [1, 3, 50])
def test_a_loaded_table_forgets_in_the_order_that_the_live_one_does(bound: int) -> None:
    rng, live = Random(bound), table(bound)
    for _ in range(200):
        act(live, f"t{rng.randrange(80)}", 1)
    again = loaded(whole(live.copy()), bound)
    for number in range(80):
        token = f"new{number}"
        assert again.overdue(token) == live.overdue(token)
        act(again, token, 1)
        act(live, token, 1)
