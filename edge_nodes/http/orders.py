"""The door's orders: the policy and the lists in force, shown and replaced, by keys that may."""

import asyncio
import io
from collections.abc import Callable
from typing import Annotated, Any, Final, TypeVar

from fastapi import Depends, FastAPI, Query, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from actors.gate.service import Service
from tidegate.errors import FieldError, InvalidError
from tidegate.keys import Caller, Scope
from tidegate.limits import BATCH_BODY_BYTES_MAX, LISTS_BYTES_MAX, LISTS_S_MAX, POLICY_BYTES_MAX
from tidegate.lists import Change
from tidegate.problem import BodyTooLargeError, BodyTooSlowError, MediaTypeError, invalid

WHY_CHARS_MAX: Final = 400
_M = TypeVar("_M", bound=BaseModel)
Need = Callable[..., Callable[[Request], Caller]]


class PolicyOrder(BaseModel):
    """Another policy, whole: the terms as `tidegate policy` reads them from TOML."""

    model_config = ConfigDict(extra="forbid")

    terms: Annotated[dict[str, Any], Field(description="as in configs/policy, in JSON; docs/policy.md explains them")]
    why: Annotated[str, Field(min_length=1, max_length=WHY_CHARS_MAX, description="recorded with who")]
    override: Annotated[bool, Field(description="take it although it declines more than policy.declines_max_ppm")] = (
        False
    )


class ListsOrder(Change):
    """Single entries to be set and taken off, all or none."""

    why: Annotated[str, Field(min_length=1, max_length=WHY_CHARS_MAX, description="recorded with who")]


class PolicyAnswer(BaseModel):
    """A policy in force."""

    policy: str
    as_of: str
    by: str
    why: str
    terms: dict[str, Any]


class TriedAnswer(BaseModel):
    """What the policy would have decided of the last day."""

    decisions: int
    declined_then: int
    declined_now: int
    changed: int


class ActivatedAnswer(PolicyAnswer):
    """A policy that was activated, and what it was tried on."""

    rules_p99_us: float
    golden_rows: int
    golden_hits: dict[str, int]
    tried_on: TriedAnswer


class ListsAnswer(BaseModel):
    """Lists in force; their entries are tokens, and are not shown."""

    version: int
    lists: str | None
    entries: int
    by_list: dict[str, int]
    unknown_rules: Annotated[list[str], Field(description="that cards are spared, and the policy in force has none of")]
    as_of: Annotated[str | None, Field(description="of the last load, by which the lists' age goes")]
    changed_at: Annotated[str | None, Field(description="when single entries were changed since")]
    by: str
    why: str


async def _body(request: Request, kind: str, bound: int) -> bytes:
    """Return a body of some media type, not longer than a bound, nor slower than a large one may be."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != kind:
        raise MediaTypeError(f"content-type: send {kind}")
    chunks, size = [], 0
    try:
        async with asyncio.timeout(LISTS_S_MAX):
            async for chunk in request.stream():
                chunks.append(chunk)
                size += len(chunk)
                if size > bound:
                    raise BodyTooLargeError(f"body: more than {bound} bytes")
    except TimeoutError as error:
        raise BodyTooSlowError(f"body: not whole after {LISTS_S_MAX:.0f} s; send it at once") from error
    return b"".join(chunks)


def _order(model: type[_M], body: bytes) -> _M:
    try:
        return model.model_validate(from_json(body))
    except ValidationError as error:
        raise invalid(error) from None
    except ValueError as error:
        raise InvalidError("body: not JSON", fields=(FieldError("body", "not JSON"),)) from error


def _json(model: type[BaseModel]) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": model.model_json_schema()}}}


def add_orders(app: FastAPI, service: Service, need: Need, problems: Callable[..., dict[int | str, Any]]) -> None:
    """Add the routes; `need` tells callers by scope, `problems` describes refusals."""
    reader = Annotated[Caller, Depends(need(Scope.READ))]
    refused = problems(401, 403, 408, 413, 415, 422, 503)

    @app.get("/v1/policy", summary="The policy in force", responses=problems(401, 403, 503))
    async def policy(caller: reader) -> PolicyAnswer:
        caller.need_all_merchants()
        return PolicyAnswer(**service.activator.active_policy())

    @app.put(
        "/v1/policy",
        summary="Replace the policy between two decisions",
        responses=refused,
        openapi_extra={"requestBody": _json(PolicyOrder)},
    )
    async def replace_policy(
        request: Request, caller: Annotated[Caller, Depends(need(Scope.POLICY))]
    ) -> ActivatedAnswer:
        caller.need_all_merchants()
        order = _order(PolicyOrder, await _body(request, "application/json", POLICY_BYTES_MAX))
        told = await service.activator.policy(order.terms, by=caller.name, why=order.why, override=order.override)
        return ActivatedAnswer.model_validate({**told, "golden_hits": _texts(told["golden_hits"])})

    @app.get("/v1/lists", summary="The lists in force, counted", responses=problems(401, 403, 503))
    async def lists(caller: reader) -> ListsAnswer:
        caller.need_all_merchants()
        return ListsAnswer(**await service.activator.active_lists())

    @app.put(
        "/v1/lists",
        summary="Replace all lists between two decisions",
        responses=refused,
        openapi_extra={"requestBody": {"required": True, "content": {"text/csv": {"schema": {"type": "string"}}}}},
    )
    async def replace_lists(
        request: Request,
        caller: Annotated[Caller, Depends(need(Scope.LISTS))],
        why: Annotated[str, Query(min_length=1, max_length=WHY_CHARS_MAX)],
    ) -> ListsAnswer:
        caller.need_all_merchants()
        body = await _body(request, "text/csv", LISTS_BYTES_MAX)
        try:
            lines = io.StringIO(body.decode("utf-8-sig"), newline="")  # spreadsheets put a mark in front
        except UnicodeDecodeError as error:
            raise InvalidError("body: not UTF-8", fields=(FieldError("body", "not UTF-8"),)) from error
        return ListsAnswer(**await service.activator.lists(lines, by=caller.name, why=why))

    @app.post(
        "/v1/lists/changes",
        summary="Set and take off single entries between two decisions, all or none",
        responses=refused,
        openapi_extra={"requestBody": _json(ListsOrder)},
    )
    async def change_lists(request: Request, caller: Annotated[Caller, Depends(need(Scope.LISTS))]) -> ListsAnswer:
        caller.need_all_merchants()
        order = _order(ListsOrder, await _body(request, "application/json", BATCH_BODY_BYTES_MAX))
        return ListsAnswer(**await service.activator.change_lists(order, by=caller.name, why=order.why))


def _texts(hits: dict[int, int]) -> dict[str, int]:
    return {str(number): count for number, count in hits.items()}
