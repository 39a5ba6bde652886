"""What is the same in every log: where a key goes, what a commit may hold, and how far a topic may be trimmed."""

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from serve_apps.plumbing.stream.ports import Message, OutOfRangeError, Place, TooLargeError
from tidegate.clock import Clock
from tidegate.errors import FieldError, InvalidError
from tidegate.limits import (
    LOG_COMMIT_BYTES_MAX,
    LOG_COMMIT_MESSAGES_MAX,
    LOG_CURSOR_BYTES_MAX,
    LOG_CURSOR_NAME_BYTES_MAX,
    LOG_CURSORS_MAX,
    LOG_KEY_BYTES_MAX,
    LOG_MESSAGE_BYTES_MAX,
    LOG_NAME_CHARS_MAX,
    LOG_PARTITIONS_MAX,
)
from tidegate.records import Lane

_NAME: Final = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{LOG_NAME_CHARS_MAX - 1}}}")
_MILLISECOND_US: Final = 1_000


ARTIFACTS: Final = "tidegate.artifacts"
"""The topic that carries the parts of texts which records name by digest; their key is the text's SHA-256 in hex."""

DELTAS: Final = "tidegate.features"
"""The topic of batches of deltas, of one partition: a batch's offset is its version."""
DELTAS_KEY: Final = b"deltas"
"""The key of all of them."""


def topic_of(lane: Lane) -> str:
    """Return the topic that carries a lane's frames."""
    return f"tidegate.L{lane:d}"


def partition(key: bytes, partitions: int) -> int:
    """Return where a key's messages go: the first 8 bytes of its SHA-256 as a big-endian integer, modulo the count."""
    return int.from_bytes(hashlib.sha256(key).digest()[:8], "big") % partitions


def stamp_us(clock: Clock) -> int:
    """Return the time of a commit, in microseconds, cut to milliseconds, since a Kafka log keeps no more."""
    return clock.now_us() // _MILLISECOND_US * _MILLISECOND_US


def check_name(field: str, name: str) -> None:
    """Refuse the name of a topic, a committer or a consumer that isn't one everywhere.

    Raises:
        InvalidError: naming `field`.
    """
    if not _NAME.fullmatch(name):
        told = f"letters, digits, dots, dashes and underscores, {LOG_NAME_CHARS_MAX} at most, the first no sign"
        raise InvalidError(f"{field}: {told}", fields=(FieldError(field, told),))


def check_topic(topic: str, partitions: int) -> None:
    """Refuse a topic that can't be made.

    Raises:
        InvalidError: naming the field.
    """
    check_name("topic", topic)
    if not 1 <= partitions <= LOG_PARTITIONS_MAX:
        told = f"1 to {LOG_PARTITIONS_MAX}"
        raise InvalidError(f"partitions: {told}", fields=(FieldError("partitions", told),))


def check_commit(messages: Sequence[Message], cursors: Mapping[str, bytes | None], held: Collection[str]) -> None:
    """Refuse a commit that some log couldn't take; `held` are the names of the cursors that are noted already.

    Raises:
        TooLargeError: above a bound.
        InvalidError: a key or a cursor's name that is empty.
    """
    total = sum(map(_message_bytes, messages)) + sum(_cursor_bytes(name, value) for name, value in cursors.items())
    if total > LOG_COMMIT_BYTES_MAX:
        raise TooLargeError(f"a commit of {total} bytes, above {LOG_COMMIT_BYTES_MAX}: commit less at a time")
    if len(messages) + len(cursors) > LOG_COMMIT_MESSAGES_MAX:
        raise TooLargeError(f"more than {LOG_COMMIT_MESSAGES_MAX} messages and cursors: commit less at a time")
    if len(held) + sum(name not in held for name in cursors) > LOG_CURSORS_MAX:
        told = f"more than {LOG_CURSORS_MAX} cursors of one committer"
        raise TooLargeError(f"{told}: no new one has room, what is there goes on; make a new log with more committers")


def _message_bytes(message: Message) -> int:
    if not 0 < len(message.key) <= LOG_KEY_BYTES_MAX:
        told = f"1 to {LOG_KEY_BYTES_MAX} bytes"
        raise InvalidError(f"key: {told}", fields=(FieldError("key", told),))
    size = len(message.key) + len(message.value)
    if size > LOG_MESSAGE_BYTES_MAX:
        raise TooLargeError(f"a message of {size} bytes with its key, above {LOG_MESSAGE_BYTES_MAX}")
    return size


def _cursor_bytes(name: str, value: bytes | None) -> int:
    size = len(name.encode())
    if not 0 < size <= LOG_CURSOR_NAME_BYTES_MAX:
        told = f"1 to {LOG_CURSOR_NAME_BYTES_MAX} bytes"
        raise InvalidError(f"cursor: {told}", fields=(FieldError("cursor", told),))
    if value is not None and len(value) > LOG_CURSOR_BYTES_MAX:
        raise TooLargeError(f"the cursor {name!r} has {len(value)} bytes, above {LOG_CURSOR_BYTES_MAX}")
    return size + len(value or b"")


def noted(held: dict[str, bytes], changes: Mapping[str, bytes | None]) -> None:
    """Change the cursors held as a commit did."""
    for name, value in changes.items():
        if value is None:
            held.pop(name, None)
        else:
            held[name] = value


def check_range(place: Place, offset: int, begin: int, end: int) -> None:
    """Refuse an offset that the log doesn't hold.

    Raises:
        OutOfRangeError: with the range that it holds.
    """
    if offset < begin:
        why = f"was trimmed, the rest begins at {begin}: this consumer isn't registered, or stored too high an offset"
    elif offset > end:
        why = f"is beyond the end at {end}: the log was lost or restored since; compare it with the consumer's store"
    else:
        return
    raise OutOfRangeError(f"{place[0]}/{place[1]}: offset {offset} {why}", begin=begin, end=end)


def check_stored(name: str, topics: Collection[str], offsets: Mapping[Place, int]) -> None:
    """Refuse offsets of topics that a consumer isn't registered for.

    Raises:
        InvalidError: naming the first of them.
    """
    strange = sorted({topic for topic, _ in offsets if topic not in topics})
    if strange:
        told = f"{name} isn't registered for {strange[0]}: register it first"
        raise InvalidError(told, fields=(FieldError("topic", told),))


def trimmable(consumers: Iterable[Mapping[Place, int]]) -> dict[Place, int]:
    """Return up to where each partition may be trimmed: the lowest offset of any consumer of its topic."""
    lowest: dict[Place, int] = {}
    for offsets in consumers:
        for place, offset in offsets.items():
            lowest[place] = min(offset, lowest.get(place, offset))
    return lowest
