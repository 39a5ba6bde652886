"""The client over httpx, once for programs that wait and once for those that await; they differ in nothing else.

    with Client("https://site.example", key) as site:
        payment = site.payment(amount={"minor": 1250, "currency": "EUR"}, card="card-1", terminal="t-1",
                               merchant="m-1", channel="online")
        decision = site.decide(payment)

`payment` makes the id. Keep the payment until there is an answer: asking again with it never decides twice.
"""

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from ipaddress import ip_address
from random import SystemRandom
from typing import Any, Final, Self
from urllib.parse import quote, urlsplit

import httpx

from edge_nodes.client.answers import (
    Decision,
    LabelReceipt,
    NotATidegateError,
    SiteProblemError,
    decision,
    receipt,
    refused,
)
from edge_nodes.client.attempts import Course, Lost, Patience, Reply, Result, Send, attempts
from tidegate.clock import microseconds
from tidegate.errors import SettingsError
from tidegate.ids import Entropy, uuid7
from tidegate.limits import BATCH_ITEMS_MAX, CLIENT_CONNECTIONS_MAX
from tidegate.payment import LabelRequest, PaymentRequest

_OK: Final = 200
_PATIENT: Final = Patience()
_CHANCE: Final = SystemRandom().random
_DIGITS_MAX: Final = 6


def _now() -> datetime:
    return datetime.now(UTC)


class _Bearer(httpx.Auth):
    """Puts the key on each request; nothing that is printed or logged shows it."""

    def __init__(self, key: str) -> None:
        self._key = key

    def auth_flow(self, request: httpx.Request) -> Any:  # noqa: ANN401 - httpx's generator
        """Authorize a request."""
        request.headers["authorization"] = f"Bearer {self._key}"
        yield request

    def __repr__(self) -> str:
        return "_Bearer(...)"


class _Request:
    """One request as bytes, made before the first attempt and the same at each."""

    def __init__(self, method: str, path: str, body: bytes | None = None, deadline_ms: int | None = None) -> None:
        self.method, self.path, self.body = method, path, body
        self.headers = {"content-type": "application/json"} if body is not None else {}
        if deadline_ms is not None:
            self.headers["x-deadline-ms"] = str(deadline_ms)


class _Asks:
    """What both clients know: how a request is written and an answer is read."""

    def __init__(
        self,
        url: str,
        *,
        patience: Patience = _PATIENT,
        ticks: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = _CHANCE,
        now: Callable[[], datetime] = _now,
        entropy: Entropy = os.urandom,
    ) -> None:
        self._url = _checked(url)
        self._patience, self._ticks, self._chance = patience, ticks, chance
        self._now, self._entropy = now, entropy

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._url!r})"

    def payment(self, **fields: Any) -> PaymentRequest:  # noqa: ANN401 - the payment's own fields, checked there
        """Return a payment of now under an id of its own (UUIDv7, RFC 9562), where `fields` doesn't say otherwise.

        Raises:
            pydantic.ValidationError: a field is missing or wrong.
        """
        now = self._now()
        own = {"transaction_id": uuid7(microseconds(now), self._entropy), "occurred_at": now}
        return PaymentRequest.model_validate(own | fields)

    def _course(self) -> Course:
        return attempts(self._patience, ticks=self._ticks, chance=self._chance)


def _checked(url: str) -> str:
    """Return an address that a key may be sent to: TLS, or this machine.

    Raises:
        SettingsError: it is none.
    """
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return url.rstrip("/")
    if parts.scheme == "http" and _is_here(parts.hostname or ""):
        return url.rstrip("/")
    raise SettingsError("url: an https address is needed, or one of this machine: a key must not travel in clear")


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _decide(payment: PaymentRequest, deadline_ms: int | None) -> _Request:
    return _Request("POST", "/v1/decisions", payment.model_dump_json().encode(), deadline_ms)


def _decide_many(payments: Sequence[PaymentRequest]) -> _Request:
    if not 1 <= len(payments) <= BATCH_ITEMS_MAX:
        raise ValueError(f"payments: 1 to {BATCH_ITEMS_MAX} are decided at a time, not {len(payments)}")
    body = json.dumps({"decisions": [payment.model_dump(mode="json") for payment in payments]})
    return _Request("POST", "/v1/decisions/batch", body.encode())


def _label(label: LabelRequest) -> _Request:
    return _Request("POST", "/v1/labels", label.model_dump_json().encode())


def _get(decision_id: str) -> _Request:
    return _Request("GET", f"/v1/decisions/{quote(decision_id, safe='')}")


def _told(reply: Reply) -> Any:  # noqa: ANN401 - JSON
    """Return what an answer says, or raise what it refuses."""
    try:
        body = json.loads(reply.body)
    except ValueError:
        raise NotATidegateError(f"status {reply.status} and no JSON: check the address") from None
    if reply.status != _OK:
        raise refused(reply.status, body)
    return body


def _results(body: Any) -> list[Decision | SiteProblemError]:  # noqa: ANN401 - JSON
    if not isinstance(body, dict) or not isinstance(body.get("data"), list):
        raise NotATidegateError("the answer holds no results: check the address")
    return [_result(each) for each in body["data"]]


