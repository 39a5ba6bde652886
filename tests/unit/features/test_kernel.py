"""Each feature's meaning, on streams small enough to compute by hand."""

import hashlib
import math
from dataclasses import dataclass, field

import numpy as np
import pytest

from tidegate.features.declarations import FEATURE_COUNT, NAMES
from tidegate.features.kernel import (
    advance_cards,
    clamp_feature_time,
    label,
    observe,
    replay,
    token_hash,
)
from tidegate.features.merge import merge_cards
from tidegate.features.state import Cards, Terminals, empty_cards, empty_terminals
from tidegate.limits import DAY_US, HOUR_US, MINUTE_US, SECOND_US

MONDAY_US = 20_416 * DAY_US  # 2025-11-24, midnight
NOON_US = MONDAY_US + 12 * HOUR_US

WINDOWS = [
    ("card_count_10m", 5 * MINUTE_US, 2),
    ("card_count_1h", 5 * MINUTE_US, 12),
    ("card_count_24h", HOUR_US, 24),
    ("card_count_7d", DAY_US, 7),
    ("card_count_30d", DAY_US, 30),
    ("terminal_count_1h", HOUR_US, 2),
    ("terminal_count_1d", DAY_US, 1),
    ("terminal_count_7d", DAY_US, 7),
    ("terminal_count_30d", DAY_US, 30),
]


@dataclass
class Till:
    """A card or two, two terminals, and a clock that a test moves."""

    cards: Cards = field(default_factory=lambda: empty_cards(2))
    terminals: Terminals = field(default_factory=lambda: empty_terminals(40))

    def pay(
        self, now_us: int, amount: int = 1000, *, at_us: int | None = None, card: int = 0, terminal: int = 0
    ) -> dict[str, float]:
        """Count one payment of feature time `at_us` (now) and return what it read."""
        out = np.zeros(FEATURE_COUNT, np.float32)
        at_us = now_us if at_us is None else at_us
        observe(self.cards, card, self.terminals, terminal, terminal, now_us, at_us, amount, out)
        return dict(zip(NAMES, out.tolist(), strict=True))

    def mark(self, now_us: int, event_us: int, delta: int = 1, *, card: int = 0, terminal: int = 0) -> None:
        """Call a payment fraud, or take that back."""
        label(self.cards, card, self.terminals, terminal, now_us, event_us, delta)


@pytest.fixture
def till() -> Till:
    return Till()


def test_amount_hour_and_weekday_are_the_requests_own(till: Till) -> None:
    seen = till.pay(NOON_US, 1234, at_us=NOON_US - DAY_US - HOUR_US)
    assert seen["amount"] == 1234
    assert seen["hour"] == 11
    assert seen["weekday"] == 6


def test_monday_is_day_zero_and_midnight_is_hour_zero(till: Till) -> None:
    seen = till.pay(MONDAY_US)
    assert (seen["weekday"], seen["hour"]) == (0, 0)


def test_a_first_payment_counts_itself_and_has_no_history(till: Till) -> None:
    seen = till.pay(NOON_US, 700)
    counted = ("card_count_10m", "card_count_1h", "card_count_24h", "card_count_7d", "card_count_30d")
    assert [seen[name] for name in counted] == [1] * 5
    assert seen["card_sum_1h"] == seen["card_sum_24h"] == 700
    assert seen["card_mean_24h"] == seen["card_mean_7d"] == seen["card_mean_30d"] == 700
    assert round(seen["card_terminals_1h"]) == round(seen["card_terminals_24h"]) == 1
    assert seen["card_history"] == 0
    missing = ("card_since_last", "card_mean", "card_clean_mean", "amount_ratio", "amount_spread", "amount_rank")
    assert all(math.isnan(seen[name]) for name in missing)


def test_card_counts_and_sums_follow_their_windows(till: Till) -> None:
    for ago_us in (20 * DAY_US, 5 * DAY_US, 5 * HOUR_US, 40 * MINUTE_US, 5 * MINUTE_US):
        till.pay(NOON_US - ago_us, 100)
    seen = till.pay(NOON_US, 100)
    assert seen["card_count_10m"] == 2
    assert (seen["card_count_1h"], seen["card_sum_1h"]) == (3, 300)
    assert (seen["card_count_24h"], seen["card_sum_24h"]) == (4, 400)
    assert seen["card_count_7d"] == 5
    assert seen["card_count_30d"] == 6


def test_means_of_windows_are_sums_over_counts(till: Till) -> None:
    till.pay(NOON_US - 20 * DAY_US, 100)
    till.pay(NOON_US - 5 * DAY_US, 200)
    till.pay(NOON_US - 5 * HOUR_US, 300)
    seen = till.pay(NOON_US, 400)
    assert seen["card_mean_24h"] == 350
    assert seen["card_mean_7d"] == 300
    assert seen["card_mean_30d"] == 250


