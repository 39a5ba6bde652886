"""Packaging: a trained booster becomes a bundle folder, proven bit-equal to XGBoost before it is written."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import xgboost as xgb

from tidegate.attribution import Attributor
from tidegate.bundle import (
    MANIFEST,
    SCHEMA_VERSION,
    Calibration,
    DataVersion,
    GateVerdict,
    Manifest,
    Profile,
    bundle_id,
    canonical,
    decode,
    dump_array,
    part,
)
from tidegate.errors import BundleError
from tidegate.features.declarations import FEATURE_COUNT, FINGERPRINT, NAMES
from tidegate.ids import BundleId
from tidegate.limits import GOLDEN_ROWS
from tidegate.policy.terms import Policy
from tidegate.trees import NODE, Floats, PackedTrees

PROOF_ROWS: Final = 4_096
ATTRIBUTION_TOLERANCE: Final = 1e-5
"""XGBoost adds up shares of paths in float32: some hundred roundings of 2^-24 each, against none to speak of here."""
_LOG_ODDS_OF_HALF: Final = np.float32(-0.0)
"""What XGBoost starts a sum from: minus zero, which a tree of leaves of minus zero leaves as it is."""
Doubles = np.ndarray[Any, np.dtype[np.float64]]


def pack(booster: xgb.Booster) -> PackedTrees:
    """Return a booster's trees as packed nodes; children lie behind their parents, the right one behind the left.

    Raises:
        BundleError: the booster isn't a plain `gbtree` of numeric splits with a base score of one half. From another
            base XGBoost's own sum differs in the last bits from the walk's.
    """
    model = json_model(booster)
    base = float(model["learner"]["learner_model_param"]["base_score"].strip("[]"))
    if base != 0.5:  # noqa: PLR2004 - log odds of zero
        raise BundleError(f"trees: base_score is {base}; train with base_score=0.5")
    roots: list[int] = []
    nodes: list[tuple[float, int, int, int, int]] = []
    for tree in _trees(model):
        if any(tree.get("split_type", ())):
            raise BundleError("trees: categorical splits can't be packed; train on numbers only")
        roots.append(len(nodes))
        nodes.extend(_pack_tree(tree, len(nodes)))
    return PackedTrees(np.array(nodes, NODE), np.array(roots, np.int64), _LOG_ODDS_OF_HALF, FEATURE_COUNT)


def json_model(booster: xgb.Booster) -> dict[str, Any]:
    """Return a booster's own JSON, where floats have all their digits."""
    model: dict[str, Any] = json.loads(bytes(booster.save_raw("json")))
    return model


def _trees(model: dict[str, Any]) -> list[dict[str, list[Any]]]:
    trees: list[dict[str, list[Any]]] = model["learner"]["gradient_booster"]["model"]["trees"]
    return trees


def _breadth_first(tree: dict[str, list[Any]]) -> list[int]:
    """Return a tree's nodes in the order in which they are packed: siblings side by side, behind their parents."""
    order = [0]
    for at in order:
        if tree["left_children"][at] >= 0:
            order.extend((tree["left_children"][at], tree["right_children"][at]))
    return order


def _pack_tree(tree: dict[str, list[Any]], start: int) -> list[tuple[float, int, int, int, int]]:
    """Lay a tree out from `start`."""
    packed: list[tuple[float, int, int, int, int]] = []
    left = start + 1
    for at in _breadth_first(tree):
        value = float(np.float32(tree["split_conditions"][at]))
        if tree["left_children"][at] < 0:
            packed.append((value, -1, 0, 0, 0))
            continue
        packed.append((value, left, tree["split_indices"][at], int(tree["default_left"][at]), 0))
        left += 2
    return packed


def covers_of(booster: xgb.Booster) -> Floats:
    """Return how much of training (the sum of second derivatives) came by each packed node, float32 [nodes]."""
    trees = _trees(json_model(booster))
    return np.array([tree["sum_hessian"][at] for tree in trees for at in _breadth_first(tree)], np.float32)


def prove(booster: xgb.Booster, trees: PackedTrees, rows: Floats) -> Floats:
    """Return the margins of `rows`, the same to the bit by XGBoost and by the packed walk.

    Raises:
        BundleError: they differ.
    """
    oracle = booster.predict(xgb.DMatrix(rows, nthread=1), output_margin=True).astype(np.float32)
    ours = trees.margins(rows)
    differ = np.flatnonzero(oracle.view(np.uint32) != ours.view(np.uint32))
    if len(differ):
        at = differ[0]
        raise BundleError(f"trees: row {at} has margin {ours[at]!r}, XGBoost says {oracle[at]!r}; not packaged")
    return ours


