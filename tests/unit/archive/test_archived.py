"""The archive's types: what they are, what they refuse, and how a version of all tables is written."""

import numpy as np
import pyarrow as pa
import pytest

from tests.sent import NOW_US, SOURCE
from tidegate.archived import (
    KEPT,
    Pin,
    batch_of,
    days_of,
    decisions,
    events,
    restored,
    schema_of,
)
from tidegate.limits import ARCHIVE_DAY_MAX, ARCHIVE_DAY_MIN, DAY_US
from tidegate.records import DECISION, HEAD_FIELDS


def test_each_column_has_a_type_that_delta_knows() -> None:
    unknown = [
        (table, field.name, field.type)
        for table in KEPT
        for field in schema_of(table)
        if pa.types.is_unsigned_integer(field.type)
        or pa.types.is_fixed_size_binary(field.type)
        or pa.types.is_dictionary(field.type)
        or pa.types.is_fixed_size_list(field.type)
    ]

    assert unknown == []


@pytest.mark.parametrize("name", ["card", "features", "rules_hit"])
def test_a_missing_value_is_told_with_its_column(name: str) -> None:
    stored = decisions(SOURCE, np.zeros(2, DECISION))
    at = stored.schema.get_field_index(name)
    holed = stored.set_column(at, stored.schema.field(at), pa.nulls(2, stored.schema.field(at).type))

    with pytest.raises(ValueError, match=name):
        restored(holed, (name,))


def test_a_text_that_is_too_long_for_its_field_is_refused() -> None:
    stored = decisions(SOURCE, np.zeros(1, DECISION))
    at = stored.schema.get_field_index("merchant")
    long = stored.set_column(at, stored.schema.field(at), pa.array(["m" * 33]))

    with pytest.raises(ValueError, match="merchant: a value is longer than 32 bytes"):
        restored(long, ("merchant",))


def test_a_day_is_of_the_records_own_time_and_lies_within_bounds() -> None:
    today = NOW_US // DAY_US
    times = np.array([NOW_US, NOW_US + DAY_US, NOW_US + 2 * DAY_US, 0, 2**63 - 1, -(2**63)], np.int64)

    assert days_of(times, NOW_US).tolist() == [today, today + 1, today + 1, ARCHIVE_DAY_MIN, today + 1, ARCHIVE_DAY_MIN]
    assert days_of(times, 2**63 - 1).max() == ARCHIVE_DAY_MAX


def test_events_keep_every_byte_of_a_record() -> None:
    heads = np.array([(7, 2**64 - 1, NOW_US, 2, 0xEE, 0, 3)], HEAD_FIELDS)

    row = events(SOURCE, heads, [b"\xff\x00{"]).to_pylist()[0]

    assert (row["source"], row["seq"], row["kind"], row["body"]) == (SOURCE, 7, 0xEE, b"\xff\x00{")
    assert row["pos"] % 2**64 == 2**64 - 1
    assert row["time_us"] == NOW_US


def test_a_row_without_one_of_its_fields_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="lists: a row has no lists"):
        batch_of("lists", [{"source": SOURCE, "version": 1, "from_us": 1, "as_of_us": 1}])
    with pytest.raises(ValueError, match="lists"):
        batch_of("lists", [{"source": SOURCE, "version": "x", "from_us": 1, "as_of_us": 1, "lists": "l-0"}])


def test_a_pin_is_written_and_read_and_nothing_else_is_one() -> None:
    pin = Pin(41, 40, 7, 1, 1, 1, 2)

    assert str(pin) == "41.40.7.1.1.1.2"
    assert Pin.parse(str(pin)) == pin
    assert [Pin.parse(text) for text in ("", "1.2", "1.2.3.4.5.6.x", "1.2.3.4.5.6.-7", "²" + ".1" * 6)] == [None] * 5
