"""Sites and their keys over HTTP: who may do what, what comes back, and what is refused without repeating anything."""

import asyncio
import json
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Final

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError

from serve_apps.ingest.identity import identity_router
from serve_apps.ingest.ingest import Meter
from serve_apps.ingest.memory import MemoryRegister
from serve_apps.ingest.registry import Registry
from tidegate.clock import ManualClock
from tidegate.enrolment import KeyAnswer, RegisteredAnswer, TokenAnswer, enrolment, rotation
from tidegate.errors import TidegateError
from tidegate.frames import Signer, key_id
from tidegate.keys import KeyFile, Keyring, Scope, make_key
from tidegate.limits import SECOND_US, TIDE_ENROLMENT_BYTES_MAX
from tidegate.problem import refused, render

NOW_US: Final = 1_795_500_000_000_000
OPERATOR, _OPERATOR = make_key("anna", frozenset({Scope.SITES}), Random(1).randbytes)
READER, _READER = make_key("bert", frozenset({Scope.READ}), Random(2).randbytes)
SHOP, _SHOP = make_key("shop", frozenset({Scope.SITES}), Random(3).randbytes, frozenset({"m-1"}))
KEYRING: Final = Keyring(KeyFile(keys=(_OPERATOR, _READER, _SHOP)))


def _answer(error: TidegateError) -> Response:
    status, headers, body = render(error)
    return Response(body, status, {name.decode(): value.decode() for name, value in headers})


def application(registry: Registry, meter: Meter) -> FastAPI:
    """Return the routes in an application that answers errors as the cloud's do."""
    app = FastAPI()
    app.include_router(identity_router(registry, KEYRING, meter))

    @app.exception_handler(TidegateError)
    async def _refused(_request: Request, error: TidegateError) -> Response:
        return _answer(error)

    @app.exception_handler(RequestValidationError)
    async def _invalid(_request: Request, error: RequestValidationError) -> Response:
        return _answer(refused((e["loc"][1:], str(e["msg"])) for e in error.errors()))

    return app


class Cloud:
    """Who asks the application, as an operator or as a site."""

    def __init__(self) -> None:
        self.clock = ManualClock(NOW_US)
        self.registry = Registry(MemoryRegister(), self.clock, Random(7).randbytes)
        self.meter = Meter()
        self.app = application(self.registry, self.meter)

    def ask(self, method: str, path: str, body: Any = None, key: str | None = OPERATOR) -> httpx.Response:
        headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
        content = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        return self.send(method, path, content, headers)

    def send(self, method: str, path: str, content: bytes | None, headers: Mapping[str, str]) -> httpx.Response:
        async def sent() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://cloud") as client:
                return await client.request(method, path, content=content, headers=headers)

        return asyncio.run(sent())

    def token(self, site: str = "s1") -> str:
        return TokenAnswer.model_validate_json(self.ask("POST", "/v1/sites", {"site": site}).content).token

    def enrol(self, site: str = "s1", seed: int = 1) -> tuple[Signer, bytes]:
        signer, public = pair(seed)
        asked = enrolment(site, self.token(site), public, signer).model_dump()
        assert self.ask("POST", f"/v1/sites/{site}/enrolment", asked, key=None).status_code == 200
        return signer, public


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


def pair(seed: int) -> tuple[Signer, bytes]:
    private = Ed25519PrivateKey.from_private_bytes(Random(seed).randbytes(32))
    return Signer(key_id(private.public_key()), private.sign), private.public_key().public_bytes_raw()


