"""Attributions are Shapley values: equal to their definition, to XGBoost's own, and in sum to the margin."""

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import xgboost as xgb
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tidegate.attribution import Attributor
from tidegate.bundle import decode
from tidegate.errors import BundleError
from tidegate.features.declarations import FEATURE_COUNT
from tidegate.limits import ATTRIBUTION_DEPTH_MAX
from tidegate.trees import NODE, PackedTrees
from training.package import ATTRIBUTION_TOLERANCE, covers_of, pack

Array = np.ndarray[Any, Any]
ROWS = 400


def _model(seed: int, depth: int, trees: int) -> tuple[xgb.Booster, Array]:
    """Return a model of features of all scales with gaps, and its rows."""
    rng = np.random.default_rng(seed)
    rows = np.round(rng.normal(size=(ROWS, FEATURE_COUNT)) * 4) * rng.choice([1e-3, 1.0, 1e6], FEATURE_COUNT)
    rows = rows.astype(np.float32)
    rows[rng.random(rows.shape) < 0.2] = np.nan
    parameters = {"objective": "binary:logistic", "max_depth": depth, "base_score": 0.5, "eta": 0.7, "nthread": 1}
    target = rng.integers(0, 2, ROWS)
    booster = xgb.train(parameters | {"min_child_weight": 0}, xgb.DMatrix(rows, target, nthread=1), trees)
    return booster, rows


@settings(max_examples=25)
@example(seed=2, depth=7, trees=12)
@given(seed=st.integers(0, 2**32 - 1), depth=st.integers(1, 7), trees=st.integers(1, 12))
def test_attributions_equal_xgboosts_and_add_up_to_the_margin(seed: int, depth: int, trees: int) -> None:
    booster, rows = _model(seed, depth, trees)
    packed = pack(booster)
    attributor = Attributor(packed, covers_of(booster))
    odd = np.random.default_rng(seed).choice(np.array([np.nan, 0.0, -0.0, 3e38, -3e38], np.float32), rows[:20].shape)
    every = np.concatenate([rows[:20], odd])

    oracle = booster.predict(xgb.DMatrix(every, nthread=1), pred_contribs=True).astype(np.float64)
    for row, theirs in zip(every, oracle, strict=True):
        made = attributor.attribute(row)
        ours = np.append(made.contributions, made.base)
        assert np.abs(ours - theirs).max() <= ATTRIBUTION_TOLERANCE * max(np.abs(theirs).sum(), 1)
        assert abs(made.margin - packed.margin(row)) <= made.tolerance


def test_golden_rows_are_attributed_as_xgboost_does(bundle_files: dict[str, bytes]) -> None:
    bundle = decode(bundle_files)
    assert bundle.covers is not None
    booster = xgb.Booster(model_file=bytearray(bundle_files["model.ubj"]))
    attributor = Attributor(bundle.trees, bundle.covers)
    golden = bundle.golden_features

    oracle = booster.predict(xgb.DMatrix(golden, nthread=1), pred_contribs=True)
    made = [attributor.attribute(row) for row in golden]
    ours = np.array([[*one.contributions, one.base] for one in made])
    assert np.abs(ours - oracle).max() < 2e-6
    sums = np.array([one.margin for one in made])
    assert np.abs(sums - bundle.golden_margins).max() <= made[0].tolerance < 1e-4


def _grown(rng: np.random.Generator, depth: int) -> tuple[list[tuple[float, int, int, int, int]], list[float]]:
    """Return the nodes and covers of one random tree of three features, breadth first."""
    nodes: list[tuple[float, int, int, int, int]] = []
    covers = [float(rng.integers(20, 40))]
    level = [0]
    for _ in range(depth + 1):
        below = []
        for at in level:
            if len(covers) > 40 or (at and rng.random() < 0.25) or covers[at] < 2 or _ == depth:
                nodes.append((float(rng.integers(-8, 9)), -1, 0, 0, 0))
                continue
            left = len(covers)
            part = float(rng.integers(1, int(covers[at])))
            covers += [part, covers[at] - part]
            below += [left, left + 1]
            nodes.append((float(rng.integers(-2, 3)), left, int(rng.integers(0, 3)), int(rng.integers(0, 2)), 0))
        level = below
    return nodes, covers


