"""The contender `bentoml`: the peer's work as a BentoML service, one worker, XGBoost by `inplace_predict`.

It runs in an environment of its own, made once from `locks/bentoml.txt` by uv in the user's cache: what BentoML pins
and what Ray wants don't go together. Features are updated and read in the process, as for `fastapi_xgb`.
"""

import os

import bentoml

from tests.bench.scoring import MODEL, ROUTE, Peer, Verdict, booster
from tidegate.payment import PaymentRequest


@bentoml.service(name="bench", workers=1, metrics={"enabled": False}, logging={"access": {"enabled": False}})
class Bench:
    """One worker."""

    def __init__(self) -> None:
        self._peer = Peer(booster(os.environ[MODEL]))

    @bentoml.api(route=ROUTE)  # type: ignore[untyped-decorator]
    async def decide(self, payment: PaymentRequest, /) -> Verdict:
        """Decide one payment, on the loop: a hop to a thread would cost more than it gains."""
        return self._peer.decide(payment)
