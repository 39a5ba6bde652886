"""Pages of other doors: none may read here but those that a setting names, and those may read and nothing else."""

import asyncio
from typing import Any

import pytest

from actors.gate.service import Service
from edge_nodes.http.app import build
from tidegate.errors import SettingsError
from tidegate.keys import KeyFile, Scope, dump_keys, make_key
from tidegate.settings import site_settings

KEY, ENTRY = make_key("all", frozenset(Scope), bytes)
FRIEND = "http://127.0.0.1:8420"
LAYER = {"data_dir": "a", "machine_mark": "b"}


def asked(method: str, path: str, origins: tuple[str, ...], **headers: str) -> tuple[int, dict[str, str]]:
    sent: list[Any] = []

    said = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> Any:
        return next(said, {"type": "http.disconnect"})

    async def send(message: Any) -> None:
        sent.append(message)

    given = {"authorization": f"Bearer {KEY}", **{name.replace("_", "-"): value for name, value in headers.items()}}
    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "root_path": ""}
    raw = [(name.encode(), value.encode()) for name, value in given.items()]
    app = build(Service(), dump_keys(KeyFile(keys=(ENTRY,))), origins)
    asyncio.run(app({**scope, "raw_path": path.encode(), "headers": raw}, receive, send))
    return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}


def test_a_page_that_is_named_may_read_and_is_told_so_before_it_sends_its_key() -> None:
    preflight = asked("OPTIONS", "/v1/live", (FRIEND,), origin=FRIEND, access_control_request_method="GET")
    answer = asked("GET", "/v1/reasons", (FRIEND,), origin=FRIEND)

    assert preflight[0] == 204
    assert preflight[1]["access-control-allow-headers"] == "authorization"
    assert preflight[1]["access-control-allow-methods"] == "GET"
    assert answer[0] == 200
    assert {told["access-control-allow-origin"] for _, told in (preflight, answer)} == {FRIEND}
    assert answer[1]["vary"] == "origin"


@pytest.mark.parametrize(
    ("method", "path", "origin", "asks"),
    [
        ("OPTIONS", "/v1/live", "http://127.0.0.1:8430", "GET"),
        ("OPTIONS", "/v1/live", f"{FRIEND}0", "GET"),
        ("OPTIONS", "/v1/live", "null", "GET"),
        ("OPTIONS", "/v1/decisions", FRIEND, "POST"),
        ("OPTIONS", "/v1/policy", FRIEND, "PUT"),
        ("OPTIONS", "/metrics", FRIEND, "GET"),
        ("GET", "/v1/reasons", "http://127.0.0.1:8430", ""),
        ("POST", "/v1/decisions", FRIEND, ""),
    ],
)
def test_other_pages_other_ways_and_other_routes_are_not_for_it(method: str, path: str, origin: str, asks: str) -> None:
    _, told = asked(method, path, (FRIEND,), origin=origin, access_control_request_method=asks)

    assert not [name for name in told if name.startswith("access-control")]


def test_where_none_is_named_nobody_else_may_read_and_the_page_reads_nobody_else() -> None:
    status, told = asked("OPTIONS", "/v1/live", (), origin=FRIEND, access_control_request_method="GET")

    assert status == 405
    assert not [name for name in told if name.startswith("access-control")]
    assert "connect-src 'self';" in told["content-security-policy"]


def test_the_page_may_ask_those_that_may_ask_here() -> None:
    assert f"connect-src 'self' {FRIEND};" in asked("GET", "/", (FRIEND,))[1]["content-security-policy"]


@pytest.mark.parametrize("origin", ["*", "http://*", "http://a.example/", "http://a;script-src *", "file://x", "null"])
def test_what_is_no_origin_is_refused_in_the_settings(origin: str) -> None:
    with pytest.raises(SettingsError, match=r"door\.origins"):
        site_settings([LAYER, {"door": {"origins": [origin]}}], names="test")
