"""What a caller asks of a gate: a payment to decide on, or a label that says how one turned out."""

import hashlib
import re
import string
from collections.abc import Sequence
from datetime import datetime
from enum import IntEnum
from itertools import accumulate
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from tidegate.clock import microseconds
from tidegate.limits import (
    AMOUNT_MINOR_MAX,
    LABEL_ID_BYTES_MAX,
    NAME_BYTES_MAX,
    TOKEN_BYTES_MAX,
    TRANSACTION_ID_BYTES_MAX,
)

_DIGITS_MIN: Final = 13
_DIGITS_MAX: Final = 19
_GROUPED_DIGITS: Final = re.compile(r"[0-9](?:[ -]*[0-9]){12,}")
_GAP: Final = re.compile(r"[ -]+")
_PARTED_DIGITS: Final = re.compile(r"[0-9]+(?:[\W_]{1,3}[0-9]+)+")
_PART: Final = re.compile(r"[\W_]+")
_ALNUM: Final = (string.digits + string.ascii_letters).encode()
_SIGNS: Final = bytes(sorted(set(range(256)) - set(_ALNUM)))
_SHAPE: Final = bytes.maketrans(_ALNUM, b"0" * len(string.digits) + b"a" * len(string.ascii_letters))
_DIGITS_ENOUGH: Final = b"0" * _DIGITS_MIN
_UUID: Final = re.compile(
    r"(?<![0-9a-z])[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}(?![0-9a-z])", re.IGNORECASE
)
_IIN_LENGTHS: Final = (
    (re.compile(r"4"), frozenset({13, 16, 19})),
    (re.compile(r"5[1-5]|2(22[1-9]|2[3-9]|[3-6]|7[01]|720)"), frozenset({16})),
    (re.compile(r"3[47]"), frozenset({15})),
    (re.compile(r"3(0[0-5]|095|[689])"), frozenset(range(14, 20))),
    (re.compile(r"35(2[89]|[3-8])"), frozenset(range(16, 20))),
    (re.compile(r"6(011|4[4-9]|5)"), frozenset(range(16, 20))),
    (re.compile(r"62|8[12]"), frozenset(range(16, 20))),
    (re.compile(r"5[0678]|6"), frozenset(range(13, 20))),
    (re.compile(r"220[0-4]"), frozenset(range(16, 20))),
    (re.compile(r"9792"), frozenset({16})),
)
"""Issuer prefixes and lengths: Visa, Mastercard, Amex, Diners, JCB, Discover, UnionPay, RuPay, Maestro, Mir, Troy."""


def _luhn(digits: str) -> bool:
    """ISO/IEC 7812-1 annex B."""
    doubled = (int(d) * 2 for d in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(d - 9 if d > 9 else d for d in doubled)) % 10 == 0  # noqa: PLR2004


def _is_card_number(digits: str) -> bool:
    return any(len(digits) in lengths and iin.match(digits) for iin, lengths in _IIN_LENGTHS) and _luhn(digits)


def holds_card_number(text: str) -> bool:
    """Tell whether `text` holds a card number: 13 to 19 digits, signs between them aside, known prefix, Luhn.

    Digits between two spaces or dashes may begin or end it, so that a number beside it hides nothing; a run longer
    than a card number is searched at every digit. Between other signs (4111.1111.1111.1111) it is whole groups only:
    times and versions are written so, too. A UUID is none, whatever its digits.
    """
    if _DIGITS_ENOUGH not in text.encode(errors="replace").translate(_SHAPE, _SIGNS):
        return False  # a tenth of what the patterns below cost, for nearly every id
    rest = _UUID.sub("u", text)
    return any(_run_holds_card_number(_GAP.split(run)) for run in _GROUPED_DIGITS.findall(rest)) or any(
        _whole_groups_hold_card_number(_PART.split(run)) for run in _PARTED_DIGITS.findall(rest)
    )


def _run_holds_card_number(groups: Sequence[str]) -> bool:
    size = sum(map(len, groups))
    if size > TOKEN_BYTES_MAX:
        return True  # no field has room for it, and to search it would keep everybody waiting
    return _holds_between("".join(groups), _edges(groups) if size <= _DIGITS_MAX else frozenset(range(size + 1)))


def _whole_groups_hold_card_number(groups: Sequence[str]) -> bool:
    return _holds_between("".join(groups), _edges(groups))


def _edges(groups: Sequence[str]) -> frozenset[int]:
    return frozenset(accumulate(map(len, groups), initial=0))


