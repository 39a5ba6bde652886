"""The archive over HTTP: how far it is, what stands still and why. Questions go to its files. Knows no Ray."""

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from serve_apps.archive.archive import TOPICS
from serve_apps.archive.checked import Result
from serve_apps.archive.exposition import behind_of, exposition
from serve_apps.archive.service import Service, Standing
from serve_apps.plumbing.web import add_errors, needing, problems
from tidegate import __version__
from tidegate.clock import Clock, rfc3339
from tidegate.keys import Caller, Keyring, Scope

Last = Callable[[], Result | None]


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True)


class PartitionAnswer(_Told):
    """How far one partition of the log is archived."""

    topic: str
    partition: int
    offset: Annotated[int, Field(description="where it goes on; all before it is archived, durably")]
    behind: Annotated[int, Field(description="messages not archived yet, or about so many")]
    halted: Annotated[str | None, Field(description="why it was stopped: an alarm; null: it goes on")]


class RecomputedAnswer(_Told):
    """What came of the last `tidegate archive recompute`."""

    at: str
    decisions: int
    compared: Annotated[int, Field(description="whole vectors")]
    partly: Annotated[int, Field(description="vectors that other sites have a part in, compared without that part")]
    differing: Annotated[int, Field(description="vectors that came out otherwise: an alarm")]
    first: Annotated[str, Field(description="the first of these, and which features; empty: none")]


class StatusAnswer(_Told):
    """How the archive does; times are RFC 3339."""

    since: str
    looked_at: Annotated[str, Field(description="when its last step ended")]
    written_at: Annotated[str | None, Field(description="when rows became durable last; null: not since `since`")]
    trouble: Annotated[str | None, Field(description="why nothing is archived for now; null: nothing keeps it")]
    messages: int
    rows: int
    behind: Annotated[dict[str, int], Field(description="messages not archived yet, by topic")]
    version: Annotated[str | None, Field(description="of all tables, as `tidegate archive query --version` takes it")]
    versions: Annotated[dict[str, int], Field(description="of each table")]
    recomputed: Annotated[RecomputedAnswer | None, Field(description="null: nobody has said `archive recompute` yet")]
    partitions: list[PartitionAnswer]


def build(service: Service, keyring: Keyring, clock: Clock, last: Last = lambda: None) -> FastAPI:
    """Return the application; `last` returns what came of the last time that features were computed again."""
    app = FastAPI(title="Tidegate archive", version=__version__, docs_url=None, redoc_url=None)
    add_errors(app)
    _add_status(app, service, last, needing(keyring, Scope.READ))
    _add_health(app, service, clock)
    _add_metrics(app, service, clock, last, needing(keyring, Scope.METRICS))
    return app


def _add_status(app: FastAPI, service: Service, last: Last, need: Callable[[Request], Caller]) -> None:
    @app.get("/v1/status", summary="How far the archive is, and what stands still", responses=problems(401, 403))
    def status(_caller: Annotated[Caller, Depends(need)]) -> StatusAnswer:
        return status_of(service.standing, last())


def _add_health(app: FastAPI, service: Service, clock: Clock) -> None:
    @app.get("/healthz", summary="Is the process alive?")
    async def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz", summary="Is the log being archived, and why not?")
    async def readyz() -> Response:
        why = service.standing.trouble or service.stalled(clock.now_us())
        return JSONResponse({"ready": not why, "why": why or None}, 503 if why else 200)


def _add_metrics(app: FastAPI, service: Service, clock: Clock, last: Last, need: Callable[[Request], Caller]) -> None:
    @app.get("/metrics", summary="Prometheus metrics", responses=problems(401, 403))
    def metrics(_caller: Annotated[Caller, Depends(need)]) -> Response:
        text = exposition(service.standing, clock.now_us(), last())
        return Response(text, media_type="text/plain; version=0.0.4")


def status_of(said: Standing, result: Result | None = None) -> StatusAnswer:
    """Return a standing as it is answered."""
    return StatusAnswer(
        since=rfc3339(said.since_us),
        looked_at=rfc3339(said.looked_us),
        written_at=rfc3339(said.written_us) if said.written_us else None,
        trouble=said.trouble or None,
        messages=said.messages,
        rows=said.rows,
        behind={topic: behind_of(said, topic) for topic in TOPICS},
        version=None if said.versions is None else str(said.versions),
        versions={} if said.versions is None else said.versions._asdict(),
        recomputed=None if result is None else _recomputed(result),
        partitions=[
            PartitionAnswer(
                topic=place[0],
                partition=place[1],
                offset=position.offset,
                behind=position.behind,
                halted=said.halted.get(place),
            )
            for place, position in sorted(said.positions.items())
        ],
    )


def _recomputed(result: Result) -> RecomputedAnswer:
    told = result.told
    return RecomputedAnswer(
        at=rfc3339(result.at_us),
        decisions=told.decisions,
        compared=told.compared,
        partly=told.partly,
        differing=told.differing,
        first=told.first,
    )
