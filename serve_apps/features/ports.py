"""What features need from outside beside the log: a store of what it folds into."""

from collections.abc import Collection, Mapping
from typing import NamedTuple, Protocol

from tidegate.deltas import Rows
from tidegate.errors import PermanentError, TemporaryError
from tidegate.frames import Origin

State = bytes
"""One row of `tidegate.features.state.CARD`."""
States = Mapping[Origin, State]
"""A card's states by origin: closed epochs of a site stay origins of their own."""


class UndecodableError(PermanentError):
    """A committed message that can't be decoded: a bug here or where it was made. Its partition stops until then."""

    code = "FEATURES_UNDECODABLE"


class UnavailableError(TemporaryError):
    """The store can't be asked now: nothing was changed, or the same may be folded again."""

    code = "FEATURES_UNAVAILABLE"


class TrimmedError(PermanentError):
    """A version that the log has let go: a snapshot takes its place. `begin` is the first that it has."""

    code = "DELTAS_TRIMMED"

    def __init__(self, message: str, begin: int) -> None:
        super().__init__(message)
        self.begin = begin


class BeganAgainError(PermanentError):
    """A version that this log has never had: who asks for it follows a log that is gone."""

    code = "DELTAS_BEGAN_AGAIN"


class Key(NamedTuple):
    """Names one state."""

    card: str
    origin: Origin


class Held(NamedTuple):
    """States by card, and the offset at which the log goes on: all batches below are in them, and none above."""

    next: int
    states: dict[str, States]


class Store(Protocol):
    """States by card and origin, with how far the log is folded into them. One thread folds, any number read."""

    def next(self) -> int:
        """Return the offset at which the log goes on; all batches below are in the states.

        Raises:
            UnavailableError: it can't be asked.
        """

    def fold(self, offset: int, rows: Rows) -> bool:
        """Count a batch's rows (`Deltas.of_cards`) and note its offset, in one step.

        Returns False, and changes nothing, where the batch is in it already.

        Raises:
            UnavailableError: it can't be asked, or another writer was faster; ask for `next` and go on there.
        """

    def states(self, cards: Collection[str]) -> Held:
        """Return the states of cards as of one version; those that none is known of are left out.

        Raises:
            UnavailableError: it can't be asked.
        """

    def cards_of(self, site: str) -> list[str]:
        """Return the cards that a site used last, as many as a snapshot has at most.

        Raises:
            UnavailableError: it can't be asked.
        """

    def reached(self, origin: Origin) -> int:
        """Return the highest position of an origin that is in the states; 0: none.

        Raises:
            UnavailableError: it can't be asked.
        """

    def close(self) -> None:
        """Let go of it."""
