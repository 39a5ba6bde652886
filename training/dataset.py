"""Reads recorded payments of any Parquet or CSV file by a column mapping, for training and for replays.

The result is plain arrays in time order; features are made of them by the very kernel that gates run.
"""

from collections.abc import Callable, Iterator
from collections.abc import Mapping as AnyMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from tidegate.clock import rfc3339
from tidegate.features.declarations import FEATURE_COUNT
from tidegate.features.kernel import Vector, replay, token_hash
from tidegate.features.state import empty_cards, empty_terminals
from tidegate.limits import AMOUNT_MINOR_MAX, DAY_US, SECOND_US, TRANSACTION_ID_BYTES_MAX
from tidegate.money import decimals
from tidegate.payment import CHANNELS, ENTRY_MODES, NameText, TokenText, holds_card_number
from training.mapping import Constant, DatasetError, Delay, Mapping, SameAs, Time, load_mapping

__all__ = ["NEVER", "DatasetError", "Events", "Mapping", "Words", "features", "load_mapping", "payments", "read"]

NEVER: Final = 2**63 - 1
"""The time of what never becomes known."""

Ints: TypeAlias = NDArray[np.int64]
Slots: TypeAlias = NDArray[np.int32]
Flags: TypeAlias = NDArray[np.bool_]

_UNITS_US: Final = {"seconds": 1_000_000, "milliseconds": 1_000, "microseconds": 1}
_TIME_US_MAX: Final = 4_102_444_800 * SECOND_US  # the year 2100: beyond it the unit is wrong
_PAGE_ROWS: Final = 4_096  # how many rows become Python values at a time
_ID_PATTERN: Final = rf"^[A-Za-z0-9][A-Za-z0-9._:\-]{{0,{TRANSACTION_ID_BYTES_MAX - 1}}}$"
_LONG_DIGITS: Final = r"\d(?:[ -]?\d){12,}"


@dataclass(frozen=True, slots=True)
class Words:
    """A column of text: row r says `vocabulary[slots[r]]`, or nothing where the slot is -1."""

    slots: Slots
    vocabulary: tuple[str, ...]

    def of(self, rows: slice | Slots | Ints) -> list[str | None]:
        """Return the texts of some rows."""
        words = (*self.vocabulary, None)  # -1 is the last
        return [words[slot] for slot in self.slots[rows].tolist()]


@dataclass(frozen=True, slots=True)
class Events:
    """Recorded payments in time order, n rows; equal times keep the order of the file.

    `fraud` is the truth. `label_known_us` is when somebody first called a payment fraud and `label_corrected_us` when
    that was taken back, `NEVER` where it wasn't. `texts` holds the other fields of `Columns` that the file has.
    """

    transaction_ids: pa.Array
    occurred_us: Ints
    amount_minor: Ints
    card_slot: Slots
    terminal_slot: Slots
    fraud: Flags
    label_known_us: Ints
    label_corrected_us: Ints
    declined: Flags
    cards: tuple[str, ...]
    terminals: tuple[str, ...]
    texts: AnyMapping[str, Words]

    def __len__(self) -> int:
        return len(self.occurred_us)


def read(path: Path, mapping: Mapping) -> Events:
    """Read the payments of a file.

    Raises:
        DatasetError: file, mapping and values don't fit; the message says where.
    """
    return _Reader(path, mapping).events()


def payments(events: Events, start: int = 0, stop: int | None = None) -> Iterator[dict[str, Any]]:
    """Yield bodies of `POST /v1/decisions` for the rows from `start` to `stop`, in time order."""
    end = len(events) if stop is None else min(stop, len(events))
    for first in range(start, end, _PAGE_ROWS):
        yield from _page(events, slice(first, min(first + _PAGE_ROWS, end)))


_OPTIONAL: Final = ("country", "mcc", "entry_mode", "device")


def _page(events: Events, rows: slice) -> Iterator[dict[str, Any]]:
    words = {"card": Words(events.card_slot, events.cards), "terminal": Words(events.terminal_slot, events.terminals)}
    words |= {name: events.texts[name] for name in ("merchant", "channel", *_OPTIONAL) if name in events.texts}
    ids = events.transaction_ids[rows.start : rows.stop].to_pylist()
    texts = zip(*(words[name].of(rows) for name in words), strict=True)
    amounts = zip(events.amount_minor[rows].tolist(), events.texts["currency"].of(rows), strict=True)
    for one, time_us, (minor, currency), values in zip(
        ids, events.occurred_us[rows].tolist(), amounts, texts, strict=True
    ):
        body = {
            "transaction_id": one,
            "occurred_at": rfc3339(time_us),
            "amount": {"minor": minor, "currency": currency},
        }
        yield body | {name: value for name, value in zip(words, values, strict=True) if value is not None}


