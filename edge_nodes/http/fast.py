"""The fast path of the door: all that is written, straight from the socket to the gate, for whoever waits at a till.

A raw ASGI application in front of FastAPI: what has a body costs a bounded read, a parse, a key look-up and the gate;
all other routes are FastAPI's. A single decision doesn't even need ASGI where the server's protocol takes it at once.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from pydantic_core import from_json, to_json

from actors.gate.service import Begun, Service, late_by_s
from edge_nodes.http.protocol import Answer, DoorHttp, Headers, Reply, head_of
from tidegate.bodies import Place, batch_says_twice, parse, parse_label, refuse_twice, said_twice
from tidegate.errors import DeadlineError, FieldError, InvalidError, OverloadedError, TidegateError, joined
from tidegate.keys import Caller, Keyring, Scope
from tidegate.limits import (
    BATCH_BODY_BYTES_MAX,
    BATCH_ITEMS_MAX,
    BODY_BYTES_MAX,
    BODY_S_MAX,
    DEADLINE_MS_MAX,
    INFLIGHT_REQUESTS_MAX,
)
from tidegate.payment import PaymentRequest
from tidegate.problem import (
    PRIVATE,
    BodyTooLargeError,
    BodyTooSlowError,
    MediaTypeError,
    MistakeError,
    document,
    render,
)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

_LOG: Final = logging.getLogger(__name__)
_JSON_TYPE: Final = b"application/json"
_JSON: Final = [(b"content-type", _JSON_TYPE), *PRIVATE]
_HTTP_OK: Final = 200
_OK: Final = head_of(_HTTP_OK, _JSON)
_DEADLINE: Final = b"x-deadline-ms"
_DEADLINE_DIGITS: Final = 8


STATUSES: Final[dict[type[TidegateError], int]] = {
    DeadlineError: 504,
}


def need_json(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Refuse a body that isn't JSON by its own word.

    Raises:
        MediaTypeError: its content type is another.
    """
    for name, value in headers:
        if name == b"content-type" and (value == _JSON_TYPE or value.split(b";")[0].strip().lower() == _JSON_TYPE):
            return
    raise MediaTypeError("content-type: send application/json")


def _too_large(bound: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"body: more than {bound} bytes; send less at a time")


def _too_slow() -> BodyTooSlowError:
    return BodyTooSlowError(f"body: not whole after {BODY_S_MAX:.0f} s; send it at once")


async def read_body(scope: Message, receive: Receive, bound: int) -> bytes:
    """Return a request's body.

    Raises:
        MediaTypeError: its content type is another than JSON.
        BodyTooLargeError: it has more than `bound` bytes; the rest is not read.
        BodyTooSlowError: it isn't whole in time.
    """
    need_json(scope["headers"])
    chunks, size, more = [], 0, True
    try:
        async with asyncio.timeout(BODY_S_MAX):
            while more and size <= bound:
                message = await receive()
                chunks.append(message.get("body", b""))
                size += len(chunks[-1])
                more = bool(message.get("more_body"))
    except TimeoutError as error:
        raise _too_slow() from error
    if size > bound:
        raise _too_large(bound)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def deadline_ms(headers: Headers) -> int | None:
    """Return what `X-Deadline-Ms` says, or None where the caller gave none.

    Raises:
        InvalidError: it is no whole number of milliseconds within the bounds, or said twice.
    """
    said = [value for name, value in headers if name == _DEADLINE]
    if not said:
        return None
    digits = said[0].isdigit() and len(said[0]) <= _DEADLINE_DIGITS
    if len(said) > 1 or not digits or not 1 <= int(said[0]) <= DEADLINE_MS_MAX:
        message = f"one whole number of milliseconds from 1 to {DEADLINE_MS_MAX} is expected"
        raise InvalidError(f"X-Deadline-Ms: {message}", fields=(FieldError("X-Deadline-Ms", message),))
    return int(said[0])


def no_deadline(scope: Message) -> None:
    """Refuse a deadline where it would mean nothing.

    Raises:
        InvalidError: there is one.
    """
    if any(name == _DEADLINE for name, _ in scope["headers"]):
        message = "only POST /v1/decisions takes one: leave it out here"
        raise InvalidError(f"X-Deadline-Ms: {message}", fields=(FieldError("X-Deadline-Ms", message),))


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
    refuse_twice(place for place in again if place == ("decisions",))
    return [
        _parse_item(index, item, [place[2:] for place in again if place[1] == index])
        for index, item in enumerate(written)
    ]


def _parse_item(index: int, item: bytes, again: list[Place]) -> PaymentRequest | TidegateError:
    place = f"decisions.{index}"
    if not item.startswith(b"{"):
        return _unfit((FieldError(place, "an object with a payment is expected"),), InvalidError)
    try:
        refuse_twice(again)
        return parse(item)
    except InvalidError as error:
        return _unfit(tuple(FieldError(f"{place}.{f.field}", f.message) for f in error.fields), type(error))


def _unfit(fields: tuple[FieldError, ...], kind: type[InvalidError]) -> InvalidError:
    return kind(joined(fields), fields=fields)


def refusal(service: Service, error: TidegateError) -> tuple[int, Headers, bytes]:
    """Return status, headers and body of the answer to a request that was refused, and count it."""
    service.meter.refused(error.code)
    return render(error, STATUSES.get(type(error)))


