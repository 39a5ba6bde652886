"""The contenders that a site is measured against, other than Ray Serve: `python -m tests.bench.peer NAME --port N`.

`floor` is a bare ASGI application that sends the body back: what uvicorn, uvloop, httptools and the kernel cost before
anybody decides anything. No check, no key, no model, no disk.

`fastapi_xgb` is what a good team builds first: FastAPI with a pydantic model, features in the process, XGBoost's own
`predict_proba` with one thread, one uvicorn worker, no hop to a thread. It parses the same request with the same
checks, updates and reads the same feature state with the same compiled kernel, and chooses the outcome by the same
expected costs; its score is not calibrated. It does not check a key, know a retry, look at lists, say reasons, or
keep anything: what it decided is gone when it ends. The site does all of that, so the comparison favours the peer.

`fastapi_redis_xgb` is what that team builds once there is more than one worker: the same, but the feature state lies in
a Redis on the same machine (`tests/bench/stored.py` says how), and XGBoost is called by `inplace_predict`.
"""

import argparse
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn
from fastapi import FastAPI

from tests.bench.scoring import ROUTE, Peer, Verdict, booster, classifier
from tests.bench.stored import Stored
from tidegate.payment import PaymentRequest

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


def peer_app(model: str) -> FastAPI:
    """Return the peer behind FastAPI."""
    app, peer = FastAPI(), Peer(classifier(model))

    # Async, so that FastAPI calls it on the loop: a hop to its thread pool would cost the peer more than it gains.
    @app.post(ROUTE)
    async def decide(payment: PaymentRequest) -> Verdict:
        return peer.decide(payment)

    return app


def redis_app(model: str, socket: str) -> FastAPI:
    """Return the peer whose features lie in Redis behind FastAPI."""
    app, peer = FastAPI(), Stored(booster(model), socket)

    @app.post(ROUTE)
    async def decide(payment: PaymentRequest) -> Verdict:
        return await peer.decide(payment)

    return app


async def floor(_scope: Message, receive: Receive, send: Send) -> None:
    """ASGI 3: send the body back."""
    message = await receive()
    body = message.get("body", b"")
    while message.get("more_body"):
        message = await receive()
        body += message.get("body", b"")
    length = (b"content-length", b"%d" % len(body))
    headers = [(b"content-type", b"application/json"), length]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main() -> None:
    """Serve one contender until told to stop, with the gate's own settings of uvicorn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=["floor", "fastapi_xgb", "fastapi_redis_xgb"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--redis", default="", help="socket of a Redis")
    given = parser.parse_args()
    apps: dict[str, Callable[[], Any]] = {
        "floor": lambda: floor,
        "fastapi_xgb": lambda: peer_app(given.model),
        "fastapi_redis_xgb": lambda: redis_app(given.model, given.redis),
    }
    app = apps[given.name]()
    uvicorn.run(app, host="127.0.0.1", port=given.port, access_log=False, log_level="warning", lifespan="off")


if __name__ == "__main__":
    main()
