"""Records: the canonical bytes of everything that changes a gate's state, the same in journal, frame and replay.

A record is a fixed head and a body. `site / gate / epoch / lane / seq` identifies it for ever; `seq` has no gaps in
its lane; `pos` is gate-wide and contiguous: the order in which the state changed. A lane whose bodies have one fixed
width (decisions) is read as columns by `np.frombuffer`; the others carry canonical JSON.
"""

import hashlib
import json
import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Final, NamedTuple, Self

import numpy as np

from tidegate.limits import (
    JSON_DEPTH_MAX,
    NAME_BYTES_MAX,
    RECORD_BODY_BYTES_MAX,
    TOKEN_BYTES_MAX,
    TRANSACTION_ID_BYTES_MAX,
)


class Lane(IntEnum):
    """What kind of importance a record has; each lane has its own sequence and chain."""

    MONEY = 0
    DECISIONS = 1
    EVENTS = 2
    TRACES = 3


class Kind(IntEnum):
    """What a record says. Numbers are never reused."""

    DECISION = 1
    EPOCH_STARTED = 16
    BUNDLE_ACTIVATED = 17
    LISTS_ACTIVATED = 18
    CONFIG_ACTIVATED = 19
    LABEL_RECEIVED = 20
    CARD_EVICTED = 21
    TERMINAL_EVICTED = 22
    CLOCK_STEPPED = 23
    TAIL_CUT = 24
    RANGE_LOST = 25
    POLICY_ACTIVATED = 26
    OVERLAY_APPLIED = 27
    OVERLAY_DROPPED = 28


FEATURE_SLOTS: Final = 40
"""Width of the stored vector: a changed feature set changes its fingerprint, not the record."""
REASON_SLOTS: Final = 8

_HEAD: Final = struct.Struct("<QQqBBHI")
HEAD_BYTES: Final = _HEAD.size
HEAD_FIELDS: Final = [
    ("seq", "<u8"),
    ("pos", "<u8"),
    ("time_us", "<i8"),
    ("lane", "u1"),
    ("kind", "u1"),
    ("flags", "<u2"),
    ("size", "<u4"),
]

DECISION_FIELDS: Final = [
    ("transaction_id", f"S{TRANSACTION_ID_BYTES_MAX}"),
    ("merchant", f"S{NAME_BYTES_MAX}"),
    ("card", f"S{TOKEN_BYTES_MAX}"),
    ("terminal", f"S{NAME_BYTES_MAX}"),
    ("device", f"S{TOKEN_BYTES_MAX}"),
    ("currency", "S3"),
    ("country", "S2"),
    ("mcc", "S4"),
    ("channel", "u1"),
    ("entry_mode", "u1"),
    ("attempt", "<u2"),
    ("amount_minor", "<i8"),
    ("occurred_us", "<i8"),
    ("request_hash", "S16"),
    ("feature_us", "<i8"),
    ("features_as_of_us", "<i8"),
    ("feature_fingerprint", "S16"),
    ("features", "<f4", (FEATURE_SLOTS,)),
    ("margin", "<f4"),
    ("probability", "<f8"),
    ("outcome", "u1"),
    ("risk_score", "u1"),
    ("risk_level", "u1"),
    ("mode", "u1"),
    ("reasons", "<u2", (REASON_SLOTS,)),
    ("bundle", "S16"),
    ("config", "S16"),
    ("lists_version", "<u8"),
    ("overlay_version", "<u8"),
    ("marks", "<u2"),
    ("policy", "S16"),
    ("liability", "u1"),
    ("mode_bundle", "u1"),
    ("mode_lists", "u1"),
    ("mode_policy", "u1"),
    ("rules_hit", "<u8"),
    ("rules_failed", "<u8"),
    ("rules_suppressed", "<u8"),
    ("rules_braked", "<u8"),
    ("rules_deciding", "<u8"),
]
DECISION: Final = np.dtype(HEAD_FIELDS + DECISION_FIELDS)
"""One decision record, packed, little endian; head included."""
DECISION_BODY_BYTES: Final = DECISION.itemsize - HEAD_BYTES

