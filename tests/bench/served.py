"""The contender `serve_default`: the peer's work behind Ray Serve as its documentation shows it, nothing tuned.

FastAPI ingress, one replica, the default HTTP proxy, the default niceness. It does what `fastapi_xgb` does and leaves
out what that leaves out. Imported only where the contender runs: Ray reads its token on import.
"""

from typing import Any

from fastapi import FastAPI
from ray import serve

from tests.bench.scoring import ROUTE, Peer, Verdict, classifier
from tidegate.payment import PaymentRequest

app = FastAPI()
NAME = "bench"


@serve.deployment
@serve.ingress(app)
class Served:
    """One replica."""

    def __init__(self, model: str) -> None:
        self._peer = Peer(classifier(model))

    @app.post(ROUTE)
    async def decide(self, payment: PaymentRequest) -> Verdict:
        return self._peer.decide(payment)


def start(model: str, port: int) -> None:
    """Run the application on the cluster that this process has joined."""
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    application: Any = Served
    serve.run(application.bind(model), name=NAME)
