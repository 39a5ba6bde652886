"""Reads single batches of the log of deltas, for readers that are behind."""

from collections.abc import Callable
from typing import NamedTuple

from serve_apps.features.folder import PLACE
from serve_apps.features.ports import BeganAgainError, TrimmedError
from serve_apps.features.tail import Batch
from serve_apps.plumbing.stream.ports import OutOfRangeError, Reader
from tidegate.errors import TidegateError


class Opened(NamedTuple):
    """A reader, and what lets go of it and the log that it reads."""

    reader: Reader
    close: Callable[[], None]


class Batches:
    """One thread's. The log is opened by it, and anew after any failure."""

    def __init__(self, opening: Callable[[], Opened]) -> None:
        self._opening = opening
        self._opened: Opened | None = None

    def first(self, version: int) -> Batch | None:
        """Return the first batch of a version or above; None: there is none yet.

        Raises:
            TrimmedError: batches of that version and above it were let go.
            BeganAgainError: there has never been that version, or one below it.
            TidegateError: the log can't be asked.
        """
        try:
            self._opened = self._opened or self._opening()
            found = self._opened.reader.read(*PLACE, version, messages_max=1, bytes_max=1)
        except OutOfRangeError as error:
            if version > error.end:
                raise BeganAgainError(
                    f"from: the log of deltas ends at {error.end}, and never had a version {version}: it was lost,"
                    " or put back from a copy; forget what came of it, and begin at 0"
                ) from None
            raise TrimmedError(
                f"from: versions below {error.begin} were let go; fetch a snapshot of your epoch, and go on behind it",
                error.begin,
            ) from None
        except TidegateError:
            self.close()
            raise
        return Batch(found[0].offset, found[0].value, found[0].time_us) if found else None

    def close(self) -> None:
        """Let go of the log."""
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()
