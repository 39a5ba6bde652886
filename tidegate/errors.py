"""One tree of errors: temporary ones may be tried again, permanent ones need somebody to change something.

Each carries a stable `code` (RFC 9457's type in the answers of the door) and a message that says what to do.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field that was wrong: where it is and what is expected, never the value itself."""

    field: str
    message: str


def joined(fields: Iterable[FieldError]) -> str:
    """Return in one line which fields are wrong and what is expected of each."""
    return "; ".join(f"{field.field}: {field.message}" for field in fields)


class TidegateError(Exception):
    """Base of all errors that a caller or an operator can act on."""

    code = "ERROR"

    def __init__(self, message: str, *, fields: tuple[FieldError, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.fields = fields


class TemporaryError(TidegateError):
    """Try again after `delay_s` seconds: nothing was changed."""

    code = "TEMPORARY"

    def __init__(self, message: str, *, delay_s: float = 1.0) -> None:
        super().__init__(message)
        self.delay_s = delay_s


class NotReadyError(TemporaryError):
    """The site is starting or has stopped itself; `/readyz` says why."""

    code = "NOT_READY"


class OverloadedError(TemporaryError):
    """A bound is reached: slow down and send again."""

    code = "OVERLOADED"


class JournalError(TemporaryError):
    """The journal could not make a record durable. Nothing was answered; the gate restarts from what is durable."""

    code = "JOURNAL_FAILED"


class DeadlineError(TemporaryError):
    """The caller's deadline passed before anything was decided: nothing was changed; ask again with more time."""

    code = "DEADLINE_PASSED"


class DiskFullError(TemporaryError):
    """The disk's bound is reached: free space or raise the bound; nothing was changed."""

    code = "SYS_DISK_FULL"


class PermanentError(TidegateError):
    """Trying again with the same input gives the same error."""

    code = "PERMANENT"


class InvalidError(PermanentError):
    """A request that can't be understood or is out of bounds; `fields` names where."""

    code = "INVALID_REQUEST"


class CardNumberError(InvalidError):
    """A field holds what looks like a card number: send the token of the card instead."""

    code = "CARD_NUMBER_REFUSED"


class ConflictError(PermanentError):
    """The same id was used before with another body: the first answer stands."""

    code = "IDEMPOTENCY_CONFLICT"


class TakenError(PermanentError):
    """A name or a key that somebody has already: what is there stays as it is."""

    code = "TAKEN"


class NotFoundError(PermanentError):
    """No such record at this site."""

    code = "NOT_FOUND"


class UnauthenticatedError(PermanentError):
    """No API key, or one this site doesn't know."""

    code = "UNAUTHENTICATED"


class ForbiddenError(PermanentError):
    """The API key is known and doesn't cover this action or merchant."""

    code = "FORBIDDEN"


class SettingsError(PermanentError):
    """A configuration file is wrong: the message names file and field."""

    code = "SETTINGS_INVALID"


class BundleError(PermanentError):
    """A bundle is broken, of an unknown version, or fails its golden rows: it never becomes active."""

    code = "BUNDLE_REFUSED"


class PolicyError(InvalidError):
    """A policy that doesn't compile, is too slow, or would decline too much: it never becomes active."""

    code = "POLICY_REFUSED"


class ListsError(InvalidError):
    """A file of lists with a wrong line: the whole of it is refused, and the active lists stay."""

    code = "LISTS_REFUSED"


class JournalFormatError(PermanentError):
    """A journal of an unknown version or another site: it is left untouched."""

    code = "JOURNAL_REFUSED"