def prove_attributions(booster: xgb.Booster, attributor: Attributor, rows: Floats) -> None:
    """Refuse a model whose attributions differ from XGBoost's own, which are summed up in float32.

    Raises:
        BundleError: a contribution or the base differs by more than `ATTRIBUTION_TOLERANCE` of what a row is made of.
    """
    oracle = booster.predict(xgb.DMatrix(rows, nthread=1), pred_contribs=True).astype(np.float64)
    for at, row in enumerate(rows):
        made = attributor.attribute(row)
        ours = np.append(made.contributions, made.base)
        if np.abs(ours - oracle[at]).max() > ATTRIBUTION_TOLERANCE * max(np.abs(oracle[at]).sum(), 1.0):
            raise BundleError(f"covers: row {at} is attributed otherwise than by XGBoost; not packaged")


def proof_rows(rows: Floats, seed: int) -> Floats:
    """Return rows to prove a model on: real ones, and real ones with values missing or extreme."""
    rng = np.random.default_rng(seed)
    chosen = rows[rng.integers(0, len(rows), PROOF_ROWS)].copy()
    odd = chosen[: PROOF_ROWS // 4]
    odd[rng.random(odd.shape) < 0.3] = np.nan  # noqa: PLR2004 - a third of the values
    extreme = chosen[PROOF_ROWS // 4 : PROOF_ROWS // 3]
    extreme[rng.random(extreme.shape) < 0.1] = np.float32(3e38)  # noqa: PLR2004 - a tenth
    return chosen


class Judged(NamedTuple):
    """What was found out about a model before it is packaged; a bundle without a verdict never becomes active."""

    gate: GateVerdict | None = None
    intervals: dict[str, tuple[float, float]] | None = None
    profile: dict[str, Profile] | None = None


UNJUDGED: Final = Judged()


def assemble(  # noqa: PLR0913 - all that a bundle says
    *,
    booster: xgb.Booster,
    rows: Floats,
    calibration: Calibration,
    data: DataVersion,
    metrics: dict[str, float],
    parameters: dict[str, float | int | str],
    policy: Policy,
    trained_at_us: int,
    seed: int,
    judged: Judged = UNJUDGED,
) -> dict[str, bytes]:
    """Return a bundle's files; `rows` are real vectors, float32 [n, FEATURE_COUNT].

    Raises:
        BundleError: the packed trees, or what they are attributed to, differ from XGBoost anywhere in the proof.
    """
    trees = pack(booster)
    proof = proof_rows(rows, seed)
    margins = prove(booster, trees, proof)
    golden = slice(None, None, PROOF_ROWS // GOLDEN_ROWS)  # of each kind its share
    covers = covers_of(booster)
    prove_attributions(booster, Attributor(trees, covers), proof[golden])
    probabilities = np.interp(margins[golden], calibration.margins, calibration.probabilities)
    files = {
        "model.ubj": bytes(booster.save_raw("ubj")),
        "nodes.npy": dump_array(trees.nodes),
        "roots.npy": dump_array(trees.roots),
        "covers.npy": dump_array(covers),
        "golden_features.npy": dump_array(proof[golden]),
        "golden_margins.npy": dump_array(margins[golden]),
        "golden_probs.npy": dump_array(probabilities),
    }
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        feature_fingerprint=FINGERPRINT,
        feature_names=NAMES,
        data=data,
        trained_at_us=trained_at_us,
        xgboost_version=xgb.__version__,
        parameters=parameters,
        metrics=metrics,
        base_margin=float(trees.base),
        calibration=calibration,
        policy=policy,
        intervals=judged.intervals,
        profile=judged.profile,
        gate=judged.gate,
        parts={name: part(content) for name, content in files.items()},
    )
    return {**files, MANIFEST: canonical(manifest)}


def write(files: dict[str, bytes], shelf: Path) -> BundleId:
    """Put a bundle on the shelf: whole or not at all. One that is there already stays."""
    made = decode(files)
    final = shelf / bundle_id(made.manifest)
    if final.exists():
        return made.id
    shelf.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=shelf) as scratch:
        folder = Path(scratch) / "bundle"
        folder.mkdir()
        for name, content in files.items():
            _write_durably(folder / name, content)
        _sync_folder(folder)
        folder.rename(final)
    _sync_folder(shelf)
    return made.id


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
