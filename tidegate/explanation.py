"""Why a model gave a payment its score, told: features by what they did to the margin, in words and log odds.

A function of the decision's record and of the bundle that it names: the same for ever, and stored nowhere.
"""

from typing import Any, Final

import numpy as np

from tidegate.attribution import Attribution, Attributor
from tidegate.bundle import Bundle
from tidegate.clock import rfc3339
from tidegate.decided import Decided
from tidegate.decision import NO_SCORE, Mark
from tidegate.errors import BundleError
from tidegate.features.declarations import FEATURE_COUNT, FEATURES, FINGERPRINT, NAMES
from tidegate.features.phrases import PHRASES, sentence
from tidegate.limits import EXPLAINED_PLAINLY_MAX
from tidegate.trees import Floats

_UNITS: Final = {feature.name: feature.unit for feature in FEATURES}


class Explainer:
    """Explains what one bundle scored."""

    def __init__(self, bundle: Bundle) -> None:
        """Make the bundle ready to explain.

        Raises:
            BundleError: it has no covers, or they don't fit its trees.
        """
        if bundle.covers is None:
            raise BundleError(f"{bundle.id} was packaged without covers: decisions by it can't be explained")
        self._trained_at = rfc3339(bundle.manifest.trained_at_us)
        self._attributor = Attributor(bundle.trees, bundle.covers)
        self._typical = _typical(bundle.golden_features)

    def attribute(self, decided: Decided) -> Attribution:
        """Return what a decision's margin is made of."""
        return self._attributor.attribute(vector_of(decided))

    def tell(self, decided: Decided, made: Attribution, *, top: int, plainly: bool) -> dict[str, Any]:
        """Return the explanation of a decision, its `top` features by weight; the others are summed up.

        Plainly is for who may not know what a card did elsewhere: the few features that weighed most towards the
        outcome, without values and weights.
        """
        order = leading(made)
        if plainly:
            raised = [at for at in order if made.contributions[at] > 0][:EXPLAINED_PLAINLY_MAX]
            others = {"count": FEATURE_COUNT - len(raised), "contribution": None}
            unsaid = {"base": None, "margin": None, "sums_to_margin": None, "trained_at": self._trained_at}
            return {**unsaid, "features": [_plain_feature(at) for at in raised], "others": others}
        chosen, vector = order[:top], vector_of(decided)
        rest = float(made.contributions.sum() - made.contributions[chosen].sum())
        return {
            "base": made.base,
            "margin": decided.margin,
            "sums_to_margin": abs(made.margin - decided.margin) <= made.tolerance,
            "trained_at": self._trained_at,
            "features": [self._feature(at, vector, made, decided.currency) for at in chosen],
            "others": {"count": FEATURE_COUNT - len(chosen), "contribution": rest},
        }

    def _feature(self, at: int, vector: Floats, made: Attribution, currency: str) -> dict[str, Any]:
        name, value, contribution = NAMES[at], float(vector[at]), float(made.contributions[at])
        return {
            "feature": name,
            "label": PHRASES[name].label,
            "value": value if np.isfinite(value) else None,
            "unit": _UNITS[name],
            "contribution": contribution,
            "direction": "raises" if contribution > 0 else "lowers" if contribution < 0 else "none",
            "text": sentence(name, value, float(self._typical[at]), currency),
        }

    def because(self, decided: Decided, made: Attribution) -> str:
        """Return the sentence of the feature that raised the risk most."""
        name = raised_most(made)
        at = NAMES.index(name)
        return sentence(name, float(vector_of(decided)[at]), float(self._typical[at]), decided.currency)


def _plain_feature(at: int) -> dict[str, Any]:
    """Return a feature that raised the risk by its name alone."""
    name = NAMES[at]
    unit, label = _UNITS[name], PHRASES[name].label
    told = {"feature": name, "label": label, "value": None, "unit": unit, "contribution": None}
    return {**told, "direction": "raises", "text": f"{label}."}


def leading(made: Attribution) -> list[int]:
    """Return the features by the size of their contributions, the largest first; of equals the first declared."""
    order: list[int] = np.argsort(-np.abs(made.contributions), kind="stable").tolist()
    return order


def raised_most(made: Attribution) -> str:
    """Return the feature that raised the risk most."""
    return NAMES[int(np.argmax(made.contributions))]


def vector_of(decided: Decided) -> Floats:
    """Return the vector that a decision was scored on."""
    return np.frombuffer(decided.features, np.float32)[:FEATURE_COUNT]


def unexplained(decided: Decided) -> str | None:
    """Return why there is nothing to explain of a decision, or None."""
    if decided.marks & Mark.SANDBOX:
        return "a test card of a sandbox forced this answer: no model spoke"
    if decided.risk_score == NO_SCORE:
        return "no model spoke: the deadline left no time for the score"
    if decided.feature_fingerprint != FINGERPRINT:
        return "it was scored on the features of another release: ask a site of that one"
    return None


def _typical(golden: Floats) -> Floats:
    """Return the median of each feature over a bundle's golden rows, which are real payments; NaN where it has none."""
    known = [column[np.isfinite(column)] for column in golden.T]
    return np.array([np.median(column) if len(column) else np.nan for column in known], np.float32)
