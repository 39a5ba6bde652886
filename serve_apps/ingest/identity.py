"""Sites and their keys over HTTP: operators make and revoke sites, sites enrol and rotate their keys. Knows no Ray.

A site proves itself by its token or its signatures, an operator by an API key of the scope `sites`.
"""

from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final, TypeVar

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from serve_apps.ingest.ingest import Meter
from serve_apps.ingest.ports import SiteKey
from serve_apps.ingest.registry import Made, Registered, Registry
from serve_apps.plumbing.bodies import body_of
from serve_apps.plumbing.web import needing, problems
from tidegate.clock import rfc3339
from tidegate.enrolment import (
    REGISTRY_PATH,
    SITES_PATH,
    Enrolment,
    KeyAnswer,
    KeyIdText,
    KeyState,
    NewSite,
    RegisteredAnswer,
    RegistryPage,
    Revocation,
    Rotation,
    SiteName,
    TokenAnswer,
)
from tidegate.errors import FieldError, InvalidError, TidegateError
from tidegate.keys import Caller, Keyring, Scope
from tidegate.limits import PAGE_ITEMS_MAX, TIDE_ENROLMENT_BYTES_MAX
from tidegate.problem import invalid

_SITE: Final = SITES_PATH + "/{site}"
_JSON: Final = "application/json"

M = TypeVar("M", bound=BaseModel)
Site = Annotated[SiteName, Path(description="the site's name")]
KeyId = Annotated[KeyIdText, Path(description="the first 16 hex digits of the SHA-256 of the public key")]


