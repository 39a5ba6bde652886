"""Packaging: what XGBoost wouldn't score to the bit is never written, and what is written is whole."""

from pathlib import Path

import numpy as np
import pytest
import xgboost as xgb

from actors.scorer.disk import PosixFolder
from actors.scorer.model import Scorer
from actors.scorer.shelf import Shelf
from tidegate.attribution import Attributor
from tidegate.bundle import MANIFEST, decode
from tidegate.errors import BundleError
from tidegate.features.declarations import FEATURE_COUNT
from tidegate.trees import PackedTrees
from training.package import PROOF_ROWS, covers_of, pack, proof_rows, prove, prove_attributions, write


@pytest.fixture(scope="module")
def booster(bundle_files: dict[str, bytes]) -> xgb.Booster:
    """The booster of the shared bundle."""
    return xgb.Booster(model_file=bytearray(bundle_files["model.ubj"]))


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return np.random.default_rng(5).normal(size=(500, FEATURE_COUNT)).astype(np.float32) * 1_000


def test_packed_trees_prove_equal_on_real_missing_and_extreme_values(booster: xgb.Booster, rows: np.ndarray) -> None:
    proof = proof_rows(rows, 1)

    assert len(prove(booster, pack(booster), proof)) == PROOF_ROWS
    assert np.isnan(proof).any()
    assert (proof > 1e38).any()
    assert (proof[PROOF_ROWS // 2 :] == rows[:, None]).all(axis=2).any(axis=0).all()


@pytest.mark.parametrize("field", ["value", "default_left"])
def test_trees_that_differ_in_one_node_are_not_packaged(booster: xgb.Booster, rows: np.ndarray, field: str) -> None:
    trees = pack(booster)
    nodes = trees.nodes.copy()
    nodes[field][0] = 1 - nodes[field][0]
    other = PackedTrees(nodes, trees.roots, trees.base, trees.features)

    with pytest.raises(BundleError, match=r"trees: row \d+ has margin .*; not packaged"):
        prove(booster, other, proof_rows(rows, 1))


def test_covers_that_explain_otherwise_than_xgboost_are_not_packaged(booster: xgb.Booster, rows: np.ndarray) -> None:
    trees, covers = pack(booster), covers_of(booster)
    prove_attributions(booster, Attributor(trees, covers), rows[:20])
    covers[1] *= 2

    with pytest.raises(BundleError, match=r"covers: row \d+ is attributed otherwise than by XGBoost; not packaged"):
        prove_attributions(booster, Attributor(trees, covers), rows[:20])


def test_golden_rows_are_of_every_kind(bundle_files: dict[str, bytes]) -> None:
    golden = decode(bundle_files).golden_features
    missing, extreme = np.isnan(golden).mean(axis=1) > 0.15, (golden > 1e38).any(axis=1)

    assert 40 < missing.sum() < 90
    assert extreme.sum() > 10
    assert (~missing & ~extreme).sum() > 140


def test_a_written_bundle_is_on_the_shelf_and_writing_it_again_changes_nothing(
    bundle_files: dict[str, bytes], tmp_path: Path
) -> None:
    bundle = write(bundle_files, tmp_path / "bundles")
    again = write(bundle_files, tmp_path / "bundles")
    shelf = Shelf(folder=PosixFolder(tmp_path / "bundles"))

    assert bundle == again
    assert [path.name for path in (tmp_path / "bundles").iterdir()] == [bundle]
    assert Scorer(shelf.load(bundle)).bundle.id == bundle


def test_what_is_no_bundle_is_not_written(bundle_files: dict[str, bytes], tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"nodes\.npy"):
        write({**bundle_files, "nodes.npy": b""}, tmp_path)

    assert list(tmp_path.iterdir()) == []
    assert MANIFEST in bundle_files
