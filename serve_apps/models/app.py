"""Models over HTTP: artifacts that never change, the catalogue that names them, the registry and its roll-out. No Ray.

Artifacts and catalogue are what caches are for: what has a digest or a version in its name is kept for a year, and the
timestamp, the one file that changes in place, for five seconds. Nothing of this needs a purge to be right: sites
believe digests and signatures, wherever they have the bytes from.
"""

import re
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Final, NamedTuple

from fastapi import Depends, FastAPI, Path, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, StreamingResponse

from serve_apps.models.ports import Artifacts, Published
from serve_apps.models.service import Service
from serve_apps.plumbing.bodies import body_of
from serve_apps.plumbing.web import add_errors, answered, needing, problems, reading
from tidegate import __version__
from tidegate.errors import NotFoundError
from tidegate.keys import Caller, Keyring, Scope
from tidegate.limits import MODEL_ARTIFACT_BYTES_MAX, MODEL_READ_BYTES
from tidegate.rollout import (
    BundleAnswer,
    BundleName,
    BundlesAnswer,
    CatalogueAnswer,
    ChangeBody,
    ChangesAnswer,
    CourseAnswer,
    Digest,
    KeptAnswer,
    NewBundle,
    Report,
    ReportAnswer,
    ReportsAnswer,
    Rotation,
    SiteName,
)
from tidegate.trust import Target

OCTETS: Final = "application/octet-stream"
_KEPT: Final = "max-age=31536000, immutable"
_SOON: Final = "max-age=5, stale-while-revalidate=30, stale-if-error=86400"
_RANGE: Final = re.compile(r"bytes=(?:(\d{1,15})-(\d{0,15})|-(\d{1,15}))")
_TIMESTAMP: Final = "timestamp.json"
_RoleFile = Annotated[str, Path(pattern=r"^(timestamp|[1-9][0-9]{0,8}\.[a-z]{1,16})\.json$")]
Need = Callable[[Request], Caller]
Whose = Callable[[Request], str]


class Room(NamedTuple):
    """What stands behind the door."""

    service: Service
    artifacts: Artifacts
    published: Published
    trouble: Callable[[], str]
    """Why the catalogue can't be kept up for now; empty: it can."""


def build(room: Room, keyring: Keyring) -> FastAPI:
    """Return the application."""
    app = FastAPI(title="Tidegate models", version=__version__, docs_url=None, redoc_url=None)
    add_errors(app)
    site, models = reading(keyring, Scope.CATALOGUE), needing(keyring, Scope.MODELS)
    _add_catalogue(app, room.published, site)
    _add_roles(app, room.service, models)
    _add_artifacts(app, room.artifacts, site)
    _add_putting(app, room.artifacts, models)
    _add_bundles(app, room.service, models)
    _add_rollout(app, room.service, models)
    _add_reports(app, room.service, models, needing(keyring, Scope.CATALOGUE))
    _add_health(app, room)
    return app


def _octets(description: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"description": description, "content": {OCTETS: {"schema": {"type": "string", "format": "binary"}}}}}


def _add_catalogue(app: FastAPI, published: Published, reading: Whose) -> None:
    told: dict[int | str, dict[str, Any]] = {304: {"description": "as you have it"}}
    told[200] = {"description": "metadata of TUF", "content": {"application/json": {}}}
    told |= problems(401, 403, 404, 422, 503)

    @app.get("/catalogue/{name}", summary="A file of the catalogue", responses=told, response_class=Response)
    def catalogue(request: Request, whose: Annotated[str, Depends(reading)], name: _RoleFile) -> Response:
        data = published.read(name)
        if data is None:  # each site asks for the next root: a cache answers that for a while, too
            refusal = answered(NotFoundError(f"{name}: no such file; of roots, the one before is the newest"))
            refusal.headers["cache-control"] = f"{whose}, {_SOON}"
            return refusal
        tag = f'"{Target.of(data).sha256}"'
        headers = {"cache-control": f"{whose}, {_SOON if name == _TIMESTAMP else _KEPT}", "etag": tag}
        if _has(request, tag):
            return Response(status_code=304, headers=headers)
        return Response(data, headers=headers, media_type="application/json")


def _add_roles(app: FastAPI, service: Service, need: Need) -> None:
    @app.get("/catalogue", summary="The catalogue's roles", responses=problems(401, 403, 503))
    def roles(_caller: Annotated[Caller, Depends(need)]) -> CatalogueAnswer:
        return service.catalogue()

    @app.post(
        "/catalogue/roles/{role}/rotations",
        summary="New keys for a role; those it has are revoked",
        responses=problems(401, 403, 404, 422, 503),
    )
    def rotate(caller: Annotated[Caller, Depends(need)], role: str, said: Rotation) -> CatalogueAnswer:
        return service.rotate(role, said, caller.name)


def _has(request: Request, tag: str) -> bool:
    """Tell whether who asks has it already (RFC 9110 §13.1.2)."""
    known = request.headers.get("if-none-match", "")
    return known.strip() == "*" or tag in {each.strip().removeprefix("W/") for each in known.split(",")}


