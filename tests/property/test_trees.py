"""The packed walk gives XGBoost's margins to the bit, whatever the model and the row; a broken pack is refused."""

from typing import Any

import numpy as np
import pytest
import xgboost as xgb
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tidegate.errors import BundleError
from tidegate.features.declarations import FEATURE_COUNT
from tidegate.limits import TREES_MAX
from tidegate.trees import NODE, PackedTrees
from training.package import pack

Array = np.ndarray[Any, Any]
ROWS = 512


def _model(seed: int, depth: int, trees: int, base: float = 0.5) -> tuple[xgb.Booster, Array]:
    rng = np.random.default_rng(seed)
    scale = rng.choice([1e-3, 1.0, 1e6], FEATURE_COUNT)
    rows = np.round(rng.normal(size=(ROWS, FEATURE_COUNT)) * 4) * scale
    rows = rows.astype(np.float32)
    rows[rng.random(rows.shape) < 0.2] = np.nan
    target = rng.integers(0, 2, ROWS)
    parameters = {
        "objective": "binary:logistic",
        "max_depth": depth,
        "base_score": base,
        "eta": 0.7,
        "nthread": 1,
        "min_child_weight": 0,
    }
    return xgb.train(parameters, xgb.DMatrix(rows, target, nthread=1), trees), rows


def _oracle(booster: xgb.Booster, rows: Array) -> Array:
    return np.asarray(booster.predict(xgb.DMatrix(rows, nthread=1), output_margin=True), np.float32)


def _at_thresholds(trees: PackedTrees, rows: Array, rng: np.random.Generator) -> Array:
    """Return rows whose values equal thresholds, or lie one float beside them."""
    inner = trees.nodes[trees.nodes["left"] >= 0]
    made = rows.copy()
    if len(inner):
        chosen = rng.integers(0, len(inner), made.shape)
        values = inner["value"][chosen]
        beside = np.nextafter(values, rng.choice([-np.inf, np.inf], made.shape).astype(np.float32))
        at = rng.random(made.shape)
        belongs = inner["feature"][chosen] == np.arange(made.shape[1])
        made = np.where(belongs & (at < 0.5), values, np.where(belongs, beside, made))
    return np.ascontiguousarray(made, np.float32)


@settings(max_examples=25)
@example(seed=15, depth=4, trees=1)  # a leaf of minus zero
@given(seed=st.integers(0, 2**32 - 1), depth=st.integers(1, 7), trees=st.integers(1, 12))
def test_the_packed_walk_equals_xgboost_to_the_bit(seed: int, depth: int, trees: int) -> None:
    booster, rows = _model(seed, depth, trees)
    packed = pack(booster)
    rng = np.random.default_rng(seed)
    odd = rng.choice(np.array([np.nan, 0.0, -0.0, 3e38, -3e38, 1e-45], np.float32), rows.shape)
    every = np.concatenate([rows, _at_thresholds(packed, rows, rng), odd])

    assert packed.margins(every).tobytes() == _oracle(booster, every).tobytes()
    assert packed.margin(every[0]) == float(packed.margins(every[:1])[0])


def test_a_base_score_whose_sum_could_differ_is_refused_with_what_to_do() -> None:
    with pytest.raises(BundleError, match=r"base_score is 0\.3.*; train with base_score=0\.5"):
        pack(_model(1, 2, 2, base=0.3)[0])


def _leaf_and_split() -> Array:
    nodes = np.zeros(3, NODE)
    nodes["left"] = (1, -1, -1)
    nodes["value"] = (0.5, -1, 1)
    return nodes


@pytest.mark.parametrize(
    ("field", "value"),
    [("left", 0), ("left", 2), ("left", 2**31 - 1), ("feature", 9), ("feature", -1), ("value", np.nan)],
    ids=["a cycle", "a right child outside", "a left child far outside", "a feature outside", "a negative one", "NaN"],
)
def test_nodes_that_could_loop_or_read_outside_are_refused(field: str, value: float) -> None:
    nodes = _leaf_and_split()
    nodes[field][0] = value

    with pytest.raises(BundleError, match="trees: "):
        PackedTrees(nodes, np.zeros(1, np.int64), np.float32(0), 9)


@pytest.mark.parametrize("roots", [[], [3], [-1], [0] * (TREES_MAX + 1)], ids=["none", "outside", "negative", "many"])
def test_roots_outside_the_nodes_or_too_many_are_refused(roots: list[int]) -> None:
    with pytest.raises(BundleError, match="roots"):
        PackedTrees(_leaf_and_split(), np.array(roots, np.int64), np.float32(0), 9)


@settings(max_examples=200)
@given(data=st.binary(min_size=NODE.itemsize, max_size=NODE.itemsize * 8))
def test_a_strangers_nodes_are_refused_or_walked_to_an_end(data: bytes) -> None:
    nodes = np.frombuffer(data[: len(data) // NODE.itemsize * NODE.itemsize], NODE)
    try:
        trees = PackedTrees(nodes, np.zeros(1, np.int64), np.float32(0), 4)
    except BundleError:
        return

    assert trees.margin(np.zeros(4, np.float32)) in {float(value) for value in nodes["value"]}
