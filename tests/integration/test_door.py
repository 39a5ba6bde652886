"""The door over real HTTP on a real disk: what callers are told, what is refused and changes nothing."""

import contextlib
import http.client
import json
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from edge_nodes.http.app import (
    BatchAnswer,
    HealthAnswer,
    LabelAnswer,
    LiveAnswer,
    PageAnswer,
    ReadyAnswer,
    SiteAnswer,
)
from tests.integration.doors import Door, payment
from tidegate.limits import BODY_BYTES_MAX

CARD_NUMBER = "4111111111111111"


its_own = pytest.mark.parametrize("door", ["actor"], indirect=True, scope="module")
"""For what comes before the application, which a proxy bounds in its own way, and for what one door shows of both."""


def test_a_payment_is_decided_and_can_be_read_again(door: Door) -> None:
    made = door.ask("POST", "/v1/decisions", payment("read-1"))

    assert made.status == 200
    assert made.body["outcome"] in {"approve", "challenge", "review", "decline"}
    assert not made.body["replayed"]
    found = door.ask("GET", f"/v1/decisions/{made.body['decision_id']}").body
    assert {name: found[name] for name in made.body} == made.body
    assert found["request"]["amount"] == {"minor": 1_250, "currency": "EUR"}


def test_a_caller_that_closes_after_its_request_is_answered_whole(door: Door) -> None:
    answer = door.ask("POST", "/v1/decisions", payment("closes-1"), connection="close")
    assert (answer.status, answer.body["transaction_id"]) == (200, "closes-1")
    refused = door.ask("POST", "/v1/decisions", b"{", connection="close")
    assert (refused.status, refused.body["code"]) == (422, "INVALID_REQUEST")


@pytest.mark.parametrize("deadline", ["0", "-1", "1.5", "60001", "soon", " ", "99999999999", "\xb2"])
def test_a_deadline_that_is_none_names_its_header_and_changes_nothing(door: Door, deadline: str) -> None:
    before = door.heads()

    refused = door.ask("POST", "/v1/decisions", payment("deadline-1"), x_deadline_ms=deadline)

    assert (refused.status, refused.body["errors"][0]["field"]) == (422, "X-Deadline-Ms")
    assert door.heads() == before


def test_a_generous_deadline_leaves_nothing_out_and_a_retry_with_another_gets_the_same(door: Door) -> None:
    body = payment("deadline-2")
    first = door.ask("POST", "/v1/decisions", body, x_deadline_ms="60000")
    again = door.ask("POST", "/v1/decisions", body, x_deadline_ms="1")

    assert (first.status, first.body["risk_level"] != "not_assessed") == (200, True)
    assert again.body == first.body | {"replayed": True}


def test_a_deadline_that_passed_before_deciding_is_told_and_the_next_request_is_the_first(door: Door) -> None:
    body = json.dumps(payment("deadline-3")).encode()
    with socket.create_connection(("127.0.0.1", door.port), timeout=20) as caller:
        head = f"POST /v1/decisions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {door.key}\r\nx-deadline-ms: 5\r\n"
        caller.sendall(f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode())
        caller.sendall(body[:-1])
        threading.Event().wait(0.1)  # longer than the deadline: that is what is tested
        caller.sendall(body[-1:])
        answer = http.client.HTTPResponse(caller)
        answer.begin()
        problem = json.loads(answer.read())

    assert (answer.status, problem["code"]) == (504, "DEADLINE_PASSED")
    assert door.ask("POST", "/v1/decisions", body).body["replayed"] is False


@pytest.mark.parametrize("path", ["/v1/decisions/batch", "/v1/labels"])
def test_a_deadline_is_refused_where_it_would_mean_nothing(door: Door, path: str) -> None:
    refused = door.ask("POST", path, {}, x_deadline_ms="100")
    assert (refused.status, refused.body["errors"][0]["field"]) == (422, "X-Deadline-Ms")


def test_a_retry_gets_the_first_answer(door: Door) -> None:
    body = payment("retry-1")
    first = door.ask("POST", "/v1/decisions", body).body

    again = door.ask("POST", "/v1/decisions", body).body

    assert again == first | {"replayed": True}