def features(events: Events) -> Vector:
    """Return the features of each payment as a gate would have served them, float32 [n, FEATURE_COUNT].

    The gate's clock is the payments' own time. A payment counts as fraud from the moment somebody called it so until
    that was taken back; nothing that becomes known later has a part in a row.
    """
    row, known_us, delta = _verdicts(events)
    out = np.empty((len(events), FEATURE_COUNT), np.float32)
    hashes = np.array([token_hash(token) for token in events.terminals], np.int64)
    cards, terminals = empty_cards(len(events.cards)), empty_terminals(len(events.terminals))
    slots = events.card_slot.astype(np.int64), events.terminal_slot.astype(np.int64)
    now_us = events.occurred_us
    replay(cards, terminals, hashes, *slots, now_us, now_us, events.amount_minor, row, known_us, delta, out)
    return out


def _verdicts(events: Events) -> tuple[Ints, Ints, Ints]:
    """Return (row, time, +1 or -1) of every verdict, in the order of time."""
    known = np.flatnonzero(events.label_known_us != NEVER)
    corrected = np.flatnonzero(events.label_corrected_us != NEVER)
    row = np.concatenate([known, corrected])
    time_us = np.concatenate([events.label_known_us[known], events.label_corrected_us[corrected]])
    delta = np.repeat(np.array([1, -1]), [len(known), len(corrected)])
    order = np.argsort(time_us, kind="stable")
    return row[order], time_us[order], delta[order]


def _known(words: AnyMapping[Any, Any]) -> Callable[[str], str]:
    def check(text: str) -> str:
        if text not in words:
            raise ValueError(f"must be one of {', '.join(str(word) for word in words if word)}")
        return text

    return check


def _currency(text: str) -> str:
    decimals(text)
    return text


_NAME: Final = TypeAdapter(NameText)
_VOCABULARIES: Final[dict[str, TypeAdapter[Any]]] = {
    "currency": TypeAdapter(Annotated[str, AfterValidator(_currency)]),
    "card": TypeAdapter(TokenText),
    "terminal": _NAME,
    "merchant": _NAME,
    "channel": TypeAdapter(Annotated[str, AfterValidator(_known(CHANNELS))]),
    "country": TypeAdapter(Annotated[str, Field(pattern=r"^[A-Z]{2}$")]),
    "mcc": TypeAdapter(Annotated[str, Field(pattern=r"^[0-9]{4}$")]),
    "entry_mode": TypeAdapter(Annotated[str, AfterValidator(_known(ENTRY_MODES))]),
    "device": TypeAdapter(TokenText),
    "site": _NAME,
    "outcome": TypeAdapter(Literal["approve", "challenge", "review", "decline"]),
    "fraud_kind": _NAME,
}
"""What the texts of each field must look like: the door's own rules, so that a replay isn't refused there."""
_TEXTS: Final = tuple(name for name in _VOCABULARIES if name not in {"card", "terminal", "outcome"})
_MAY_BE_EMPTY: Final = frozenset({*_OPTIONAL, "site", "outcome", "fraud_kind"})