class DecisionRoute:
    """`POST /v1/decisions`, for both ways: without a task from the parser to the gate, and as ASGI."""

    path = b"/v1/decisions"
    body_bytes_max = BODY_BYTES_MAX

    def __init__(self, service: Service, keyring: Keyring) -> None:
        self._service = service
        self._keyring = keyring
        self._inflight = 0

    def _need_room(self) -> None:
        if self._inflight >= INFLIGHT_REQUESTS_MAX:
            raise OverloadedError(f"{INFLIGHT_REQUESTS_MAX} requests are under way: slow down and send again")

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Count a request while it is.

        Raises:
            OverloadedError: too many are under way.
        """
        self._need_room()
        self._inflight += 1
        try:
            yield
        finally:
            self._inflight -= 1

    def begin(self, caller: Caller, body: bytes, started: float, allowed_ms: int | None) -> Begun:
        """Decide what a caller asks about; `started` is a reading of the service's ticks."""
        request = parse(body)
        caller.need_merchant(request.merchant)
        return self._service.begin(request, started, allowed_ms)

    def take(self, headers: Headers, body: bytes, reply: Reply, waited_s: float) -> None:
        """Answer a request once its decision is durable; what is wrong with it at once."""
        try:
            begun = self._begun(headers, body, self._service.ticks() - waited_s)
        except TidegateError as error:
            reply(self._refusal(error))
            return
        except Exception:  # noqa: BLE001 - whatever it is: the caller is answered, and the log has it
            _LOG.exception("a mistake in a decision")
            reply(self._refusal(MistakeError()))
            return
        self._inflight += 1
        self._service.when_durable(begun.pos, partial(self._told, begun, reply))

    def _begun(self, headers: Headers, body: bytes, started: float) -> Begun:
        self._need_room()
        need_json(headers)
        caller = self._keyring.caller(headers)
        caller.need(Scope.DECIDE)
        return self.begin(caller, body, started, deadline_ms(headers))

    def _told(self, begun: Begun, reply: Reply, failure: TidegateError | None) -> None:
        self._inflight -= 1
        if failure is not None:
            reply(self._refusal(failure))
            return
        answer = (_OK, to_json(self._service.end(begun)))
        if late_s := late_by_s(begun):
            asyncio.get_running_loop().call_later(late_s, reply, answer)
        else:
            reply(answer)

    def _refusal(self, error: TidegateError) -> Answer:
        status, headers, body = refusal(self._service, error)
        return head_of(status, headers), body

    def too_large(self) -> Answer:
        """Return the answer to a body beyond the bound."""
        return self._refusal(_too_large(BODY_BYTES_MAX))

    def too_slow(self) -> Answer:
        """Return the answer to a body that isn't whole in time."""
        return self._refusal(_too_slow())


class FastPath:
    """Answers what is written and hands everything else on."""

    protocol = DoorHttp
    """What the server should speak HTTP with."""

    def __init__(self, *, service: Service, keyring: Keyring, rest: App) -> None:
        self._service = service
        self._keyring = keyring
        self._rest = rest
        self.short_cut = DecisionRoute(service, keyring)
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
        try:
            started = self._service.ticks()
            status, headers, body = _HTTP_OK, _JSON, await self._guarded(*route, scope, receive, started)
        except TidegateError as error:
            status, headers, body = refusal(self._service, error)
        except Exception:  # noqa: BLE001 - whatever it is: the caller is answered, and the log has it
            _LOG.exception("a mistake in %s", scope["path"])
            status, headers, body = refusal(self._service, MistakeError())
        length = (b"content-length", str(len(body)).encode())
        await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
        await send({"type": "http.response.body", "body": body})

    async def _guarded(
        self,
        route: Callable[[Caller, Message, Receive, float], Awaitable[bytes]],
        needed: Scope,
        scope: Message,
        receive: Receive,
        started: float,
    ) -> bytes:
        with self.short_cut.under_way():
            caller = self._keyring.caller(scope["headers"])
            caller.need(needed)
            return await route(caller, scope, receive, started)

    async def _decide(self, caller: Caller, scope: Message, receive: Receive, started: float) -> bytes:
        allowed_ms = deadline_ms(scope["headers"])
        begun = self.short_cut.begin(caller, await read_body(scope, receive, BODY_BYTES_MAX), started, allowed_ms)
        return to_json(await self._service.told(begun))

    async def _decide_many(self, caller: Caller, scope: Message, receive: Receive, started: float) -> bytes:
        no_deadline(scope)
        requests = parse_batch(await read_body(scope, receive, BATCH_BODY_BYTES_MAX))
        for request in requests:
            if isinstance(request, PaymentRequest):
                caller.need_merchant(request.merchant)
        results = await self._service.decide_many(requests, started)
        told = [{"problem": document(r)} if isinstance(r, TidegateError) else {"decision": r} for r in results]
        return to_json({"data": told})

    async def _label(self, caller: Caller, scope: Message, receive: Receive, _started: float) -> bytes:
        no_deadline(scope)
        request = parse_label(await read_body(scope, receive, BODY_BYTES_MAX))
        caller.need_merchant(request.merchant)
        return to_json(await self._service.label(request))
