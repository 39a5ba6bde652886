"""Drift: how differently values are spread than when a model was trained, as the population stability index."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from tidegate.bundle import Profile
from tidegate.features.declarations import NAMES
from tidegate.trees import Floats
from training.metrics import Doubles

SCORE: Final = "score"
"""The name under which margins are kept beside the features."""
_PARTS: Final = 10
_HALF: Final = 0.5
"""What an empty part counts as, in payments: without it one payment in a new part would be infinite drift."""
MODERATE, LARGE = 0.1, 0.25
"""The usual reading of the index (Siddiqi, Credit Risk Scorecards, 2006): below the first nothing has moved."""


def profile(rows: Floats, margins: Floats) -> dict[str, Profile]:
    """Return how features, float32 [n, FEATURE_COUNT], and margins are spread over tenths of their own."""
    columns = {name: rows[:, at] for at, name in enumerate(NAMES)} | {SCORE: margins}
    return {name: _profile(column) for name, column in columns.items()}


def stability(before: Mapping[str, Profile], rows: Floats, margins: Floats) -> dict[str, float]:
    """Return the index of each value that was profiled before, largest first."""
    columns = {name: rows[:, at] for at, name in enumerate(NAMES)} | {SCORE: margins}
    found = {name: _index(kept, columns[name]) for name, kept in before.items() if name in columns}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _profile(column: Floats) -> Profile:
    there = column[~np.isnan(column)].astype(np.float64)
    cuts = np.linspace(0, 1, _PARTS + 1)[1:-1]
    edges = np.unique(np.quantile(there, cuts)) if len(there) else np.zeros(0)
    counts = _counts(edges, column)
    return Profile(edges=tuple(edges.tolist()), shares=tuple((counts / counts.sum()).tolist()))


def _counts(edges: Doubles, column: Floats) -> Doubles:
    """Return how many values lie between edges (on one is below it), and last how many are missing."""
    gone = np.isnan(column)
    part = np.where(gone, len(edges) + 1, np.searchsorted(edges, column, side="left"))
    return np.bincount(part, minlength=len(edges) + 2).astype(np.float64)


def _index(before: Profile, column: Floats) -> float:
    counts = _counts(np.array(before.edges, np.float64), column)
    floor = _HALF / len(column)
    now, then = np.maximum(counts / len(column), floor), np.maximum(np.array(before.shares), floor)
    return float(np.sum((now - then) * np.log(now / then)))