@pytest.mark.parametrize(("name", "width_us", "buckets"), WINDOWS)
def test_a_window_ends_at_the_border_of_its_oldest_bucket(till: Till, name: str, width_us: int, buckets: int) -> None:
    till.pay(MONDAY_US)
    assert till.pay(MONDAY_US + buckets * width_us - 1)[name] == 2
    fresh = Till()
    fresh.pay(MONDAY_US)
    assert fresh.pay(MONDAY_US + buckets * width_us)[name] == 1


@pytest.mark.parametrize(("name", "width_us", "buckets"), WINDOWS)
def test_a_flood_dated_ahead_pushes_nothing_out_of_a_window(till: Till, name: str, width_us: int, buckets: int) -> None:
    till.pay(MONDAY_US)
    eve_us = MONDAY_US + buckets * width_us - 30 * SECOND_US
    for _ in range(5):
        till.pay(eve_us, at_us=eve_us + MINUTE_US)
    assert till.pay(eve_us)[name] == 7


def test_after_a_gap_longer_than_all_windows_only_the_history_is_left(till: Till) -> None:
    till.pay(NOON_US, 100)
    seen = till.pay(NOON_US + 400 * DAY_US, 100)
    assert seen["card_count_30d"] == seen["terminal_count_30d"] == 1
    assert seen["card_history"] == 1
    assert seen["card_since_last"] == 400 * 86_400


def test_a_payment_a_minute_ahead_counts_before_and_after_its_bucket_begins(till: Till) -> None:
    eve_us = MONDAY_US - 30 * SECOND_US
    seen = till.pay(eve_us, 100, at_us=eve_us + MINUTE_US)
    assert seen["card_count_10m"] == seen["card_count_24h"] == seen["terminal_count_1d"] == 1
    seen = till.pay(MONDAY_US + 4 * MINUTE_US, 100)
    assert seen["card_count_10m"] == seen["card_count_24h"] == seen["terminal_count_1d"] == 2


def test_a_late_payment_counts_in_its_own_bucket_only(till: Till) -> None:
    seen = till.pay(NOON_US, 100, at_us=NOON_US - 2 * DAY_US)
    assert seen["card_count_1h"] == seen["card_count_24h"] == 0
    assert math.isnan(seen["card_mean_24h"])
    assert seen["card_count_7d"] == 1


def test_distinct_terminals_count_terminals_not_payments(till: Till) -> None:
    for _ in range(3):
        till.pay(NOON_US - 2 * HOUR_US, terminal=1)
    till.pay(NOON_US, terminal=2)
    seen = till.pay(NOON_US, terminal=3)
    assert round(seen["card_terminals_1h"]) == 2
    assert round(seen["card_terminals_24h"]) == 3


def test_a_full_sketch_reads_as_very_many(till: Till) -> None:
    seen = [till.pay(NOON_US, terminal=terminal)["card_terminals_24h"] for terminal in range(32)]
    assert seen == sorted(seen)
    assert 100 < seen[-1] < 200


def test_since_last_is_read_from_the_newest_payment(till: Till) -> None:
    till.pay(NOON_US)
    till.pay(NOON_US, at_us=NOON_US - DAY_US)
    assert till.pay(NOON_US + 90 * SECOND_US)["card_since_last"] == 90


def test_since_last_is_never_negative(till: Till) -> None:
    till.pay(NOON_US, at_us=NOON_US + MINUTE_US)
    assert till.pay(NOON_US)["card_since_last"] == 0


def test_history_leaves_out_the_payment_at_hand(till: Till) -> None:
    for _ in range(4):
        till.pay(NOON_US, 1000)
    seen = till.pay(NOON_US, 5000)
    assert seen["card_history"] == 4
    assert seen["card_mean"] == seen["card_clean_mean"] == 1000
    assert seen["amount_ratio"] == 5
    assert seen["amount_spread"] == 4000
    assert seen["amount_rank"] == 1


def test_the_cleaned_mean_leaves_out_what_is_far_above_the_median(till: Till) -> None:
    for amount in (1000, 1000, 1000, 10_000):
        till.pay(NOON_US, amount)
    seen = till.pay(NOON_US, 500)
    assert seen["card_mean"] == 3250
    assert seen["card_clean_mean"] == 1000
    assert seen["amount_ratio"] == 0.5
    assert seen["amount_rank"] == 0
    assert seen["amount_spread"] == pytest.approx(-2750 / math.sqrt(3 * 2250**2 / 4 + 6750**2 / 4 + 1))