def test_an_id_with_another_body_is_refused_and_changes_nothing(door: Door) -> None:
    body = payment("conflict-1")
    door.ask("POST", "/v1/decisions", body)
    before = door.heads()

    refused = door.ask("POST", "/v1/decisions", body | {"card": "card-2"})

    assert (refused.status, refused.body["code"]) == (422, "IDEMPOTENCY_CONFLICT")
    assert door.heads() == before


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"amount": {"minor": -5, "currency": "EUR"}}, "amount.minor"),
        ({"amount": {"minor": 10**12, "currency": "EUR"}}, "amount.minor"),
        ({"amount": {"minor": 12.5, "currency": "EUR"}}, "amount.minor"),
        ({"amount": {"minor": True, "currency": "EUR"}}, "amount.minor"),
        ({"amount": {"minor": 5, "currency": "USD"}}, "amount.currency"),
        ({"amount": {"minor": 5, "currency": "euro"}}, "amount.currency"),
        ({"occurred_at": "yesterday"}, "occurred_at"),
        ({"occurred_at": "2026-11-24T09:00:00"}, "occurred_at"),
        ({"occurred_at": "2199-01-01T00:00:00Z"}, "occurred_at"),
        ({"occurred_at": "1999-01-01T00:00:00Z"}, "occurred_at"),
        ({"colour": "red"}, "colour"),
        ({"card": ""}, "card"),
        ({"card": "c" * 65}, "card"),
        ({"card": "caf\u00e9"}, "card"),
        ({"channel": "pigeon"}, "channel"),
        ({"mcc": "12"}, "mcc"),
        ({"transaction_id": None}, "transaction_id"),
    ],
    ids=str,
)
def test_bad_input_names_its_field_and_changes_nothing(door: Door, changes: dict[str, Any], field: str) -> None:
    before = door.heads()

    refused = door.ask("POST", "/v1/decisions", payment("bad-1") | changes)

    assert refused.status == 422
    assert refused.type == "application/problem+json"
    assert field in [error["field"] for error in refused.body["errors"]]
    assert door.heads() == before


@pytest.mark.parametrize("field", ["transaction_id", "card", "terminal", "merchant", "device"])
@pytest.mark.parametrize("text", [CARD_NUMBER, "4111-1111-1111-1111", "4111.1111.1111.1111", f"x-{CARD_NUMBER}"])
def test_a_card_number_in_any_field_is_refused_and_never_repeated(door: Door, field: str, text: str) -> None:
    refused = door.ask("POST", "/v1/decisions", payment("pan-1") | {field: text})

    assert (refused.status, refused.body["code"]) == (422, "CARD_NUMBER_REFUSED")
    assert text not in json.dumps(refused.body)


def test_a_card_number_as_a_field_name_is_not_repeated(door: Door) -> None:
    refused = door.ask("POST", "/v1/decisions", payment("pan-2") | {CARD_NUMBER: 1})

    assert refused.status == 422
    assert CARD_NUMBER not in json.dumps(refused.body)


def test_a_card_number_behind_an_escape_is_refused(door: Door) -> None:
    escaped = "".join(f"\\u{ord(digit):04x}" for digit in CARD_NUMBER)
    body = json.dumps(payment("pan-3")).replace('"card-1"', f'"{escaped}"').encode()

    assert door.ask("POST", "/v1/decisions", body).body["code"] == "CARD_NUMBER_REFUSED"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"a":NaN}'])
def test_what_is_no_payment_is_a_problem(door: Door, body: bytes) -> None:
    refused = door.ask("POST", "/v1/decisions", body)

    assert (refused.status, refused.type) == (422, "application/problem+json")


def test_an_oversized_body_is_refused(door: Door) -> None:
    assert door.ask("POST", "/v1/decisions", b" " * (BODY_BYTES_MAX + 1)).status == 413


def test_another_content_type_is_refused(door: Door) -> None:
    assert door.ask("POST", "/v1/decisions", payment("type-1"), content_type="text/plain").status == 415


@pytest.mark.parametrize(
    "path", ["/v1/decisions", "/v1/site", "/v1/live", "/metrics", "/v1/decisions/site-1.g0.00.L1.1"]
)
def test_no_key_opens_nothing(door: Door, path: str) -> None:
    assert door.ask("GET", path, authorization="").status == 401
    assert door.ask("GET", path, authorization="Bearer tgk_wrong").status == 401


