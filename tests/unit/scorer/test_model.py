"""The scorer proves its bundle before it scores, and scores the same row the same way for ever."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from actors.scorer.model import Scorer
from tidegate.bundle import Bundle, decode
from tidegate.errors import BundleError


@pytest.fixture(scope="module")
def bundle(bundle_files: dict[str, bytes]) -> Bundle:
    return decode(bundle_files)


def test_golden_rows_score_as_they_were_packaged(bundle: Bundle) -> None:
    scorer = Scorer(bundle)

    for row, margin, probability in zip(
        bundle.golden_features, bundle.golden_margins, bundle.golden_probabilities, strict=True
    ):
        told = scorer.score(row)
        assert np.float32(told.margin) == margin
        assert told.probability == pytest.approx(probability, abs=1e-6)


def test_one_bit_of_one_golden_margin_refuses_the_bundle(bundle: Bundle) -> None:
    margins = bundle.golden_margins.copy()
    margins[7] = np.nextafter(margins[7], np.float32(np.inf))

    with pytest.raises(BundleError, match=r"margins of b-.* differ from XGBoost's; package again"):
        Scorer(replace(bundle, golden_margins=margins))


def test_a_golden_probability_that_is_off_refuses_the_bundle(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match=r"probabilities of b-.* differ"):
        Scorer(replace(bundle, golden_probabilities=bundle.golden_probabilities + 2e-6))


@pytest.mark.parametrize("rows", [slice(0, 0), 0, (slice(None), slice(0, 5))], ids=["none", "one row", "narrow"])
def test_golden_rows_of_another_shape_refuse_the_bundle(bundle: Bundle, rows: Any) -> None:
    with pytest.raises(BundleError, match="golden rows: shape"):
        Scorer(replace(bundle, golden_features=bundle.golden_features[rows]))


def test_the_calibration_is_flat_beyond_its_ends_and_straight_between(bundle: Bundle) -> None:
    scorer = Scorer(bundle)

    assert scorer.calibrate(-100.0) == 0.001
    assert scorer.calibrate(100.0) == 0.98
    assert scorer.calibrate(-3.0) == pytest.approx((0.001 + 0.3) / 2)
    assert scorer.calibrate(0.0) == 0.3


def test_the_risk_score_is_0_to_100_and_never_falls_with_the_margin(bundle: Bundle) -> None:
    scorer = Scorer(bundle)
    told = sorted(scorer.score(row) for row in bundle.golden_features)
    scores = [assessment.risk_score for assessment in told]

    assert scores == sorted(scores)
    assert 0 <= scores[0] < scores[-1] <= 100


def test_two_scorers_of_one_bundle_agree_to_the_bit(bundle: Bundle) -> None:
    one, other = Scorer(bundle), Scorer(bundle)

    assert [one.score(row) for row in bundle.golden_features] == [other.score(row) for row in bundle.golden_features]