def test_big_amounts_are_days_of_the_last_fourteen(till: Till) -> None:
    for _ in range(20):
        till.pay(NOON_US - 20 * DAY_US, 1000)
    for ago, amount in ((13, 9000), (6, 4000), (6, 5000), (2, 2500)):
        till.pay(NOON_US - ago * DAY_US, amount)
    seen = till.pay(NOON_US, 1000)
    clean = (20 * 1000 + 2500) / 21
    assert seen["card_max_ratio_14d"] == pytest.approx(9000 / clean)
    assert seen["card_big_days_14d"] == 2
    assert seen["card_since_big"] == 6


def test_a_big_amount_older_than_fourteen_days_is_past(till: Till) -> None:
    till.pay(NOON_US - 14 * DAY_US, 9000)
    for _ in range(3):
        till.pay(NOON_US, 1000)
    seen = till.pay(NOON_US, 1000)
    assert seen["card_big_days_14d"] == 0
    assert math.isnan(seen["card_since_big"])


def test_a_cards_known_frauds_count_by_day_of_the_payment(till: Till) -> None:
    for ago in (40, 29, 3):
        till.pay(NOON_US - ago * DAY_US)
    for ago in (40, 29, 3):
        till.mark(NOON_US, NOON_US - ago * DAY_US)
    assert till.pay(NOON_US)["card_frauds_30d"] == 2


def test_a_label_taken_back_is_gone(till: Till) -> None:
    till.pay(NOON_US)
    till.mark(NOON_US, NOON_US)
    till.mark(NOON_US + DAY_US, NOON_US, -1)
    seen = till.pay(NOON_US + DAY_US)
    assert seen["card_frauds_30d"] == seen["terminal_frauds_28d"] == seen["terminal_run"] == 0


def test_a_label_for_a_day_out_of_the_ring_changes_nothing(till: Till) -> None:
    till.pay(NOON_US)
    before = till.cards.tobytes() + till.terminals.tobytes()
    till.mark(NOON_US, NOON_US - 60 * DAY_US)
    assert till.cards.tobytes() + till.terminals.tobytes() == before


def test_a_label_reaches_the_terminal_when_the_card_is_gone(till: Till) -> None:
    till.pay(NOON_US)
    till.mark(NOON_US, NOON_US, card=-1)
    seen = till.pay(NOON_US)
    assert (seen["card_frauds_30d"], seen["terminal_frauds_28d"]) == (0, 1)


def test_a_label_reaches_the_card_when_the_terminal_is_gone(till: Till) -> None:
    till.pay(NOON_US)
    till.mark(NOON_US, NOON_US, terminal=-1)
    seen = till.pay(NOON_US)
    assert (seen["card_frauds_30d"], seen["terminal_frauds_28d"]) == (1, 0)


def test_unlabelled_payments_are_known_good_only_after_the_label_delay(till: Till) -> None:
    till.pay(NOON_US)
    till.mark(NOON_US, NOON_US)
    till.pay(NOON_US)
    seen = till.pay(NOON_US + 7 * DAY_US, terminal=0)
    assert seen["terminal_risk_28d"] == 1
    seen = till.pay(NOON_US + 8 * DAY_US, terminal=0)
    assert seen["terminal_risk_28d"] == seen["terminal_risk_7d"] == 0.5


def test_a_terminal_without_anything_known_has_no_risk_to_read(till: Till) -> None:
    seen = till.pay(NOON_US)
    names = ("terminal_risk_7d", "terminal_risk_28d", "terminal_run_first", "terminal_run_gap", "terminal_since_good")
    assert all(math.isnan(seen[name]) for name in names)
    assert seen["terminal_frauds_28d"] == seen["terminal_run"] == 0


def test_risk_of_seven_days_forgets_what_twenty_eight_days_remember(till: Till) -> None:
    till.pay(NOON_US - 20 * DAY_US)
    till.mark(NOON_US - 20 * DAY_US, NOON_US - 20 * DAY_US)
    till.pay(NOON_US - 9 * DAY_US)
    seen = till.pay(NOON_US)
    assert seen["terminal_risk_7d"] == 0
    assert seen["terminal_risk_28d"] == 0.5
    assert seen["terminal_frauds_28d"] == 1


def test_a_run_is_read_back_to_the_last_known_good_day(till: Till) -> None:
    till.pay(NOON_US - 20 * DAY_US)
    for ago in (15, 15, 12, 9):
        till.pay(NOON_US - ago * DAY_US, card=1)
        till.mark(NOON_US - ago * DAY_US, NOON_US - ago * DAY_US, card=1)
    seen = till.pay(NOON_US)
    assert seen["terminal_run"] == 4
    assert (seen["terminal_run_first"], seen["terminal_run_last"]) == (15, 9)
    assert seen["terminal_run_gap"] == 5
    assert seen["terminal_since_good"] == 20


