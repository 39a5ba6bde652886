"""The client without a network: one body for all attempts, keys that nothing shows, refusals as errors with fields."""

import asyncio
import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from edge_nodes.client.answers import (
    ConflictingError,
    GaveUpError,
    NotAllowedError,
    NotATidegateError,
    RefusedError,
    SiteProblemError,
    UnknownError,
)
from edge_nodes.client.door import AsyncClient, Client
from tidegate.errors import SettingsError

KEY = "tgk_0123456789abcdef"
NOW = datetime(2026, 11, 24, 6, tzinfo=UTC)
FIELDS = {"amount": {"minor": 1_250, "currency": "EUR"}, "card": "c-1", "terminal": "t-1", "merchant": "m-1"}
ANSWER: dict[str, Any] = {
    "decision_id": "site-1.g0.00112233445566ff.L1.7",
    "outcome": "review",
    "risk_score": None,
    "risk_level": "not_assessed",
    "probability": None,
    "reasons": [{"code": "SYS_DEADLINE_SCORE", "source": "system", "text": "x"}],
    "mode": "fresh",
    "site": "site-1",
    "bundle": "b-1",
    "features_as_of": "2026-11-24T06:00:00Z",
    "decided_at": "2026-11-24T06:00:00Z",
    "replayed": False,
    "of_a_newer_site": [1],
}


def decided(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json=ANSWER | {"transaction_id": json.loads(request.content)["transaction_id"]})


class Site:
    """What stands in for the network: answers in turn, and the last one again."""

    def __init__(self, *answers: Callable[[httpx.Request], httpx.Response]) -> None:
        self._answers = list(answers)
        self.seen: list[httpx.Request] = []
        self.waits: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        return (self._answers.pop(0) if len(self._answers) > 1 else self._answers[0])(request)

    def client(self, **options: Any) -> Client:
        """Return a client of this site."""
        own: dict[str, Any] = {
            "transport": httpx.MockTransport(self),
            "sleep": self.waits.append,
            "chance": lambda: 0.5,
        }
        return Client("http://127.0.0.1:8410/", KEY, **own, now=lambda: NOW, entropy=bytes, **options)

    def async_client(self) -> AsyncClient:
        """Return a client of this site, for programs that await."""

        async def sleep(seconds: float) -> None:
            self.waits.append(seconds)

        return AsyncClient("http://127.0.0.1:8410", KEY, transport=httpx.MockTransport(self), sleep=sleep)


def lost(_request: httpx.Request) -> httpx.Response:
    raise httpx.ReadError("cut")


def problem(status: int, code: str = "X") -> Callable[[httpx.Request], httpx.Response]:
    body = {"status": status, "code": code, "detail": "so it is", "errors": [{"field": "card", "message": "no"}]}
    return lambda _request: httpx.Response(status, json=body)


def test_every_attempt_sends_the_same_bytes_under_the_id_made_before_the_first() -> None:
    site = Site(lost, problem(503), lost, decided)
    client = site.client()
    payment = client.payment(**FIELDS, channel="online")

    decision = client.decide(payment, deadline_ms=50)

    assert len({request.content for request in site.seen}) == 1
    assert decision.transaction_id == payment.transaction_id == json.loads(site.seen[0].content)["transaction_id"]
    assert {request.headers["x-deadline-ms"] for request in site.seen} == {"50"}
    assert len(site.waits) == 3
    assert decision.codes == ("SYS_DEADLINE_SCORE",)


def test_the_client_that_awaits_does_the_same() -> None:
    site = Site(lost, problem(503), decided)

    async def ask() -> Any:
        async with site.async_client() as client:
            return await client.decide(client.payment(**FIELDS, channel="online"))

    assert asyncio.run(ask()).outcome == "review"
    assert len({request.content for request in site.seen}) == 1
    assert len(site.waits) == 2


def test_a_sites_wish_to_be_left_alone_is_heeded() -> None:
    site = Site(lambda _: httpx.Response(503, json={}, headers={"retry-after": "2"}), decided)
    client = site.client()
    client.decide(client.payment(**FIELDS, channel="online"))
    assert site.waits == [2.0]


def test_each_payment_has_an_id_and_a_time_of_its_own_unless_it_brings_them() -> None:
    with Client("https://site.example", KEY) as client:
        ids = {client.payment(**FIELDS, channel="online").transaction_id for _ in range(50)}
        own = client.payment(**FIELDS, channel="online", transaction_id="order-1", occurred_at=NOW)
    assert len(ids) == 50
    assert (own.transaction_id, own.occurred_at) == ("order-1", NOW)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (422, "INVALID_REQUEST", RefusedError),
        (422, "IDEMPOTENCY_CONFLICT", ConflictingError),
        (401, "UNAUTHENTICATED", NotAllowedError),
        (403, "FORBIDDEN", NotAllowedError),
        (404, "NOT_FOUND", UnknownError),
        (413, "BODY_TOO_LARGE", RefusedError),
    ],
)
def test_a_refusal_is_an_error_with_code_and_fields_and_is_not_tried_again(
    status: int, code: str, kind: type[SiteProblemError]
) -> None:
    site = Site(problem(status, code))
    client = site.client()
    with pytest.raises(kind, match="so it is") as caught:
        client.decide(client.payment(**FIELDS, channel="online"))
    assert (caught.value.status, caught.value.code, caught.value.fields[0].field) == (status, code, "card")
    assert len(site.seen) == 1


def test_a_batch_gives_a_result_each() -> None:
    told = {"data": [{"decision": ANSWER | {"transaction_id": "a"}}, {"problem": {"status": 422, "code": "X"}}]}
    client = Site(lambda _: httpx.Response(200, json=told)).client()
    payments = [client.payment(**FIELDS, channel="online", transaction_id=name) for name in "ab"]
    first, second = client.decide_many(payments)
    assert [type(first).__name__, type(second).__name__] == ["Decision", "RefusedError"]
    with pytest.raises(ValueError, match="payments: 1 to"):
        client.decide_many([])


@pytest.mark.parametrize("answer", [b"<html>", b"{}", b"[1]", b"null"])
def test_what_is_no_answer_of_a_site_says_so(answer: bytes) -> None:
    client = Site(lambda _: httpx.Response(200, content=answer)).client()
    with pytest.raises(NotATidegateError, match="check the address"):
        client.decide(client.payment(**FIELDS, channel="online"))


@pytest.mark.parametrize("url", ["http://site.example", "http://10.0.0.7:8410", "site.example", "ftp://localhost", ""])
def test_a_key_is_not_sent_in_clear_to_another_machine(url: str) -> None:
    with pytest.raises(SettingsError, match="url: "):
        Client(url, KEY)


def test_no_key_is_shown_by_a_client_a_log_or_an_error(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    site = Site(lost)
    client = site.client()
    with pytest.raises(GaveUpError) as caught:
        client.decide(client.payment(**FIELDS, channel="online"))
    assert site.seen[0].headers["authorization"] == f"Bearer {KEY}"
    shown = f"{client!r} {vars(client)!r} {vars(client._http)!r} {caught.value!r} {caplog.text}"  # noqa: SLF001
    assert KEY not in shown
