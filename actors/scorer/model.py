"""The scorer: a verified bundle made ready to score a row in a few microseconds, for the gate."""

from bisect import bisect_right
from typing import NamedTuple

import numpy as np

from tidegate.bundle import PROBABILITY_TOLERANCE, Bundle, score_cuts
from tidegate.errors import BundleError
from tidegate.features.declarations import FEATURE_COUNT
from tidegate.trees import Floats


class Assessment(NamedTuple):
    """What the model says of one payment."""

    margin: float
    probability: float
    risk_score: int


class Scorer:
    """Scores rows with one bundle; made only where the bundle's golden rows come out as they were packaged."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self._trees = bundle.trees
        self._margins = bundle.manifest.calibration.margins
        self._probabilities = bundle.manifest.calibration.probabilities
        self._cuts = score_cuts()
        self._prove()

    def _prove(self) -> None:
        """Score the golden rows: margins equal in float32 bits, probabilities within 1e-6."""
        golden = self.bundle.golden_features
        if golden.ndim != 2 or golden.shape[1] != FEATURE_COUNT or not len(golden):  # noqa: PLR2004 - a table
            raise BundleError(f"golden rows: shape {golden.shape}, expected [n, {FEATURE_COUNT}]; package again")
        margins = self._trees.margins(golden)
        if margins.tobytes() != self.bundle.golden_margins.astype(np.float32).tobytes():
            raise BundleError(f"golden rows: margins of {self.bundle.id} differ from XGBoost's; package again")
        ours = np.array([self.calibrate(float(margin)) for margin in margins])
        if not np.allclose(ours, self.bundle.golden_probabilities, rtol=0, atol=PROBABILITY_TOLERANCE):
            raise BundleError(f"golden rows: probabilities of {self.bundle.id} differ; package again")

    def calibrate(self, margin: float) -> float:
        """Return the probability that the calibration table gives for a margin."""
        margins, probabilities = self._margins, self._probabilities
        at = bisect_right(margins, margin)
        if at == 0:
            return probabilities[0]
        if at == len(margins):
            return probabilities[-1]
        low, high = probabilities[at - 1], probabilities[at]
        return low + (high - low) * ((margin - margins[at - 1]) / (margins[at] - margins[at - 1]))

    def score(self, features: Floats) -> Assessment:
        """Return the assessment of one vector, float32 of at least `FEATURE_COUNT`."""
        margin = self._trees.margin(features)
        probability = self.calibrate(margin)
        return Assessment(margin, probability, bisect_right(self._cuts, probability))
