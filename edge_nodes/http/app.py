"""The door's application: FastAPI for everything but the fast path, the live page, and one OpenAPI for all of it."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from fastapi import Depends, FastAPI, Header, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.routing import Route

from actors.gate.service import Service, check_filters
from edge_nodes.http.fast import STATUSES, App, FastPath, Message, Receive, Send
from edge_nodes.http.orders import add_orders
from edge_nodes.http.reasons import (
    CatalogueAnswer,
    ExplanationAnswer,
    ReplayAnswer,
    RuleAnswer,
    StoredQuery,
    VersionsAnswer,
)
from tidegate import __version__
from tidegate.catalogue import listing
from tidegate.errors import InvalidError, NotFoundError, TidegateError
from tidegate.keys import Caller, Keyring, Scope, parse_keys
from tidegate.limits import (
    BATCH_ITEMS_MAX,
    DEADLINE_MS_MAX,
    PAGE_ITEMS_MAX,
)
from tidegate.payment import LabelRequest, NameText, PaymentRequest, TokenText
from tidegate.problem import CONTENT_TYPE, MistakeError, refused, render

_PAGE: Final = {"/": "index.html"} | {
    f"/{name}": name for name in ("live.js", "decision.js", "make.js", "tide.js", "live.css", "icon.svg")
}
_LIVE: Final = Path(__file__).parent / "live"
_CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src {}; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",  # who paid what belongs in no cache, and the page is as old as its site
}
_READ: Final = "/v1/"
_MAY_READ: Final = {
    "access-control-allow-methods": "GET",
    "access-control-allow-headers": "authorization",
    "access-control-max-age": "600",
}


class ReasonAnswer(BaseModel):
    """Why a decision came out as it did, or how it was made."""

    code: str
    source: Literal["rule", "model", "list", "limit", "system"]
    text: str


ModeWord = Literal["fresh", "aging", "stale", "blind"]


class Modes(BaseModel):
    """How fresh each thing was that a decision rests on; `mode` is the worst of them."""

    bundle: ModeWord
    lists: ModeWord
    policy: ModeWord


class DecisionAnswer(BaseModel):
    """The answer to a payment; a retry with the same id gets the first one, with `replayed` true."""

    decision_id: str
    transaction_id: str
    outcome: Literal["approve", "challenge", "review", "decline"]
    risk_score: Annotated[int, Field(ge=0, le=100)] | None
    risk_level: Literal["normal", "elevated", "highest", "not_assessed"]
    probability: Annotated[float, Field(ge=0, le=1)] | None
    reasons: list[ReasonAnswer]
    mode: ModeWord
    modes: Modes
    decided_by: Literal["edge", "cloud"]
    site: str
    bundle: str
    policy: str
    lists: Annotated[int, Field(ge=0, description="version of the lists; 0 is none")]
    rules: Annotated[list[int], Field(description="numbers of the rules that brought the outcome about")]
    liability: Annotated[
        Literal["merchant", "platform", "issuer"], Field(description="who bears the loss of a fraud, by the policy")
    ]
    features_as_of: str
    decided_at: str
    replayed: bool


class StoredAnswer(DecisionAnswer):
    """A decision with its inputs and, where `explain` asked for it, what each feature did."""

    request: dict[str, Any]
    versions: VersionsAnswer
    explanation: ExplanationAnswer | None = None
    unexplained: Annotated[str | None, Field(description="why there is no explanation where one was asked for")] = None
    rule_hits: Annotated[list[RuleAnswer], Field(description="none for keys of single merchants")] = []


DeadlineHeader = Annotated[
    int | None,
    Header(
        ge=1,
        le=DEADLINE_MS_MAX,
        description="milliseconds from the arrival of the request in which the answer is wanted; what can't be done "
        "in time is left out, as SYS_DEADLINE_* reasons say",
    ),
]


class Batch(BaseModel):
    """Payments to decide in order."""

    decisions: Annotated[list[PaymentRequest], Field(min_length=1, max_length=BATCH_ITEMS_MAX)]


class PageQuery(BaseModel):
    """Which decisions to list; all filters have to match."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=PAGE_ITEMS_MAX)] = 50
    cursor: Annotated[str, Field(pattern=r"^[0-9a-f]{16}\.[1-9][0-9]{0,17}$")] | None = None
    card: TokenText | None = None
    terminal: NameText | None = None
    merchant: NameText | None = None
    outcome: Annotated[str, Field(max_length=16, description="approve, challenge, review or decline")] | None = None