def _expected(trees: PackedTrees, covers: Array, row: Array, known: frozenset[int], at: int) -> Fraction:
    """Return the mean leaf below a node where only the `known` features are."""
    node = trees.nodes[at]
    left = int(node["left"])
    if left < 0:
        return Fraction(float(node["value"]))
    feature = int(node["feature"])
    if feature in known:
        value = row[feature]
        goes_left = bool(node["default_left"]) if np.isnan(value) else bool(value < node["value"])
        return _expected(trees, covers, row, known, left if goes_left else left + 1)
    sides = [Fraction(float(covers[child])) for child in (left, left + 1)]
    below = [_expected(trees, covers, row, known, child) for child in (left, left + 1)]
    return (sides[0] * below[0] + sides[1] * below[1]) / sum(sides)


def _shapley(trees: PackedTrees, covers: Array, row: Array, feature: int) -> Fraction:
    """Return a feature's Shapley value by its definition, exactly."""
    others = [each for each in range(3) if each != feature]
    total = Fraction(0)
    for size in range(3):
        weight = Fraction(math.factorial(size) * math.factorial(2 - size), math.factorial(3))
        for chosen in itertools.combinations(others, size):
            known = frozenset(chosen)
            gain = _expected(trees, covers, row, known | {feature}, 0) - _expected(trees, covers, row, known, 0)
            total += weight * gain
    return total


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), depth=st.integers(0, 6))
def test_attributions_are_shapley_values_by_their_definition_also_where_a_feature_splits_again(
    seed: int, depth: int
) -> None:
    rng = np.random.default_rng(seed)
    nodes, counts = _grown(rng, depth)
    trees = PackedTrees(np.array(nodes, NODE), np.zeros(1, np.int64), np.float32(0), 3)
    covers = np.array(counts, np.float32)
    row = rng.choice(np.array([-2, -1, 0, 1, np.nan], np.float32), 3)

    made = Attributor(trees, covers).attribute(row)

    assert made.base == pytest.approx(float(_expected(trees, covers, row, frozenset(), 0)), abs=1e-12)
    exact = [float(_shapley(trees, covers, row, feature)) for feature in range(3)]
    assert made.contributions.tolist() == pytest.approx(exact, abs=1e-12)


def _stump() -> PackedTrees:
    nodes = np.zeros(3, NODE)
    nodes["left"] = (1, -1, -1)
    return PackedTrees(nodes, np.zeros(1, np.int64), np.float32(0), 2)


@pytest.mark.parametrize(
    "covers",
    [
        np.ones(2, np.float32),
        np.ones(3),
        np.array([2, 0, 2], np.float32),
        np.array([2, 3, -1], np.float32),
        np.array([np.inf, 1, 1], np.float32),
        np.array([np.nan, 1, 1], np.float32),
    ],
    ids=["too few", "of another type", "none", "negative", "infinite", "NaN"],
)
def test_covers_that_do_not_fit_are_refused(covers: Array) -> None:
    with pytest.raises(BundleError, match=r"covers: .*package the model again"):
        Attributor(_stump(), covers)


@pytest.mark.parametrize("roots", [[0, 0], [0, 1], [1]], ids=["a tree twice", "a child as root", "a root left out"])
def test_nodes_that_are_no_forest_are_refused(roots: list[int]) -> None:
    with pytest.raises(BundleError, match="two ways or none lead to a node"):
        Attributor(PackedTrees(_stump().nodes, np.array(roots, np.int64), np.float32(0), 2), np.ones(3, np.float32))


def test_a_chain_too_deep_to_be_explained_is_refused_at_once() -> None:
    count = 2 * ATTRIBUTION_DEPTH_MAX + 3
    nodes = np.zeros(count, NODE)
    nodes["left"] = -1
    nodes["left"][0] = 1
    nodes["left"][2 : count - 1 : 2] = np.arange(3, count, 2)
    trees = PackedTrees(nodes, np.zeros(1, np.int64), np.float32(0), 1)

    with pytest.raises(BundleError, match=f"{ATTRIBUTION_DEPTH_MAX + 1} deep, are too many or too deep"):
        Attributor(trees, np.ones(count, np.float32))


def test_the_same_row_is_attributed_to_the_same_bits(bundle_files: dict[str, bytes]) -> None:
    bundle = decode(bundle_files)
    assert bundle.covers is not None
    first, again = (
        Attributor(bundle.trees, bundle.covers).attribute(bundle.golden_features[3]).contributions for _ in range(2)
    )

    assert first.tobytes() == again.tobytes()
