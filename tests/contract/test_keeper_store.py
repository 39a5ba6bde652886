"""One suite for every folder of a keeper."""

from collections.abc import Callable
from pathlib import Path

import pytest

from actors.keeper.disk import PosixStore
from actors.keeper.memory import MemoryStore
from actors.keeper.ports import Store


@pytest.fixture(params=["memory", "posix"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    """What opens a folder again, as a start does."""
    if request.param == "posix":
        return lambda: PosixStore(tmp_path / "keeper")
    held = MemoryStore()
    return lambda: held


def test_what_is_exchanged_is_the_last_and_what_is_added_is_all(store: Callable[[], Store]) -> None:
    assert (store().names(), store().read("a")) == ([], None)

    store().replace("a", b"one")
    store().replace("a", b"two")
    store().append("b", b"one")
    store().append("b", b"two")

    assert (store().read("a"), store().read("b"), store().names()) == (b"two", b"onetwo", ["a", "b"])


def test_what_is_removed_is_gone_and_may_be_removed_again(store: Callable[[], Store]) -> None:
    store().append("a", b"x")

    store().remove("a")
    store().remove("a")

    assert (store().names(), store().read("a")) == ([], None)
