"""A decision as bytes: what is stored is what was decided, field by field, for whatever fields the record has."""

from enum import Enum
from typing import Any, get_type_hints

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.decided import Decided, answer, reason_words
from tidegate.decision import NO_SCORE, NUMBERS, REASONS, Outcome
from tidegate.ids import EpochId, GateId, RecordId, SiteId
from tidegate.records import (
    DECISION,
    DECISION_BODY_BYTES,
    DECISION_FIELDS,
    REASON_SLOTS,
    Kind,
    Lane,
    Record,
)

SITE, GATE, EPOCH = SiteId("site-1"), GateId("g0"), EpochId("00112233445566ff")
NAMES = [str(field[0]) for field in DECISION_FIELDS]
TYPES = get_type_hints(Decided)
PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))


def _numbers(dtype: np.dtype[Any]) -> st.SearchStrategy[Any]:
    if dtype.kind == "f":
        return st.floats(allow_nan=False, width=dtype.itemsize * 8)  # type: ignore[arg-type]
    bounds = np.iinfo(dtype)
    return st.integers(int(bounds.min), int(bounds.max))


def values(name: str) -> st.SearchStrategy[Any]:
    """Return what may stand in a field, by its column and by the type that the value has in Python."""
    dtype, kind = DECISION[name], TYPES[name]
    if kind is bytes:
        return st.binary(min_size=dtype.itemsize, max_size=dtype.itemsize)
    if kind is str:
        return st.text(st.sampled_from(PRINTABLE), max_size=dtype.itemsize)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return st.sampled_from(kind)
    if dtype.subdtype is not None:
        return st.lists(st.integers(1, (1 << 16) - 1), max_size=dtype.shape[0]).map(tuple)
    return _numbers(dtype)


DECISIONS = st.tuples(*map(values, NAMES)).map(Decided._make)


def record(decided: Decided, seq: int = 7) -> Record:
    """Return the record of a decision."""
    return Record(Lane.DECISIONS, Kind.DECISION, seq, 9, 1_795_500_000_000_000, decided.to_body())


def plain(**changes: Any) -> Decided:
    """Return a decision of noughts and empty words, with changes."""
    return Decided.from_body(bytes(DECISION_BODY_BYTES))._replace(**changes)


def test_a_decision_has_the_fields_of_its_record_in_their_order() -> None:
    assert list(Decided._fields) == NAMES


@given(DECISIONS)
@settings(max_examples=20)
def test_what_is_read_from_a_body_is_what_was_written(decided: Decided) -> None:
    body = decided.to_body()

    assert len(body) == DECISION_BODY_BYTES
    assert Decided.from_body(body) == decided
    assert Decided.from_body(body).to_body() == body


@given(DECISIONS)
@settings(max_examples=20)
def test_every_column_of_the_record_holds_the_field_of_its_name(decided: Decided) -> None:
    row = np.frombuffer(record(decided).to_bytes(), DECISION)[0]
    for name in NAMES:
        value, column = getattr(decided, name), row[name]
        if isinstance(value, bytes):
            assert column.tobytes().ljust(len(value), b"\0") == value
        elif isinstance(value, str):
            assert column.decode() == value
        elif isinstance(value, tuple):
            assert tuple(column) == value + (0,) * (REASON_SLOTS - len(value))
        else:
            assert column == value


def test_numbers_with_a_name_come_back_as_that_name() -> None:
    enums = {name: kind for name, kind in TYPES.items() if isinstance(kind, type) and issubclass(kind, Enum)}

    assert {name: type(getattr(plain(), name)) for name in enums} == enums
    assert enums["outcome"] is Outcome


@pytest.mark.parametrize("name", [name for name in NAMES if TYPES[name] is str])
def test_a_word_outside_of_ascii_is_an_error_and_never_stored_otherwise(name: str) -> None:
    with pytest.raises(UnicodeEncodeError):
        plain(**{name: "é"}).to_body()


def test_an_answer_tells_what_the_record_says() -> None:
    decided = plain(outcome=Outcome.REVIEW, risk_score=71, probability=0.12345678, reasons=(101, 900))

    told = answer(SITE, GATE, EPOCH, record(decided), decided, replayed=False)

    assert told["decision_id"] == "site-1.g0.00112233445566ff.L1.7"
    assert (told["outcome"], told["risk_score"], told["probability"]) == ("review", 71, 0.123457)
    assert [reason["code"] for reason in told["reasons"]] == ["MODEL_REVIEW", "SYS_FEATURES_PARTIAL"]
    assert told["decided_at"] == "2026-11-24T06:00:00.000000Z"


def test_no_score_is_answered_as_none() -> None:
    decided = plain(risk_score=NO_SCORE, probability=float("nan"))

    told = answer(SITE, GATE, EPOCH, record(decided), decided, replayed=False)

    assert (told["risk_score"], told["probability"]) == (None, None)


@given(DECISIONS)
@settings(max_examples=20)
def test_a_retrys_answer_differs_from_the_first_in_one_word(decided: Decided) -> None:
    stored = record(decided)
    first = answer(SITE, GATE, EPOCH, stored, decided._replace(features_as_of_us=0), replayed=False)
    again = Decided.from_body(Record.from_bytes(stored.to_bytes()).body)._replace(features_as_of_us=0)

    assert answer(SITE, GATE, EPOCH, stored, again, replayed=True) == first | {"replayed": True}


def test_the_decisions_id_is_its_records() -> None:
    decided = plain()
    told = answer(SITE, GATE, EPOCH, record(decided, 42), decided, replayed=False)["decision_id"]

    assert RecordId.parse(told) == RecordId(SITE, GATE, EPOCH, Lane.DECISIONS, 42)


def test_every_reason_of_the_catalogue_is_told_and_a_newer_one_keeps_its_number() -> None:
    words = reason_words((*REASONS, 60_000))

    assert {word["code"] for word in words[:-1]} == set(NUMBERS)
    assert words[-1]["code"] == "REASON_60000"