def _result(each: Mapping[str, Any]) -> Decision | SiteProblemError:
    if "decision" in each:
        return decision(each["decision"])
    problem = each.get("problem") or {}
    return refused(int(problem.get("status", 0)), problem)


def _reply(response: httpx.Response) -> Reply:
    asked = response.headers.get("retry-after", "")
    seconds = float(asked) if asked.isascii() and asked.isdigit() and len(asked) <= _DIGITS_MAX else 0.0
    return Reply(response.status_code, response.content, seconds)


def _limits() -> httpx.Limits:
    return httpx.Limits(max_connections=CLIENT_CONNECTIONS_MAX, max_keepalive_connections=CLIENT_CONNECTIONS_MAX)


class Client(_Asks):
    """A client that waits. Connections are kept; one client may be used by many threads."""

    def __init__(
        self,
        url: str,
        key: str,
        *,
        sleep: Callable[[float], None] = time.sleep,
        transport: httpx.BaseTransport | None = None,
        **options: Any,  # noqa: ANN401 - of `_Asks`
    ) -> None:
        super().__init__(url, **options)
        self._sleep = sleep
        # No proxy of the environment: it would see the key on its way to a door of this machine.
        self._http = httpx.Client(
            base_url=self._url, auth=_Bearer(key), limits=_limits(), transport=transport, trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the connections go."""
        self._http.close()

    def decide(self, payment: PaymentRequest, *, deadline_ms: int | None = None) -> Decision:
        """Return the one decision on a payment, durable at the site.

        `deadline_ms` is what the site may take of its own, and what it leaves out for that it says; how long this
        call goes on is the client's patience.

        Raises:
            RefusedError: the site refuses it; `fields` names what is wrong.
            GaveUpError: no answer in time; asking again with the same payment is safe.
        """
        return decision(_told(self._ask(_decide(payment, deadline_ms))))

    def decide_many(self, payments: Sequence[PaymentRequest]) -> list[Decision | SiteProblemError]:
        """Return a result each, in order: a decision, or why there is none of that one. Raises as `decide`."""
        return _results(_told(self._ask(_decide_many(payments))))

    def label(self, label: LabelRequest) -> LabelReceipt:
        """Say how a payment turned out. Raises as `decide`."""
        return receipt(_told(self._ask(_label(label))))

    def get(self, decision_id: str) -> Decision:
        """Return a decision made before. Raises as `decide`, `UnknownError` where there is none."""
        return decision(_told(self._ask(_get(decision_id))))

    def _ask(self, request: _Request) -> Reply:
        course, result = self._course(), None
        try:
            while True:
                step = course.send(result)
                result = self._send(request, step) if isinstance(step, Send) else self._sleep(step.seconds)
        except StopIteration as end:
            reply: Reply = end.value
            return reply

    def _send(self, request: _Request, step: Send) -> Result:
        try:
            return _reply(
                self._http.request(
                    request.method, request.path, content=request.body, headers=request.headers, timeout=step.within_s
                )
            )
        except httpx.RequestError as error:
            return Lost(type(error).__name__)


class AsyncClient(_Asks):
    """The same for programs that await."""

    def __init__(
        self,
        url: str,
        key: str,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        transport: httpx.AsyncBaseTransport | None = None,
        **options: Any,  # noqa: ANN401 - of `_Asks`
    ) -> None:
        super().__init__(url, **options)
        self._sleep = sleep
        self._http = httpx.AsyncClient(
            base_url=self._url, auth=_Bearer(key), limits=_limits(), transport=transport, trust_env=False
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Let the connections go."""
        await self._http.aclose()

    async def decide(self, payment: PaymentRequest, *, deadline_ms: int | None = None) -> Decision:
        """As `Client.decide`."""
        return decision(_told(await self._ask(_decide(payment, deadline_ms))))

    async def decide_many(self, payments: Sequence[PaymentRequest]) -> list[Decision | SiteProblemError]:
        """As `Client.decide_many`."""
        return _results(_told(await self._ask(_decide_many(payments))))

    async def label(self, label: LabelRequest) -> LabelReceipt:
        """As `Client.label`."""
        return receipt(_told(await self._ask(_label(label))))

    async def get(self, decision_id: str) -> Decision:
        """As `Client.get`."""
        return decision(_told(await self._ask(_get(decision_id))))

    async def _ask(self, request: _Request) -> Reply:
        course, result = self._course(), None
        try:
            while True:
                step = course.send(result)
                result = await (self._send(request, step) if isinstance(step, Send) else self._sleep(step.seconds))
        except StopIteration as end:
            reply: Reply = end.value
            return reply

    async def _send(self, request: _Request, step: Send) -> Result:
        try:
            async with asyncio.timeout(step.within_s):
                return _reply(
                    await self._http.request(
                        request.method,
                        request.path,
                        content=request.body,
                        headers=request.headers,
                        timeout=step.within_s,
                    )
                )
        except (httpx.RequestError, TimeoutError) as error:
            return Lost(type(error).__name__)
