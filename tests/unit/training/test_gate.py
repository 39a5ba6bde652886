"""The gate: a minimum for all, and beside a champion the payments must rule out a loss."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tidegate.bundle import ACTIVE, MANIFEST, GateVerdict, bundle_id, decode
from tidegate.limits import DAY_US
from tidegate.policy.terms import BearerCosts
from training.champion import Champion, champion
from training.dataset import Events
from training.evaluate import chosen, measured, priced
from training.gate import cheapest_blind, comparable, judge
from training.labels import DELAY_US
from training.metrics import Scored
from training.package import write
from training.walk import weeks

SEED = 3
ROWS = 6_000


def _priced(at: np.ndarray, probability: float | np.ndarray) -> np.ndarray:
    """What each outcome would cost payments of that probability, in millionths, by the default costs of merchants."""
    ppm = np.broadcast_to(np.rint(np.asarray(probability) * 1e6).astype(np.int64), at.shape)
    return priced(ppm, 1_000 + at % 13 * 700, np.zeros(len(at), np.uint8), BearerCosts())


def _week(noise: float, start_us: int = 0, count: int = ROWS) -> Scored:
    """A week of payments; the larger the noise, the less a model sees."""
    at = np.arange(count)
    target = (at % 40 == 0).astype(np.uint8)
    margin = (6.0 * target - 5 + np.random.default_rng(1).normal(size=count) * noise).astype(np.float32)
    probability = np.where(margin > -2, 0.9, 0.002) if noise < 3 else np.full(count, 0.025)
    return Scored(
        start_us=start_us,
        index=at,
        target=target,
        margin=margin,
        probability=probability,
        cost_minor=chosen(_priced(at, probability), _priced(at, target)),
        outcomes_minor=_priced(at, target) / 1e6,
        day=at * 7 // count,
        card=(at % 997).astype(np.int32),
        terminal=(at % 101).astype(np.int32),
    )


def _verdict(ours: Scored, rival: tuple[Champion, list[Scored]] | None = None) -> GateVerdict:
    return judge(measured([ours], SEED), [ours], rival, SEED)


@pytest.fixture(scope="module")
def reigning(bundle_files: dict[str, bytes]) -> Champion:
    bundle = decode(bundle_files)
    return Champion(bundle.id, bundle)


def test_a_first_model_that_sees_frauds_passes_and_the_verdict_says_what_was_looked_at() -> None:
    verdict = _verdict(_week(1.0))

    assert verdict.passed
    assert verdict.against is None
    assert [reason.split()[0] for reason in verdict.reasons] == ["auc", "average", "Brier", "cost"]


def test_a_first_model_that_sees_nothing_fails_with_each_reason() -> None:
    verdict = _verdict(_week(300.0))

    assert not verdict.passed
    assert {reason.split()[0] for reason in verdict.reasons} >= {"auc", "average"}


def test_a_challenger_as_good_as_the_champion_passes(reigning: Champion) -> None:
    verdict = _verdict(_week(1.0), (reigning, [_week(1.0)]))

    assert verdict.passed
    assert verdict.against == reigning.id
    assert "average precision +0.000 (+0.000 to +0.000)" in verdict.reasons[-2]


def test_a_challenger_that_is_worse_fails_with_the_interval_of_the_difference(reigning: Champion) -> None:
    verdict = _verdict(_week(2.5), (reigning, [_week(1.0)]))

    assert not verdict.passed
    assert verdict.against == reigning.id
    assert any(f"than {reigning.id}'s" in reason and "average precision -0" in reason for reason in verdict.reasons)


def test_a_loss_that_few_payments_cannot_rule_out_fails_though_the_value_is_higher(reigning: Champion) -> None:
    ours, theirs = _week(1.8, count=900), _week(1.8, count=900)
    other = np.random.default_rng(9).normal(size=900).astype(np.float32)
    theirs = replace(theirs, margin=theirs.margin + other)

    verdict = _verdict(ours, (reigning, [theirs]))

    assert not verdict.passed
    assert any("average precision +0" in reason for reason in verdict.reasons)


def test_a_champion_that_has_seen_all_test_weeks_cannot_be_compared(reigning: Champion) -> None:
    verdict = _verdict(_week(1.0), (reigning, []))

    assert not verdict.passed
    assert "give newer payments" in verdict.reasons[0]


def test_a_champion_of_another_kernel_is_named_and_the_minimum_decides() -> None:
    verdict = _verdict(_week(1.0), (Champion("b-0123456789ab", None, "feature_fingerprint: other"), []))

    assert verdict.passed
    assert verdict.against == "b-0123456789ab"
    assert "can't be measured: feature_fingerprint: other; judged as a first model" in verdict.reasons[-1]


def test_weeks_are_compared_that_begin_when_the_champion_was_made_or_later(
    reigning: Champion, events_of: Callable[..., Events]
) -> None:
    chosen = weeks(events_of(70), 4)
    assert reigning.bundle is not None

    def since(cut_us: int, source: str) -> Champion:
        assert reigning.bundle is not None
        data = reigning.bundle.manifest.data.model_copy(update={"cut_us": cut_us, "source": source})
        manifest = reigning.bundle.manifest.model_copy(update={"data": data})
        return replace(reigning, bundle=replace(reigning.bundle, manifest=manifest))

    settled_us = chosen[2].start_us - DELAY_US
    assert comparable(since(settled_us, "june.parquet"), "july.parquet", chosen) == [2, 3]
    assert comparable(since(settled_us + DAY_US, "june.parquet"), "july.parquet", chosen) == [3]
    assert comparable(since(chosen[3].start_us, "june.parquet"), "july.parquet", chosen) == []
    assert comparable(since(chosen[3].start_us + DAY_US, "synth seed=7"), "july.parquet", chosen) == [0, 1, 2, 3]
    assert comparable(since(chosen[3].start_us + DAY_US, "synth seed=7"), "synth seed=8", chosen) == []


def test_the_best_outcome_for_all_is_what_a_site_without_a_model_would_choose() -> None:
    week = _week(1.0)
    good, bad = (replace(week, outcomes_minor=_priced(week.index, fraud) / 1e6) for fraud in (0, 1))

    assert cheapest_blind([good]) == 0.0
    assert cheapest_blind([bad]) == 0.0
    assert cheapest_blind([week]) > 0


def test_the_champion_of_a_shelf_is_its_active_bundle(bundle_files: dict[str, bytes], tmp_path: Path) -> None:
    bundle = write(bundle_files, tmp_path)
    assert champion(tmp_path) is None
    (tmp_path / ACTIVE).write_text(f"{bundle}\n")

    found = champion(tmp_path)

    assert found is not None
    assert found.id == bundle
    rows = decode(bundle_files).golden_features
    assert found.margins(rows).tobytes() == decode(bundle_files).golden_margins.tobytes()
    (tmp_path / bundle / MANIFEST).write_bytes(b"{")
    broken = champion(tmp_path)
    assert broken is not None
    assert broken.bundle is None
    assert "not JSON" in broken.said


def test_a_manifest_without_the_newer_fields_keeps_its_id(bundle_files: dict[str, bytes]) -> None:
    bundle = decode(bundle_files)
    plain = bundle.manifest.model_copy(update={"gate": None})

    assert bundle_id(plain) != bundle.id
    assert bundle_id(plain) == bundle_id(type(plain).model_validate(plain.model_dump(exclude_none=True)))
