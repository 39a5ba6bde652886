"""What each feature did to a margin: exact Shapley values of packed trees, for whoever asks why.

Path-dependent TreeSHAP (Lundberg et al. 2018, arXiv:1802.03888; 2020, doi:10.1038/s42256-019-0138-9): a feature that a
coalition leaves out goes both ways at a split, by the cover of the two children in training. The values are read as
Owen's multilinear extension (1972): the integral over t of what a feature changes where each other one is present with
probability t. On the way to one leaf that is a polynomial in t of a degree below the number of features there, so
that Gauss and Legendre's quadrature with half as many points is exact. Nothing is extended or unwound: one pass down
the nodes and one up, as in Linear TreeSHAP (Yu et al. 2022, arXiv:2209.08192).
"""

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from tidegate.errors import BundleError
from tidegate.limits import ATTRIBUTION_CELLS_MAX, ATTRIBUTION_DEPTH_MAX
from tidegate.trees import NODE, Floats, PackedTrees, kernel

Doubles = np.ndarray[Any, np.dtype[np.float64]]
Array = np.ndarray[Any, Any]

_FLOAT32_ROUNDING: Final = 2.0**-24


@dataclass(frozen=True, slots=True)
class Attribution:
    """What a margin is made of, in log odds: `base` and the contributions, float64 [features], are the margin.

    `tolerance` is what the margin may differ from their sum by, since it was summed up in float32: n·u·Σ|leaf|
    (Higham 2002, Accuracy and Stability of Numerical Algorithms, 4.2), u being 2^-24.
    """

    base: float
    contributions: Doubles
    tolerance: float

    @property
    def margin(self) -> float:
        """The sum of it all, in float64."""
        return float(self.base + self.contributions.sum())


@kernel
def _climb(nodes: Array, parents: Array) -> int:
    """Write each node's parent, -1 for a root; return how deep the deepest leaf is. Children lie behind parents."""
    depths = np.zeros(len(nodes), np.int64)
    for at in range(len(nodes)):
        left = nodes[at].left
        if left >= 0:
            parents[left : left + 2] = at
            depths[left : left + 2] = depths[at] + 1
    return depths.max()  # type: ignore[no-any-return]


@kernel
def _weigh(nodes: Array, covers: Floats, parents: Array, same: Array, own: Doubles, share: Doubles) -> None:
    """Write for each node the one above it that the same feature led to (or the root), and two shares.

    `own` is a child's share of what came by its parent in training, `share` that of all splits of the feature so far.
    """
    for at in range(len(nodes)):
        left = nodes[at].left
        if left < 0:
            continue
        above = at
        while parents[above] >= 0 and nodes[parents[above]].feature != nodes[at].feature:
            above = parents[above]
        both = np.float64(covers[left]) + np.float64(covers[left + 1])
        for child in range(left, left + 2):
            same[child] = above
            own[child] = np.float64(covers[child]) / both
            share[child] = share[above] * own[child]


class Tables(NamedTuple):
    """What an attribution needs of a model, for each node; [nodes, points] where it depends on the quadrature's t.

    `same` and `own` are `_weigh`'s. A way's weight is multiplied by `stays` where the row takes all splits of the
    feature, by `leaves` where it takes another side for the first time, by `own` where it did before. `gains` and
    `lost` [points] are by what the weight is multiplied where the feature's part of it is taken out.
    """

    nodes: Array
    same: Array
    own: Doubles
    stays: Doubles
    leaves: Doubles
    gains: Doubles
    lost: Doubles
    weights: Doubles


@kernel
def _down(model: Any, row: Floats, here: Array, held: Doubles) -> None:  # noqa: ANN401 - a compiled tuple
    """Write whether the row takes all splits of the feature that leads to a node, and the weight of the way to it."""
    held[:] = model.weights
    for at in range(len(held)):
        node = model.nodes[at]
        if node.left < 0:
            held[at] *= node.value
            continue
        value = row[node.feature]
        goes_left = node.default_left == 1 if np.isnan(value) else value < node.value
        for child in range(node.left, node.left + 2):
            were = here[model.same[child]]
            here[child] = were and goes_left == (child == node.left)
            for k in range(held.shape[1]):
                kept = model.stays[child, k] if here[child] else model.leaves[child, k] if were else model.own[child]
                held[child, k] = held[at, k] * kept


@kernel
def _up(model: Any, here: Array, held: Doubles, out: Doubles) -> None:  # noqa: ANN401 - a compiled tuple
    """Add to `out` what the feature of each split does to the leaves below it, gathering their weights in `held`."""
    for at in range(len(held) - 1, -1, -1):
        left = model.nodes[at].left
        if left < 0:
            continue
        total = 0.0
        for child in range(left, left + 2):
            above = model.same[child]
            if not here[above]:
                continue  # it made its difference further up
            for k in range(held.shape[1]):
                gained = model.gains[child, k] if here[child] else -model.lost[k]
                total += held[child, k] * (gained - model.gains[above, k])
        out[model.nodes[at].feature] += total
        for k in range(held.shape[1]):
            held[at, k] = held[left, k] + held[left + 1, k]


