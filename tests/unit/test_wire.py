"""Arrow views: columns that give every byte back, whole or sliced, and refuse what isn't of their schema."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.records import DECISION, SCHEMAS, Kind, Lane, Record
from tidegate.wire import (
    EVENT_ARROW,
    arrow_to_decisions,
    decision_schema,
    decisions_to_arrow,
    events_to_arrow,
    read_stream,
    write_stream,
)

SIZE = DECISION.itemsize
SEEDS = st.integers(0, 1 << 32)


def canonical(rows: int, seed: int = 1) -> bytes:
    """Return records of any bytes: every pattern of bits has to survive, NaNs with payloads too."""
    return np.random.default_rng(seed).bytes(rows * SIZE)


@given(st.integers(0, 5), SEEDS)
@settings(max_examples=20)
def test_a_view_gives_back_the_bytes_it_was_made_of(rows: int, seed: int) -> None:
    data = canonical(rows, seed)

    assert arrow_to_decisions(decisions_to_arrow(data)) == data
    assert arrow_to_decisions(decisions_to_arrow(memoryview(data))) == data


@given(st.integers(0, 6), st.integers(0, 6), SEEDS)
@settings(max_examples=20)
def test_a_slice_of_a_view_gives_back_its_own_records(start: int, length: int, seed: int) -> None:
    data = canonical(6, seed)

    sliced = decisions_to_arrow(data).slice(start, length)

    assert arrow_to_decisions(sliced) == data[start * SIZE : (start + length) * SIZE]


@given(SEEDS)
@settings(max_examples=10)
def test_a_view_survives_its_own_stream(seed: int) -> None:
    data = canonical(3, seed)

    assert arrow_to_decisions(read_stream(write_stream(decisions_to_arrow(data)))) == data
    assert arrow_to_decisions(read_stream(write_stream(decisions_to_arrow(data).slice(1, 1)))) == data[SIZE : 2 * SIZE]


@pytest.mark.parametrize("name", ["seq", "card", "features"])
def test_a_view_with_a_missing_value_is_refused(name: str) -> None:
    batch = decisions_to_arrow(canonical(2, 1))
    column = batch.column(name)
    empty = pa.nulls(2, column.type)
    if name == "features":
        width = column.type.list_size
        empty = pa.FixedSizeListArray.from_arrays(pa.nulls(2 * width, pa.float32()), type=column.type)

    with pytest.raises(ValueError, match="missing"):
        arrow_to_decisions(batch.set_column(batch.schema.get_field_index(name), batch.schema.field(name), empty))


def test_every_field_of_the_record_is_a_column_of_its_name_and_the_schema_says_which() -> None:
    schema = decision_schema()

    assert tuple(schema.names) == DECISION.names
    assert schema.metadata == {b"schema": SCHEMAS[Lane.DECISIONS].encode()}


def test_a_column_holds_what_the_record_holds() -> None:
    data = canonical(4)
    rows = np.frombuffer(data, DECISION)
    view = decisions_to_arrow(data)

    assert view.column("seq").to_pylist() == rows["seq"].tolist()
    assert view.column("amount_minor").to_pylist() == rows["amount_minor"].tolist()
    assert view.column("reasons").to_pylist() == rows["reasons"].tolist()


@pytest.mark.parametrize("size", [1, SIZE - 1, SIZE + 1])
def test_a_run_that_is_no_whole_number_of_records_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="multiple"):
        decisions_to_arrow(bytes(size))


def _without_a_column(view: Any) -> Any:
    return view.drop_columns([view.schema.names[-1]])


def _of_another_version(view: Any) -> Any:
    return view.replace_schema_metadata({"schema": "0" * 16})


def _without_a_version(view: Any) -> Any:
    return view.replace_schema_metadata(None)


def _in_another_order(view: Any) -> Any:
    return view.select(view.schema.names[::-1])


@pytest.mark.parametrize("change", [_without_a_column, _of_another_version, _without_a_version, _in_another_order])
def test_a_view_of_another_schema_is_refused_with_what_to_do(change: Any) -> None:
    with pytest.raises(ValueError, match=f"schema is not {SCHEMAS[Lane.DECISIONS]}; upgrade the reader"):
        arrow_to_decisions(change(decisions_to_arrow(canonical(2))))


@given(
    st.lists(
        st.builds(
            Record,
            st.just(Lane.EVENTS),
            st.sampled_from(Kind),
            st.integers(0, (1 << 64) - 1),
            st.integers(0, (1 << 64) - 1),
            st.integers(-(1 << 63), (1 << 63) - 1),
            st.binary(max_size=20),
        ),
        max_size=4,
    )
)
@settings(max_examples=20)
def test_events_are_columns_with_their_bodies_as_they_are(records: list[Record]) -> None:
    view = read_stream(write_stream(events_to_arrow(records)))

    assert view.schema.equals(EVENT_ARROW, check_metadata=True)
    back = [
        Record(Lane(row["lane"]), Kind(row["kind"]), row["seq"], row["pos"], row["time_us"], row["body"])
        for row in view.to_pylist()
    ]
    assert back == records


@pytest.mark.parametrize("data", [b"", b"no stream", bytes(64)])
def test_what_is_no_stream_is_refused(data: bytes) -> None:
    with pytest.raises((ValueError, pa.ArrowInvalid)):
        read_stream(data)


def test_a_stream_cut_short_is_refused() -> None:
    data = write_stream(decisions_to_arrow(canonical(3)))

    with pytest.raises((ValueError, OSError)):
        read_stream(data[: len(data) // 2])


@pytest.mark.parametrize("count", [0, 2])
def test_a_stream_of_another_number_of_batches_is_refused(count: int) -> None:
    view = decisions_to_arrow(canonical(1))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, view.schema) as writer:
        for _ in range(count):
            writer.write_batch(view)

    with pytest.raises(ValueError, match=f"expected one batch in the stream, found {count}"):
        read_stream(bytes(sink.getvalue()))
