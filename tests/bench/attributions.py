"""What reasons cost: attributions of one row by the site and by XGBoost, and the gate's answer with them in words.

`python -m tests.bench.attributions`; the model is the gate's bench's, each number the median of single rows.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xgboost as xgb

from actors.scorer.disk import PosixFolder
from actors.scorer.model import Scorer
from actors.scorer.shelf import Shelf
from tests.bench.model import put_on_shelf
from tidegate.bundle import Bundle
from tidegate.decided import Decided
from tidegate.explanation import Explainer
from tidegate.features.declarations import FEATURE_COUNT, FINGERPRINT
from tidegate.records import DECISION_BODY_BYTES, FEATURE_SLOTS

ROWS = 200


def _median_us(work: Callable[[int], object]) -> float:
    """Return the median CPU time of one call, in microseconds."""
    work(0)
    taken = []
    for at in range(ROWS):
        started = time.process_time_ns()
        work(at)
        taken.append((time.process_time_ns() - started) / 1e3)
    return round(statistics.median(taken), 1)


def _decided(bundle: Bundle, row: int) -> Decided:
    vector = np.zeros(FEATURE_SLOTS, np.float32)
    vector[:FEATURE_COUNT] = bundle.golden_features[row]
    return Decided.from_body(bytes(DECISION_BODY_BYTES))._replace(
        features=vector.tobytes(),
        feature_fingerprint=FINGERPRINT,
        margin=float(bundle.golden_margins[row]),
        currency="EUR",
    )


def measure(bundle: Bundle, file: Path) -> dict[str, Any]:
    """Return the medians, and by how much the two differ at the most."""
    started = time.process_time()
    explainer = Explainer(bundle)
    prepared_ms = (time.process_time() - started) * 1e3
    booster, scorer, rows = xgb.Booster(model_file=file), Scorer(bundle), bundle.golden_features
    booster.set_param({"nthread": 1})
    decided = [_decided(bundle, row) for row in range(ROWS)]
    made = [explainer.attribute(one) for one in decided]
    oracle = booster.predict(xgb.DMatrix(rows[:ROWS], nthread=1), pred_contribs=True)
    ours = np.array([[*one.contributions, one.base] for one in made])
    return {
        "trees": len(bundle.trees.roots),
        "nodes": len(bundle.trees.nodes),
        "prepare_ms": round(prepared_ms, 1),
        "score_us": _median_us(lambda at: scorer.score(rows[at])),
        "attribute_us": _median_us(lambda at: explainer.attribute(decided[at])),
        "tell_us": _median_us(lambda at: explainer.tell(decided[at], made[at], top=8, plainly=False)),
        "xgboost_us": _median_us(
            lambda at: booster.predict(xgb.DMatrix(rows[at : at + 1], nthread=1), pred_contribs=True)
        ),
        "differ_max": float(np.abs(ours - oracle).max()),
    }


def main() -> None:
    """Train the model, measure, print one JSON object."""
    with tempfile.TemporaryDirectory(prefix="tga-") as folder:
        shelf = Path(folder)
        file = put_on_shelf(shelf, time.time_ns() // 1_000)
        active = Shelf(folder=PosixFolder(shelf))
        bundle = active.active()
        assert bundle is not None
        print(json.dumps(measure(active.load(bundle), file)))


if __name__ == "__main__":
    main()