@kernel
def _attribute(model: Any, row: Floats, out: Doubles) -> None:  # noqa: ANN401 - a compiled tuple
    """Add to `out`, float64 [features], what each feature of the row does to the margin."""
    here = np.ones(len(model.nodes), np.bool_)
    held = np.empty(model.stays.shape, np.float64)
    _down(model, row, here, held)
    _up(model, here, held, out)


def check_covers(trees: PackedTrees, covers: Floats) -> None:
    """Refuse covers that don't fit the trees.

    Raises:
        BundleError: another length or type, or a number that is no share of the rows of training.
    """
    if covers.dtype != np.float32 or covers.shape != trees.nodes.shape:
        told = f"{covers.shape} of {covers.dtype}, expected float32 {trees.nodes.shape}"
        raise BundleError(f"covers: {told}; package the model again")
    if not np.isfinite(covers).all() or (covers <= 0).any():
        raise BundleError("covers: one is not finite or not above zero; package the model again")


def _check_shape(trees: PackedTrees) -> None:
    """Refuse nodes that two ways lead to, or none: they would be counted once, or at all."""
    left = trees.nodes["left"][trees.nodes["left"] >= 0].astype(np.int64)
    reached = np.sort(np.concatenate([trees.roots, left, left + 1]))
    if not np.array_equal(reached, np.arange(len(trees.nodes))):
        raise BundleError("trees: two ways or none lead to a node; package the model again")


class Attributor:
    """Attributes margins of one model: made once, then far below a millisecond a row."""

    def __init__(self, trees: PackedTrees, covers: Floats) -> None:
        """Lay out what doesn't depend on a row; `covers`, float32 [nodes], is how much of training came by a node.

        Raises:
            BundleError: the covers don't fit the trees, or the trees are too many and too deep to be explained.
        """
        _check_shape(trees)
        check_covers(trees, covers)
        count = len(trees.nodes)
        parents = np.full(count, -1, np.int64)
        deepest = _climb(trees.nodes, parents)
        points, weights = _quadrature(min(deepest, trees.features))
        if deepest > ATTRIBUTION_DEPTH_MAX or count * len(points) > ATTRIBUTION_CELLS_MAX:
            told = f"{count} nodes, {deepest} deep, are too many or too deep to be explained"
            raise BundleError(f"trees: {told}; train fewer or flatter ones")
        same, own, share = np.arange(count), np.ones(count), np.ones(count)
        _weigh(trees.nodes, covers, parents, same, own, share)
        absent = (1 - points) * share[:, None]
        present = points + absent
        self._model = Tables(
            nodes=trees.nodes,
            same=same,
            own=own,
            stays=present / present[same],
            leaves=absent / present[same],
            gains=(1 - share[:, None]) / present,
            lost=1 / (1 - points),
            weights=weights,
        )
        self._features = trees.features
        self._base = float(trees.base) + _expected(trees, parents, own)
        self._tolerance = _rounding(trees)

    def attribute(self, row: Floats) -> Attribution:
        """Return what one row's margin is made of; the row has at least as many values as the model has features."""
        out = np.zeros(self._features, np.float64)
        _attribute(self._model, row, out)
        return Attribution(self._base, out, self._tolerance)


def _quadrature(features: int) -> tuple[Doubles, Doubles]:
    """Return points and weights on 0 to 1 that are exact where up to as many features lead to a leaf."""
    points, weights = np.polynomial.legendre.leggauss(max((features + 1) // 2, 1))
    return (points + 1) / 2, weights / 2


def _expected(trees: PackedTrees, parents: Array, own: Doubles) -> float:
    """Return the sum of the leaves, each by its share of the rows of training."""
    reached = own.copy()
    for at in range(len(reached)):
        if parents[at] >= 0:
            reached[at] *= reached[parents[at]]
    return float(np.dot(trees.nodes["value"].astype(np.float64), np.where(trees.nodes["left"] < 0, reached, 0)))


def _rounding(trees: PackedTrees) -> float:
    """Return the bound on the error of a margin's sum in float32."""
    values = np.where(trees.nodes["left"] < 0, np.abs(trees.nodes["value"]), 0).astype(np.float64)
    largest = np.maximum.reduceat(values, np.sort(trees.roots)).sum() + abs(float(trees.base))
    return float((len(trees.roots) + 1) * _FLOAT32_ROUNDING * largest)


def warm() -> None:
    """Compile the attribution into its cache."""
    nodes = np.zeros(3, NODE)
    nodes["left"] = (1, -1, -1)
    trees = PackedTrees(nodes, np.zeros(1, np.int64), np.float32(0), 1)
    Attributor(trees, np.ones(3, np.float32)).attribute(np.zeros(1, np.float32))
