"""What a site answers, as values, and what it refuses, as errors. A newer site's further fields are left aside."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tidegate.errors import FieldError, PermanentError, TemporaryError

T = TypeVar("T", bound=BaseModel)


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Reason(_Answer):
    """Why a decision came out as it did, or how it was made."""

    code: str
    source: str
    text: str


class Decision(_Answer):
    """The answer to a payment; `replayed` where it is the first answer to a retry."""

    decision_id: str
    transaction_id: str
    outcome: Literal["approve", "challenge", "review", "decline"]
    risk_score: Annotated[int, Field(ge=0, le=100)] | None
    risk_level: Literal["normal", "elevated", "highest", "not_assessed"]
    probability: Annotated[float, Field(ge=0, le=1)] | None
    reasons: tuple[Reason, ...]
    mode: Literal["fresh", "aging", "stale", "blind"]
    site: str
    bundle: str
    features_as_of: datetime
    decided_at: datetime
    replayed: bool

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes of its reasons, weightiest first."""
        return tuple(reason.code for reason in self.reasons)


class LabelReceipt(_Answer):
    """A label that a site has applied."""

    label_id: str
    transaction_id: str
    verdict: Literal["fraud", "legit"]
    replayed: bool


class SiteProblemError(PermanentError):
    """A site's problem document (RFC 9457): `status`, its stable `code`, its message and the fields it names."""

    def __init__(self, message: str, *, status: int, code: str, fields: tuple[FieldError, ...] = ()) -> None:
        super().__init__(message, fields=fields)
        self.status = status
        self.code = code


class RefusedError(SiteProblemError):
    """Sending the same again gives the same: change what `fields` names, or the key."""


class ConflictingError(RefusedError):
    """The id was used before with another body: the first answer stands."""


class NotAllowedError(RefusedError):
    """The key is missing, unknown, or doesn't cover this."""


class UnknownError(RefusedError):
    """The site has no such thing."""


class GaveUpError(TemporaryError):
    """No answer within the patience given; `last` says what came at the last attempt, a problem's code or a reason.

    Whether the site has decided is not known. Asking again with the same payment is safe, now or next week.
    """

    code = "GAVE_UP"

    def __init__(self, message: str, *, last: str, attempts: int) -> None:
        super().__init__(message)
        self.last = last
        self.attempts = attempts


class NotATidegateError(PermanentError):
    """What answered speaks otherwise than a site does: check the address."""

    code = "NOT_A_TIDEGATE"


_BY_STATUS: Final[dict[int, type[RefusedError]]] = {401: NotAllowedError, 403: NotAllowedError, 404: UnknownError}
_CONFLICT: Final = "IDEMPOTENCY_CONFLICT"


def refused(status: int, problem: Any) -> SiteProblemError:  # noqa: ANN401 - JSON
    """Return a problem document as an error."""
    members: dict[str, Any] = problem if isinstance(problem, dict) else {}
    code = str(members.get("code", f"HTTP_{status}"))
    wrong = [each for each in members.get("errors") or [] if isinstance(each, dict)]
    fields = tuple(FieldError(str(each.get("field", "")), str(each.get("message", ""))) for each in wrong)
    kind = ConflictingError if code == _CONFLICT else _BY_STATUS.get(status, RefusedError)
    return kind(str(members.get("detail", f"status {status}")), status=status, code=code, fields=fields)


def decision(body: Any) -> Decision:  # noqa: ANN401 - JSON
    """Return a decision.

    Raises:
        NotATidegateError: it is none.
    """
    return _read(Decision, body)


def receipt(body: Any) -> LabelReceipt:  # noqa: ANN401 - JSON
    """Return what a site says of a label, or raise as `decision` does."""
    return _read(LabelReceipt, body)


def _read(kind: type[T], body: Any) -> T:  # noqa: ANN401 - JSON
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        wrong = ", ".join(".".join(map(str, each["loc"])) or "body" for each in error.errors(include_input=False))
        raise NotATidegateError(f"the answer is no {kind.__name__}: {wrong}; check the address") from None
