"""The fast path of the door: all that is written, straight from the socket to the gate, for whoever waits at a till.

A raw ASGI application in front of FastAPI: what has a body costs a bounded read, a parse, a key look-up and the gate;
all other routes are FastAPI's.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from actors.gate.service import Service
from edge_nodes.http.keys import Caller, Keyring, Scope
from edge_nodes.http.problem import PRIVATE, document, invalid, refused, render
from edge_nodes.http.protocol import JOINER, JoinedHttp
from edge_nodes.http.repeats import Place, batch_says_twice, said_twice, says_twice
from tidegate.errors import FieldError, InvalidError, OverloadedError, TidegateError, joined
from tidegate.limits import BATCH_BODY_BYTES_MAX, BATCH_ITEMS_MAX, BODY_BYTES_MAX, BODY_S_MAX, INFLIGHT_REQUESTS_MAX
from tidegate.payment import LabelRequest, PaymentRequest

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

_JSON: Final = [(b"content-type", b"application/json"), *PRIVATE]
_PAYMENT: Final = TypeAdapter(PaymentRequest).validator
_LABEL: Final = TypeAdapter(LabelRequest).validator
_HTTP_OK: Final = 200


class BodyTooLargeError(InvalidError):
    """A body beyond its bound: send less at a time."""

    code = "BODY_TOO_LARGE"


class BodyTooSlowError(InvalidError):
    """A body that doesn't come: it holds the place of another request."""

    code = "BODY_TOO_SLOW"


class MediaTypeError(InvalidError):
    """A body that isn't JSON by its own word."""

    code = "UNSUPPORTED_MEDIA_TYPE"


STATUSES: Final[dict[type[TidegateError], int]] = {
    BodyTooLargeError: 413,
    BodyTooSlowError: 408,
    MediaTypeError: 415,
}


async def read_body(scope: Message, receive: Receive, bound: int) -> bytes:
    """Return a request's body.

    Raises:
        MediaTypeError: its content type is another than JSON.
        BodyTooLargeError: it has more than `bound` bytes; the rest is not read.
        BodyTooSlowError: it isn't whole in time.
    """
    for name, value in scope["headers"]:
        if name == b"content-type" and value.split(b";")[0].strip().lower() == b"application/json":
            break
    else:
        raise MediaTypeError("content-type: send application/json")
    chunks, size, more = [], 0, True
    try:
        async with asyncio.timeout(BODY_S_MAX):
            while more and size <= bound:
                message = await receive()
                chunks.append(message.get("body", b""))
                size += len(chunks[-1])
                more = bool(message.get("more_body"))
    except TimeoutError as error:
        raise BodyTooSlowError(f"body: not whole after {BODY_S_MAX:.0f} s; send it at once") from error
    if size > bound:
        raise BodyTooLargeError(f"body: more than {bound} bytes; send less at a time")
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


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
        _refuse(said_twice(body))
    return request


def _refuse(again: Iterable[Place]) -> None:
    """Refuse fields that are there again, if any are."""
    if places := list(again):
        raise refused((place, "is there more than once; send it once") for place in places)


def parse_batch(body: bytes) -> list[PaymentRequest | TidegateError]:
    """Return the payments of a batch, an error in the place of each that can't be understood."""
    try:
        raw = from_json(body)
    except ValueError as error:
        raise InvalidError("body: not JSON", fields=(FieldError("body", "not JSON"),)) from error
    items = raw.get("decisions") if isinstance(raw, dict) and set(raw) == {"decisions"} else None
    if not isinstance(items, list) or not 1 <= len(items) <= BATCH_ITEMS_MAX:
        message = f"an object with one list of 1 to {BATCH_ITEMS_MAX} payments is expected"
        raise InvalidError(f"decisions: {message}", fields=(FieldError("decisions", message),))
    written = [to_json(item) for item in items]
    again = list(said_twice(body)) if batch_says_twice(body, written) else []
    _refuse(place for place in again if place == ("decisions",))
    return [
        _parse_item(index, item, [place[2:] for place in again if place[1] == index])
        for index, item in enumerate(written)
    ]


