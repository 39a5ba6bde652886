"""What the cloud needs of a log, for its adapters `memory`, `sqlite` and `kafka`, which pass one suite of contracts.

A topic has a fixed number of partitions; a message goes to the one that its key names (`log.partition`) and stays
behind those of its key that came before. A committer is whoever takes frames in: it appends messages and notes how far
it is with each site (its cursors) in one step, so that neither is ever there without the other.

Every method may block on disk or network: whoever runs an event loop calls from a thread of its own. An object is used
by one thread at a time; a stream may open any number of them, in any number of processes.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tidegate.errors import PermanentError, TemporaryError

Place = tuple[str, int]
"""A topic and the number of one of its partitions."""


@dataclass(frozen=True, slots=True)
class Message:
    """What a committer appends: bytes under a key that decides the partition."""

    topic: str
    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Stored:
    """What a consumer reads. `time_us`: when it was committed, by the committer's clock, in whole milliseconds."""

    offset: int
    key: bytes
    value: bytes
    time_us: int


class UnavailableError(TemporaryError):
    """The log can't be asked now. Of a commit: nothing was committed nor will be; this writer may try again."""

    code = "STREAM_UNAVAILABLE"


class UnknownOutcomeError(PermanentError):
    """A commit may have happened or not, and this writer is over: the cursors of a newly opened one tell."""

    code = "STREAM_OUTCOME_UNKNOWN"


class FencedError(PermanentError):
    """Another writer of this committer was opened since: this one is over, and acknowledges nothing any more.

    A commit that was under way may have gone through just before: the cursors of the other writer tell.
    """

    code = "STREAM_FENCED"


class TooLargeError(PermanentError):
    """A message or a commit above its bound in `tidegate/limits.py`; nothing was committed."""

    code = "STREAM_TOO_LARGE"


class MismatchError(PermanentError):
    """A topic is there already with other properties, or a log is of another format; nothing was changed."""

    code = "STREAM_MISMATCH"


class UnknownTopicError(PermanentError):
    """No such topic or partition: create it first."""

    code = "STREAM_TOPIC_UNKNOWN"


class DamagedError(PermanentError):
    """The log's own bytes are damaged; nothing more is read or written before somebody has looked."""

    code = "STREAM_DAMAGED"


class OutOfRangeError(PermanentError):
    """An offset that the log doesn't hold: trimmed already, or beyond the end, which a restored log may have lost."""

    code = "STREAM_OUT_OF_RANGE"

    def __init__(self, message: str, *, begin: int, end: int) -> None:
        super().__init__(message)
        self.begin = begin
        self.end = end


class Writer(Protocol):
    """The one writer of a committer. After FencedError or UnknownOutcomeError it is over, and says so again."""

    def cursors(self) -> dict[str, bytes]:
        """Return what this committer noted last under each name, as of its latest commit."""

    def commit(self, messages: Sequence[Message], cursors: Mapping[str, bytes | None]) -> None:
        """Append the messages, in their order, and note the cursors: all or nothing, durable on return.

        Readers see it at once or a moment later, all of a partition's messages together.
        A cursor of None forgets its name; names that aren't given stay as they are.

        Raises:
            FencedError: another writer of this committer was opened.
            UnavailableError: nothing was committed; the same may be tried again with this writer.
            UnknownOutcomeError: nobody knows; open another writer and look at its cursors.
            TooLargeError: above a bound; nothing was committed.
            InvalidError: a key, a topic's or a cursor's name that can't be; nothing was committed.
            UnknownTopicError: a message's topic was never created; nothing was committed.
            DamagedError: the log is damaged; nothing was committed.
        """

    def close(self) -> None:
        """Let go of the log; what was committed stays."""


class Reader(Protocol):
    """Reads what was committed, and nothing else. Offsets rise within a partition, and may leave some out."""

    def partitions(self, topic: str) -> int:
        """Return how many partitions the topic has.

        Raises:
            UnknownTopicError: it was never created.
            UnavailableError: the log can't be asked.
        """

    def begin(self, topic: str, partition: int) -> int:
        """Return the lowest offset that may still be read.

        Raises:
            UnknownTopicError, UnavailableError: as for `partitions`.
        """

    def end(self, topic: str, partition: int) -> int:
        """Return an offset above that of the latest committed message; the next commit takes it or a higher one.

        A log may count its own marks, so this can be beyond the latest offset + 1: who has read everything is told so
        by an empty answer of `read`, not by this.

        Raises:
            UnknownTopicError, UnavailableError: as for `partitions`.
        """

    def read(
        self, topic: str, partition: int, offset: int, *, messages_max: int, bytes_max: int, wait_s: float = 0.0
    ) -> list[Stored]:
        """Return the messages at `offset` and above in their order; the next read begins at the last one's offset + 1.

        At most `messages_max` of them and `bytes_max` bytes of keys and values, but one at least, however large. Waits
        up to `wait_s` for the first one; an empty answer means that nothing was committed there by then.

        Raises:
            OutOfRangeError: `offset` is below `begin` or above `end`.
            UnknownTopicError, UnavailableError: as for `partitions`.
            DamagedError: the log is damaged.
        """

    def close(self) -> None:
        """Let go of the log."""


class Consumers(Protocol):
    """Who still needs what, so that the log may be trimmed behind all of them and never ahead of one.

    A consumer's real offset lies with its effect, in its own store; what it stores here follows later, and may be old.
    """

    def register(self, name: str, topics: Collection[str]) -> None:
        """Keep everything of these topics that is there now until `name` has stored that it needs it no more.

        Registered again, a name keeps its offsets in topics that it still reads.

        Raises:
            UnknownTopicError: one of them was never created; nothing was changed.
            UnavailableError: the log can't be asked.
        """

    def store(self, name: str, offsets: Mapping[Place, int]) -> None:
        """Note that `name` needs nothing below these offsets any more; the last call counts, also if it goes back.

        Raises:
            InvalidError: `name` isn't registered for one of the topics; nothing was changed.
            UnavailableError: the log can't be asked.
        """

    def registered(self) -> dict[str, dict[Place, int]]:
        """Return each consumer's offsets by partition, 0 where it has stored none.

        Raises:
            UnavailableError: the log can't be asked.
        """

    def forget(self, name: str) -> None:
        """Keep nothing for `name` any more; one that isn't registered is forgotten already.

        Raises:
            UnavailableError: the log can't be asked.
        """

    def trim(self) -> dict[Place, int]:
        """Drop what no registered consumer needs, and return where the partitions of their topics begin now.

        A topic that nobody is registered for is kept whole: nobody has said yet what is needed of it.

        Raises:
            UnavailableError: the log can't be asked; a part may have been trimmed.
        """

    def close(self) -> None:
        """Let go of the log."""


class Stream(Protocol):
    """One log, and what may be done with it. Opening one starts nothing and needs no committer."""

    def create(self, topic: str, partitions: int) -> None:
        """Make a topic of this many partitions, or see that it is there with as many.

        Raises:
            MismatchError: it is there with another number, or trims itself by age or size.
            InvalidError: a name or a number that can't be.
            UnavailableError: the log can't be asked.
        """

    def writer(self, committer: str) -> Writer:
        """Open the writer of a committer: whoever held it is fenced, and what it left undone is settled.

        Raises:
            InvalidError: a name that can't be.
            UnavailableError: the log can't be asked.
            DamagedError: the log is damaged.
        """

    def reader(self) -> Reader:
        """Open a reader."""

    def consumers(self) -> Consumers:
        """Open the book of consumers."""

    def close(self) -> None:
        """Let go of what the stream itself holds; what it opened is closed by itself."""