def test_a_key_does_what_its_scopes_and_merchants_say(door: Door) -> None:
    bearer = f"Bearer {door.merchant_key}"

    assert door.ask("POST", "/v1/decisions", payment("scope-1", merchant="m-7"), authorization=bearer).status == 200
    other = door.ask("POST", "/v1/decisions", payment("scope-2"), authorization=bearer)
    assert (other.status, other.body["errors"][0]["field"]) == (403, "merchant")
    assert door.ask("GET", "/metrics", authorization=bearer).status == 403


def test_a_merchants_key_sees_no_other_merchants_decisions(door: Door) -> None:
    bearer = f"Bearer {door.merchant_key}"
    own = door.ask("POST", "/v1/decisions", payment("own-1", merchant="m-7")).body["decision_id"]
    other = door.ask("POST", "/v1/decisions", payment("other-1")).body["decision_id"]

    page = door.ask("GET", "/v1/decisions?limit=200", authorization=bearer).body["data"]
    assert {item["transaction_id"] for item in page} >= {"own-1"}
    assert all(item["transaction_id"] in {"own-1", "scope-1"} for item in page)
    assert door.ask("GET", f"/v1/decisions/{own}", authorization=bearer).status == 200
    assert door.ask("GET", f"/v1/decisions/{other}", authorization=bearer).status == 404
    assert door.ask("GET", "/v1/live", authorization=bearer).status == 403


def test_a_batch_has_a_result_each(door: Door) -> None:
    items = [payment("batch-1"), payment("batch-2", card=CARD_NUMBER), payment("batch-3")]

    results = door.ask("POST", "/v1/decisions/batch", {"decisions": items}).body["data"]

    assert [next(iter(result)) for result in results] == ["decision", "problem", "decision"]
    assert results[1]["problem"]["errors"][0]["field"] == "decisions.1.card"


@pytest.mark.parametrize("count", [0, 1_001])
def test_a_batch_of_no_or_too_many_payments_is_refused(door: Door, count: int) -> None:
    assert door.ask("POST", "/v1/decisions/batch", {"decisions": [{}] * count}).status == 422


def test_pages_go_back_from_the_newest_without_gap_or_double(door: Door) -> None:
    for number in range(7):
        door.ask("POST", "/v1/decisions", payment(f"page-{number}", card="card-page"))
    seen: list[str] = []
    cursor = ""
    while True:
        page = door.ask("GET", f"/v1/decisions?limit=3&card=card-page{cursor}").body
        seen += [item["transaction_id"] for item in page["data"]]
        if not page["has_more"]:
            break
        cursor = f"&cursor={page['next_cursor']}"

    assert seen == [f"page-{number}" for number in reversed(range(7))]


def test_a_label_is_applied_once_and_one_for_an_unknown_payment_is_not(door: Door) -> None:
    door.ask("POST", "/v1/decisions", payment("label-1"))
    label = {
        "label_id": "l-1",
        "merchant": "m-1",
        "transaction_id": "label-1",
        "verdict": "fraud",
        "source": "chargeback",
        "known_at": "2026-11-24T09:00:00Z",
    }

    assert door.ask("POST", "/v1/labels", label).body["replayed"] is False
    assert door.ask("POST", "/v1/labels", label).body["replayed"] is True
    assert door.ask("POST", "/v1/labels", label | {"verdict": "legit"}).status == 422
    assert door.ask("POST", "/v1/labels", label | {"label_id": "l-2", "transaction_id": "nobody"}).status == 404


