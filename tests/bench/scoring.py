"""What every peer of the gate's bench does with a payment once its features are there; light on imports.

Shared by peers of different web frameworks, of which some run in an environment of their own.
"""

import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import xgboost as xgb
from pydantic import BaseModel

from actors.window.window import Window
from tidegate.decision import Outcome
from tidegate.features.declarations import FEATURE_COUNT
from tidegate.limits import CARDS_MAX, TERMINALS_MAX
from tidegate.payment import PaymentRequest
from tidegate.policy.costs import MILLION, Costs, cheapest

ROUTE: Final = "/v1/decisions"
MODEL: Final = "TIDEGATE_BENCH_MODEL"
"""The variable that names the model's file to a peer that can't be told otherwise."""

Vector = np.ndarray[Any, np.dtype[np.float32]]
Probability = Callable[[Vector], float]


class Verdict(BaseModel):
    """What a peer answers."""

    transaction_id: str
    outcome: str
    probability: float


def verdict(payment: PaymentRequest, probability: float, costs: Costs) -> Verdict:
    """Return the answer, by the same expected costs as the gate; not calibrated."""
    outcome = Outcome(cheapest(round(probability * MILLION), payment.amount.minor, costs))
    return Verdict(transaction_id=payment.transaction_id, outcome=outcome.word, probability=round(probability, 6))


def classifier(model: str) -> Probability:
    """Return XGBoost as it is used first: `predict_proba` of the scikit-learn interface, one thread."""
    loaded = xgb.XGBClassifier(n_jobs=1)
    loaded.load_model(model)
    return lambda vector: float(loaded.predict_proba(vector[np.newaxis, :FEATURE_COUNT])[0, 1])


def booster(model: str) -> Probability:
    """Return XGBoost as it is fastest for one row from Python: `inplace_predict`, one thread."""
    loaded = xgb.Booster()
    loaded.load_model(model)
    loaded.set_param({"nthread": 1})  # a loaded model brings the parameters it was trained with
    return lambda vector: float(loaded.inplace_predict(vector[np.newaxis, :FEATURE_COUNT])[0])


class Peer:
    """Features, score and outcome of one payment, all in this process."""

    def __init__(self, probability: Probability) -> None:
        self._window = Window(cards_max=CARDS_MAX, terminals_max=TERMINALS_MAX)
        self._probability = probability
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
        return verdict(payment, self._probability(vector), self._costs)
