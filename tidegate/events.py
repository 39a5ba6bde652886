"""What records of the events lane say to others than their gate: one check for who lets them in and who reads them.

Ingest commits nothing that `check` refuses, and whoever reads what was committed calls `said`, which refuses no more
than that. A kind that this program doesn't know is taken as it is: it is an addition.
"""

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tidegate.limits import RECORD_BODY_BYTES_MAX, TOKEN_BYTES_MAX
from tidegate.lists import ListsActivation
from tidegate.policy.active import Activation
from tidegate.records import Kind, event_body, json_of


class LabelReceived(BaseModel):
    """How a payment turned out; fields beside these, such as who says so, are passed over.

    `card`, `feature_us` and `delta` say by how much the known frauds of which card changed at that gate, and of which
    day; where they are missing, none did, or the gate is an older one.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    label_id: str
    merchant: str
    transaction_id: str
    verdict: str
    known_us: Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)]
    card: Annotated[str, Field(max_length=TOKEN_BYTES_MAX, pattern=r"^[!-~]*$")] = ""
    feature_us: Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)] = 0
    delta: Annotated[int, Field(ge=-1, le=1)] = 0


Said = LabelReceived | ListsActivation | Activation
_SAID: Final[dict[int, type[Said]]] = {
    Kind.LABEL_RECEIVED: LabelReceived,
    Kind.LISTS_ACTIVATED: ListsActivation,
    Kind.POLICY_ACTIVATED: Activation,
}


def said(kind: int, body: bytes) -> Said | None:
    """Return what a record says; None: its kind says nothing to others than its gate.

    Raises:
        ValueError: it doesn't say what its kind says.
    """
    model = _SAID.get(kind)
    return None if model is None else _valid(model, json_of(body))


def check(kind: int, body: bytes) -> None:
    """Refuse a record of the events lane that isn't canonical JSON, or that doesn't say what its kind says.

    Raises:
        ValueError: naming what is wrong.
    """
    if len(body) > RECORD_BODY_BYTES_MAX:
        raise ValueError(f"a body of {len(body)} bytes, more than {RECORD_BODY_BYTES_MAX}")
    values = json_of(body)
    if event_body(values) != body:
        raise ValueError("no canonical JSON: sorted keys, no blanks, each key once")
    if (model := _SAID.get(kind)) is not None:
        _valid(model, values)


def _valid(model: type[Said], values: object) -> Said:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise ValueError(f"{model.__name__}: {where}: {first['msg']}") from None