class Problem(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    errors: list[dict[str, str]] | None = None


class BatchResult(BaseModel):
    """What became of one payment of a batch: its decision, or why there is none."""

    decision: DecisionAnswer | None = None
    problem: Problem | None = None


class BatchAnswer(BaseModel):
    """A result for each payment, in their order."""

    data: list[BatchResult]


class LabelAnswer(BaseModel):
    """The answer to a label; a retry with the same id gets the first one, with `replayed` true."""

    label_id: str
    merchant: str
    transaction_id: str
    verdict: Literal["fraud", "legit"]
    source: str
    applied: bool
    replayed: bool


class PageAnswer(BaseModel):
    """Decisions, newest first."""

    data: list[DecisionAnswer]
    has_more: bool
    next_cursor: str | None


class JournalAnswer(BaseModel):
    """How far the journal is, and how full."""

    durable_pos: int
    heads: Annotated[dict[str, int], Field(description="by lane, the last seq")]
    rung: Annotated[str, Field(description="of the ladder that a filling disk climbs")]


class LaneTideAnswer(BaseModel):
    """Records of one lane, all epochs together."""

    journaled: int
    committed: Annotated[int, Field(description="in the cloud's log, durably")]
    live: Annotated[int, Field(description="made since the line is up, and not there yet")]
    backlog: Annotated[int, Field(description="made before, and not there yet")]


class TideAnswer(BaseModel):
    """What the uplink says of itself."""

    told_s: Annotated[float, Field(description="seconds since it said so; more than a few: it hangs, or is gone")]
    connected: bool
    heard_s: Annotated[float | None, Field(description="seconds since the cloud answered last; none: never")]
    lag_s: Annotated[float, Field(description="seconds since the oldest record is durable that the cloud lacks")]
    behind: Annotated[int, Field(description="records that the cloud lacks")]
    trouble: Annotated[str, Field(description="why it isn't connected, or what the cloud didn't want; empty: none")]
    restored: Annotated[
        bool, Field(description="the cloud has another history of this epoch: an older copy was put back")
    ]
    lanes: dict[str, LaneTideAnswer]


class OverlayAnswer(BaseModel):
    """What a site knows of what other sites did to cards."""

    version: Annotated[int, Field(ge=0, description="all versions of the cloud's log before this one; 0: none yet")]
    as_of: Annotated[str | None, Field(description="the time up to which it tells of other sites; none: nothing yet")]
    cards: Annotated[int, Field(description="cards that other sites used, as far as they are held")]
    whole: Annotated[bool, Field(description="a card that isn't held did nothing elsewhere: nothing was left out")]


class SiteAnswer(BaseModel):
    """What a site is and rests on."""

    site: str
    gate: str
    epoch: str
    epoch_began: Annotated[str, Field(description="why: first_start, machine_changed, damaged or restored")]
    profile: Literal["production", "demo", "sandbox"]
    currency: str
    now: str
    clock_source: Literal["system", "events"]
    bundle: str
    bundle_trained_at: str
    policy: str
    policy_name: str
    policy_as_of: str
    lists_version: int
    lists: Annotated[str | None, Field(description="names the content of the lists; none where there are none")]
    list_entries: int
    config: str
    cards: int
    terminals: int
    overlay: OverlayAnswer
    journal: JournalAnswer
    offline_approvals: bool
    tide: Annotated[TideAnswer | None, Field(description="none where no cloud is configured, or before it began")]


class RecentAnswer(DecisionAnswer):
    """A decision as the live page shows it."""

    amount_minor: int
    card: str
    because: Annotated[
        str | None, Field(description="what raised the risk most, once that is known; no approval has it")
    ]


class LiveAnswer(BaseModel):
    """What the live page shows; counts are since the gate's start."""

    site: str
    bundle: str
    currency: str
    outcomes: dict[str, int]
    refused: int
    cards: int
    p50_ms: float | None
    p99_ms: float | None
    recent: list[RecentAnswer]


class HealthAnswer(BaseModel):
    """A process that answers."""

    status: Literal["alive"]


class ReadyAnswer(BaseModel):
    """Whether a site decides."""

    ready: bool
    why: Annotated[str | None, Field(description="why not, in words; None where it does")]


class NoSuchPathError(NotFoundError):
    """An address that the door doesn't have: `/openapi.json` lists them all."""

    code = "NO_SUCH_PATH"


class MethodError(InvalidError):
    """An address that isn't asked in this way: the header `allow` says how."""

    code = "METHOD_NOT_ALLOWED"


def _answer(error: TidegateError, status: int | None = None) -> Response:
    status, headers, body = render(error, status or STATUSES.get(type(error)))
    return Response(body, status, headers={k.decode(): v.decode() for k, v in headers})


def _told(model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """Describe an answer that is sent as it is: to check it against its own description would cost more than it."""
    return {200: {"description": "answer", "model": model}}


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    schema = {"$ref": "#/components/schemas/Problem"}
    content = {CONTENT_TYPE.decode(): {"schema": schema}}
    return {status: {"description": "problem", "content": content, "model": Problem} for status in statuses}


def _need(keyring: Keyring, *scopes: Scope) -> Callable[[Request], Caller]:
    """Return who tells the caller, whose key has to have one of the scopes."""

    def caller(request: Request) -> Caller:
        known = keyring.caller(request.scope["headers"])
        known.need(next((scope for scope in scopes if scope in known.scopes), scopes[0]))
        return known

    return caller


def _add_handlers(app: FastAPI, service: Service) -> None:
    @app.exception_handler(TidegateError)
    async def _refused(_request: Request, error: TidegateError) -> Response:
        service.meter.refused(error.code)
        return _answer(error)

    @app.exception_handler(RequestValidationError)
    async def _invalid(_request: Request, error: RequestValidationError) -> Response:
        return await _refused(_request, refused((e["loc"][1:], str(e["msg"])) for e in error.errors()))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            return _wrong_method(service, _methods((error.headers or {})["Allow"].split(", ")))
        if error.status_code == HTTPStatus.NOT_FOUND:
            return await _refused(request, NoSuchPathError("no such path is here; /openapi.json lists those that are"))
        return _answer(TidegateError(str(error.detail)), error.status_code)

    @app.exception_handler(Exception)  # whoever serves this writes down what it was: it is raised on behind the answer
    async def _mistaken(request: Request, _error: Exception) -> Response:
        return await _refused(request, MistakeError())


def _wrong_method(service: Service, allowed: str) -> Response:
    service.meter.refused(MethodError.code)
    answer = _answer(MethodError(f"this path takes {allowed} alone"), HTTPStatus.METHOD_NOT_ALLOWED)
    answer.headers["allow"] = allowed
    return answer


def _methods(taken: Iterable[str]) -> str:
    """Return the methods of a path as `allow` says them; what takes GET takes HEAD."""
    methods = set(taken)
    return ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))