def _holds_between(run: str, edges: frozenset[int]) -> bool:
    """Tell whether a card number begins at one of the edges of `run` and ends at another."""
    spans = ((start, start + size) for start in edges for size in range(_DIGITS_MIN, _DIGITS_MAX + 1))
    return any(end in edges and _is_card_number(run[start:end]) for start, end in spans)


def _no_card_number(text: str) -> str:
    if len(text) >= _DIGITS_MIN:
        if text.isdigit() and len(text) <= _DIGITS_MAX:
            raise ValueError("an id must not be 13 to 19 digits only: it could be taken for a card number")
        if holds_card_number(text):
            raise ValueError("holds what looks like a card number: send the token of the card instead")
    return text


_ID: Final = r"^[A-Za-z0-9][A-Za-z0-9._:\-]*$"
_refused: Final = AfterValidator(_no_card_number)
TransactionText = Annotated[str, Field(max_length=TRANSACTION_ID_BYTES_MAX, pattern=_ID), _refused]
TokenText = Annotated[str, Field(max_length=TOKEN_BYTES_MAX, pattern=_ID), _refused]
NameText = Annotated[str, Field(max_length=NAME_BYTES_MAX, pattern=_ID), _refused]
LabelText = Annotated[str, Field(max_length=LABEL_ID_BYTES_MAX, pattern=_ID), _refused]
_RFC3339: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})?"
)


def _written_out(value: object) -> object:
    """Refuse a bare number, which pydantic reads as seconds or milliseconds, as its size suggests."""
    if isinstance(value, datetime) or (isinstance(value, str) and _RFC3339.fullmatch(value)):
        return value
    raise ValueError("RFC 3339 with an offset is expected, for example 2026-11-24T09:30:00Z")


Moment = Annotated[
    AwareDatetime,
    Field(strict=False, description="RFC 3339, for example 2026-11-24T09:30:00Z"),
    BeforeValidator(_written_out),
]

ChannelWord = Literal["card_present", "online", "moto"]
EntryWord = Literal["contactless", "chip", "magstripe", "manual", "online"]


class Channel(IntEnum):
    """How the payment came in, as stored."""

    CARD_PRESENT = 1
    ONLINE = 2
    MOTO = 3


class EntryMode(IntEnum):
    """How the card was read, as stored; 0 where the caller didn't say."""

    UNKNOWN = 0
    CONTACTLESS = 1
    CHIP = 2
    MAGSTRIPE = 3
    MANUAL = 4
    ONLINE = 5


CHANNELS: Final[dict[str, int]] = {c.name.lower(): int(c) for c in Channel}
ENTRY_MODES: Final[dict[str | None, int]] = {None: 0} | {e.name.lower(): int(e) for e in EntryMode if e}


class Amount(BaseModel):
    """An amount in minor units, never a decimal."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    minor: Annotated[int, Field(gt=0, le=AMOUNT_MINOR_MAX, description="cents and the like; an integer")]
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$", description="ISO 4217")]


class PaymentRequest(BaseModel):
    """One payment to decide on. `transaction_id` is made once by the caller and kept over retries."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    transaction_id: TransactionText
    occurred_at: Moment
    amount: Amount
    card: Annotated[TokenText, Field(description="the token of the card, never its number")]
    terminal: NameText
    merchant: NameText
    channel: ChannelWord
    country: Annotated[str, Field(pattern=r"^[A-Z]{2}$", description="ISO 3166-1 alpha-2, of the card")] | None = None
    mcc: Annotated[str, Field(pattern=r"^[0-9]{4}$", description="ISO 18245 merchant category")] | None = None
    entry_mode: EntryWord | None = None
    device: TokenText | None = None

    @property
    def occurred_us(self) -> int:
        """When the payment took place by the device's clock, microseconds UTC."""
        return microseconds(self.occurred_at)


class LabelRequest(BaseModel):
    """How a payment turned out. `label_id` is made once by its source; a later label of one payment supersedes."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    label_id: LabelText
    merchant: NameText
    transaction_id: TransactionText
    verdict: Literal["fraud", "legit"]
    source: Annotated[NameText, Field(description="who says so: chargeback, analyst, issuer ...")]
    known_at: Moment


def request_hash(request: str) -> bytes:
    """Return 16 bytes that tell two bodies of one id apart (BLAKE2b, RFC 7693)."""
    return hashlib.blake2b(request.encode(), digest_size=16).digest()


def parse_moment(text: str) -> datetime:
    """Return an RFC 3339 text as an aware datetime.

    Raises:
        ValueError: it is none, or says no offset.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time needs an offset, for example 2026-11-24T09:30:00Z")
    return moment