class PageQuery(BaseModel):
    """Which sites to list."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=PAGE_ITEMS_MAX)] = 50
    cursor: Annotated[SiteName | None, Field(description="`next_cursor` of the page before")] = None


def identity_router(registry: Registry, keyring: Keyring, meter: Meter) -> APIRouter:
    """Return the routes; whose application includes them answers each TidegateError as a problem."""
    router = APIRouter()
    operator = Annotated[Caller, Depends(needing(keyring, Scope.SITES))]
    _add_sites(router, registry, operator)
    _add_revocations(router, registry, operator)
    _add_keys(router, registry, meter)
    return router


_REFUSED: Final = problems(401, 403, 404, 408, 409, 413, 415, 422, 503)


def body_told(model: type[BaseModel]) -> dict[str, Any]:
    """Return what OpenAPI is told of a body that is read by `reading`."""
    return {"requestBody": {"required": True, "content": {_JSON: {"schema": model.model_json_schema()}}}}


def reading(model: type[M]) -> Callable[[Request], Coroutine[Any, Any, M]]:
    """Return what reads a bounded body of JSON; of what was sent no value is ever repeated."""

    async def read(request: Request) -> M:
        body = await body_of(request, _JSON, TIDE_ENROLMENT_BYTES_MAX)
        return _parsed(model, body)

    return read


def _parsed(model: type[M], body: bytes) -> M:
    try:
        return model.model_validate(from_json(body))
    except ValidationError as error:
        raise invalid(error) from None
    except ValueError:
        raise InvalidError("body: not JSON", fields=(FieldError("body", "not JSON"),)) from None


def _add_sites(router: APIRouter, registry: Registry, operator: Any) -> None:  # noqa: ANN401 - an annotation
    @router.post(
        SITES_PATH,
        summary="Make a site, and the one-time token with which it enrols its key",
        status_code=201,
        responses=_REFUSED,
        openapi_extra=body_told(NewSite),
    )
    def add(caller: operator, asked: Annotated[NewSite, Depends(reading(NewSite))]) -> TokenAnswer:
        return _token(asked.site, registry.add(asked.site, by=caller.name))

    @router.post(
        _SITE + "/tokens",
        summary="Make another one-time token for a site, in place of the one before",
        status_code=201,
        responses=_REFUSED,
    )
    def token(_caller: operator, site: Site) -> TokenAnswer:
        return _token(site, registry.token(site))

    @router.get(REGISTRY_PATH, summary="Who is enrolled: sites by their names", responses=_REFUSED)
    def registered(_caller: operator, asked: Annotated[PageQuery, Query()]) -> RegistryPage:
        found = registry.sites(after=asked.cursor or "", items=asked.limit + 1)
        more = len(found) > asked.limit
        page = [_site(each) for each in found[: asked.limit]]
        return RegistryPage(data=page, has_more=more, next_cursor=page[-1].site if more else None)

    @router.get(_SITE + "/keys", summary="A site's keys, the newest first, and its token", responses=_REFUSED)
    def one(_caller: operator, site: Site) -> RegisteredAnswer:
        return _site(registry.site(site))


def _add_revocations(router: APIRouter, registry: Registry, operator: Any) -> None:  # noqa: ANN401 - as above
    asked_why = Annotated[Revocation, Depends(reading(Revocation))]

    @router.post(
        _SITE + "/revocation",
        summary="End all keys of a site, from the next frame on",
        responses=_REFUSED,
        openapi_extra=body_told(Revocation),
    )
    def revoke_site(caller: operator, site: Site, asked: asked_why) -> RegisteredAnswer:
        return _site(registry.revoke_site(site, why=asked.why, by=caller.name))

    @router.post(
        _SITE + "/keys/{key}/revocation",
        summary="End a key, from the next frame on",
        responses=_REFUSED,
        openapi_extra=body_told(Revocation),
    )
    def revoke_key(caller: operator, site: Site, key: KeyId, asked: asked_why) -> KeyAnswer:
        return _key(registry.revoke_key(site, key, why=asked.why, by=caller.name))


def _add_keys(router: APIRouter, registry: Registry, meter: Meter) -> None:
    @router.post(
        _SITE + "/enrolment",
        summary="Enrol a site's key by a one-time token; the same again gets the same answer",
        responses=_REFUSED,
        openapi_extra=body_told(Enrolment),
    )
    def enrol(site: Site, asked: Annotated[Enrolment, Depends(reading(Enrolment))]) -> KeyAnswer:
        with _counted(meter, "enrolled"):
            return _key(registry.enrol(site, asked))

    @router.post(
        _SITE + "/keys",
        summary="Put a key in the place of another, signed by both; the same again gets the same answer",
        responses=_REFUSED,
        openapi_extra=body_told(Rotation),
    )
    def rotate(site: Site, asked: Annotated[Rotation, Depends(reading(Rotation))]) -> KeyAnswer:
        with _counted(meter, "rotated"):
            return _key(registry.rotate(site, asked))


@contextmanager
def _counted(meter: Meter, word: str) -> Iterator[None]:
    """Count what becomes of a site's request: a refusal that nobody expects may be somebody who tries tokens."""
    try:
        yield
    except TidegateError as error:
        meter.count_enrolment(error.code.lower())
        raise
    meter.count_enrolment(word)


def _time(time_us: int | None) -> str | None:
    return None if time_us is None else rfc3339(time_us)


def _token(site: str, made: Made) -> TokenAnswer:
    return TokenAnswer(site=site, token=made.token, expires_at=rfc3339(made.until_us))


def _state(key: SiteKey) -> KeyState:
    if key.revoked_us is not None:
        return "revoked"
    return "active" if key.retires_us is None else "retiring"


def _key(key: SiteKey) -> KeyAnswer:
    return KeyAnswer(
        site=key.site,
        key=key.key_id,
        public_key=key.public.hex(),
        state=_state(key),
        enrolled_at=rfc3339(key.enrolled_us),
        retires_at=_time(key.retires_us),
        revoked_at=_time(key.revoked_us),
        revoked_by=key.by or None,
        why=key.why or None,
    )


def _site(found: Registered) -> RegisteredAnswer:
    site = found.site
    waits = site.token and not site.token_key
    return RegisteredAnswer(
        site=site.name,
        made_at=rfc3339(site.made_us),
        made_by=site.made_by,
        token_until=rfc3339(site.token_until_us) if waits else None,
        revoked_at=_time(site.revoked_us),
        revoked_by=site.by or None,
        why=site.why or None,
        keys=[_key(key) for key in found.keys],
    )
