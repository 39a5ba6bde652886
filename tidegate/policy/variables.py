"""What a rule may read: the declared features, the model's word, and the payment's own fields."""

import math
from typing import Any, Final, NamedTuple

import numpy as np

from tidegate.decision import NO_SCORE
from tidegate.features.declarations import FEATURES, NAMES

Vector = np.ndarray[Any, np.dtype[np.float32]]

TEXTS: Final = ("card", "device", "terminal", "merchant", "country", "mcc", "currency", "channel", "entry_mode")
"""The payment's fields as text; what a caller left out is the empty text."""
OPTIONAL: Final = ("device", "country", "mcc", "entry_mode")
MODEL: Final = ("probability", "risk_score")
DOUBLES: Final = (*NAMES, *MODEL)
"""All numbers are doubles; `amount` is exact, whatever the vector's float32 makes of it."""
PRESENT: Final = "has_"
BOOLS: Final = tuple(f"{PRESENT}{name}" for name in (*DOUBLES, *OPTIONAL))
DEFAULTS: Final = tuple(feature.default for feature in FEATURES)
AMOUNT: Final = NAMES.index("amount")


class Inputs(NamedTuple):
    """What the rules read of one payment: its vector, float32 of at least the features, and its fields."""

    vector: Vector
    amount_minor: int
    probability: float
    risk_score: int
    texts: tuple[str, ...]


def number(inputs: Inputs, at: int) -> float:
    """Return a variable of `DOUBLES`; a feature that is missing is its declared default."""
    if at == AMOUNT:
        return float(inputs.amount_minor)
    if at >= len(NAMES):
        said = (inputs.probability, inputs.risk_score)[at - len(NAMES)]
        return 0.0 if inputs.risk_score == NO_SCORE else float(said)
    value = float(inputs.vector[at])
    return DEFAULTS[at] if math.isnan(value) else value


def present(inputs: Inputs, at: int) -> bool:
    """Return a variable of `BOOLS`: whether the value was there."""
    if at >= len(DOUBLES):
        return inputs.texts[TEXTS.index(OPTIONAL[at - len(DOUBLES)])] != ""
    if at >= len(NAMES):
        return inputs.risk_score != NO_SCORE
    return at == AMOUNT or not math.isnan(inputs.vector[at])


def value(inputs: Inputs, name: str) -> float | str | bool:
    """Return a variable by its name."""
    if name in DOUBLES:
        return number(inputs, DOUBLES.index(name))
    return inputs.texts[TEXTS.index(name)] if name in TEXTS else present(inputs, BOOLS.index(name))


def meaning(name: str) -> str:
    """Return what a variable means, in a sentence."""
    features = {feature.name: f"{feature.meaning} ({feature.unit}, {feature.window})" for feature in FEATURES}
    own = {"probability": "The model's calibrated probability of fraud.", "risk_score": "The model's score, 0 to 100."}
    if name in features or name in own:
        return features.get(name) or own[name]
    return f"Whether {name.removeprefix(PRESENT)} is known." if name in BOOLS else f"The payment's {name}, as text."