class _Reader:
    """Turns one file into events; every error names file, column and row."""

    def __init__(self, path: Path, mapping: Mapping) -> None:
        self._path = path
        self._columns = mapping.columns
        self._table = _load(path, mapping)

    def events(self) -> Events:
        occurred = self._time(self._columns.occurred)
        order = np.argsort(occurred, kind="stable")
        texts = {name: self._words(name) for name in _VOCABULARIES}
        known, corrected = self._labels(occurred)
        card, terminal = texts["card"], texts["terminal"]
        return Events(
            transaction_ids=self._ids().take(pa.array(order)),
            occurred_us=occurred[order],
            amount_minor=self._amounts()[order],
            card_slot=card.slots[order],
            terminal_slot=terminal.slots[order],
            fraud=self._flags(self._columns.fraud.column)[order],
            label_known_us=known[order],
            label_corrected_us=corrected[order],
            declined=_declined(texts["outcome"])[order],
            cards=card.vocabulary,
            terminals=terminal.vocabulary,
            texts={n: Words(w.slots[order], w.vocabulary) for n in _TEXTS if (w := texts[n]).vocabulary},
        )

    def _wrong(self, column: str, row: int, message: str) -> DatasetError:
        return DatasetError(f"{self._path}: column {column!r}, row {row + 1}: {message}")

    def _refuse(self, column: str, wrong: Flags, message: str) -> None:
        """Raise for the first row in which `wrong`, n flags, is set."""
        rows = np.flatnonzero(wrong)
        if len(rows):
            raise self._wrong(column, int(rows[0]), message)

    def _cast(self, column: str, kind: pa.DataType, what: str, *, nulls: bool = False) -> pa.Array:
        """Return a column as an Arrow type; the first row that isn't `what` is an error."""
        raw = self._table[column].combine_chunks()
        if not nulls:
            self._refuse(column, raw.is_null().to_numpy(zero_copy_only=False), f"is empty, must be {what}")
        row = _first_uncastable(raw, kind)
        if row is not None:
            raise self._wrong(column, row, f"must be {what}")
        return raw.cast(kind)

    def _time(self, field: Time, *, nulls: bool = False) -> Ints:
        """Return times in microseconds, `NEVER` where empty and `nulls` are permitted."""
        kind = self._table[field.column].type
        if pa.types.is_timestamp(kind) != (field.unit == "timestamp"):
            raise DatasetError(f"{self._path}: column {field.column!r} is {kind}, the mapping says {field.unit!r}")
        if field.unit in _UNITS_US:
            whole = self._cast(field.column, pa.int64(), f"an integer of {field.unit} since 1970", nulls=nulls)
            largest = _TIME_US_MAX // _UNITS_US[field.unit]
            beyond = pc.fill_null(pc.or_(pc.less(whole, 0), pc.greater(whole, largest)), False)
            self._refuse(field.column, beyond.to_numpy(zero_copy_only=False), f"is no time in {field.unit} since 1970")
            times = pc.multiply(whole, _UNITS_US[field.unit])
        else:
            what = "RFC 3339 with an offset, such as 2026-11-24T09:30:00Z"
            times = self._cast(field.column, pa.timestamp("us", "UTC"), what, nulls=nulls).cast(pa.int64())
        return np.asarray(pc.fill_null(times, NEVER).to_numpy(zero_copy_only=False), np.int64)

    def _amounts(self) -> Ints:
        field = self._columns.amount
        if field.unit == "minor":
            minor = self._cast(field.column, pa.int64(), "an integer of minor units").to_numpy()
        else:
            major = self._cast(field.column, pa.float64(), "a decimal number").to_numpy()
            cents = np.rint(major * 100)
            uneven = ~(np.abs(major * 100 - cents) <= 1e-6 * np.maximum(np.abs(cents), 1))
            self._refuse(field.column, uneven, "must have two decimals at most")
            minor = np.clip(cents, -1, AMOUNT_MINOR_MAX + 1).astype(np.int64)
        if field.zero_as_minor is not None:
            minor = np.where(minor == 0, field.zero_as_minor, minor)
        outside = (minor < 1) | (minor > AMOUNT_MINOR_MAX)
        self._refuse(field.column, outside, f"must be 1 to {AMOUNT_MINOR_MAX} minor units")
        return np.asarray(minor, np.int64)

    def _flags(self, column: str) -> Flags:
        what = "0 or 1, or false or true"
        if not pa.types.is_string(self._table[column].type) and not pa.types.is_boolean(self._table[column].type):
            numbers = self._cast(column, pa.int64(), what).to_numpy()
            self._refuse(column, (numbers != 0) & (numbers != 1), f"must be {what}")
        return np.asarray(self._cast(column, pa.bool_(), what).to_numpy(zero_copy_only=False), np.bool_)

    def _labels(self, occurred: Ints) -> tuple[Ints, Ints]:
        """Return when each payment was called fraud, and when that was taken back."""
        fields, never = self._columns, np.full(len(occurred), NEVER)
        if isinstance(fields.label_known, Delay):
            late = occurred + fields.label_known.delay_days * DAY_US
            known = np.where(self._flags(fields.fraud.column), late, NEVER)
        else:
            known = self._time(fields.label_known, nulls=True)
            self._refuse(fields.label_known.column, known < occurred, "is before the payment")
        if fields.label_corrected is None:
            return known, never
        corrected = self._time(fields.label_corrected, nulls=True)
        early = (corrected != NEVER) & (corrected <= known)
        self._refuse(fields.label_corrected.column, early, "is not after the label that it corrects")
        return known, corrected

    def _ids(self) -> pa.Array:
        field = self._columns.transaction_id
        ids = self._cast(field.column, pa.string(), "text")
        if field.prefix:
            ids = pc.binary_join_element_wise(field.prefix, ids, "")
        odd = pc.invert(pc.match_substring_regex(ids, _ID_PATTERN))
        self._refuse(field.column, odd.to_numpy(zero_copy_only=False), f"must match {_ID_PATTERN}")
        suspects = np.flatnonzero(pc.match_substring_regex(ids, _LONG_DIGITS).to_numpy(zero_copy_only=False))
        for row in suspects.tolist():
            text = ids[row].as_py()
            if text.isdigit() or holds_card_number(text):
                raise self._wrong(field.column, row, "could be taken for a card number: give it a prefix")
        if pc.count_distinct(ids).as_py() != len(ids):
            raise self._wrong(field.column, _first_repeated(ids), "is there twice, must be unique")
        return ids

    def _words(self, name: str) -> Words:
        """Return the texts of a field; without a vocabulary where the mapping doesn't have it."""
        field = getattr(self._columns, name)
        if field is None:
            return Words(np.full(self._table.num_rows, -1, np.int32), ())
        if isinstance(field, SameAs):
            return self._words(field.same_as)
        if isinstance(field, Constant):
            words = Words(np.zeros(self._table.num_rows, np.int32), (field.constant,))
            return self._checked(name, words, f"constant of {name}")
        raw = self._table[field.column].combine_chunks()
        coded = raw if pa.types.is_dictionary(raw.type) else raw.dictionary_encode()
        slots = np.asarray(pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False), np.int32)
        if name not in _MAY_BE_EMPTY:
            self._refuse(field.column, slots < 0, "is empty")
        texts = coded.dictionary.cast(pa.string()).to_pylist()
        return self._checked(name, Words(slots, tuple(field.prefix + text for text in texts)), field.column)

    def _checked(self, name: str, words: Words, column: str) -> Words:
        for slot, text in enumerate(words.vocabulary):
            try:
                _VOCABULARIES[name].validate_python(text)
            except ValidationError as error:
                row = int(np.argmax(words.slots == slot))
                raise self._wrong(column, row, f"as {name}: {error.errors()[0]['msg']}") from error
        return words


