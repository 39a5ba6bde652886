"""The bundle: model, calibration, policy and golden rows as parts under one content-addressed manifest. Pure.

Models travel as data, never as code or pickle. A bundle is verified whole before any of it is used.
"""

import hashlib
import html
import io
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tidegate.attribution import check_covers
from tidegate.clock import rfc3339
from tidegate.errors import BundleError
from tidegate.features.declarations import FEATURE_COUNT, FINGERPRINT, NAMES
from tidegate.ids import BundleId
from tidegate.policy.check import uncompiled
from tidegate.policy.terms import Policy
from tidegate.trees import Floats, PackedTrees

SCHEMA_VERSION: Final = 1
SCORE_STEPS: Final = 100
PROBABILITY_TOLERANCE: Final = 1e-6
CALIBRATION_POINTS_MAX: Final = 64
MANIFEST: Final = "manifest.json"
PARTS: Final = ("model.ubj", "nodes.npy", "roots.npy", "golden_features.npy", "golden_margins.npy", "golden_probs.npy")
ACTIVE: Final = "active"
"""The file on a shelf of bundles that holds the id of the one that decides, and a newline."""
CARD: Final = "card.md"
CARD_PAGE: Final = "card.html"
"""The model card, beside the parts; for people, so no part of what the bundle's id is the digest of."""
COVERS: Final = "covers.npy"
"""An addition to the parts: a bundle of before it decides as ever, and can't say why."""
_ID_HEX: Final = 12


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Part(_Section):
    """One file of a bundle."""

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=1)]


class DataVersion(_Section):
    """What a model was trained on."""

    source: str
    first_us: int
    cut_us: Annotated[int, Field(description="all payments learnt from came before")]
    rows: Annotated[int, Field(ge=1)]
    frauds: Annotated[int, Field(ge=1)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$", description="of the features and labels used")]


class Calibration(_Section):
    """A monotone, piecewise linear map from margin to probability; flat beyond its ends."""

    margins: Annotated[tuple[float, ...], Field(min_length=2, max_length=CALIBRATION_POINTS_MAX)]
    probabilities: Annotated[tuple[float, ...], Field(min_length=2, max_length=CALIBRATION_POINTS_MAX)]

    @model_validator(mode="after")
    def _monotone(self) -> Self:
        if len(self.margins) != len(self.probabilities):
            raise ValueError("margins and probabilities must have one length")
        if any(b <= a for a, b in zip(self.margins, self.margins[1:], strict=False)):
            raise ValueError("margins must ascend")
        ordered = (0.0, *self.probabilities, 1.0)
        if any(not a <= b for a, b in itertools.pairwise(ordered)):
            raise ValueError("probabilities must not fall and lie in 0 to 1")
        return self


class GateVerdict(_Section):
    """What the gate said of a model before it was packaged, and whom it stood against: None for a first model."""

    passed: bool
    against: str | None = None
    reasons: Annotated[tuple[str, ...], Field(min_length=1, max_length=32)]


class Override(_Section):
    """Somebody's word that a bundle may decide although the gate said no."""

    by: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^\S.*$", description="who answers for it")]
    why: Annotated[str, Field(min_length=1, max_length=500, pattern=r"^\S.*$")]
    at_us: Annotated[int, Field(ge=0)]


class Profile(_Section):
    """How a value was spread when the model was trained: shares between the edges, and of what was missing, last."""

    edges: Annotated[tuple[float, ...], Field(max_length=16)]
    shares: Annotated[tuple[float, ...], Field(min_length=2, max_length=18)]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.shares) != len(self.edges) + 2:
            raise ValueError("there must be a share before, between and behind the edges, and one of what is missing")
        return self


class Manifest(_Section):
    """What a bundle says of itself; its digest is the bundle's id. What a release adds is optional."""

    schema_version: Annotated[int, Field(ge=1)]
    feature_fingerprint: str
    feature_names: tuple[str, ...]
    data: DataVersion
    trained_at_us: int
    xgboost_version: str
    parameters: dict[str, float | int | str]
    metrics: dict[str, float]
    base_margin: float
    calibration: Calibration
    policy: Policy
    parts: dict[str, Part]
    intervals: dict[str, tuple[float, float]] | None = None
    profile: dict[str, Profile] | None = None
    gate: GateVerdict | None = None
    override: Override | None = None


def canonical(manifest: Manifest) -> bytes:
    """Return a manifest's canonical JSON: what its id is the digest of. What isn't there has no part in it."""
    said = {name: value for name, value in manifest.model_dump(mode="json").items() if value is not None}
    return json.dumps(said, sort_keys=True, separators=(",", ":")).encode()


def check_admitted(manifest: Manifest) -> None:
    """Refuse a bundle that may not become active.

    Raises:
        BundleError: the gate said no, or was never asked, and nobody has recorded an override.
    """
    gate = manifest.gate
    if manifest.override is not None or (gate is not None and gate.passed):
        return
    said = "was never judged" if gate is None else "failed: " + "; ".join(gate.reasons)
    raise BundleError(f"gate: {said}; train again, or record who wants it and why: tidegate bundle override")


