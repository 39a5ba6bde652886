"""`POST /v1/labels` in the cloud: what comes while a commit is under way waits together for the next one."""

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, Final, Literal, NamedTuple

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from serve_apps.ingest.labels import Became, Labels, label_of
from serve_apps.plumbing.bodies import body_of
from serve_apps.plumbing.web import problems
from tidegate.bodies import parse_label
from tidegate.clock import Clock
from tidegate.deltas import ROWS_MAX, Label
from tidegate.errors import ConflictError, OverloadedError
from tidegate.keys import Keyring, Scope
from tidegate.limits import BODY_BYTES_MAX, LABELS_WAITING_MAX
from tidegate.payment import LabelRequest

LABELS_PATH: Final = "/v1/labels"
_JSON: Final = "application/json"


class LabelAnswer(BaseModel):
    """A label that is on its way; posted again, it is answered the same, with `replayed` true."""

    model_config = ConfigDict(frozen=True)

    label_id: str
    merchant: str
    transaction_id: str
    verdict: Literal["fraud", "legit"]
    source: str
    applied: bool = Field(description="false: the site that decided the payment applies it when it hears of it")
    replayed: bool


class _Waiting(NamedTuple):
    label: Label
    future: "asyncio.Future[Became]"


class Desk:
    """Takes labels one by one and has them committed together. One event loop's; the labels' thread is its own."""

    def __init__(self, labels: Labels, clock: Clock) -> None:
        self._labels, self._clock = labels, clock
        self._thread = ThreadPoolExecutor(1, "labels")
        self._waiting: deque[_Waiting] = deque()
        self._task: asyncio.Task[None] | None = None

    async def post(self, request: LabelRequest) -> bool:
        """Return whether a label was posted before, once it is durable.

        Raises:
            InvalidError: it became known in the future.
            ConflictError: its id was used with another body.
            TemporaryError: it may be there or not; the same may be posted again.
        """
        label = label_of(request, self._clock.now_us())
        if len(self._waiting) >= LABELS_WAITING_MAX:
            raise OverloadedError("too many labels wait to be committed; post the same again later", delay_s=1.0)
        future: asyncio.Future[Became] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(label, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        became = await future
        if isinstance(became, ConflictError):
            raise became
        return became

    def close(self) -> None:
        """Let go of the log once what is under way has ended."""
        self._thread.submit(self._labels.close).result()
        self._thread.shutdown()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            group = list(islice(self._waiting, ROWS_MAX))
            told = await asyncio.gather(
                loop.run_in_executor(self._thread, self._labels.take, [each.label for each in group]),
                return_exceptions=True,
            )
            for each, became in zip(group, _each(told[0], len(group)), strict=True):
                self._waiting.popleft()
                _settle(each.future, became)


def _each(told: list[Became] | BaseException, count: int) -> list[Any]:
    return [told] * count if isinstance(told, BaseException) else list(told)


def _settle(future: "asyncio.Future[Became]", became: Became | BaseException) -> None:
    """Hand over what became of it, unless the caller has gone."""
    if future.cancelled():
        return
    if isinstance(became, BaseException) and not isinstance(became, ConflictError):
        future.set_exception(became)
    else:
        future.set_result(became)


def labels_router(desk: Desk, keyring: Keyring) -> APIRouter:
    """Return the route; whose application includes it answers each TidegateError as a problem."""
    router = APIRouter()
    body = {"requestBody": {"required": True, "content": {_JSON: {"schema": LabelRequest.model_json_schema()}}}}

    @router.post(
        LABELS_PATH,
        summary="Say how a payment turned out, wherever it was decided",
        status_code=202,
        responses=problems(401, 403, 408, 413, 415, 422, 503),
        openapi_extra=body,
    )
    async def post(request: Request) -> LabelAnswer:
        caller = keyring.caller(request.scope["headers"])
        caller.need(Scope.LABEL)
        asked = parse_label(await body_of(request, _JSON, BODY_BYTES_MAX))
        caller.need_merchant(asked.merchant)
        replayed = await desk.post(asked)
        return LabelAnswer(**asked.model_dump(exclude={"known_at"}), applied=False, replayed=replayed)

    return router
