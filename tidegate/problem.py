"""Errors as problem+json (RFC 9457): a stable code, the fields that are wrong, never the value that was sent."""

import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from itertools import islice
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import to_json

from tidegate.errors import (
    CardNumberError,
    ConflictError,
    FieldError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    PermanentError,
    TakenError,
    TemporaryError,
    TidegateError,
    UnauthenticatedError,
    joined,
)
from tidegate.payment import holds_card_number

CONTENT_TYPE: Final = b"application/problem+json"
PRIVATE: Final = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]
"""Headers of every answer: who paid what belongs in no cache, and is what its type says."""
_HEADERS: Final = [(b"content-type", CONTENT_TYPE), *PRIVATE]
_FIELDS_MAX: Final = 20
_SAFE_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,31}")


class BodyTooLargeError(InvalidError):
    """A body beyond its bound: send less at a time."""

    code = "BODY_TOO_LARGE"


class BodyTooSlowError(InvalidError):
    """A body that doesn't come: it holds the place of another request."""

    code = "BODY_TOO_SLOW"


class MediaTypeError(InvalidError):
    """A body of another type than the path takes, by its own word."""

    code = "UNSUPPORTED_MEDIA_TYPE"


_STATUS: Final[tuple[tuple[type[TidegateError], int], ...]] = (
    (UnauthenticatedError, 401),
    (ForbiddenError, 403),
    (NotFoundError, 404),
    (BodyTooSlowError, 408),
    (TakenError, 409),
    (BodyTooLargeError, 413),
    (MediaTypeError, 415),
    (ConflictError, 422),
    (InvalidError, 422),
    (TemporaryError, 503),
)


def status_of(error: TidegateError) -> int:
    """Return the HTTP status of an error."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def document(error: TidegateError, status: int | None = None) -> dict[str, Any]:
    """Return an error as the members of a problem document."""
    code = error.code
    problem = {
        "type": f"urn:tidegate:error:{code.lower()}",
        "title": code.replace("_", " ").capitalize(),
        "status": status or status_of(error),
        "code": code,
        "detail": error.message,
    }
    if error.fields:
        problem["errors"] = [{"field": field.field, "message": field.message} for field in error.fields]
    return problem


def render(error: TidegateError, status: int | None = None) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Return status, headers and body of an error's answer."""
    problem = document(error, status)
    headers = [*_HEADERS]
    if isinstance(error, TemporaryError):
        headers.append((b"retry-after", str(max(1, round(error.delay_s))).encode()))
    if isinstance(error, UnauthenticatedError):
        headers.append((b"www-authenticate", b'Bearer realm="tidegate"'))
    return problem["status"], headers, to_json(problem)


def _place(names: Sequence[int | str]) -> str:
    """Name where an error is; of names that callers made up only plain words are repeated: others may hold anything."""
    return ".".join(str(name) if isinstance(name, int) or _is_safe(name) else "?" for name in names) or "body"


def _is_safe(name: str) -> bool:
    return _SAFE_NAME.fullmatch(name) is not None and not holds_card_number(name)


def invalid(error: ValidationError) -> InvalidError:
    """Return what is wrong with a body, field by field."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    return refused((d["loc"], d["msg"]) for d in details)


def refused(wrong: Iterable[tuple[Sequence[int | str], str]]) -> InvalidError:
    """Return an error for places and what is wrong there, of which the first few are told."""
    told = islice(wrong, _FIELDS_MAX)
    fields = tuple(FieldError(_place(place), message.removeprefix("Value error, ")) for place, message in told)
    card_number = any("card number" in field.message for field in fields)
    return (CardNumberError if card_number else InvalidError)(joined(fields), fields=fields)


class MistakeError(PermanentError):
    """An error that nobody foresaw; what it was is in the site's log, and in no answer."""

    code = "INTERNAL_ERROR"

    def __init__(self) -> None:
        super().__init__("the site made a mistake, and its log says which; send the same again: it is decided once")


class MalformedError(InvalidError):
    """What isn't HTTP: the connection is closed, since nobody knows where the next request begins."""

    code = "MALFORMED_REQUEST"


class HeadTooLargeError(InvalidError):
    """A request line and headers beyond their bound."""

    code = "HEAD_TOO_LARGE"


def last_words(error: TidegateError, status: HTTPStatus) -> bytes:
    """Return an error as a whole HTTP/1.1 response that ends its connection: for what never was a request."""
    _, headers, body = render(error, status)
    lines = [b"HTTP/1.1 %d %s" % (status, status.phrase.encode())]
    lines += [b"%s: %s" % header for header in (*headers, (b"content-length", b"%d" % len(body)))]
    return b"\r\n".join([*lines, b"connection: close", b"", body])