def _load(path: Path, mapping: Mapping) -> pa.Table:
    if not path.is_file():
        raise DatasetError(f"{path}: no file is there; give payments as Parquet or CSV")
    try:
        table = _read_csv(path) if mapping.format == "csv" else pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise DatasetError(f"{path}: {error}") from error
    there, used = set(table.column_names), mapping.used()
    if missing := sorted((used | set(mapping.ignore)) - there):
        raise DatasetError(f"{path}: the mapping names columns that the file doesn't have: {', '.join(missing)}")
    if spare := sorted(there - used - set(mapping.ignore)):
        raise DatasetError(f"{path}: map these columns, or list them under [ignore] with a reason: {', '.join(spare)}")
    return table.select(sorted(used))


def _read_csv(path: Path) -> pa.Table:
    """Read every column as text, so that tokens keep their zeros and a wrong value can be named with its row."""
    with path.open("rb") as file:
        names = pa_csv.open_csv(file).schema.names
    options = pa_csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""]
    )
    return pa_csv.read_csv(path, convert_options=options)


def _first_uncastable(array: pa.Array, kind: pa.DataType) -> int | None:
    """Return the first row that can't be cast, or None: halves the array until one row is left."""
    if _castable(array, kind):
        return None
    first, count = 0, len(array)
    while count > 1:
        half = count // 2
        if _castable(array.slice(first, half), kind):
            first, count = first + half, count - half
        else:
            count = half
    return first


def _castable(array: pa.Array, kind: pa.DataType) -> bool:
    try:
        array.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return False
    return True


def _first_repeated(ids: pa.Array) -> int:
    codes = ids.dictionary_encode().indices.to_numpy()
    fresh = np.zeros(len(codes), np.bool_)
    fresh[np.unique(codes, return_index=True)[1]] = True
    return int(np.argmin(fresh))


def _declined(outcome: Words) -> Flags:
    declines = [slot for slot, text in enumerate(outcome.vocabulary) if text == "decline"]
    return np.asarray(np.isin(outcome.slots, declines), np.bool_)
