"""Deltas: what sites did to cards, as the cloud tells it to all of them. Cloud and gates meet here; docs/features.md.

A batch is rows of one fixed width, at least one: their bytes behind each other are its canonical bytes. On the wire it
is `TGD1`, the schema's fingerprint, the number of rows, the SHA-256 of the canonical bytes, and an Arrow record batch
of the rows' planes (`tidegate.frames`), compressed whole by zstd. A batch's version is its offset in the one log of
deltas, so it isn't in its bytes.

Rows of a card (`USE`, `FRAUD`, `CLEARED`) are what changed the state of that card at their origin: whoever counts them
by `tidegate.features.kernel.fold` has what that gate has. A gate leaves out those whose origin is its own current
epoch. A `LABEL` was posted in the cloud: no site is its origin, and the gate that holds the decision applies it as its
own label.
"""

import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any, Final, NamedTuple, Self

import numpy as np

from tidegate.errors import PermanentError
from tidegate.features.kernel import token_hash
from tidegate.frames import FrameError, Origin
from tidegate.frames.layouts import Planes
from tidegate.frames.payload import compressed, read
from tidegate.ids import EPOCH_HEX
from tidegate.limits import (
    DELTA_BATCH_BYTES_MAX,
    LABEL_ID_BYTES_MAX,
    NAME_BYTES_MAX,
    TOKEN_BYTES_MAX,
    TRANSACTION_ID_BYTES_MAX,
)

DELTA_MEDIA_TYPE: Final = "application/vnd.tidegate.deltas"
MAGIC: Final = b"TGD1"


class DeltaKind(IntEnum):
    """What a row says. Numbers are never reused."""

    USE = 1
    FRAUD = 2
    CLEARED = 3
    LABEL = 4


ROW: Final = np.dtype(
    [
        ("kind", "u1"),
        ("site", f"S{NAME_BYTES_MAX}"),
        ("gate", f"S{NAME_BYTES_MAX}"),
        ("epoch", f"S{EPOCH_HEX}"),
        ("pos", "<u8"),
        ("time_us", "<i8"),
        ("event_us", "<i8"),
        ("amount_minor", "<i8"),
        ("terminal_hash", "<i8"),
        ("card", f"S{TOKEN_BYTES_MAX}"),
        ("label_id", f"S{LABEL_ID_BYTES_MAX}"),
        ("merchant", f"S{NAME_BYTES_MAX}"),
        ("transaction_id", f"S{TRANSACTION_ID_BYTES_MAX}"),
        ("verdict", "S8"),
        ("source", f"S{NAME_BYTES_MAX}"),
    ]
)
"""One row, packed, little endian; what a kind doesn't say is zero.

`site`, `gate`, `epoch` and `pos` are the record that it follows from; zero for a label. `time_us` is the clock of that
gate, which its rings were advanced to, or the cloud's when it took the label. `event_us` is when the payment counts
(`feature_us`), or when the label was known. `amount_minor` and `terminal_hash` (`kernel.token_hash`) belong to a use.
"""
ROWS_MAX: Final = DELTA_BATCH_BYTES_MAX // ROW.itemsize

_LAYOUT: Final = Planes(ROW)
FINGERPRINT: Final = _LAYOUT.fingerprint
_HEAD: Final = struct.Struct("<4s16sI32s")
_LABEL_TEXTS: Final = ("label_id", "merchant", "transaction_id", "verdict", "source")
_TEXTS: Final = [name for name in ROW.names or () if ROW[name].kind == "S"]
_ASCII_MAX: Final = 127
_OF_CARD: Final = (DeltaKind.USE, DeltaKind.FRAUD, DeltaKind.CLEARED)

Rows = np.ndarray[Any, np.dtype[np.void]]


class DeltaError(PermanentError):
    """Bytes that are no batch of deltas: torn, foreign, or a newer program's."""

    code = "DELTAS_REFUSED"


class Label(NamedTuple):
    """A label that was posted in the cloud; `known_us` and `taken_us` are UTC microseconds, the latter the cloud's."""

    label_id: str
    merchant: str
    transaction_id: str
    verdict: str
    source: str
    known_us: int
    taken_us: int


@dataclass(frozen=True, eq=False)
class Deltas:
    """One batch: `rows` is an array of `ROW`, read-only where it came off the wire."""

    rows: Rows

    @cached_property
    def canonical(self) -> bytes:
        """The canonical bytes: the rows, one behind the other."""
        return self.rows.tobytes()

    @cached_property
    def sha256(self) -> str:
        """What names the batch's content: the SHA-256 of its canonical bytes, in hex digits."""
        return hashlib.sha256(self.canonical).hexdigest()

    def to_bytes(self) -> bytes:
        """Return the batch as it goes over the wire.

        Raises:
            DeltaError: it has no row, too many, or one that can't be.
        """
        _check(self.rows)
        head = _HEAD.pack(MAGIC, FINGERPRINT.encode(), len(self.rows), bytes.fromhex(self.sha256))
        ends = range(ROW.itemsize, len(self.canonical) + 1, ROW.itemsize)
        return head + compressed(_LAYOUT.columns(memoryview(self.canonical), ends), "batch")

    @classmethod
    def from_bytes(cls, data: bytes | memoryview) -> Self:
        """Return the batch that `to_bytes` wrote.

        Raises:
            DeltaError: torn, foreign, above a bound, or of a schema that this program doesn't know.
        """
        count, digest = _head(data)
        try:
            batch = read(memoryview(data)[_HEAD.size :], "batch", _LAYOUT.schema, count * ROW.itemsize)
            canonical = _LAYOUT.canonical(batch)
        except FrameError as error:
            raise DeltaError(f"deltas: {error.message}; fetch the version again") from None
        if len(canonical) != count * ROW.itemsize or hashlib.sha256(canonical).digest() != digest:
            raise DeltaError("deltas: the rows aren't those that the head names; fetch the version again")
        rows: Rows = np.frombuffer(canonical, ROW)
        _check(rows)
        return cls(rows)

    def of_cards(self) -> Rows:
        """Return the rows that change a card's state, in their order."""
        rows: Rows = self.rows[np.isin(self.rows["kind"], _OF_CARD)]
        return rows

    def but(self, origin: Origin) -> Rows:
        """Return the rows of `of_cards` whose origin is another one."""
        rows = self.of_cards()
        others: Rows = rows[~from_origin(rows, origin)]
        return others

    def labels(self) -> tuple[Label, ...]:
        """Return the labels that were posted in the cloud, in their order."""
        return tuple(map(_label, self.rows[self.rows["kind"] == DeltaKind.LABEL]))


