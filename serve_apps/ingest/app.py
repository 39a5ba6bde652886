"""Ingest over HTTP: what sites send, and what operators ask about it. Knows no Ray."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from serve_apps.ingest.backend import Backend
from serve_apps.ingest.committer import Origin
from serve_apps.ingest.exposition import exposition
from serve_apps.ingest.identity import body_told, reading
from serve_apps.ingest.intake import UnwantedError
from serve_apps.ingest.ports import Case, Quarantine
from serve_apps.ingest.views import forks_view, lane_view, looks_view, refusals_view, site_view, sites_view
from serve_apps.plumbing.bodies import body_of
from serve_apps.plumbing.stream.ports import FencedError
from serve_apps.plumbing.web import add_errors, answered, needing, problems
from tidegate import __version__
from tidegate.artifacts import ARTIFACT_MEDIA_TYPE, ARTIFACTS_PATH, ArtifactAnswer
from tidegate.enrolment import SITES_PATH, AcknowledgedAnswer, Acknowledgement, AlarmAnswer, SiteName
from tidegate.errors import NotFoundError, NotReadyError, TidegateError
from tidegate.frames import MEDIA_TYPE, FrameError
from tidegate.keys import Caller, Keyring, Scope
from tidegate.limits import FRAME_BYTES_MAX, FRAMES_BODY_BYTES_MAX, PAGE_ITEMS_MAX, TIDE_TIMEOUT_S
from tidegate.records import Lane
from tidegate.tide import FRAMES_PATH, HEAD_MEDIA_TYPE, HEADS_PATH, Answer, LaneAnswer, lane_path


class CasesQuery(BaseModel):
    """Which cases to list."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=PAGE_ITEMS_MAX)] = 50
    before: Annotated[int | None, Field(ge=1, description="the last case of the page before")] = None
    site: Annotated[str | None, Field(max_length=32)] = None


def build(backend: Backend, keyring: Keyring, *beside: APIRouter) -> FastAPI:
    """Return the application, with the routes of what stands beside ingest, such as its sites' identity."""
    app = FastAPI(title="Tidegate ingest", version=__version__, docs_url=None, redoc_url=None)
    _add_errors(app)
    _add_tide(app, backend)
    _add_views(app, backend, needing(keyring, Scope.READ))
    _add_acknowledgement(app, backend, needing(keyring, Scope.SITES))
    _add_health(app, backend, needing(keyring, Scope.METRICS))
    for router in beside:
        app.include_router(router)
    return app


def _add_errors(app: FastAPI) -> None:
    add_errors(app)

    @app.exception_handler(FencedError)
    async def _fenced(_request: Request, error: FencedError) -> Response:
        return answered(NotReadyError(f"this committer is over, and the next one starts: {error.message}"))

    @app.exception_handler(FrameError)
    async def _refused(_request: Request, error: FrameError) -> Response:
        if isinstance(error, UnwantedError):
            return answered(error, 403)
        return answered(error, 413 if error.reason == "oversized" else 422)


def _bytes(media_type: str) -> dict[str, Any]:
    content = {media_type: {"schema": {"type": "string", "format": "binary"}}}
    return {"requestBody": {"required": True, "content": content}}


def _add_tide(app: FastAPI, backend: Backend) -> None:
    told = problems(413, 415, 422, 500, 503)

    @app.post(FRAMES_PATH, summary="Hand in frames", responses=told, openapi_extra=_bytes(MEDIA_TYPE))
    async def frames(request: Request) -> Answer:
        return await backend.frames(await body_of(request, MEDIA_TYPE, FRAMES_BODY_BYTES_MAX, TIDE_TIMEOUT_S))

    @app.post(
        HEADS_PATH, summary="Say how far a journal reaches", responses=told, openapi_extra=_bytes(HEAD_MEDIA_TYPE)
    )
    async def heads(request: Request) -> Answer:
        return await backend.head(await body_of(request, HEAD_MEDIA_TYPE, FRAMES_BODY_BYTES_MAX))

    @app.post(
        ARTIFACTS_PATH,
        summary="Hand in a part of a text that records name by digest, or offer one",
        responses=told,
        openapi_extra=_bytes(ARTIFACT_MEDIA_TYPE),
    )
    async def artifacts(request: Request) -> ArtifactAnswer:
        return await backend.text(await body_of(request, ARTIFACT_MEDIA_TYPE, FRAME_BYTES_MAX, TIDE_TIMEOUT_S))


def _page(kept: Quarantine, asked: CasesQuery) -> list[Case]:
    return kept.page(before=asked.before, items=asked.limit, site=asked.site)