def _add_artifacts(app: FastAPI, artifacts: Artifacts, reading: Whose) -> None:
    told = _octets("its bytes")
    told[206], told[304] = {"description": "the range that was asked for"}, {"description": "as you have it"}
    told[416] = {"description": "there is nothing in that range"}
    told |= problems(401, 403, 404, 422, 503)

    @app.get("/artifacts/{sha256}", summary="An artifact", responses=told, response_class=Response)
    def artifact(
        request: Request, whose: Annotated[str, Depends(reading)], sha256: Annotated[Digest, Path()]
    ) -> Response:
        size = artifacts.size(sha256)
        if size is None:
            raise NotFoundError("sha256: there is no artifact of that digest")
        headers = {"cache-control": f"{whose}, {_KEPT}", "etag": f'"{sha256}"', "accept-ranges": "bytes"}
        if _has(request, headers["etag"]):
            return Response(status_code=304, headers=headers)
        return _sent(artifacts, sha256, _asked(request, headers["etag"], size), size, headers)


def _asked(request: Request, tag: str, size: int) -> tuple[int, int] | None:
    """Return the first byte and the one behind the last that are asked for; None: all (RFC 9110 §14.2).

    Several ranges, and what isn't understood, are answered with all.
    """
    if request.headers.get("if-range", tag) != tag:
        return None
    found = _RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    if found is None:
        return None
    first, last, end = found.groups()
    if end is not None:
        return (max(size - int(end), 0), size) if int(end) else (size, size)
    if last and int(last) < int(first):
        return None
    return int(first), min(int(last) + 1, size) if last else size


def _sent(
    artifacts: Artifacts, sha256: str, asked: tuple[int, int] | None, size: int, headers: dict[str, str]
) -> Response:
    first, behind = asked or (0, size)
    if asked and first >= behind:
        return Response(status_code=416, headers={"content-range": f"bytes */{size}"})
    if asked:
        headers = {**headers, "content-range": f"bytes {first}-{behind - 1}/{size}"}
    headers = {**headers, "content-length": str(behind - first)}
    chunks = _chunks(artifacts, sha256, first, behind)
    return StreamingResponse(chunks, 206 if asked else 200, headers=headers, media_type=OCTETS)


def _chunks(artifacts: Artifacts, sha256: str, first: int, behind: int) -> Iterator[bytes]:
    for at in range(first, behind, MODEL_READ_BYTES):
        yield artifacts.read(sha256, at, min(MODEL_READ_BYTES, behind - at))


def _add_putting(app: FastAPI, artifacts: Artifacts, need: Need) -> None:
    body = {"requestBody": {"required": True, "content": {OCTETS: {"schema": {"type": "string", "format": "binary"}}}}}

    @app.put(
        "/artifacts/{sha256}",
        summary="Keep an artifact",
        responses=problems(401, 403, 408, 413, 415, 422, 503),
        openapi_extra=body,
    )
    async def put(
        request: Request, _caller: Annotated[Caller, Depends(need)], sha256: Annotated[Digest, Path()]
    ) -> KeptAnswer:
        data = await body_of(request, OCTETS, MODEL_ARTIFACT_BYTES_MAX)
        target = Target(sha256, len(data))
        await run_in_threadpool(artifacts.put, target, [data])
        return KeptAnswer(sha256=sha256, bytes=target.size)


def _add_bundles(app: FastAPI, service: Service, need: Need) -> None:
    @app.get("/bundles", summary="Bundles, the newest first", responses=problems(401, 403, 503))
    def bundles(_caller: Annotated[Caller, Depends(need)]) -> BundlesAnswer:
        return service.bundles()

    @app.get("/bundles/{bundle}", summary="A bundle", responses=problems(401, 403, 404, 422, 503))
    def bundle(_caller: Annotated[Caller, Depends(need)], bundle: Annotated[BundleName, Path()]) -> BundleAnswer:
        return service.bundle(bundle)

    @app.post("/bundles", summary="Add a bundle of artifacts", responses=problems(401, 403, 404, 409, 422, 503))
    def add(caller: Annotated[Caller, Depends(need)], said: NewBundle) -> BundleAnswer:
        return service.add(said, caller.name)


def _add_rollout(app: FastAPI, service: Service, need: Need) -> None:
    @app.get("/rollout", summary="Which bundles are where", responses=problems(401, 403, 503))
    def course(_caller: Annotated[Caller, Depends(need)]) -> CourseAnswer:
        return service.course()

    @app.get("/rollout/changes", summary="What was changed, the newest first", responses=problems(401, 403, 503))
    def changes(_caller: Annotated[Caller, Depends(need)]) -> ChangesAnswer:
        return service.changes()

    @app.post("/rollout/changes", summary="Change it", responses=problems(401, 403, 404, 409, 422, 503))
    def change(caller: Annotated[Caller, Depends(need)], said: ChangeBody) -> CourseAnswer:
        return service.change(said.root, caller.name)


def _add_reports(app: FastAPI, service: Service, need: Need, site_need: Need) -> None:
    @app.get("/reports", summary="What sites said last", responses=problems(401, 403, 503))
    def reports(_caller: Annotated[Caller, Depends(need)]) -> ReportsAnswer:
        return service.reports()

    @app.put("/reports/{site}", summary="Say what became of a bundle", responses=problems(401, 403, 409, 422, 503))
    def report(
        _caller: Annotated[Caller, Depends(site_need)], site: Annotated[SiteName, Path()], said: Report
    ) -> ReportAnswer:
        return service.report(site, said)


def _add_health(app: FastAPI, room: Room) -> None:
    @app.get("/healthz", summary="Is the process alive?")
    async def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz", summary="Is the catalogue kept up, and why not?")
    async def readyz() -> Response:
        why = room.trouble()
        return JSONResponse({"ready": not why, "why": why or None}, 503 if why else 200)
