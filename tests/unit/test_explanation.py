"""Explanations: features by weight, in sum the margin; what a key of one merchant may not know isn't told."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tidegate.bundle import Bundle, decode
from tidegate.decided import Decided
from tidegate.decision import NO_SCORE, Mark
from tidegate.errors import BundleError
from tidegate.explanation import Explainer, leading, unexplained
from tidegate.features.declarations import FEATURE_COUNT, FINGERPRINT, NAMES
from tidegate.limits import EXPLAINED_PLAINLY_MAX
from tidegate.records import DECISION_BODY_BYTES, FEATURE_SLOTS

Make = Callable[[int], Decided]


@pytest.fixture(scope="module")
def bundle(bundle_files: dict[str, bytes]) -> Bundle:
    return decode(bundle_files)


@pytest.fixture(scope="module")
def explainer(bundle: Bundle) -> Explainer:
    return Explainer(bundle)


@pytest.fixture(scope="module")
def decided(bundle: Bundle) -> Make:
    """Return decisions on golden rows."""

    def of_row(row: int) -> Decided:
        vector = np.zeros(FEATURE_SLOTS, np.float32)
        vector[:FEATURE_COUNT] = bundle.golden_features[row]
        empty = Decided.from_body(bytes(DECISION_BODY_BYTES))
        return empty._replace(
            features=vector.tobytes(),
            margin=float(bundle.golden_margins[row]),
            currency="EUR",
            feature_fingerprint=FINGERPRINT,
            bundle=bundle.id,
        )

    return of_row


def _told(explainer: Explainer, decided: Decided, **asked: Any) -> dict[str, Any]:
    return explainer.tell(decided, explainer.attribute(decided), **{"top": 8, "plainly": False} | asked)


@pytest.mark.parametrize("row", [0, 40, 200])
@pytest.mark.parametrize("top", [1, 8, FEATURE_COUNT])
def test_base_features_and_others_add_up_to_the_margin(explainer: Explainer, decided: Make, row: int, top: int) -> None:
    told = _told(explainer, decided(row), top=top)

    assert len(told["features"]) == top
    assert told["others"]["count"] == FEATURE_COUNT - top
    total = told["base"] + sum(f["contribution"] for f in told["features"]) + told["others"]["contribution"]
    assert total == pytest.approx(told["margin"], abs=1e-5)
    assert told["sums_to_margin"] is True


def test_features_come_by_weight_with_value_direction_and_words(explainer: Explainer, decided: Make) -> None:
    told = _told(explainer, decided(200))["features"]

    weights = [abs(f["contribution"]) for f in told]
    assert weights == sorted(weights, reverse=True)
    assert all(f["direction"] == ("raises" if f["contribution"] > 0 else "lowers") for f in told if f["contribution"])
    assert all(f["feature"] in NAMES and f["text"].endswith(".") for f in told)
    value = decode_value(decided(200), told[0]["feature"])
    assert told[0]["value"] == (value if np.isfinite(value) else None)


def decode_value(decided: Decided, name: str) -> float:
    """Return a feature of a decision's vector."""
    return float(np.frombuffer(decided.features, np.float32)[NAMES.index(name)])


def test_a_margin_that_is_another_does_not_pass_for_the_sum(explainer: Explainer, decided: Make) -> None:
    assert _told(explainer, decided(3)._replace(margin=decided(3).margin + 0.01))["sums_to_margin"] is False


def test_told_plainly_there_are_the_features_that_raised_the_risk_and_no_number(
    explainer: Explainer, decided: Make
) -> None:
    told = _told(explainer, decided(200), plainly=True)

    made = explainer.attribute(decided(200)).contributions
    assert 0 < len(told["features"]) <= EXPLAINED_PLAINLY_MAX
    assert [f["feature"] for f in told["features"]] == [
        NAMES[at] for at in np.argsort(-np.abs(made), kind="stable") if made[at] > 0
    ][:EXPLAINED_PLAINLY_MAX]
    numbers = [told["base"], told["margin"], told["others"]["contribution"], *(f["value"] for f in told["features"])]
    assert {*numbers, *(f["contribution"] for f in told["features"])} == {None}
    assert not any(character.isdigit() for f in told["features"] for character in f["text"].split(",")[0])


def test_the_sentence_of_a_decision_is_that_of_what_raised_the_risk_most(explainer: Explainer, decided: Make) -> None:
    made = explainer.attribute(decided(200))
    every = _told(explainer, decided(200), top=FEATURE_COUNT)["features"]

    raised = max(every, key=lambda feature: feature["contribution"])
    assert explainer.because(decided(200), made) == raised["text"]
    assert leading(made)[0] == NAMES.index(every[0]["feature"])


def test_a_bundle_of_before_there_were_covers_explains_nothing_and_says_so(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match=f"{bundle.id} was packaged without covers"):
        Explainer(replace(bundle, covers=None))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"marks": int(Mark.SANDBOX)}, "test card"),
        ({"risk_score": NO_SCORE}, "no model spoke"),
        ({"feature_fingerprint": "0123"}, "another release"),
        ({}, None),
    ],
)
def test_what_no_model_of_this_release_scored_has_no_explanation(
    decided: Make, changes: dict[str, Any], why: str | None
) -> None:
    told = unexplained(decided(0)._replace(**changes))

    assert told is None if why is None else why in str(told)