def from_origin(rows: Rows, origin: Origin) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Tell of each row whether it is of an origin."""
    same = np.ones(len(rows), np.bool_)
    for name, value in origin._asdict().items():
        same &= rows[name] == value.encode()
    return same


def uses(origin: Origin, decisions: Rows) -> Rows:
    """Return decisions of one origin, dtype `records.DECISION`, as uses of their cards; none is left out."""
    rows = _from(origin, DeltaKind.USE, len(decisions))
    for name in ("pos", "time_us", "amount_minor", "card"):
        rows[name] = decisions[name]
    rows["event_us"] = decisions["feature_us"]
    names, at = np.unique(decisions["terminal"], return_inverse=True)
    hashes = np.array([token_hash(name.decode(errors="replace")) for name in names.tolist()], np.int64)
    rows["terminal_hash"] = hashes[at] if len(decisions) else 0
    return rows


class Verdict(NamedTuple):
    """How the known frauds of a card changed at a gate: `delta` is 1, or -1 where one was taken back."""

    pos: int
    time_us: int
    card: str
    event_us: int
    delta: int


def verdicts(origin: Origin, said: Iterable[Verdict]) -> Rows:
    """Return what labels changed at one origin as rows."""
    told = list(said)
    rows = _from(origin, DeltaKind.FRAUD, len(told))
    for row, one in zip(rows, told, strict=True):
        row["kind"] = DeltaKind.FRAUD if one.delta > 0 else DeltaKind.CLEARED
        row["pos"], row["time_us"], row["event_us"] = one.pos, one.time_us, one.event_us
        row["card"] = one.card.encode()
    return rows


def labels(posted: Iterable[Label]) -> Rows:
    """Return labels as rows."""
    told = list(posted)
    rows = np.zeros(len(told), ROW)
    rows["kind"] = DeltaKind.LABEL
    for row, label in zip(rows, told, strict=True):
        for name in _LABEL_TEXTS:
            row[name] = getattr(label, name).encode()
        row["event_us"], row["time_us"] = label.known_us, label.taken_us
    return rows


def _from(origin: Origin, kind: DeltaKind, count: int) -> Rows:
    rows = np.zeros(count, ROW)
    rows["kind"] = kind
    for name, value in origin._asdict().items():
        rows[name] = value.encode()
    return rows


def _label(row: Any) -> Label:  # noqa: ANN401 - numpy's own void
    label_id, merchant, transaction_id, verdict, source = (row[name].decode("ascii") for name in _LABEL_TEXTS)
    return Label(label_id, merchant, transaction_id, verdict, source, int(row["event_us"]), int(row["time_us"]))


def _head(data: bytes | memoryview) -> tuple[int, bytes]:
    """Return how many rows follow, and their digest."""
    if len(data) < _HEAD.size:
        raise DeltaError(f"deltas: cut short at {len(data)} bytes; fetch the version again")
    magic, fingerprint, count, digest = _HEAD.unpack_from(data)
    if magic != MAGIC:
        raise DeltaError("deltas: the bytes don't begin as a batch of deltas does; ask the features' door for them")
    if fingerprint != FINGERPRINT.encode():
        raise DeltaError("deltas: rows of a schema that this program doesn't know; upgrade it")
    if not 1 <= count <= ROWS_MAX:
        raise DeltaError(f"deltas: {count} rows, a batch has 1 to {ROWS_MAX}")
    return count, digest


def countable(rows: Rows) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Tell of each row of a card whether it can be counted; a site that is broken may send others."""
    good: np.ndarray[Any, np.dtype[np.bool_]] = (rows["card"] != b"") & (rows["terminal_hash"] >= 0)
    for name in _TEXTS:
        cells = np.ascontiguousarray(rows[name]).view(np.uint8).reshape(len(rows), ROW[name].itemsize)
        good &= cells.max(axis=1, initial=0) <= _ASCII_MAX
    good &= (rows["kind"] != DeltaKind.USE) | (rows["amount_minor"] >= 1)
    return good


def _check(rows: Rows) -> None:
    """Refuse rows that no gate could count."""
    if not 1 <= len(rows) <= ROWS_MAX:
        raise DeltaError(f"deltas: {len(rows)} rows, a batch has 1 to {ROWS_MAX}")
    kinds = rows["kind"]
    if not np.isin(kinds, list(DeltaKind)).all():
        raise DeltaError("deltas: kind: one that this program doesn't know; upgrade it")
    of_cards = rows[kinds != DeltaKind.LABEL]
    if not countable(of_cards).all():
        raise DeltaError("deltas: a row has no card, texts that aren't ASCII, or a use of less than 1")
    if any(np.ascontiguousarray(rows[name]).view(np.uint8).max(initial=0) > _ASCII_MAX for name in _TEXTS):
        raise DeltaError("deltas: a text that isn't ASCII")
