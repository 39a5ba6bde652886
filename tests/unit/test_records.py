"""Records: canonical bytes that are read back or refused, canonical JSON, and a chain that shows every change."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.limits import RECORD_BODY_BYTES_MAX
from tidegate.records import (
    CHAIN_START,
    DECISION,
    DECISION_BODY_BYTES,
    HEAD_BYTES,
    HEAD_FIELDS,
    SCHEMAS,
    Kind,
    Lane,
    Record,
    chain,
    event_body,
    fingerprint,
)

U64 = st.integers(0, (1 << 64) - 1)
I64 = st.integers(-(1 << 63), (1 << 63) - 1)
RECORDS = st.builds(Record, st.sampled_from(Lane), st.sampled_from(Kind), U64, U64, I64, st.binary(max_size=40))
WORDS = st.text(max_size=5)
VALUES = st.dictionaries(WORDS, st.recursive(I64 | WORDS, lambda inner: st.lists(inner, max_size=3), max_leaves=5))


@given(RECORDS, st.binary(max_size=9), st.binary(max_size=9))
@settings(max_examples=20)
def test_a_record_is_read_back_from_its_bytes_wherever_they_stand(made: Record, before: bytes, after: bytes) -> None:
    data = before + made.to_bytes() + after

    assert Record.from_bytes(data, len(before)) == made
    assert Record.from_bytes(memoryview(data), len(before)) == made


@given(RECORDS)
@settings(max_examples=25)
def test_the_head_is_what_its_columns_say(made: Record) -> None:
    head = np.frombuffer(made.to_bytes()[:HEAD_BYTES], np.dtype(HEAD_FIELDS))[0]

    assert (head["seq"], head["pos"], head["time_us"]) == (made.seq, made.pos, made.time_us)
    assert (head["lane"], head["kind"], head["flags"], head["size"]) == (made.lane, made.kind, 0, len(made.body))


@given(RECORDS, st.integers(0, 100))
@settings(max_examples=25)
def test_a_record_that_is_cut_short_is_refused(made: Record, kept: int) -> None:
    data = made.to_bytes()

    with pytest.raises(ValueError, match=r"cut short|has .* of .* bytes"):
        Record.from_bytes(data[: min(kept, len(data) - 1)])


@pytest.mark.parametrize(
    ("offset", "value", "said"), [(24, 4, "4 is not a valid Lane"), (25, 99, "99 is not a valid Kind")]
)
def test_a_head_that_names_what_nobody_knows_is_refused(offset: int, value: int, said: str) -> None:
    data = bytearray(Record(Lane.EVENTS, Kind.LABEL_RECEIVED, 1, 1, 1, b"{}").to_bytes())
    data[offset] = value

    with pytest.raises(ValueError, match=said):
        Record.from_bytes(bytes(data))


def test_a_body_beyond_the_bound_is_refused() -> None:
    largest = Record(Lane.EVENTS, Kind.LABEL_RECEIVED, 1, 1, 1, bytes(RECORD_BODY_BYTES_MAX))
    larger = Record(Lane.EVENTS, Kind.LABEL_RECEIVED, 1, 1, 1, bytes(RECORD_BODY_BYTES_MAX + 1))

    assert Record.from_bytes(largest.to_bytes()) == largest
    with pytest.raises(ValueError, match="record body at byte 0"):
        Record.from_bytes(larger.to_bytes())


@given(VALUES)
@settings(max_examples=20)
def test_what_an_event_says_is_read_back_and_written_the_same_again(values: dict[str, object]) -> None:
    body = event_body(values)
    read = Record(Lane.EVENTS, Kind.LABEL_RECEIVED, 1, 1, 1, body).values()

    assert read == values
    assert event_body(read) == event_body(dict(reversed(values.items()))) == body


def test_canonical_json_is_sorted_without_blanks_and_in_utf_8() -> None:
    assert event_body({"b": [1, "é"], "a": {"d": 1, "c": 2}}) == '{"a":{"c":2,"d":1},"b":[1,"é"]}'.encode()


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_what_json_has_no_word_for_is_never_written(number: float) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        event_body({"a": number})


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"\0\0"])
def test_a_body_that_is_no_json_says_so(body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - json's own words
        Record(Lane.EVENTS, Kind.LABEL_RECEIVED, 1, 1, 1, body).values()


@pytest.mark.parametrize("body", [b"[]", b"7", b"null", b'"text"'])
def test_a_body_that_is_no_object_says_so(body: bytes) -> None:
    with pytest.raises(ValueError, match="not an object"):
        Record(Lane.EVENTS, Kind.TAIL_CUT, 1, 1, 1, body).values()


def test_a_record_with_a_flag_that_nobody_knows_is_refused() -> None:
    data = bytearray(Record(Lane.EVENTS, Kind.TAIL_CUT, 1, 1, 1, b"{}").to_bytes())
    data[26] = 1
    with pytest.raises(ValueError, match="flags"):
        Record.from_bytes(bytes(data))


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=6), st.data())
@settings(max_examples=20)
def test_a_chain_shows_each_record_that_was_changed_left_out_or_swapped(
    records: list[bytes], data: st.DataObject
) -> None:
    def run(given_records: list[bytes]) -> bytes:
        head = CHAIN_START
        for record in given_records:
            head = chain(head, record)
        return head

    at = data.draw(st.integers(0, len(records) - 1))
    other = [*records[:at], records[at] + b"x", *records[at + 1 :]]
    swapped = [*records[:at], *reversed(records[at:])]

    assert len({run(records), run(other), run(records[:at] + records[at + 1 :])}) == 3
    assert (run(swapped) == run(records)) == (swapped == records)


def test_a_decision_is_packed_without_holes_behind_the_head() -> None:
    sizes = [DECISION[name].itemsize for name in DECISION.names or ()]

    assert sum(sizes) == DECISION.itemsize == HEAD_BYTES + DECISION_BODY_BYTES


def test_every_column_of_a_decision_is_little_endian() -> None:
    bases = [DECISION[name].base for name in DECISION.names or ()]

    assert [base for base in bases if base.byteorder == ">"] == []


def test_schemas_are_named_by_sixteen_hex_digits_of_what_they_say() -> None:
    assert SCHEMAS[Lane.DECISIONS] == fingerprint(repr(DECISION.descr))
    assert [name for name in SCHEMAS.values() if len(name) != 16 or not set(name) <= set("0123456789abcdef")] == []


def test_numbers_of_kinds_and_lanes_once_written_keep_their_meaning() -> None:
    kinds = {1: "DECISION", 16: "EPOCH_STARTED", 17: "BUNDLE_ACTIVATED", 18: "LISTS_ACTIVATED", 19: "CONFIG_ACTIVATED"}
    kinds |= {20: "LABEL_RECEIVED", 21: "CARD_EVICTED", 22: "TERMINAL_EVICTED", 23: "CLOCK_STEPPED"}
    kinds |= {24: "TAIL_CUT", 25: "RANGE_LOST", 26: "POLICY_ACTIVATED"}

    assert {number: Kind(number).name for number in kinds} == kinds
    assert [lane.name for lane in Lane] == ["MONEY", "DECISIONS", "EVENTS", "TRACES"]
    assert json.loads(event_body({"lane": Lane.EVENTS})) == {"lane": 2}
