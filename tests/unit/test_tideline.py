"""The tideline's files: what was written is read, and what can't be read says nothing."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.ids import EpochId
from tidegate.passages import UNKNOWN, Span
from tidegate.records import Lane
from tidegate.tideline import Witness, committed_bytes, parse_committed, parse_witness, witness_bytes

EPOCH = EpochId("0123456789abcdef")


@pytest.mark.parametrize("chain", [UNKNOWN, b"\x07" * 32])
def test_a_witness_is_read_as_it_was_written(chain: bytes) -> None:
    witness = Witness(EPOCH, Lane.EVENTS, 12, chain)

    assert parse_witness(witness_bytes(witness)) == witness


def test_of_what_was_committed_that_is_read_which_has_all_before_it() -> None:
    spans = {
        (EPOCH, Lane.DECISIONS): (Span(1, 5), Span(9, 11)),
        (EPOCH, Lane.EVENTS): (Span(3, 4),),
        (EPOCH, Lane.MONEY): (),
    }

    assert parse_committed(committed_bytes(spans)) == {(EPOCH, Lane.DECISIONS): 5}


@given(
    st.binary(max_size=200)
    | st.builds(lambda cut: witness_bytes(Witness(EPOCH, Lane(1), 3, b""))[:cut], st.integers(0, 80))
)
def test_bytes_that_say_nothing_are_no_witness_and_nothing_is_committed(data: bytes) -> None:
    assert parse_witness(data) in {None, Witness(EPOCH, Lane(1), 3, b"")}
    assert parse_committed(data) == {}


@pytest.mark.parametrize(
    "said",
    [{}, {"format": 2, "committed": {f"{EPOCH}/L1": [[1, 5]]}}, {"format": 1, "committed": [3]}, [], "x", None]
    + [
        {"format": 1, "committed": {f"{EPOCH}/L{lane}": spans}}
        for lane, spans in (("9", [[1, 5]]), ("1", 7), ("1", [1]))
    ],
)
def test_another_format_or_shape_says_nothing(said: object) -> None:
    assert parse_committed(json.dumps(said).encode()) == {}
    assert parse_witness(json.dumps(said).encode()) is None


@pytest.mark.parametrize(
    ("seq", "chain", "last", "own", "denies"),
    [
        (7, b"a", 6, UNKNOWN, True),
        (7, b"a", 7, b"a", False),
        (7, b"a", 9, b"b", True),
        (7, UNKNOWN, 9, b"b", False),
        (7, b"a", 9, UNKNOWN, False),
    ],
    ids=["more than the journal", "the same", "another history", "a cloud that doesn't tell", "hidden by damage"],
)
def test_a_witness_denies_what_has_less_or_other_records(
    seq: int, chain: bytes, last: int, own: bytes, *, denies: bool
) -> None:
    assert Witness(EPOCH, Lane.DECISIONS, seq, chain).denies(last, own) is denies
