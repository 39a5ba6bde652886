"""The contenders that a site is measured against, other than Ray Serve: `python -m tests.bench.peer NAME --port N`.

`floor` is a bare ASGI application that sends the body back: what uvicorn, uvloop, httptools and the kernel cost before
anybody decides anything. No check, no key, no model, no disk.

`fastapi_xgb` is what a good team builds first: FastAPI with a pydantic model, features in the process, XGBoost's own
`predict_proba` with one thread, one uvicorn worker, no hop to a thread. It parses the same request with the same
checks, updates and reads the same feature state with the same compiled kernel, and chooses the outcome by the same
expected costs; its score is not calibrated. It does not check a key, know a retry, look at lists, say reasons, or
keep anything: what it decided is gone when it ends. The site does all of that, so the comparison favours the peer.
"""

import argparse
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import numpy as np
import uvicorn
import xgboost as xgb
from fastapi import FastAPI
from pydantic import BaseModel

from actors.window.window import Window
from tidegate.decision import Outcome
from tidegate.features.declarations import FEATURE_COUNT
from tidegate.limits import CARDS_MAX, TERMINALS_MAX
from tidegate.payment import PaymentRequest
from tidegate.policy.costs import MILLION, Costs, cheapest

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ROUTE: Final = "/v1/decisions"


class Verdict(BaseModel):
    """What the peer answers."""

    transaction_id: str
    outcome: str
    probability: float


class Peer:
    """Features, score and outcome of one payment, in this process."""

    def __init__(self, model: str) -> None:
        self._window = Window(cards_max=CARDS_MAX, terminals_max=TERMINALS_MAX)
        self._classifier = xgb.XGBClassifier(n_jobs=1)
        self._classifier.load_model(model)
        self._costs = Costs()

    def decide(self, payment: PaymentRequest) -> Verdict:
        """Decide one payment."""
        now_us = time.time_ns() // 1000
        vector = self._window.observe(
            card=payment.card,
            terminal=payment.terminal,
            now_us=now_us,
            feature_us=min(payment.occurred_us, now_us),
            amount_minor=payment.amount.minor,
        )
        row = vector[np.newaxis, :FEATURE_COUNT]
        probability = float(self._classifier.predict_proba(row)[0, 1])
        outcome = Outcome(cheapest(round(probability * MILLION), payment.amount.minor, self._costs))
        return Verdict(transaction_id=payment.transaction_id, outcome=outcome.word, probability=round(probability, 6))


def peer_app(model: str) -> FastAPI:
    """Return the peer behind FastAPI."""
    app, peer = FastAPI(), Peer(model)

    # Async, so that FastAPI calls it on the loop: a hop to its thread pool would cost the peer more than it gains.
    @app.post(ROUTE)
    async def decide(payment: PaymentRequest) -> Verdict:
        return peer.decide(payment)

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
    parser.add_argument("name", choices=["floor", "fastapi_xgb"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True)
    given = parser.parse_args()
    app: Any = floor if given.name == "floor" else peer_app(given.model)
    uvicorn.run(app, host="127.0.0.1", port=given.port, access_log=False, log_level="warning", lifespan="off")


if __name__ == "__main__":
    main()
