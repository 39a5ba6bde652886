"""Features over HTTP: deltas to wait for, snapshots of them, single cards, and how all that does. Knows no Ray.

Whoever may read here learns what any card did anywhere, so each answer is for who asked alone: no shared cache keeps
it. Only where the key is a cache's own, of the scope `cache`, do answers say that they may be kept for everybody: such
a cache has been set up to let in nobody whom it doesn't know (docs/features.md).
"""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, Final, NamedTuple

from fastapi import Depends, FastAPI, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, model_validator

from serve_apps.features.exposition import exposition
from serve_apps.features.ports import BeganAgainError, Store, TrimmedError
from serve_apps.features.service import Service, Standing
from serve_apps.features.tail import Tail
from serve_apps.features.views import card_of, snapshot_of
from serve_apps.plumbing.web import add_errors, answered, needing, problems, reading
from tidegate import __version__
from tidegate.clock import Clock, rfc3339
from tidegate.deltas import DELTA_MEDIA_TYPE
from tidegate.enrolment import SiteName
from tidegate.errors import NotReadyError, OverloadedError
from tidegate.frames import Origin
from tidegate.ids import EpochId, GateId, SiteId
from tidegate.keys import Caller, Keyring, Scope
from tidegate.limits import DELTAS_WAIT_S, FEATURES_SNAPSHOTS_MAX, FEATURES_STALLED_US
from tidegate.payment import TokenText
from tidegate.snapshots import SNAPSHOT_MEDIA_TYPE, Snapshot

_KEPT: Final = "max-age=31536000, immutable"
_SOON: Final = "max-age=1"
_Epoch = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]


class Room(NamedTuple):
    """What stands behind the door."""

    service: Service
    tail: Tail
    store: Store
    clock: Clock


class DeltasQuery(BaseModel):
    """Which batch, and whether to wait for it."""

    model_config = ConfigDict(extra="forbid")

    version: Annotated[int, Field(ge=0, lt=1 << 63, alias="from", description="the first one that may be answered")]
    live: Annotated[int, Field(ge=0, le=1, description="1: wait for it")] = 0


class ButQuery(BaseModel):
    """Whose part of a card to leave out: all of the three, or none."""

    model_config = ConfigDict(extra="forbid")

    site: SiteName | None = None
    gate: SiteName | None = None
    epoch: _Epoch | None = None

    @model_validator(mode="after")
    def _whole(self) -> "ButQuery":
        if len({self.site is None, self.gate is None, self.epoch is None}) > 1:
            raise ValueError("site, gate and epoch: say all of them, or none")
        return self

    def origin(self) -> Origin | None:
        """Return it; None: nothing is left out."""
        if self.site is None or self.gate is None or self.epoch is None:
            return None
        return Origin(SiteId(self.site), GateId(self.gate), EpochId(self.epoch))


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True)


class StatusAnswer(_Told):
    """How features do; times are RFC 3339."""

    looked_at: Annotated[str, Field(description="when its last step ended")]
    trouble: Annotated[str | None, Field(description="why nothing goes on for now; null: nothing keeps it")]
    rows: Annotated[int, Field(description="appended to the log of deltas since it began")]
    odd: Annotated[int, Field(description="left out since it began, because no gate could count them")]
    batches: Annotated[int, Field(description="folded since it began")]
    next: Annotated[int, Field(description="all versions below are in the states of cards")]
    waiting: Annotated[int, Field(description="readers that wait for the next batch")]
    halted: Annotated[dict[str, str], Field(description="what was stopped, and why: each is an alarm")]


def build(room: Room, keyring: Keyring) -> FastAPI:
    """Return the application."""
    app = FastAPI(title="Tidegate features", version=__version__, docs_url=None, redoc_url=None)
    add_errors(app)

    @app.exception_handler(TrimmedError)
    async def _gone(_request: Request, error: TrimmedError) -> Response:
        answer = answered(error, 410)
        answer.headers["tidegate-next"] = str(error.begin)
        return answer

    @app.exception_handler(BeganAgainError)
    async def _never(_request: Request, error: BeganAgainError) -> Response:
        return answered(error, 409)

    _add_deltas(app, room, reading(keyring, Scope.FEATURES))
    _add_states(app, room.store, reading(keyring, Scope.FEATURES))
    _add_status(app, room, needing(keyring, Scope.READ))
    _add_health(app, room, needing(keyring, Scope.METRICS))
    return app


def _bytes(media_type: str, description: str) -> dict[int | str, dict[str, Any]]:
    content = {media_type: {"schema": {"type": "string", "format": "binary"}}}
    return {200: {"description": description, "content": content}}