def _allowed(app: FastAPI) -> dict[str, str]:
    """Return for each path without a variable the methods that it takes: it is no id on another path."""
    methods: defaultdict[str, set[str]] = defaultdict(set)
    for route in app.routes:
        if isinstance(route, Route | APIRoute) and "{" not in route.path:
            methods[route.path] |= route.methods or set()
    return {path: _methods(taken) for path, taken in methods.items()}


def _add_health(app: FastAPI, service: Service, keyring: Keyring) -> None:
    @app.get("/healthz", summary="Is the process alive?", response_model=HealthAnswer)
    async def healthz() -> dict[str, str]:
        return {"status": "alive"}

    answers: dict[int | str, dict[str, Any]] = _told(ReadyAnswer) | {503: {"description": "no", "model": ReadyAnswer}}

    @app.get("/readyz", summary="Can the site decide, and why not?", responses=answers)
    async def readyz() -> Response:
        why = service.why_not_ready
        return JSONResponse({"ready": why is None, "why": why}, 200 if why is None else 503)

    @app.get("/metrics", summary="Prometheus metrics", responses=_problems(401, 403))
    async def metrics(_caller: Annotated[Caller, Depends(_need(keyring, Scope.METRICS))]) -> Response:
        return Response(service.meter.text(), media_type="text/plain; version=0.0.4")


