"""A bundle is verified whole: what is missing, damaged, foreign or too new is refused, with what to do about it."""

import json
from typing import Any

import numpy as np
import pytest

from tidegate.bundle import (
    COVERS,
    MANIFEST,
    PARTS,
    Calibration,
    Manifest,
    canonical,
    decode,
    dump_array,
    part,
    score_cuts,
)
from tidegate.errors import BundleError
from tidegate.features.declarations import FINGERPRINT
from tidegate.limits import GOLDEN_ROWS

Files = dict[str, bytes]


def _said(files: Files, **changes: Any) -> Files:
    """Return the files with a manifest that says something else."""
    manifest = json.loads(files[MANIFEST]) | changes
    return {**files, MANIFEST: json.dumps(manifest).encode()}


def _with(files: Files, name: str, data: bytes) -> Files:
    """Return the files with another part that the manifest agrees to."""
    parts = json.loads(files[MANIFEST])["parts"] | {name: part(data).model_dump()}
    return {**_said(files, parts=parts), name: data}


def test_a_packaged_bundle_is_read_back_as_it_was_made(bundle_files: Files) -> None:
    bundle = decode(bundle_files)

    assert bundle.manifest.feature_fingerprint == FINGERPRINT
    assert len(bundle.golden_margins) == GOLDEN_ROWS
    assert canonical(bundle.manifest) == bundle_files[MANIFEST]


def test_the_id_follows_from_the_content_alone(bundle_files: Files) -> None:
    same = _said(bundle_files)
    other = _said(bundle_files, trained_at_us=1)

    assert decode(same).id == decode(bundle_files).id
    assert decode(other).id != decode(bundle_files).id
    assert len(decode(other).id) == len("b-") + 12


@pytest.mark.parametrize("name", [*PARTS, COVERS])
def test_one_changed_bit_of_any_part_is_found_and_named(bundle_files: Files, name: str) -> None:
    data = bytearray(bundle_files[name])
    data[len(data) // 2] ^= 1

    with pytest.raises(BundleError, match=f"{name}: its bytes don't match the manifest; fetch"):
        decode({**bundle_files, name: bytes(data)})


@pytest.mark.parametrize("length", [0, 100])
def test_a_part_cut_short_is_found(bundle_files: Files, length: int) -> None:
    with pytest.raises(BundleError, match=r"nodes\.npy: its bytes don't match the manifest"):
        decode({**bundle_files, "nodes.npy": bundle_files["nodes.npy"][:length]})


@pytest.mark.parametrize("name", [MANIFEST, *PARTS, COVERS])
def test_a_missing_part_is_named(bundle_files: Files, name: str) -> None:
    files = {each: data for each, data in bundle_files.items() if each != name}

    with pytest.raises(BundleError, match=f"{name}: missing; fetch"):
        decode(files)


def test_a_bundle_of_before_there_were_covers_is_whole_without_them(bundle_files: Files) -> None:
    parts = {name: said for name, said in json.loads(bundle_files[MANIFEST])["parts"].items() if name != COVERS}
    old = {name: data for name, data in _said(bundle_files, parts=parts).items() if name != COVERS}

    assert decode(old).covers is None
    assert decode(bundle_files).covers is not None


def test_covers_that_do_not_fit_the_trees_are_refused(bundle_files: Files) -> None:
    with pytest.raises(BundleError, match=r"covers: \(3,\) of float32, expected float32 .*package the model again"):
        decode(_with(bundle_files, COVERS, dump_array(np.ones(3, np.float32))))


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_an_unknown_schema_version_is_refused_before_anything_else(bundle_files: Files, version: object) -> None:
    with pytest.raises(BundleError, match=r"schema_version: .* upgrade or retrain"):
        decode(_said(bundle_files, schema_version=version, something="new"))


def test_a_model_of_another_feature_kernel_is_refused(bundle_files: Files) -> None:
    with pytest.raises(BundleError, match=f"feature_fingerprint: 0123, this release computes {FINGERPRINT}; retrain"):
        decode(_said(bundle_files, feature_fingerprint="0123"))


def test_an_unknown_field_of_the_manifest_is_named(bundle_files: Files) -> None:
    with pytest.raises(BundleError, match=r"manifest\.json: colour: Extra inputs"):
        decode(_said(bundle_files, colour="blue"))


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff"])
def test_a_manifest_that_is_no_json_object_is_refused(bundle_files: Files, text: bytes) -> None:
    with pytest.raises(BundleError):
        decode({**bundle_files, MANIFEST: text})


def test_an_array_that_holds_python_objects_is_never_unpickled(bundle_files: Files) -> None:
    sink = np.array([{"a": 1}], dtype=object)
    pickled = sink.dumps()

    with pytest.raises(BundleError, match=r"roots\.npy: not an array"):
        decode(_with(bundle_files, "roots.npy", pickled))


def test_trees_that_loop_are_refused_however_well_the_manifest_names_them(bundle_files: Files) -> None:
    nodes = decode(bundle_files).trees.nodes.copy()
    nodes["left"][0] = 0

    with pytest.raises(BundleError, match="trees: a node's child or feature is out of range"):
        decode(_with(bundle_files, "nodes.npy", dump_array(nodes)))


@pytest.mark.parametrize(
    ("margins", "probabilities"),
    [
        ((0.0, 0.0), (0.1, 0.2)),
        ((0.0, 1.0), (0.2, 0.1)),
        ((0.0, 1.0), (0.1, 1.1)),
        ((0.0, 1.0, 2.0), (0.1, 0.2)),
        (tuple(map(float, range(65))), (0.5,) * 65),
    ],
    ids=["margins stand still", "probabilities fall", "beyond one", "lengths differ", "too many points"],
)
def test_a_calibration_that_is_not_monotone_is_refused(
    margins: tuple[float, ...], probabilities: tuple[float, ...]
) -> None:
    with pytest.raises(ValueError, match=r"margins|probabilities"):
        Calibration(margins=margins, probabilities=probabilities)


def test_the_risk_score_rises_in_even_steps_of_log_odds_up_to_99_percent() -> None:
    cuts = np.array(score_cuts())
    steps = np.diff(np.log(cuts / (1 - cuts)))

    assert len(cuts) == 100
    assert cuts[-1] == pytest.approx(0.99)
    assert np.allclose(steps, steps[0])


def test_the_manifest_survives_its_own_json(bundle_files: Files) -> None:
    manifest = decode(bundle_files).manifest

    assert Manifest.model_validate_json(canonical(manifest)) == manifest


def test_a_bundle_with_a_rule_that_does_not_compile_is_refused_with_the_rule_and_why(bundle_files: Files) -> None:
    policy = json.loads(bundle_files[MANIFEST])["policy"]
    rule = {"number": 1, "id": "loops", "state": "active", "when": "[1].all(x, x > 0)", "outcome": "review"}
    policy["rules"] = [rule | {"reason": "RULE_OTHER", "text": "t"}]

    with pytest.raises(BundleError, match=r"policy: loops: character 1: .*; package the model with another policy"):
        decode(_said(bundle_files, policy=policy))