def test_a_known_good_day_ends_the_run(till: Till) -> None:
    till.pay(NOON_US - 12 * DAY_US)
    till.mark(NOON_US - 12 * DAY_US, NOON_US - 12 * DAY_US)
    till.pay(NOON_US - 9 * DAY_US)
    seen = till.pay(NOON_US)
    assert seen["terminal_run"] == 0
    assert seen["terminal_since_good"] == 9


def test_two_cards_share_a_terminal_and_nothing_else(till: Till) -> None:
    till.pay(NOON_US, card=1)
    seen = till.pay(NOON_US, card=0)
    assert seen["card_count_1h"] == 1
    assert seen["terminal_count_1h"] == seen["terminal_count_7d"] == 2


def test_a_clock_that_steps_back_forgets_nothing(till: Till) -> None:
    till.pay(NOON_US)
    seen = till.pay(NOON_US - 2 * HOUR_US, at_us=NOON_US)
    assert seen["card_count_10m"] == 2


@pytest.mark.parametrize(("name", "top"), [("five_count", 2**16 - 1), ("hour_sum", 2**32 - 1), ("day_max", 2**32 - 1)])
def test_a_full_number_stays_full(till: Till, name: str, top: int) -> None:
    till.pay(NOON_US)
    slot = int(np.argmax(till.cards[name][0]))
    till.cards[name][0, slot] = top
    till.pay(NOON_US, 5000)
    assert till.cards[name][0, slot] == top


def test_full_numbers_merge_into_full_ones(till: Till) -> None:
    till.pay(NOON_US)
    till.cards["five_count"][0] = 40_000
    other = till.cards.copy()
    merge_cards(till.cards, other)
    assert (till.cards["five_count"][0] == 2**16 - 1).all()


def test_a_cleared_slot_is_a_new_card(till: Till) -> None:
    first = till.pay(NOON_US, terminal=1)
    till.cards[0] = np.zeros((), till.cards.dtype)
    assert till.pay(NOON_US, terminal=2)["card_history"] == first["card_history"] == 0


@pytest.mark.parametrize("slot", [-1, 1])
def test_a_slot_that_is_not_there_is_refused_and_changes_nothing(till: Till, slot: int) -> None:
    shown = Till(cards=till.cards[:1])
    with pytest.raises(IndexError):
        shown.pay(NOON_US, card=slot)
    assert not any(till.cards.tobytes())


def test_replay_applies_a_label_when_it_is_known_and_not_before() -> None:
    now_us = np.array([NOON_US, NOON_US + HOUR_US, NOON_US + 2 * HOUR_US], np.int64)
    slots, hashes = np.zeros(3, np.int64), np.ones(1, np.int64)
    out = np.zeros((3, FEATURE_COUNT), np.float32)
    rows, known_us = np.array([0], np.int64), np.array([NOON_US + HOUR_US], np.int64)
    amounts = np.full(3, 100, np.int64)
    cards, terminals = empty_cards(1), empty_terminals(1)
    replay(cards, terminals, hashes, slots, slots, now_us, now_us, amounts, rows, known_us, np.ones_like(known_us), out)
    assert out[:, NAMES.index("terminal_frauds_28d")].tolist() == [0, 1, 1]


def test_feature_time_is_clamped_to_seven_days_behind_and_a_minute_ahead() -> None:
    assert clamp_feature_time(NOON_US, NOON_US - 3) == NOON_US - 3
    assert clamp_feature_time(NOON_US, NOON_US - 8 * DAY_US) == NOON_US - 7 * DAY_US
    assert clamp_feature_time(NOON_US, NOON_US + HOUR_US) == NOON_US + MINUTE_US


def test_a_terminals_hash_is_the_same_everywhere() -> None:
    assert token_hash("till-1") == 2_961_146_567_057_531_673
    assert token_hash("till-1") != token_hash("till-2")


def test_advancing_twice_is_advancing_once(till: Till) -> None:
    till.pay(NOON_US)
    advance_cards(till.cards, NOON_US + DAY_US)
    once = till.cards.tobytes()
    advance_cards(till.cards, NOON_US + DAY_US)
    assert till.cards.tobytes() == once


def test_the_meaning_of_the_vector_is_pinned(till: Till) -> None:
    """A change here is a change of meaning: raise KERNEL_VERSION, then write the new digest."""
    digest, state = hashlib.sha256(), 12_345
    for step in range(400):
        state = (state * 1_103_515_245 + 12_345) % 2**31
        now_us = NOON_US + step * 5 * HOUR_US + state % HOUR_US
        seen = till.pay(now_us, 100 + state % 90_000, card=step % 2, terminal=state % 5)
        if state % 7 == 0:
            till.mark(now_us, now_us, card=step % 2, terminal=state % 5)
        digest.update(np.array(list(seen.values()), np.float32).tobytes())
    digest.update(till.cards.tobytes() + till.terminals.tobytes())
    assert digest.hexdigest()[:16] == "f816e14f404b0c7f"