def _parse_item(index: int, item: bytes, again: list[Place]) -> PaymentRequest | TidegateError:
    place = f"decisions.{index}"
    if not item.startswith(b"{"):
        fields = (FieldError(place, "an object with a payment is expected"),)
        return InvalidError(joined(fields), fields=fields)
    try:
        _refuse(again)
        return parse(item)
    except InvalidError as error:
        fields = tuple(FieldError(f"{place}.{f.field}", f.message) for f in error.fields)
        return type(error)(joined(fields), fields=fields)


class _NoJoiner:
    """In place of a joiner, where another server runs the application."""

    def hold(self) -> None:
        """Hold nothing."""

    def release(self) -> None:
        """Release nothing."""


_NO_JOINER: Final = _NoJoiner()


class FastPath:
    """Answers the decision routes and hands everything else on."""

    protocol = JoinedHttp
    """What the server should speak HTTP with."""

    def __init__(self, *, service: Service, keyring: Keyring, rest: App) -> None:
        self._service = service
        self._keyring = keyring
        self._rest = rest
        self._inflight = 0
        self._routes = {
            "/v1/decisions": (self._decide, Scope.DECIDE),
            "/v1/decisions/batch": (self._decide_many, Scope.DECIDE),
            "/v1/labels": (self._label, Scope.LABEL),
        }

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """ASGI 3."""
        route = self._routes.get(scope.get("path", "")) if scope["type"] == "http" else None
        if route is None or scope["method"] != "POST":
            await self._rest(scope, receive, send)
            return
        started = self._service.ticks()
        try:
            status, headers, body = _HTTP_OK, _JSON, await self._guarded(*route, scope, receive, started)
        except TidegateError as error:
            self._service.meter.refused(error.code)
            status, headers, body = render(error, STATUSES.get(type(error)))
        length = (b"content-length", str(len(body)).encode())
        joiner = scope.get(JOINER, _NO_JOINER)
        joiner.hold()
        try:
            await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
            await send({"type": "http.response.body", "body": body})
        finally:
            joiner.release()

    async def _guarded(
        self,
        route: Callable[[Caller, Message, Receive, float], Awaitable[bytes]],
        needed: Scope,
        scope: Message,
        receive: Receive,
        started: float,
    ) -> bytes:
        if self._inflight >= INFLIGHT_REQUESTS_MAX:
            raise OverloadedError(f"{INFLIGHT_REQUESTS_MAX} requests are under way: slow down and send again")
        self._inflight += 1
        try:
            caller = self._keyring.caller(scope["headers"])
            caller.need(needed)
            return await route(caller, scope, receive, started)
        finally:
            self._inflight -= 1

    async def _decide(self, caller: Caller, scope: Message, receive: Receive, started: float) -> bytes:
        request = parse(await read_body(scope, receive, BODY_BYTES_MAX))
        caller.need_merchant(request.merchant)
        return to_json(await self._service.decide(request, started))

    async def _decide_many(self, caller: Caller, scope: Message, receive: Receive, started: float) -> bytes:
        requests = parse_batch(await read_body(scope, receive, BATCH_BODY_BYTES_MAX))
        for request in requests:
            if isinstance(request, PaymentRequest):
                caller.need_merchant(request.merchant)
        results = await self._service.decide_many(requests, started)
        told = [{"problem": document(r)} if isinstance(r, TidegateError) else {"decision": r} for r in results]
        return to_json({"data": told})

    async def _label(self, caller: Caller, scope: Message, receive: Receive, _started: float) -> bytes:
        request = parse_label(await read_body(scope, receive, BODY_BYTES_MAX))
        caller.need_merchant(request.merchant)
        return to_json(await self._service.label(request))