def _add_reads(app: FastAPI, service: Service, keyring: Keyring) -> None:
    reader = Annotated[Caller, Depends(_need(keyring, Scope.READ))]
    refused = _problems(401, 403, 404, 422, 503)

    @app.get(
        "/v1/decisions", summary="Decisions, newest first", responses=refused | _told(PageAnswer), response_model=None
    )
    async def page(caller: reader, asked: Annotated[PageQuery, Query()]) -> dict[str, Any]:
        filters = check_filters(asked.model_dump(exclude={"limit", "cursor"}, exclude_none=True))
        return service.page(limit=asked.limit, cursor=asked.cursor, filters=filters, merchants=caller.visible)

    @app.get(
        "/v1/decisions/{decision_id}",
        summary="One decision with its inputs, and what each feature did",
        responses=refused | _told(StoredAnswer),
        response_model=None,
    )
    async def get(caller: reader, decision_id: str, asked: Annotated[StoredQuery, Query()]) -> dict[str, Any]:
        if asked.explain:
            return await service.explain(decision_id, caller.visible, top=asked.top)
        return service.get(decision_id, caller.visible)

    @app.get(
        "/v1/decisions/{decision_id}/replay",
        summary="Decide again from what was stored",
        responses=refused | _told(ReplayAnswer),
        response_model=None,
    )
    async def check(caller: reader, decision_id: str) -> dict[str, Any]:
        return await service.check(decision_id, caller.visible)

    @app.get(
        "/v1/site", summary="What the site is and rests on", responses=refused | _told(SiteAnswer), response_model=None
    )
    async def site(_caller: reader) -> dict[str, Any]:
        return service.site()

    @app.get("/v1/live", summary="What the live page shows", responses=refused | _told(LiveAnswer), response_model=None)
    async def live(caller: reader) -> dict[str, Any]:
        caller.need_all_merchants()
        return service.live()


def _add_catalogue(app: FastAPI, keyring: Keyring) -> None:
    known = Annotated[Caller, Depends(_need(keyring, Scope.READ, Scope.DECIDE))]

    @app.get(
        "/v1/reasons",
        summary="All reasons that a decision may name",
        responses=_problems(401, 403) | _told(CatalogueAnswer),
        response_model=None,
    )
    async def reasons(_caller: known) -> dict[str, Any]:
        return listing()


