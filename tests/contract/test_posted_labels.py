"""The book of posted labels on each of its stores: what is known, and what is forgotten first."""

from collections.abc import Callable
from pathlib import Path

import pytest

from serve_apps.ingest.memory import MemoryBook
from serve_apps.ingest.ports import Book
from serve_apps.ingest.sqlite import SqliteBook

Opening = Callable[[], Book]


@pytest.fixture(params=["memory", "sqlite"])
def opening(request: pytest.FixtureRequest, tmp_path: Path) -> Opening:
    """Return what opens one and the same book again and again, of three labels at most."""
    if request.param == "sqlite":
        return lambda: SqliteBook(tmp_path / "labels.sqlite", 3)
    kept = MemoryBook(3)
    return lambda: kept


def test_what_is_noted_is_known_to_whoever_opens_it_next(opening: Opening) -> None:
    opening().note({"l-1": b"one", "l-2": b"two"})
    assert opening().digests({"l-1", "l-2", "l-9"}) == {"l-1": b"one", "l-2": b"two"}


def test_an_id_that_is_known_keeps_its_digest(opening: Opening) -> None:
    book = opening()
    book.note({"l-1": b"one"})
    book.note({"l-1": b"other", "l-2": b"two"})
    assert book.digests({"l-1", "l-2"}) == {"l-1": b"one", "l-2": b"two"}


def test_those_that_came_first_are_forgotten_first(opening: Opening) -> None:
    book = opening()
    for number in range(5):
        book.note({f"l-{number}": b"%d" % number})
    assert set(book.digests({f"l-{number}" for number in range(5)})) == {"l-2", "l-3", "l-4"}
