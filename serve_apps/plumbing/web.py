"""What all of the cloud's applications answer alike over HTTP: problems (RFC 9457), and who may ask."""

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from tidegate.errors import TidegateError
from tidegate.keys import Caller, Keyring, Scope
from tidegate.problem import CONTENT_TYPE, refused, render


def needing(keyring: Keyring, scope: Scope) -> Callable[[Request], Caller]:
    """Return what lets in whoever's key has a scope for all merchants."""

    def caller(request: Request) -> Caller:
        known = keyring.caller(request.scope["headers"])
        known.need(scope)
        known.need_all_merchants()
        return known

    return caller


def reading(keyring: Keyring, scope: Scope) -> Callable[[Request], str]:
    """Return what lets in who has a scope, and says whose caches may keep the answer.

    Those of everybody where the key is a cache's own, which asks its readers who they are before it answers.
    """
    reader, cache = needing(keyring, scope), needing(keyring, Scope.CACHE)

    def whose(request: Request) -> str:
        known = keyring.caller(request.scope["headers"])
        if Scope.CACHE in known.scopes and scope not in known.scopes:
            cache(request)
            return "public"
        reader(request)
        return "private"

    return whose


def answered(error: TidegateError, status: int | None = None) -> Response:
    """Return an error as a problem."""
    status, headers, body = render(error, status)
    return Response(body, status, {name.decode(): value.decode() for name, value in headers})


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what a route's description says of its problems."""
    content: dict[str, Any] = {CONTENT_TYPE.decode(): {}}
    return {status: {"description": "a problem (RFC 9457)", "content": content} for status in statuses}


def add_errors(app: FastAPI) -> None:
    """Answer whatever an application refuses as a problem."""

    @app.exception_handler(TidegateError)
    async def _refused(_request: Request, error: TidegateError) -> Response:
        return answered(error)

    @app.exception_handler(RequestValidationError)
    async def _invalid(_request: Request, error: RequestValidationError) -> Response:
        return answered(refused((e["loc"][1:], str(e["msg"])) for e in error.errors()))

    @app.exception_handler(HTTPException)
    async def _http(_request: Request, error: HTTPException) -> Response:
        answer = answered(TidegateError(str(error.detail)), error.status_code)
        answer.headers.update(error.headers or {})
        return answer