def _add_writes(app: FastAPI, service: Service) -> None:
    """Describe what the fast path answers before FastAPI sees it: for the OpenAPI document."""
    refused = _problems(401, 403, 404, 408, 413, 415, 422, 503)
    timely = _problems(401, 403, 408, 413, 415, 422, 503, 504)

    @app.post("/v1/decisions", summary="Decide a payment", responses=timely, response_model=DecisionAnswer)
    async def decide(body: PaymentRequest, x_deadline_ms: DeadlineHeader = None) -> Any:  # noqa: ANN401
        return await service.decide(body, service.ticks(), x_deadline_ms)

    @app.post(
        "/v1/decisions/batch",
        summary="Decide up to 1,000 payments, a result each",
        responses=refused,
        response_model=BatchAnswer,
        response_model_exclude_unset=True,
    )
    async def decide_many(body: Batch) -> Any:  # noqa: ANN401
        return {"data": await service.decide_many(body.decisions, service.ticks())}

    @app.post("/v1/labels", summary="Say how a payment turned out", responses=refused, response_model=LabelAnswer)
    async def label(body: LabelRequest) -> Any:  # noqa: ANN401
        return await service.label(body)


def _add_live_page(app: FastAPI) -> None:
    for route, name in _PAGE.items():
        app.add_api_route(route, _file(_LIVE / name), include_in_schema=False)


def _add_guard(app: FastAPI, service: Service, origins: Collection[str]) -> None:
    """Put in front of all routes what counts for each of them."""
    allowed = _allowed(app)
    headers = {**_HEADERS, "content-security-policy": _CSP.format(" ".join(["'self'", *origins]))}

    @app.middleware("http")
    async def guard(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
        asks = _asks_to_read(request)
        reads = _is_of(request, origins) and (asks or request.method == "GET")
        methods = allowed.get(request.url.path, request.method)
        if reads and asks:
            response = Response(None, HTTPStatus.NO_CONTENT, headers=_MAY_READ)
        elif request.method in methods.split(", "):
            response = await call(request)
        else:
            response = _wrong_method(service, methods)
        response.headers.update(headers)
        if reads:
            response.headers["access-control-allow-origin"] = request.headers["origin"]
        if origins:
            response.headers["vary"] = "origin"
        return response


def _is_of(request: Request, origins: Collection[str]) -> bool:
    """Tell whether a page of one of the origins asks, for something that may be read there."""
    return request.headers.get("origin") in origins and request.url.path.startswith(_READ)


def _asks_to_read(request: Request) -> bool:
    """Tell a browser's question whether another origin's page may read here (Fetch standard, CORS preflight)."""
    return request.method == "OPTIONS" and request.headers.get("access-control-request-method") == "GET"


class _HeadAsGet:
    """Answers HEAD as GET; the server leaves the body out (RFC 9110 §9.3.2)."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """ASGI 3."""
        asked = {**scope, "method": "GET"} if scope.get("method") == "HEAD" else scope
        await self._app(asked, receive, send)


def _file(path: Path) -> Callable[[], Awaitable[FileResponse]]:
    async def send() -> FileResponse:
        return FileResponse(path)

    return send


def _secure(app: FastAPI) -> None:
    """Say in the OpenAPI document that a bearer key is needed."""
    made = app.openapi()
    made["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    made["security"] = [{"key": []}]
    for path in ("/healthz", "/readyz"):
        made["paths"][path]["get"]["security"] = []


def build(service: Service, keys: bytes, origins: Collection[str] = ()) -> FastPath:
    """Return the door's ASGI application, the fast path in front of FastAPI.

    `keys` is the content of a key file; pages of `origins` may read here, and this door's page there.
    """
    keyring = Keyring(parse_keys("keys.json", keys))
    app = FastAPI(title="Tidegate site", version=__version__, docs_url=None, redoc_url=None, redirect_slashes=False)
    _add_handlers(app, service)
    _add_health(app, service, keyring)
    _add_reads(app, service, keyring)
    _add_catalogue(app, keyring)
    add_orders(app, service, lambda scope: _need(keyring, scope), _problems)
    _add_writes(app, service)
    _add_live_page(app)
    _add_guard(app, service, origins)
    _secure(app)
    return FastPath(service=service, keyring=keyring, rest=_HeadAsGet(app))