EVENT_SCHEMA: Final = "head + canonical JSON: UTF-8, sorted keys, no blanks, integers and strings only"


class Record(NamedTuple):
    """One record: `body` are its bytes after the head."""

    lane: Lane
    kind: Kind
    seq: int
    pos: int
    time_us: int
    body: bytes

    def to_bytes(self) -> bytes:
        """Return the canonical bytes: head of 32 bytes and body."""
        head = _HEAD.pack(self.seq, self.pos, self.time_us, self.lane, self.kind, 0, len(self.body))
        return head + self.body

    @classmethod
    def from_bytes(cls, data: bytes | memoryview, offset: int = 0) -> Self:
        """Return the record that begins at `offset`.

        Raises:
            ValueError: the head names an unknown lane, kind or flag, or the body is cut short or too large.
        """
        if len(data) - offset < HEAD_BYTES:
            raise ValueError(f"record head at byte {offset} is cut short")
        seq, pos, time_us, lane, kind, flags, size = _HEAD.unpack_from(data, offset)
        if flags:
            raise ValueError(f"record at byte {offset} has flags {flags:#x}, of which this program knows none")
        body = bytes(data[offset + HEAD_BYTES : offset + HEAD_BYTES + size])
        if size > RECORD_BODY_BYTES_MAX or len(body) != size:
            raise ValueError(f"record body at byte {offset} has {len(body)} of {size} bytes")
        return cls(Lane(lane), Kind(kind), seq, pos, time_us, body)

    def values(self) -> dict[str, Any]:
        """Return what a record of the events lane says.

        Raises:
            ValueError: the body is no JSON, nested too deep, or no object.
        """
        values: dict[str, Any] = json_of(self.body)
        if not isinstance(values, dict):
            told = f"{self.kind.name} at {self.pos} says {type(values).__name__}, not an object"
            raise ValueError(told)  # noqa: TRY004 - the bytes are wrong, not the type of an argument
        return values


_TOO_DEEP: Final = f"JSON that is nested more than {JSON_DEPTH_MAX} deep"
_CANONICAL: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def event_body(values: dict[str, Any]) -> bytes:
    """Return `values` as canonical JSON, the body of a record of the events lane."""
    return _CANONICAL.encode(values).encode()


def json_of(data: bytes | str) -> Any:  # noqa: ANN401 - whatever it says
    """Return what JSON says.

    How deep it may be nested doesn't depend on how deep the caller stands: what one program reads, all others read.

    Raises:
        ValueError: it is no JSON in UTF-8, or nested too deep.
    """
    text = data if isinstance(data, str) else data.decode()
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    if text.count("{") + text.count("[") > JSON_DEPTH_MAX and _deep(value):
        raise ValueError(_TOO_DEEP)
    return value


def _deep(value: Any) -> bool:  # noqa: ANN401 - whatever JSON says
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(JSON_DEPTH_MAX):
        level = [
            inner
            for each in level
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def fingerprint(text: str) -> str:
    """Return the first 16 hex digits of the SHA-256 of `text`: names a schema or a declaration."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


SCHEMAS: Final[dict[Lane, str]] = {
    Lane.DECISIONS: fingerprint(repr(DECISION.descr)),
    Lane.EVENTS: fingerprint(EVENT_SCHEMA),
}
"""Fingerprints of the lanes in use. Money and traces get theirs with their first record: an addition."""


def chain(before: bytes, record: bytes) -> bytes:
    """Return the running hash of a lane after `record` (its canonical bytes): SHA-256(before ‖ record)."""
    return hashlib.sha256(before + record).digest()


def chained(before: bytes, canonical: memoryview, ends: Sequence[int], begin: int = 0) -> bytes:
    """Return the running hash after the records that end at `ends` of `canonical`, the first of them begun at `begin`.

    What `chain` gives record by record, without its copies.
    """
    start, at = hashlib.sha256(), begin  # a copy of a fresh hash takes a tenth less than another one
    for end in ends:
        step = start.copy()
        step.update(before)
        step.update(canonical[at:end])
        before, at = step.digest(), end
    return before


CHAIN_START: Final = bytes(32)