def _add_deltas(app: FastAPI, room: Room, reading: Callable[[Request], str]) -> None:
    told = _bytes(DELTA_MEDIA_TYPE, "one batch; `tidegate-version` is its version, `tidegate-next` where to go on")
    told[204] = {"description": "none yet; ask the same again. `tidegate-as-of`: nothing had come by then"}
    told |= problems(401, 403, 409, 410, 422, 503)

    @app.get("/deltas", summary="The first batch of a version or above", responses=told, response_class=Response)
    async def deltas(whose: Annotated[str, Depends(reading)], asked: Annotated[DeltasQuery, Query()]) -> Response:
        found = await room.tail.first(asked.version, DELTAS_WAIT_S if asked.live else 0.0)
        if found is None:
            if asked.live:
                _need_current(room)
            as_of = {"tidegate-as-of": str(room.service.standing.as_of_us)}
            return Response(status_code=204, headers=as_of | {"cache-control": f"{whose}, {_SOON}"})
        headers = {"tidegate-version": str(found.version), "tidegate-next": str(found.version + 1)}
        headers |= {"tidegate-as-of": str(found.time_us), "cache-control": f"{whose}, {_KEPT}"}
        return Response(found.data, headers=headers, media_type=DELTA_MEDIA_TYPE)


def _need_current(room: Room) -> None:
    """Refuse to say that there is nothing new where nobody knows: a gate would take what it has for all there is.

    Raises:
        NotReadyError: the deltas are behind what sites sent.
    """
    said, now_us = room.service.standing, room.clock.now_us()
    if now_us - said.as_of_us > FEATURES_STALLED_US:
        why = said.trouble or next(iter(said.halted.values()), "") or room.service.stalled(now_us) or "it catches up"
        raise NotReadyError(f"the deltas are behind what sites sent: {why}")


def _add_states(app: FastAPI, store: Store, reading: Callable[[Request], str]) -> None:
    told = _bytes(SNAPSHOT_MEDIA_TYPE, "an Arrow file, see docs/features.md") | problems(401, 403, 422, 503)
    making = asyncio.Semaphore(FEATURES_SNAPSHOTS_MAX)

    @app.get(
        "/snapshots/{site}/{gate}/{epoch}",
        summary="What all others did to the cards that a site used last",
        responses=told,
        response_class=Response,
    )
    async def snapshot(
        _whose: Annotated[str, Depends(reading)],
        site: Annotated[SiteName, Path()],
        gate: Annotated[SiteName, Path()],
        epoch: Annotated[_Epoch, Path()],
    ) -> Response:
        if making.locked():
            raise OverloadedError(f"{FEATURES_SNAPSHOTS_MAX} snapshots are being made; ask again in a moment")
        async with making:
            but = Origin(SiteId(site), GateId(gate), EpochId(epoch))
            return await run_in_threadpool(lambda: _file(snapshot_of(store, but)))

    @app.get(
        "/cards/{card}",
        summary="One card: what all did to it, or all but one epoch of a gate",
        responses=told,
        response_class=Response,
    )
    def card(
        _whose: Annotated[str, Depends(reading)],
        card: Annotated[TokenText, Path(description="its token")],
        but: Annotated[ButQuery, Query()],
    ) -> Response:
        return _file(card_of(store, but.origin(), card))


def _file(made: Snapshot) -> Response:
    return Response(made.to_bytes(), headers={"cache-control": "no-store"}, media_type=SNAPSHOT_MEDIA_TYPE)


def _add_status(app: FastAPI, room: Room, need: Callable[[Request], Caller]) -> None:
    @app.get("/status", summary="How far it is, and what stands still", responses=problems(401, 403))
    async def status(_caller: Annotated[Caller, Depends(need)]) -> StatusAnswer:
        return status_of(room.service.standing, room.tail.waiting)


def _add_health(app: FastAPI, room: Room, need: Callable[[Request], Caller]) -> None:
    @app.get("/healthz", summary="Is the process alive?")
    async def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz", summary="Are deltas made and folded, and why not?")
    async def readyz() -> Response:
        why = room.service.standing.trouble or room.service.stalled(room.clock.now_us())
        return JSONResponse({"ready": not why, "why": why or None}, 503 if why else 200)

    @app.get("/metrics", summary="Prometheus metrics", responses=problems(401, 403))
    async def metrics(_caller: Annotated[Caller, Depends(need)]) -> Response:
        text = exposition(room.service.standing, room.tail.waiting, room.clock.now_us())
        return Response(text, media_type="text/plain; version=0.0.4")


def status_of(said: Standing, waiting: int) -> StatusAnswer:
    """Return a standing as it is answered."""
    return StatusAnswer(
        looked_at=rfc3339(said.looked_us),
        trouble=said.trouble or None,
        rows=said.rows,
        odd=said.odd,
        batches=said.batches,
        next=said.next,
        waiting=waiting,
        halted=dict(said.halted),
    )
