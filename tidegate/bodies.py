"""Payments and labels as they are sent, to a site or to the cloud: read strictly, and no field of them said twice.

JSON leaves open which of two fields of a name counts (RFC 8259 §4), so neither may. The parser takes the last and tells
nobody. Its own hook for it would cost as much as the whole parse; a comma stands between any two members, so to count
them is enough: no value that a request may hold has one.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from tidegate.payment import LabelRequest, PaymentRequest
from tidegate.problem import invalid, refused

Place = tuple[int | str, ...]
_PAYMENT: Final = TypeAdapter(PaymentRequest).validator
_LABEL: Final = TypeAdapter(LabelRequest).validator


class _Members(list[tuple[str, Any]]):
    """An object's members as they were written."""


def parse(body: bytes) -> PaymentRequest:
    """Return the payment that a body asks about.

    Raises:
        InvalidError: it can't be understood; each field is named.
    """
    request: PaymentRequest = _parsed(_PAYMENT, body)
    return request


def parse_label(body: bytes) -> LabelRequest:
    """Return the label that a body holds.

    Raises:
        InvalidError: it can't be understood; each field is named.
    """
    request: LabelRequest = _parsed(_LABEL, body)
    return request


def _parsed(validator: Any, body: bytes) -> Any:  # noqa: ANN401 - pydantic's compiled validators
    try:
        request = validator.validate_json(body)
    except ValidationError as error:
        raise invalid(error) from None
    if says_twice(body, request):
        refuse_twice(said_twice(body))
    return request


def refuse_twice(again: Iterable[Place]) -> None:
    """Refuse fields that are there again, if any are.

    Raises:
        InvalidError: it names them.
    """
    if places := list(again):
        raise refused((place, "is there more than once; send it once") for place in places)


def says_twice(body: bytes, request: PaymentRequest | LabelRequest) -> bool:
    """Tell whether the body that `request` was read from says a field of it more than once."""
    inner = 1 if isinstance(request, PaymentRequest) else 0  # the comma within the amount, whose fields are two
    return body.count(b",") != len(request.__pydantic_fields_set__) - 1 + inner


def batch_says_twice(body: bytes, items: Sequence[bytes]) -> bool:
    """Tell whether the batch that `items` were read from, each written anew, may say a field more than once."""
    return b"\\" in body or body.count(b",") != sum(item.count(b",") for item in items) + len(items) - 1


def said_twice(body: bytes) -> Iterator[Place]:
    """Yield the place of each field of a JSON body that is there again."""
    return _again(json.loads(body, object_pairs_hook=_Members), ())


def _again(value: object, place: Place) -> Iterator[Place]:
    if isinstance(value, _Members):
        seen: set[str] = set()
        for name, member in value:
            if name in seen:
                yield (*place, name)
            seen.add(name)
            yield from _again(member, (*place, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _again(item, (*place, index))
