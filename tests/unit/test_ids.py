"""Ids: made once from the entropy that is passed in, written one way, and read back or refused."""

import uuid
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.ids import EpochId, GateId, RecordId, SiteId, is_name, new_epoch, uuid7
from tidegate.limits import NAME_BYTES_MAX

FIRST = "abcdefghijklmnopqrstuvwxyz0123456789"
NAMES = st.builds(str.__add__, st.sampled_from(FIRST), st.text(st.sampled_from(FIRST + "-"), max_size=31))
GOOD = "site-1.g0.00112233445566ff.L1.42"


@given(st.integers(0, (1 << 57) - 1), st.binary(min_size=10, max_size=10))
@settings(max_examples=20)
def test_a_made_id_is_a_uuid_of_version_seven_that_says_its_millisecond(now_us: int, random: bytes) -> None:
    made = uuid.UUID(uuid7(now_us, lambda _: random))

    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == now_us // 1000
    assert str(made) == uuid7(now_us, lambda _: random)


@given(st.integers(0, 79))
def test_every_random_bit_but_the_last_six_makes_another_id(bit: int) -> None:
    one = (1 << bit).to_bytes(10, "big")

    assert (uuid7(0, lambda _: one) != uuid7(0, bytes)) == (bit < 74)


def test_ids_made_later_sort_later_as_text() -> None:
    entropy = Random(1).randbytes
    made = [uuid7(now_ms * 1000, entropy) for now_ms in (0, 1, 255, 256, 1 << 20, 1 << 40)]

    assert made == sorted(made)


def test_an_epoch_is_sixteen_hex_digits_of_the_entropy() -> None:
    assert new_epoch(lambda count: bytes(range(0xF8, 0xF8 + count))) == "f8f9fafbfcfdfeff"


@given(NAMES, NAMES, st.binary(min_size=8, max_size=8), st.integers(0, 3), st.integers(0, (1 << 64) - 1))
@settings(max_examples=20)
def test_a_record_id_reads_back_what_it_writes(site: str, gate: str, epoch: bytes, lane: int, seq: int) -> None:
    made = RecordId(SiteId(site), GateId(gate), EpochId(epoch.hex()), lane, seq)

    assert RecordId.parse(str(made)) == made


@pytest.mark.parametrize(
    "text",
    [
        "",
        "....",
        GOOD + ".1",
        GOOD.removesuffix(".42"),
        GOOD.replace("L1", "L4"),
        GOOD.replace("L1", "1"),
        GOOD.replace("42", "-1"),
        GOOD.replace("42", "4²"),
        GOOD.replace("42", " 42"),
        GOOD.replace("42", "42\n"),
        GOOD.replace("42", "042"),
        GOOD.replace("42", "1" * 5_000),
        GOOD.replace("42", str(1 << 64)),
        GOOD.replace("site-1", "Site-1"),
        GOOD.replace("g0", "-g0"),
        GOOD.replace("00112233445566ff", ""),
        GOOD.replace("00112233445566ff", "../../etc/passwd"),
        GOOD.replace("00112233445566ff", "00112233445566FF"),
        GOOD.replace("00112233445566ff", "0011"),
    ],
)
def test_a_text_that_no_record_id_writes_is_none(text: str) -> None:
    assert RecordId.parse(text) is None


@given(st.text(st.sampled_from("site-1.g0L.42ff\n²"), max_size=40))
@settings(max_examples=20)
def test_any_text_is_read_without_an_error_and_never_as_an_id_written_otherwise(text: str) -> None:
    found = RecordId.parse(text)

    assert found is None or str(found) == text


@pytest.mark.parametrize("name", ["a", "0", "site-1", "a" * NAME_BYTES_MAX])
def test_small_letters_digits_and_dashes_may_name_a_site(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize("name", ["", "-a", "A", "a.b", "a b", "a\n", "é", "a_b", "a" * (NAME_BYTES_MAX + 1)])
def test_what_could_be_read_two_ways_names_nothing(name: str) -> None:
    assert not is_name(name)
