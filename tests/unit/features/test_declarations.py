"""What is declared of the features holds together, and its fingerprint names the meaning."""

import re

import numpy as np
import pytest

from tidegate.features.declarations import FEATURE_COUNT, FEATURES, FINGERPRINT, NAMES, Feature
from tidegate.features.kernel import observe
from tidegate.features.state import CARD, RINGS, TERMINAL, empty_cards, empty_terminals
from tidegate.limits import DAY_US, KIB, OCCURRED_AHEAD_US_MAX, OCCURRED_BEHIND_US_MAX


def test_the_fingerprint_is_short_hex() -> None:
    assert re.fullmatch(r"[0-9a-f]{16}", FINGERPRINT)


@pytest.mark.parametrize("feature", FEATURES, ids=NAMES)
def test_a_feature_says_all_that_a_reader_needs(feature: Feature) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]*", feature.name)
    assert feature.window
    assert feature.unit
    assert feature.meaning.endswith(".")
    assert np.isfinite(feature.default)


def test_the_kernel_writes_every_feature_and_nothing_behind_them() -> None:
    out = np.full(FEATURE_COUNT + 1, -7.0, np.float32)
    observe(empty_cards(1), 0, empty_terminals(1), 0, 1, DAY_US, DAY_US, 100, out)
    assert not (out[:FEATURE_COUNT] == -7.0).any()
    assert out[FEATURE_COUNT] == -7.0


def test_a_card_fits_its_bound_and_a_terminal_is_small() -> None:
    assert CARD.itemsize <= KIB
    assert TERMINAL.itemsize <= KIB // 2


@pytest.mark.parametrize("rings", RINGS.values(), ids=RINGS.keys())
def test_one_bucket_ahead_is_enough_for_a_device_that_runs_fast(rings: tuple[tuple[str, int, int], ...]) -> None:
    assert all(width_us > OCCURRED_AHEAD_US_MAX for _, width_us, _ in rings)


@pytest.mark.parametrize("dtype", [CARD, TERMINAL], ids=["card", "terminal"])
def test_state_holds_integers_without_gaps(dtype: np.dtype[np.void]) -> None:
    kinds = [dtype[name] for name in dtype.names or ()]
    assert all(kind.base.kind in "iu" for kind in kinds)
    assert sum(kind.itemsize for kind in kinds) == dtype.itemsize


def test_day_rings_hold_the_latest_payment_a_site_may_hand_in() -> None:
    for rings in RINGS.values():
        width_us, slots = next((width_us, slots) for name, width_us, slots in rings if name == "day")
        assert (slots - 2) * width_us > OCCURRED_BEHIND_US_MAX