def _add_views(app: FastAPI, backend: Backend, need: Callable[[Request], Caller]) -> None:
    reader = Annotated[Caller, Depends(need)]
    told = problems(401, 403, 404, 422, 503)

    @app.get("/v1/sites", summary="All sites, and how far each is behind", responses=told, response_model=None)
    async def sites(_caller: reader) -> dict[str, Any]:
        return {"data": sites_view(await backend.holdings(), backend.clock.now_us())}

    @app.get("/v1/sites/{site}", summary="What is here and missing of a site", responses=told, response_model=None)
    async def site(_caller: reader, site: str) -> dict[str, Any]:
        view = site_view(await backend.holdings(), site, backend.clock.now_us())
        if view is None:
            raise NotFoundError("site: nothing came from a site of that name; GET /v1/sites lists those that have sent")
        return view

    @app.get(
        lane_path("{site}", "{gate}", "{epoch}", "{lane}"),
        summary="The ranges of one lane with their hashes: what a site compares with its journal",
        responses=told,
    )
    async def lane(
        _caller: reader, site: str, gate: str, epoch: str, lane: Annotated[int, Field(ge=0, le=3)]
    ) -> LaneAnswer:
        held = (await backend.holdings()).get(Origin(site, gate, epoch))
        if held is None:
            raise NotFoundError("epoch: nothing came of it; GET /v1/sites/{site} lists what did")
        return lane_view(held.ranges(Lane(lane)))

    @app.get("/v1/quarantine", summary="Frames kept aside, newest first", responses=told, response_model=None)
    async def quarantine(_caller: reader, asked: Annotated[CasesQuery, Query()]) -> dict[str, Any]:
        cases, counts = await backend.kept(lambda kept: (_page(kept, asked), kept.counts()))
        forks = forks_view(await backend.holdings(), asked.site)
        told = {"data": [case._asdict() for case in cases], "counts": counts}
        refusals = refusals_view(await backend.refused(items=asked.limit, site=asked.site))
        told |= {"acknowledged": looks_view(await backend.holdings(), asked.site)[: asked.limit]}
        return told | {"refused": backend.meter.refused(), "refusals": refusals, "forks": forks}

    @app.get("/v1/quarantine/{case}/frame", summary="The bytes of a case", responses=told, response_class=Response)
    async def frame(_caller: reader, case: Annotated[int, Field(ge=1, lt=1 << 63)]) -> Response:
        data = await backend.kept(lambda kept: kept.frame(case))
        if data is None:
            raise NotFoundError("case: there is none of that number, or it had to make room")
        return Response(data, media_type="application/octet-stream")


def _add_acknowledgement(app: FastAPI, backend: Backend, need: Callable[[Request], Caller]) -> None:
    @app.post(
        SITES_PATH + "/{site}/acknowledgement",
        summary="Say that you have looked at all alarms of a site, and why they are none any more",
        responses=problems(401, 403, 404, 408, 413, 415, 422, 503),
        openapi_extra=body_told(Acknowledgement),
    )
    async def acknowledge(
        caller: Annotated[Caller, Depends(need)],
        site: Annotated[SiteName, Path(description="the site's name")],
        asked: Annotated[Acknowledgement, Depends(reading(Acknowledgement))],
    ) -> AcknowledgedAnswer:
        told = await backend.acknowledge(site, by=caller.name, why=asked.why)
        if not told:
            raise NotFoundError("site: it has no alarm that nobody has looked at; GET /v1/quarantine lists all: forks")
        alarms = [AlarmAnswer(**origin._asdict(), reasons=reasons) for origin, reasons in told.items()]
        return AcknowledgedAnswer(site=site, by=caller.name, why=asked.why, data=alarms)


def _add_health(app: FastAPI, backend: Backend, need: Callable[[Request], Caller]) -> None:
    @app.get("/healthz", summary="Is the process alive?")
    async def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz", summary="Can frames be committed, and why not?")
    async def readyz() -> Response:
        try:
            await backend.ready()
        except TidegateError as error:
            return JSONResponse({"ready": False, "why": error.message}, 503)
        return JSONResponse({"ready": True, "why": None})

    @app.get("/metrics", summary="Prometheus metrics", responses=problems(401, 403))
    async def metrics(_caller: Annotated[Caller, Depends(need)]) -> Response:
        rows = sites_view(await backend.holdings(), backend.clock.now_us())
        text = exposition(backend.meter, await backend.kept(lambda kept: kept.counts()), rows)
        return Response(text, media_type="text/plain; version=0.0.4")