@pytest.mark.parametrize("path", ["/v1/decisions", "/v1/labels"])
def test_a_body_of_unknown_length_is_read_to_its_bound_and_no_further(door: Door, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", door.port, timeout=20)
    sent = {"authorization": f"Bearer {door.key}", "content-type": "application/json"}
    piece = b" " * 16_384

    connection.request("POST", path, iter([piece] * (BODY_BYTES_MAX // len(piece) + 1)), sent, encode_chunked=True)
    answer = connection.getresponse()
    problem = json.load(answer)
    connection.close()

    assert (answer.status, problem["code"]) == (413, "BODY_TOO_LARGE")


@its_own
def test_a_head_without_end_is_refused_before_anybody_is_known(door: Door) -> None:
    with socket.create_connection(("127.0.0.1", door.port), timeout=20) as caller:
        caller.sendall(b"POST /v1/decisions HTTP/1.1\r\nhost: x\r\nx-long: ")
        with contextlib.suppress(ConnectionError):
            for _ in range(64):
                caller.sendall(b"a" * 4_096)
        answer = caller.recv(4_096)

    assert answer.startswith(b"HTTP/1.1 431 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "HEAD_TOO_LARGE"


@its_own
def test_a_head_beyond_its_bound_is_refused_also_where_it_comes_at_once(door: Door) -> None:
    with socket.create_connection(("127.0.0.1", door.port), timeout=20) as caller:
        caller.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-long: " + b"a" * 70_000 + b"\r\n\r\n")
        answer = caller.recv(4_096)

    assert answer.startswith(b"HTTP/1.1 431 ")


@its_own
@pytest.mark.parametrize(("name", "protocol"), [("Upgrade", "h2c"), ("UPGRADE", "h2c"), ("upgrade", "websocket")])
def test_an_offer_of_another_protocol_is_left_aside_and_the_request_answered(
    door: Door, name: str, protocol: str
) -> None:
    """As RFC 9110 §7.8 allows; Java's client offers HTTP/2 with each first request."""
    offer = f"{name}: {protocol}\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"
    with socket.create_connection(("127.0.0.1", door.port), timeout=20) as caller:
        caller.sendall(_raw(door, payment(f"offer-{name}-{protocol}"), extra=offer))
        (answer,) = _answers(caller, 1)

    assert answer["transaction_id"] == f"offer-{name}-{protocol}"


@its_own
@pytest.mark.parametrize(
    "sent", [b"no http at all\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"\x16\x03\x01\x02\0"]
)
def test_what_is_no_http_is_a_problem_and_the_end_of_its_connection(door: Door, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", door.port), timeout=20) as caller:
        caller.sendall(sent)
        head, _, body = b"".join(iter(lambda: caller.recv(4_096), b"")).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 400 ")
    for header in (b"content-type: application/problem+json", b"cache-control: no-store", b"connection: close"):
        assert header in head.split(b"\r\n")
    assert json.loads(body)["code"] == "MALFORMED_REQUEST"


@its_own
@pytest.mark.parametrize("path", ["/v1/decisions", "/v1/labels"])
def test_a_body_that_never_comes_is_given_up(door: Door, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setattr("edge_nodes.http.fast.BODY_S_MAX", 0.2)
    monkeypatch.setattr("edge_nodes.http.protocol.BODY_S_MAX", 0.2)
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {door.key}\r\n"
    head += "content-type: application/json\r\ncontent-length: 100\r\n\r\n"
    with socket.create_connection(("127.0.0.1", door.port), timeout=20) as caller:
        caller.sendall(head.encode())
        answer = caller.recv(4_096)

    assert answer.startswith(b"HTTP/1.1 408 ")


def _raw(door: Door, asked: dict[str, Any], version: str = "1.1", extra: str = "") -> bytes:
    body = json.dumps(asked).encode()
    head = f"POST /v1/decisions HTTP/{version}\r\nhost: x\r\nauthorization: Bearer {door.key}\r\n{extra}"
    return f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


def _answers(caller: socket.socket, count: int) -> list[Any]:
    reader = caller.makefile("rb")
    found = []
    for _ in range(count):
        length = 0
        while line := reader.readline().strip():
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        found.append(json.loads(reader.read(length)))
    return found


@its_own
def test_requests_sent_without_waiting_are_answered_in_their_order(door: Door) -> None:
    ids = [f"pipe-{number}" for number in range(20)]
    with socket.create_connection(("127.0.0.1", door.port), timeout=20) as caller:
        caller.sendall(b"".join(_raw(door, payment(each)) for each in ids))
        answers = _answers(caller, len(ids))

    assert [answer["transaction_id"] for answer in answers] == ids


@its_own
def test_a_request_in_single_bytes_is_answered_as_a_whole_one(door: Door) -> None:
    with socket.create_connection(("127.0.0.1", door.port), timeout=20) as caller:
        caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in (request := _raw(door, payment("bytes-1"))):
            caller.sendall(bytes([at]))
        answers = _answers(caller, 1)
        caller.sendall(request)
        again = _answers(caller, 1)

    assert again == [answers[0] | {"replayed": True}]


@its_own
@pytest.mark.parametrize(
    ("version", "extra", "closes"),
    [
        ("1.1", "", False),
        ("1.1", "connection: close\r\n", True),
        ("1.0", "", True),
        ("1.1", "expect: 100-continue\r\n", False),
    ],
    ids=["plain", "close", "1.0", "expect"],
)
def test_every_way_of_asking_gets_the_same_answer(door: Door, version: str, extra: str, *, closes: bool) -> None:
    """uvicorn's way and the short cut: one first answer, so a retry over the other way is told it."""
    asked = payment(f"ways-{version}-{len(extra)}")
    first = door.ask("POST", "/v1/decisions?way=asgi", asked).body
    with socket.create_connection(("127.0.0.1", door.port), timeout=20) as caller:
        caller.sendall(_raw(door, asked, version, extra))
        if "expect" in extra:
            assert caller.recv(25).startswith(b"HTTP/1.1 100 ")
        (answer,) = _answers(caller, 1)
        caller.settimeout(0.3)
        with contextlib.ExitStack() as open_still:
            if not closes:
                open_still.enter_context(pytest.raises(TimeoutError))
            assert caller.recv(1) == b""

    assert answer == first | {"replayed": True}


@its_own
def test_a_connection_that_says_nothing_is_closed(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_nodes.http.protocol.CONNECTION_IDLE_S_MAX", 0.2)
    for said in (b"", b"POST /v1/deci", _raw(door, payment("idle-1"))):
        with socket.create_connection(("127.0.0.1", door.port), timeout=20) as caller:
            caller.sendall(said)
            if said.endswith(b"}"):
                _answers(caller, 1)
            assert caller.recv(1) == b""


@its_own
def test_connections_are_bounded(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_nodes.http.protocol.CONNECTIONS_MAX", 2)
    with contextlib.ExitStack() as opened:
        callers = [
            opened.enter_context(socket.create_connection(("127.0.0.1", door.port), timeout=20)) for _ in range(8)
        ]
        assert callers[-1].recv(1) == b""

    assert door.ask("GET", "/healthz").status == 200


def test_a_filter_that_there_is_none_of_is_refused_by_name(door: Door) -> None:
    answer = door.ask("GET", "/v1/decisions?outcom=decline")
    assert (answer.status, answer.body["errors"][0]["field"]) == (422, "outcom")


@pytest.mark.parametrize("name", ["card", "terminal", "merchant"])
def test_a_card_number_is_refused_as_a_filter_too(door: Door, name: str) -> None:
    answer = door.ask("GET", f"/v1/decisions?{name}=x-{CARD_NUMBER}")
    assert (answer.status, answer.body["code"]) == (422, "CARD_NUMBER_REFUSED")
    assert CARD_NUMBER not in json.dumps(answer.body)


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "PATCH"])
@pytest.mark.parametrize("key", ["", "Bearer tgk_wrong", None])
@pytest.mark.parametrize("path", ["/v1/decisions", "/v1/decisions/batch", "/v1/labels", "/v1/site", "/healthz", "/x"])
def test_no_answer_may_be_cached_or_taken_for_another_type(door: Door, method: str, key: str | None, path: str) -> None:
    sent = {} if key is None else {"authorization": key}
    headers = door.ask(method, path, payment("headers-1") if method == "POST" else None, **sent).headers

    assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")


def test_a_field_that_is_said_twice_is_refused_by_name_and_changes_nothing(door: Door) -> None:
    before = door.heads()
    body = b'{"card": "card-9", ' + json.dumps(payment("twice-1")).encode()[1:]

    refused = door.ask("POST", "/v1/decisions", body)

    assert (refused.status, [e["field"] for e in refused.body["errors"]]) == (422, ["card"])
    assert door.heads() == before


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/decisions/batch", "POST"),
        ("HEAD", "/v1/labels", "POST"),
        ("GET", "/v1/labels", "POST"),
        ("DELETE", "/v1/decisions", "GET, HEAD, POST"),
        ("PUT", "/v1/decisions/batch", "POST"),
        ("POST", "/v1/site", "GET, HEAD"),
        ("POST", "/", "GET, HEAD"),
        ("POST", "/v1/decisions/site-1.g0.0123456789abcdef.L1.1", "GET, HEAD"),
    ],
)
def test_a_method_that_a_path_does_not_take_is_told_those_that_it_takes(
    door: Door, method: str, path: str, allowed: str
) -> None:
    refused = door.ask(method, path)

    assert (refused.status, refused.headers["allow"], refused.type) == (405, allowed, "application/problem+json")
    if method != "HEAD":
        assert (refused.body["code"], refused.body["title"]) == ("METHOD_NOT_ALLOWED", "Method not allowed")


@pytest.mark.parametrize("path", ["/nothing", "/v1/site/", "/v1/decisions/", "/v2/decisions"])
def test_a_path_that_there_is_none_of_is_a_problem_and_leads_nowhere(door: Door, path: str) -> None:
    refused = door.ask("GET", path, host="elsewhere.example")

    assert (refused.status, refused.body["code"], refused.body["title"]) == (404, "NO_SUCH_PATH", "No such path")
    assert "location" not in refused.headers


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/live.js", "/v1/site"])
def test_a_head_is_that_of_the_same_get(door: Door, path: str) -> None:
    head, got = door.ask("HEAD", path), door.ask("GET", path)

    assert (head.status, head.body, head.type) == (200, b"", got.type)
    assert (head.headers["content-length"] == got.headers["content-length"]) or path == "/v1/site"


ANSWERS: list[tuple[str, str, type[BaseModel]]] = [
    ("GET", "/v1/decisions?limit=2", PageAnswer),
    ("GET", "/v1/site", SiteAnswer),
    ("GET", "/v1/live", LiveAnswer),
    ("GET", "/readyz", ReadyAnswer),
    ("GET", "/healthz", HealthAnswer),
    ("POST", "/v1/decisions/batch", BatchAnswer),
    ("POST", "/v1/labels", LabelAnswer),
]


@pytest.mark.parametrize(("method", "path", "model"), ANSWERS, ids=[path for _, path, _ in ANSWERS])
def test_an_answer_is_what_the_openapi_document_says_of_it(
    door: Door, method: str, path: str, model: type[BaseModel]
) -> None:
    label = {"label_id": "l-schema", "merchant": "m-1", "transaction_id": "schema-1", "verdict": "fraud"}
    label |= {"source": "issuer", "known_at": "2026-11-24T09:00:00Z"}
    door.ask("POST", "/v1/decisions", payment("schema-1"))
    bodies: dict[str, Any] = {"/v1/labels": label}
    bodies["/v1/decisions/batch"] = {"decisions": [payment("schema-2"), {}]}

    answer = door.ask(method, path, bodies.get(path))
    described = door.ask("GET", "/openapi.json").body["paths"][path.partition("?")[0]][method.lower()]

    assert answer.status == 200
    schema = described["responses"]["200"]["content"]["application/json"]["schema"]
    assert schema == {"$ref": f"#/components/schemas/{model.__name__}"}
    assert model.model_validate(answer.body, strict=True).model_dump(exclude_unset=True) == answer.body


def test_metrics_and_health_answer(door: Door) -> None:
    assert door.ask("GET", "/healthz", authorization="").body == {"status": "alive"}
    assert door.ask("GET", "/readyz", authorization="").body == {"ready": True, "why": None}
    assert b'tidegate_decision_seconds_count{stage="total"}' in door.ask("GET", "/metrics").body


def test_the_live_page_loads_nothing_from_elsewhere(door: Door) -> None:
    for path in ("/", "/live.js", "/decision.js", "/make.js", "/live.css", "/icon.svg"):
        page = door.ask("GET", path, authorization="")
        assert page.status == 200
        assert b"://" not in page.body.replace(b"http://www.w3.org/2000/svg", b"")


@its_own
@pytest.mark.slow
def test_no_request_that_the_openapi_document_allows_or_forbids_is_answered_with_a_server_error(door: Door) -> None:
    command = [str(Path(sys.executable).parent / "schemathesis"), "run", f"http://127.0.0.1:{door.port}/openapi.json"]
    options = [
        "--checks=not_a_server_error",
        "--max-examples=40",
        "--seed=7",
        "--no-color",
        "--generation-database=none",
    ]
    header = f"--header=Authorization: Bearer {door.key}"

    run = subprocess.run(
        [*command, *options, header], capture_output=True, text=True, timeout=400, check=False, cwd=door.folder
    )

    assert run.returncode == 0, run.stdout[-4_000:] + run.stderr[-1_000:]