def overridden(manifest: Manifest, *, by: str, why: str, at_us: int) -> Manifest:
    """Return the manifest of the same model with somebody's override: another bundle, since its id is another.

    Raises:
        BundleError: the gate has passed it, or `by` or `why` says nothing.
    """
    if manifest.gate is not None and manifest.gate.passed:
        raise BundleError("gate: has passed this bundle, there is nothing to override; activate it")
    try:
        override = Override(by=by, why=why, at_us=at_us)
    except ValidationError as error:
        field = error.errors()[0]
        raise BundleError(f"override: {field['loc'][0]}: {field['msg']}; say who and why") from error
    return manifest.model_copy(update={"override": override})


def card_of_override(files: Mapping[str, bytes], changed: Manifest, original: BundleId) -> dict[str, bytes]:
    """Return the model cards among a bundle's files as its copy has them, with the override under the title."""
    override, copy = changed.override, bundle_id(changed)
    if override is None:
        return {}
    since = rfc3339(override.at_us)
    said = f"The gate has not passed {original}; {override.by} answers for this copy of it since {since}: "
    told = said + override.why
    notes = {
        CARD: ("\n", f"\n\n> {told}\n"),
        CARD_PAGE: ("</h1>", f"</h1><blockquote>{html.escape(told)}</blockquote>"),
    }
    cards = {
        name: files[name].decode().replace(f"Model {original}", f"Model {copy}") for name in notes if name in files
    }
    return {name: text.replace(*notes[name], 1).encode() for name, text in cards.items()}


def bundle_id(manifest: Manifest) -> BundleId:
    """Return `b-` and the first 12 hex digits of the SHA-256 of the canonical manifest."""
    return BundleId(f"b-{hashlib.sha256(canonical(manifest)).hexdigest()[:_ID_HEX]}")


def part(data: bytes) -> Part:
    """Return a part's entry in the manifest."""
    return Part(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))


def dump_array(array: np.ndarray[Any, Any]) -> bytes:
    """Return an array in NumPy's .npy format."""
    sink = io.BytesIO()
    np.save(sink, array, allow_pickle=False)
    return sink.getvalue()


def load_array(name: str, data: bytes) -> np.ndarray[Any, Any]:
    """Return the array that `dump_array` made.

    Raises:
        BundleError: it is none.
    """
    try:
        return np.asarray(np.load(io.BytesIO(data), allow_pickle=False))
    except (ValueError, EOFError, OSError) as error:
        raise BundleError(f"{name}: not an array ({error}); package the model again") from error


def score_cuts() -> tuple[float, ...]:
    """Return the probabilities at which the risk score rises by one: even steps of log odds from 1e-4 to 0.99."""
    low, high = np.log(1e-4 / (1 - 1e-4)), np.log(0.99 / 0.01)
    odds = low + (high - low) * np.arange(1, SCORE_STEPS + 1) / SCORE_STEPS
    return tuple((1 / (1 + np.exp(-odds))).tolist())


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle in memory."""

    id: BundleId
    manifest: Manifest
    trees: PackedTrees
    golden_features: Floats
    golden_margins: Floats
    golden_probabilities: np.ndarray[Any, np.dtype[np.float64]]
    covers: Floats | None = None


def _manifest(data: bytes) -> Manifest:
    try:
        raw = json.loads(data)
        version = raw.get("schema_version") if isinstance(raw, dict) else None
        if version != SCHEMA_VERSION:
            raise BundleError(f"schema_version: {version!r}, this release reads {SCHEMA_VERSION}; upgrade or retrain")
        return Manifest.model_validate_json(data)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BundleError(f"{MANIFEST}: not JSON ({error}); fetch or package the bundle again") from error
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise BundleError(f"{MANIFEST}: {said}; package the model again") from error


def _check_parts(manifest: Manifest, files: Mapping[str, bytes]) -> None:
    for name in (*PARTS, *(name for name in (COVERS,) if name in manifest.parts)):
        if name not in manifest.parts or name not in files:
            raise BundleError(f"{name}: missing; fetch or package the bundle again")
        data, said = files[name], manifest.parts[name]
        if len(data) != said.bytes or hashlib.sha256(data).hexdigest() != said.sha256:
            raise BundleError(f"{name}: its bytes don't match the manifest; fetch or package the bundle again")


def decode(files: Mapping[str, bytes]) -> Bundle:
    """Return the bundle that the named files hold, each part proven by its digest.

    Raises:
        BundleError: anything is missing, damaged, of another version, or of another feature kernel.
    """
    if MANIFEST not in files:
        raise BundleError(f"{MANIFEST}: missing; fetch or package the bundle again")
    manifest = _manifest(files[MANIFEST])
    if manifest.feature_fingerprint != FINGERPRINT or manifest.feature_names != NAMES:
        raise BundleError(
            f"feature_fingerprint: {manifest.feature_fingerprint}, this release computes {FINGERPRINT}; retrain"
        )
    _check_parts(manifest, files)
    if wrong := uncompiled(manifest.policy):
        raise BundleError(
            f"policy: {'; '.join(message for _, message in wrong)}; package the model with another policy"
        )
    arrays = {name: load_array(name, files[name]) for name in PARTS[1:]}
    roots = arrays["roots.npy"].astype(np.int64)
    trees = PackedTrees(arrays["nodes.npy"], roots, np.float32(manifest.base_margin), FEATURE_COUNT)
    covers = load_array(COVERS, files[COVERS]) if COVERS in manifest.parts else None
    if covers is not None:
        check_covers(trees, covers)
    golden = (arrays["golden_features.npy"], arrays["golden_margins.npy"], arrays["golden_probs.npy"])
    return Bundle(bundle_id(manifest), manifest, trees, *golden, covers=covers)
