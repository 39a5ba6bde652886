"""What nobody foresaw is a problem like any other, says nothing of what it was, and is in the log."""

import asyncio
import contextlib
import json
from typing import Any

import pytest

from actors.gate.committer import Committer
from actors.gate.service import Service
from edge_nodes.http.app import build
from edge_nodes.http.protocol import Answer
from tidegate.keys import KeyFile, Scope, dump_keys, make_key

SECRET = "s3cr3t-Wort"
KEY, ENTRY = make_key("all", frozenset(Scope), bytes)
HEADERS = [(b"authorization", f"Bearer {KEY}".encode()), (b"content-type", b"application/json")]


def broken() -> float:
    raise ZeroDivisionError(SECRET)


def door(service: Service) -> Any:
    return build(service, dump_keys(KeyFile(keys=(ENTRY,))))


def asked(app: Any, method: str, path: str, *, raised_on: bool = False) -> tuple[int, bytes]:
    """Ask an ASGI application once; return status and body. `raised_on` is how the server hears of a mistake."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": HEADERS, "query_string": b""}
    with pytest.raises(ZeroDivisionError) if raised_on else contextlib.nullcontext():
        asyncio.run(app({**scope, "raw_path": path.encode(), "root_path": ""}, receive, send))
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


def is_mistake(body: bytes) -> bool:
    return json.loads(body)["code"] == "INTERNAL_ERROR" and SECRET.encode() not in body


def test_on_the_fast_path(caplog: pytest.LogCaptureFixture) -> None:
    status, body = asked(door(Service(ticks=broken)), "POST", "/v1/decisions/batch")

    assert (status, is_mistake(body)) == (500, True)
    assert SECRET in caplog.text


def test_on_the_short_cut(caplog: pytest.LogCaptureFixture) -> None:
    service, answers = Service(ticks=broken), list[Answer]()
    door(service).short_cut.take(HEADERS, b"{}", answers.append, 0.0)
    ((head, body),) = answers

    assert head.startswith(b"HTTP/1.1 500 ")
    assert is_mistake(body)
    assert SECRET in caplog.text


def test_behind_fastapi(rig: Any) -> None:
    gate, service = rig.open(), Service()
    decided = gate.decide(rig.payment())
    gate.journal.commit()
    service.opened(gate, Committer(journal=gate.journal, inline=True, on_failure=print, on_flush=lambda _s: None))
    service.checks_with(lambda _decision: {"equal": broken()})

    path = f"/v1/decisions/{gate.answer(decided)['decision_id']}/replay"
    status, body = asked(door(service), "GET", path, raised_on=True)

    assert (status, is_mistake(body)) == (500, True)
