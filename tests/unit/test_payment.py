"""Requests: what a caller may send, what is refused, and that no card number gets in, however it is written."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from random import Random
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from tidegate.limits import AMOUNT_MINOR_MAX, NAME_BYTES_MAX, TOKEN_BYTES_MAX, TRANSACTION_ID_BYTES_MAX
from tidegate.payment import (
    CHANNELS,
    ENTRY_MODES,
    Amount,
    LabelRequest,
    PaymentRequest,
    holds_card_number,
    request_hash,
)

VISA = "4111111111111111"
ISSUERS = {
    "Visa": ("4", (13, 16, 19)),
    "Mastercard": ("51 55 2221 2229 2230 2300 2699 2700 2719 2720", (16,)),
    "Amex": ("34 37", (15,)),
    "Diners": ("300 305 3095 36 38 39", (14, 16, 19)),
    "JCB": ("3528 3529 3530 3589", (16, 19)),
    "Discover": ("6011 644 649 65", (16, 19)),
    "UnionPay": ("62 81", (16, 19)),
    "Maestro": ("50 56 57 58 60 69", (13, 16, 19)),
    "Mir": ("2200 2204", (16, 19)),
    "Troy": ("9792", (16,)),
}
CASES = [(iin, length) for iins, lengths in ISSUERS.values() for iin in iins.split() for length in lengths]
PAYMENT: dict[str, Any] = {
    "transaction_id": "order-1",
    "occurred_at": "2026-11-24T09:30:00.5+02:00",
    "amount": {"minor": 1_250, "currency": "EUR"},
    "card": "card-1",
    "terminal": "t-1",
    "merchant": "m-1",
    "channel": "card_present",
    "country": "DE",
    "mcc": "5411",
    "entry_mode": "chip",
    "device": "d-1",
}
LABEL: dict[str, Any] = {
    "label_id": "l-1",
    "merchant": "m-1",
    "transaction_id": "order-1",
    "verdict": "fraud",
    "source": "chargeback",
    "known_at": "2026-11-24T09:30:00Z",
}
IDS = [
    ("transaction_id", TRANSACTION_ID_BYTES_MAX),
    ("card", TOKEN_BYTES_MAX),
    ("device", TOKEN_BYTES_MAX),
    ("terminal", NAME_BYTES_MAX),
    ("merchant", NAME_BYTES_MAX),
]


def _check_digit(payload: str) -> str:
    """Return the digit that ISO/IEC 7812-1 annex B puts behind `payload`, by its table."""
    doubled = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
    total = sum(doubled[int(d)] if i % 2 == 0 else int(d) for i, d in enumerate(reversed(payload)))
    return str(-total % 10)


def number(iin: str, length: int, fill: str = "1") -> str:
    """Return a card number of an issuer."""
    payload = (iin + fill * length)[: length - 1]
    return payload + _check_digit(payload)


def payment(**changes: Any) -> PaymentRequest:
    """Return a good request, with changes."""
    return PaymentRequest.model_validate_json(json.dumps(PAYMENT | changes))


def label(**changes: Any) -> LabelRequest:
    """Return a good label, with changes."""
    return LabelRequest.model_validate_json(json.dumps(LABEL | changes))


def places(make: Callable[..., BaseModel], **changes: Any) -> list[str]:
    """Return the fields that were refused."""
    with pytest.raises(ValidationError) as refused:
        make(**changes)
    return [".".join(map(str, error["loc"])) for error in refused.value.errors()]


@pytest.mark.parametrize(("iin", "length"), CASES)
def test_a_card_number_of_each_issuer_and_length_is_found(iin: str, length: int) -> None:
    assert holds_card_number(number(iin, length))


@pytest.mark.parametrize(("iin", "length"), CASES)
def test_a_wrong_check_digit_makes_it_no_card_number(iin: str, length: int) -> None:
    made = number(iin, length)

    assert [d for d in "0123456789" if holds_card_number(made[:-1] + d)] == [made[-1]]


@pytest.mark.parametrize(
    ("iin", "length"),
    [("4", 14), ("4", 15), ("51", 15), ("2220", 16), ("2721", 16), ("34", 16), ("35270", 16), ("1", 16), ("9791", 16)],
)
def test_digits_of_a_length_or_prefix_that_no_issuer_has_are_no_card_number(iin: str, length: int) -> None:
    assert not holds_card_number(number(iin, length))


@pytest.mark.parametrize("sign", [*".:/_,;|*+=#~\\'()", " / ", "\t", "\u2010", "\u00b7"])
def test_any_sign_between_the_groups_of_a_card_number_hides_nothing(sign: str) -> None:
    for iin, length in CASES:
        made = number(iin, length)
        groups = sign.join(made[at : at + 4] for at in range(0, length, 4))

        assert holds_card_number(groups)
        assert holds_card_number(f"order{sign}7{sign}{groups}{sign}12")
        assert holds_card_number(sign.join(made))


def test_signs_of_several_kinds_hide_nothing() -> None:
    assert holds_card_number("order:4111.1111-1111_1111")


@given(st.sampled_from(CASES), st.lists(st.sampled_from(["", " ", "-", " - ", "--"]), min_size=18, max_size=18))
@settings(max_examples=20)
def test_spaces_and_dashes_wherever_and_however_many_hide_nothing(case: tuple[str, int], gaps: list[str]) -> None:
    made = number(*case)
    written = "".join(gap + digit for gap, digit in zip(["", *gaps], made, strict=False))

    assert holds_card_number(f"x{written}y")


@pytest.mark.parametrize(
    "text",
    [
        f"order-{VISA}",
        f"order-7-{VISA}",
        f"{VISA}-123",
        f"{VISA} 12 27",
        "7 4111 1111 1111 1111",
        "4111 - 1111 - 1111 - 1111",
        f"a_{VISA}.b",
        f"00000000{VISA}00000000",
        f"0190f5fe-7c00-7a3b-8f11-6d1e5f2a9c41-{VISA}",
        f"{VISA}-0190f5fe-7c00-7a3b-8f11-6d1e5f2a9c41",
        f"0190f5fe7c007a3b8f11a{VISA}",
    ],
)
def test_a_card_number_inside_a_longer_text_is_found(text: str) -> None:
    assert holds_card_number(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "order-1",
        "411111111111",
        "2026-11-24 09:30:00.123456",
        "2026-11-24T09:30:00.123456+02:00",
        "24/11/2026 09:30:00",
        "20261124.093000.000123",
        "1795500000000000",
        "192.168.100.200:8410",
        "v4.11.11.11.11.11.11.11",
        "4111a1111.1111.1111",
        "1234.4111.1111.1111",
        "0" * 12,
    ],
)
def test_dates_short_numbers_and_other_words_are_no_card_number(text: str) -> None:
    assert not holds_card_number(text)


def uuid7(now_ms: int, random: bytes) -> str:
    """Return a UUIDv7 (RFC 9562 §5.7)."""
    middle = bytes([0x70 | random[0] & 0x0F, random[1], 0x80 | random[2] & 0x3F])
    return str(UUID(bytes=now_ms.to_bytes(6, "big") + middle + random[3:]))


def test_no_id_that_a_caller_makes_by_the_rules_is_taken_for_a_card_number() -> None:
    entropy = Random(5).randbytes
    made = [uuid7(1_795_500_000_000 + n * 777, entropy(10)) for n in range(5_000)]
    digits = ["01900000-4111-7111-8111-111111111111", "41111111-1111-7111-8111-111111111111"]

    assert [text for text in [*made, *digits] if holds_card_number(text) or holds_card_number(f"o-{text}")] == []


def test_more_digits_than_a_field_has_room_for_are_refused_without_a_search() -> None:
    assert holds_card_number("1" * (TOKEN_BYTES_MAX + 1))
    assert not holds_card_number("1" * TOKEN_BYTES_MAX)


@pytest.mark.parametrize("field", [name for name, _ in IDS])
@pytest.mark.parametrize(
    "text",
    [
        *(VISA, f"c-{VISA}", "4111-1111-1111-1111", "4111.1111.1111.1111", "4111_1111:1111.1111"),
        *("1" * 13, "1" * 19),
    ],
)
def test_no_id_of_a_payment_may_hold_a_card_number_or_be_digits_of_its_length(field: str, text: str) -> None:
    assert places(payment, **{field: text}) == [field]


@pytest.mark.parametrize("field", ["label_id", "merchant", "transaction_id", "source"])
def test_no_id_of_a_label_may_hold_a_card_number(field: str) -> None:
    assert places(label, **{field: f"c-{VISA}"}) == [field]


@pytest.mark.parametrize(("field", "longest"), IDS)
def test_an_id_is_as_long_as_its_column_and_no_longer(field: str, longest: int) -> None:
    assert getattr(payment(**{field: "a" * longest}), field) == "a" * longest
    assert places(payment, **{field: "a" * (longest + 1)}) == [field]


@pytest.mark.parametrize("text", ["", "-a", ".a", "a b", "a\n", "a\0", "é", "a/b", 'a"', 7, None])
def test_an_id_is_printable_ascii_without_blanks(text: object) -> None:
    assert places(payment, card=text) == ["card"]


@pytest.mark.parametrize("text", ["a", "0", "a.b_c:d-e", "1" * 12, "1" * 20, "A1"])
def test_what_people_call_things_is_an_id(text: str) -> None:
    assert payment(card=text).card == text


@pytest.mark.parametrize("minor", [1, AMOUNT_MINOR_MAX])
def test_an_amount_reaches_from_one_minor_unit_to_the_bound(minor: int) -> None:
    assert payment(amount={"minor": minor, "currency": "EUR"}).amount == Amount(minor=minor, currency="EUR")


@pytest.mark.parametrize("minor", [0, -1, AMOUNT_MINOR_MAX + 1, 12.5, 12.0, "12", True, None, 1 << 70])
def test_an_amount_is_a_whole_number_within_bounds(minor: object) -> None:
    assert places(payment, amount={"minor": minor, "currency": "EUR"}) == ["amount.minor"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("amount.currency", {"amount": {"minor": 1, "currency": "eur"}}),
        ("channel", {"channel": "post"}),
        ("country", {"country": "DEU"}),
        ("mcc", {"mcc": "54111"}),
        ("mcc", {"mcc": 5411}),
        ("entry_mode", {"entry_mode": "unknown"}),
    ],
)
def test_a_word_that_the_field_does_not_know_is_refused(field: str, value: dict[str, Any]) -> None:
    assert places(payment, **value) == [field]


def test_unknown_fields_are_refused_at_every_depth() -> None:
    assert places(payment, cvv="123") == ["cvv"]
    assert places(payment, amount={"minor": 1, "currency": "EUR", "tip": 1}) == ["amount.tip"]
    assert places(label, note="x") == ["note"]


@pytest.mark.parametrize("field", [name for name in PAYMENT if name not in {"country", "mcc", "entry_mode", "device"}])
def test_a_field_that_is_not_optional_is_missed_by_name(field: str) -> None:
    body = {name: value for name, value in PAYMENT.items() if name != field}

    assert places(lambda: PaymentRequest.model_validate_json(json.dumps(body))) == [field]


def test_what_is_optional_may_be_left_out_or_null() -> None:
    optional = {"country": None, "mcc": None, "entry_mode": None, "device": None}
    body = {name: value for name, value in PAYMENT.items() if name not in optional}

    assert PaymentRequest.model_validate_json(json.dumps(body)) == payment(**optional)


def test_a_time_is_one_moment_whatever_the_offset_it_is_told_in() -> None:
    assert payment().occurred_us == payment(occurred_at="2026-11-24T07:30:00.500000Z").occurred_us
    assert payment().occurred_us == payment(occurred_at="2026-11-24t07:30:00.5z").occurred_us
    assert payment().occurred_at == datetime(2026, 11, 24, 7, 30, 0, 500_000, UTC)


def test_a_program_may_pass_a_moment_as_it_is() -> None:
    moment = datetime(2026, 11, 24, tzinfo=UTC)

    assert PaymentRequest.model_validate(PAYMENT | {"occurred_at": moment}).occurred_at is moment


@pytest.mark.parametrize(
    "when",
    [
        "yesterday",
        "",
        "2026-11-24",
        "2026-11-24T09:30Z",
        "2026-11-24T09:30:00",
        "2026-13-24T09:30:00Z",
        "2026-11-24T25:30:00Z",
        "1795500000",
        1_795_500_000,
        1_795_500_000.5,
        4_222_222_222_222,
        True,
        None,
    ],
)
@pytest.mark.parametrize(("make", "field"), [(payment, "occurred_at"), (label, "known_at")])
def test_a_time_is_rfc_3339_text_with_an_offset_and_never_a_number(
    make: Callable[..., BaseModel], field: str, when: object
) -> None:
    assert places(make, **{field: when}) == [field]


def test_a_label_says_fraud_or_legit() -> None:
    assert label(verdict="legit").verdict == "legit"
    assert places(label, verdict="maybe") == ["verdict"]


def test_every_word_of_a_request_has_a_number_to_be_stored_by() -> None:
    for word in ("card_present", "online", "moto"):
        assert CHANNELS[payment(channel=word).channel] > 0
    for entry in ("contactless", "chip", "magstripe", "manual", "online", None):
        assert (ENTRY_MODES[payment(entry_mode=entry).entry_mode] == 0) == (entry is None)
    assert len(set(CHANNELS.values())) == 3
    assert len(set(ENTRY_MODES.values())) == 6


@given(st.text("ab1", max_size=4), st.text("ab1", max_size=4))
@settings(max_examples=60)
def test_two_bodies_have_one_hash_only_where_they_are_one(one: str, other: str) -> None:
    assert (request_hash(one) == request_hash(other)) == (one == other)
    assert len(request_hash(one)) == 16