def problem(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


def test_a_site_is_made_enrolled_rotated_shown_and_revoked(cloud: Cloud) -> None:
    made = cloud.ask("POST", "/v1/sites", {"site": "s1"})
    assert made.status_code == 201
    assert made.json() == {"site": "s1", "token": made.json()["token"], "expires_at": "2026-11-25T06:00:00.000000Z"}

    old, public = pair(1)
    asked = enrolment("s1", made.json()["token"], public, old).model_dump()
    told = KeyAnswer.model_validate_json(cloud.ask("POST", "/v1/sites/s1/enrolment", asked, key=None).content)
    assert (told.key, told.public_key, told.state) == (old.key, public.hex(), "active")

    cloud.clock.advance(SECOND_US)
    new, fresh = pair(2)
    turned = cloud.ask("POST", "/v1/sites/s1/keys", rotation("s1", old, fresh, new).model_dump(), key=None)
    assert turned.json()["enrolled_at"] == "2026-11-24T06:00:01.000000Z"

    ended = cloud.ask("POST", f"/v1/sites/s1/keys/{old.key}/revocation", {"why": "stolen"})
    assert (ended.json()["state"], ended.json()["revoked_by"], ended.json()["why"]) == ("revoked", "anna", "stolen")
    site = RegisteredAnswer.model_validate_json(cloud.ask("GET", "/v1/sites/s1/keys").content)
    assert [(key.key, key.state) for key in site.keys] == [(new.key, "active"), (old.key, "revoked")]
    assert (site.made_by, site.token_until) == ("anna", None)

    gone = cloud.ask("POST", "/v1/sites/s1/revocation", {"why": "closed"}).json()
    assert (gone["revoked_by"], {key["state"] for key in gone["keys"]}) == ("anna", {"revoked"})


def test_a_key_says_when_it_retires(cloud: Cloud) -> None:
    old, _ = cloud.enrol()
    new, fresh = pair(2)
    cloud.ask("POST", "/v1/sites/s1/keys", rotation("s1", old, fresh, new).model_dump(), key=None)

    told = cloud.ask("GET", "/v1/sites/s1/keys").json()["keys"][1]
    assert (told["state"], told["retires_at"]) == ("retiring", "2026-12-02T06:00:00.000000Z")


def test_sites_are_listed_a_page_at_a_time(cloud: Cloud) -> None:
    for name in ("b", "a", "c"):
        cloud.token(name)
    first = cloud.ask("GET", "/v1/registry?limit=2").json()
    rest = cloud.ask("GET", f"/v1/registry?limit=2&cursor={first['next_cursor']}").json()

    assert [site["site"] for site in first["data"]] == ["a", "b"]
    assert (first["has_more"], rest["has_more"], rest["next_cursor"]) == (True, False, None)
    assert [site["site"] for site in rest["data"]] == ["c"]
    assert "tgt_" not in json.dumps(first)


OPERATIONS: Final = (
    ("POST", "/v1/sites", {"site": "s2"}),
    ("POST", "/v1/sites/s1/tokens", None),
    ("POST", "/v1/sites/s1/revocation", {"why": "w"}),
    ("POST", "/v1/sites/s1/keys/0123456789abcdef/revocation", {"why": "w"}),
    ("GET", "/v1/registry", None),
    ("GET", "/v1/sites/s1/keys", None),
)


@pytest.mark.parametrize(("method", "path", "body"), OPERATIONS, ids=[path for _, path, _ in OPERATIONS])
def test_an_operation_needs_a_key_of_its_scope_that_is_bound_to_no_merchant(
    cloud: Cloud, method: str, path: str, body: Any
) -> None:
    cloud.token("s1")

    assert problem(cloud.ask(method, path, body, key=None)) == (401, "UNAUTHENTICATED")
    assert problem(cloud.ask(method, path, body, key=OPERATOR[:-1] + "x")) == (401, "UNAUTHENTICATED")
    assert problem(cloud.ask(method, path, body, key=READER)) == (403, "FORBIDDEN")
    assert problem(cloud.ask(method, path, body, key=SHOP)) == (403, "FORBIDDEN")
    assert [each.site.name for each in cloud.registry.sites(after="", items=9)] == ["s1"]


def _enrolment(change: dict[str, Any]) -> Callable[[Cloud], Any]:
    def asked(cloud: Cloud) -> Any:
        signer, public = pair(3)
        return enrolment("s1", cloud.token(), public, signer).model_dump() | change

    return asked


REFUSED: Final[dict[str, tuple[dict[str, Any], int, str, str]]] = {
    "a token of nobody": ({"token": "tgt_" + "0" * 64}, 403, "TOKEN_REFUSED", ""),
    "no token": ({"token": ""}, 422, "INVALID_REQUEST", "token"),
    "a token of another form": ({"token": "tgk_" + "0" * 64}, 422, "INVALID_REQUEST", "token"),
    "a short key": ({"public_key": "00" * 31}, 422, "INVALID_REQUEST", "public_key"),
    "a long key": ({"public_key": "00" * 33}, 422, "INVALID_REQUEST", "public_key"),
    "a key in capitals": ({"public_key": "AB" * 32}, 422, "INVALID_REQUEST", "public_key"),
    "a key of small order": ({"public_key": "00" * 32}, 422, "INVALID_REQUEST", "public_key"),
    "another's proof": ({"proof": "00" * 64}, 422, "INVALID_REQUEST", "proof"),
    "a cut proof": ({"proof": "00" * 63}, 422, "INVALID_REQUEST", "proof"),
    "a field more": ({"secret": "hush"}, 422, "INVALID_REQUEST", "secret"),
    "a number": ({"token": 7}, 422, "INVALID_REQUEST", "token"),
}


@pytest.mark.parametrize(("change", "status", "code", "field"), REFUSED.values(), ids=REFUSED)
def test_an_enrolment_that_is_wrong_is_refused_by_field_and_repeats_nothing(
    cloud: Cloud, change: dict[str, Any], status: int, code: str, field: str
) -> None:
    asked = _enrolment(change)(cloud)
    answer = cloud.ask("POST", "/v1/sites/s1/enrolment", asked, key=None)

    assert problem(answer) == (status, code)
    assert [each["field"] for each in answer.json().get("errors", [])] == ([field] if field else [])
    assert not [value for value in asked.values() if isinstance(value, str) and value and value in answer.text]
    assert cloud.registry.site("s1").keys == ()


@pytest.mark.parametrize("name", ["S1", "-s", "a" * 33, "s.1", "s_1", "4111111111111111", "%2e%2e"])
def test_a_name_that_is_none_is_refused_wherever_it_stands(cloud: Cloud, name: str) -> None:
    assert problem(cloud.ask("POST", "/v1/sites", {"site": name}))[0] == 422
    for path in ("tokens", "revocation", "enrolment", "keys"):
        answer = cloud.ask("POST", f"/v1/sites/{name}/{path}", {"why": "w"})
        assert problem(answer)[0] == 422
        assert name not in answer.text


BODIES: Final[dict[str, tuple[bytes | None, str, int, str]]] = {
    "too long": (b'{"why":"' + b"a" * TIDE_ENROLMENT_BYTES_MAX, "application/json", 413, "BODY_TOO_LARGE"),
    "another type": (b"why=w", "application/x-www-form-urlencoded", 415, "UNSUPPORTED_MEDIA_TYPE"),
    "no type": (b"{}", "", 415, "UNSUPPORTED_MEDIA_TYPE"),
    "no JSON": (b'{"why":', "application/json", 422, "INVALID_REQUEST"),
    "no UTF-8": (b'{"why":"\xff"}', "application/json", 422, "INVALID_REQUEST"),
    "no object": (b"[]", "application/json", 422, "INVALID_REQUEST"),
    "nothing": (b"", "application/json", 422, "INVALID_REQUEST"),
    "no reason": (b'{"why":""}', "application/json", 422, "INVALID_REQUEST"),
    "a long reason": (b'{"why":"%s"}' % (b"a" * 401), "application/json", 422, "INVALID_REQUEST"),
    "a card number": (b'{"why":"4111 1111 1111 1111"}', "application/json", 422, "CARD_NUMBER_REFUSED"),
    "one field more": (b'{"why":"w","by":"anna"}', "application/json", 422, "INVALID_REQUEST"),
}


@pytest.mark.parametrize(("body", "kind", "status", "code"), BODIES.values(), ids=BODIES)
def test_a_body_that_is_none_is_refused_and_changes_nothing(
    cloud: Cloud, body: bytes, kind: str, status: int, code: str
) -> None:
    cloud.enrol()
    headers = {"authorization": f"Bearer {OPERATOR}"} | ({"content-type": kind} if kind else {})

    assert problem(cloud.send("POST", "/v1/sites/s1/revocation", body, headers)) == (status, code)
    assert cloud.registry.site("s1").keys[0].revoked_us is None


def test_what_is_taken_or_not_there_has_a_status_of_its_own(cloud: Cloud) -> None:
    signer, public = cloud.enrol("s1", seed=4)
    asked = enrolment("s2", cloud.token("s2"), public, signer).model_dump()

    assert problem(cloud.ask("POST", "/v1/sites", {"site": "s1"})) == (409, "TAKEN")
    assert problem(cloud.ask("POST", "/v1/sites/s2/enrolment", asked, key=None)) == (409, "TAKEN")
    assert problem(cloud.ask("POST", "/v1/sites/s9/tokens")) == (404, "NOT_FOUND")
    assert problem(cloud.ask("POST", f"/v1/sites/s2/keys/{signer.key}/revocation", {"why": "w"})) == (404, "NOT_FOUND")


def test_a_rotation_that_the_old_key_didnt_sign_is_refused(cloud: Cloud) -> None:
    old, _ = cloud.enrol()
    new, fresh = pair(9)
    forged = rotation("s1", Signer(old.key, new.sign), fresh, new).model_dump()

    assert problem(cloud.ask("POST", "/v1/sites/s1/keys", forged, key=None)) == (403, "KEY_REFUSED")


def test_each_path_is_in_the_document_with_what_it_takes(cloud: Cloud) -> None:
    paths = cloud.app.openapi()["paths"]

    assert {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods} == {
        "POST /v1/sites",
        "POST /v1/sites/{site}/tokens",
        "POST /v1/sites/{site}/enrolment",
        "POST /v1/sites/{site}/revocation",
        "POST /v1/sites/{site}/keys",
        "GET /v1/sites/{site}/keys",
        "POST /v1/sites/{site}/keys/{key}/revocation",
        "GET /v1/registry",
    }
    schema = paths["/v1/sites/{site}/enrolment"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(schema["required"]) == {"token", "public_key", "proof"}
    assert schema["additionalProperties"] is False


def test_what_becomes_of_each_site_s_request_is_counted(cloud: Cloud) -> None:
    signer, _ = cloud.enrol()
    other, public = pair(2)
    stolen = enrolment("s1", "tgt_" + "0" * 64, public, other).model_dump()
    turned = rotation("s1", signer, public, other).model_dump()

    assert cloud.ask("POST", "/v1/sites/s1/enrolment", stolen, key=None).status_code == 403
    assert cloud.ask("POST", "/v1/sites/s1/keys", turned, key=None).status_code == 200
    assert cloud.ask("POST", "/v1/sites/s1/keys", turned | {"proof": "0" * 128}, key=None).status_code == 422

    assert cloud.meter.enrolments == {"enrolled": 1, "token_refused": 1, "rotated": 1, "invalid_request": 1}
