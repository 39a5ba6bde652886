"""How good models are on recorded payments: `python -m tests.bench.model_quality --data FILE`.

The published protocol of the Fraud Detection Handbook: four test weeks from 2018-08-08, labels seven days late, one
model a week, cards left out once a fraud of theirs is known. Features, fit and metrics are the training job's own; the
settings are its defaults, or those of `tidegate tune`, which never sees a test week. The last line is one JSON object.
"""

import argparse
import datetime as dt
import json
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tidegate.limits import DAY_US
from training.dataset import DatasetError, Events, features, load_mapping, read
from training.evaluate import Walk, gap, measured, walk
from training.metrics import Scored, measure
from training.options import ROOT, FitSettings, parameters
from training.walk import WEEK_US, WEEKS, week

MAPPING = ROOT / "configs" / "datasets" / "handbook.toml"
START = dt.date(2018, 8, 8)
EPOCH = dt.date(1970, 1, 1)
SHORT = {"auc": "auc", "ap": "average_precision", "cp100": "card_precision_100"}


def walked(events: Events, start: dt.date, weeks: int, settings: FitSettings) -> Walk:
    """Walk forward through the test weeks."""
    first_us = (start - EPOCH).days * DAY_US
    chosen = [week(events, first_us + at * WEEK_US) for at in range(weeks)]
    print(f"features and {weeks} weeks, payments to train on: {[len(one.train.index) for one in chosen]}", flush=True)
    return walk(events, features(events), chosen, settings, heard=lambda done: print(f"week {done} done", flush=True))


def numbers(scored: Sequence[Scored]) -> dict[str, Any]:
    """Return each week's numbers and their means."""
    found = [measure(one) for one in scored]
    rows = [
        {"start": str(EPOCH + dt.timedelta(one.start_us // DAY_US))}
        | {short: round(values[name], 4) for short, name in SHORT.items()}
        for one, values in zip(scored, found, strict=True)
    ]
    means = {short: round(float(np.mean([each[name] for each in found])), 4) for short, name in SHORT.items()}
    return {"weeks": rows, "mean": means}


def calibrated(made: Walk) -> str:
    """Return how the calibration tables did on the test weeks, beside the margins taken at their word."""
    target = np.concatenate([one.target for one in made.scored])
    raw = 1 / (1 + np.exp(-np.concatenate([one.margin for one in made.scored]).astype(np.float64)))
    table = np.concatenate([one.probability for one in made.scored])
    told = (
        f"{name}: Brier {np.mean((p - target) ** 2):.6f}, gap {gap(target, p):.6f}"
        for name, p in (("raw", raw), ("calibrated", table))
    )
    return "; ".join(told)


def main() -> None:
    """Print what was measured and, as the last line, one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="Parquet file with the handbook's columns")
    parser.add_argument("--mapping", type=Path, default=MAPPING)
    parser.add_argument("--start", type=dt.date.fromisoformat, default=START, help="first day of the first test week")
    parser.add_argument("--weeks", type=int, default=WEEKS)
    parser.add_argument("--threads", type=int, default=1, help="two pay on a machine with nothing else to do")
    parser.add_argument("--trees", type=int, default=FitSettings().trees)
    parser.add_argument("--params", type=Path, help="settings that `tidegate tune --before` the first week has found")
    chosen = parser.parse_args()
    settings = FitSettings(trees=chosen.trees, threads=chosen.threads)
    if chosen.params is not None:
        settings = replace(settings, **parameters(chosen.params))
    began = time.perf_counter()
    try:
        events = read(chosen.data, load_mapping(chosen.mapping))
        made = walked(events, chosen.start, chosen.weeks, settings)
    except DatasetError as error:
        sys.exit(f"{error.code}: {error.message}")
    for name, (value, low, high) in measured(made.scored, seed=1).items():
        print(f"{name:>20}  {value:.4f}  ({low:.4f} to {high:.4f})")
    print(calibrated(made))
    memory_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{len(events):,} payments in {time.perf_counter() - began:.0f} s and {memory_gib:.1f} GiB")
    print(json.dumps(numbers(made.scored)))


if __name__ == "__main__":
    main()
