"""The one kernel that updates feature state and reads the vector, for edge, cloud and training.

Counts and sums include the payment at hand; whatever compares it with the card's history leaves it out. Rings advance
by the gate's clock only and are read from its head, so that a flood of future- or past-dated requests can't lower a
count. Integers are kept, floats exist only in the vector.
"""

import hashlib
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import numpy as np
from numba import njit

from tidegate.features.declarations import BIG_RATIO, CLEAN_RATIO, FEATURE_COUNT, FINGERPRINT, LABEL_DELAY_DAYS
from tidegate.features.state import (
    CARD,
    DAY_SLOTS,
    FIVE_SLOTS,
    FIVE_US,
    HISTOGRAM_BINS,
    HOUR_SLOTS,
    TERMINAL,
    TERMINAL_DAY_SLOTS,
    Cards,
    Terminals,
)
from tidegate.limits import DAY_US, HOUR_US, OCCURRED_AHEAD_US_MAX, OCCURRED_BEHIND_US_MAX, SECOND_US

Vector = np.ndarray[Any, np.dtype[np.float32]]
Ints = np.ndarray[Any, np.dtype[np.int64]]

_U1: Final = 2**8 - 1
_U2: Final = 2**16 - 1
_U4: Final = 2**32 - 1
_WEEK: Final = 7
_FORTNIGHT: Final = 14
_MONTH: Final = 30
_RISK_DAYS: Final = 28
_MONDAY_SHIFT: Final = 3  # 1970-01-01 was a Thursday
_FRAUD: Final = 2  # as tidegate.deltas numbers them, which rests on this file
_CLEARED: Final = 3
_SKETCH_BITS: Final = 32
_BIN_EDGES: Final = np.array([3 << k if half else 2 << k for k in range(4, 16) for half in (0, 1)][1:], np.int64)
"""Lower edges of bins 1 to 23 in half octaves: 0.48 to 983.04 in a two-decimal currency."""
_DISTINCT: Final = np.array(
    [-_SKETCH_BITS * np.log(max(_SKETCH_BITS - bits, 0.5) / _SKETCH_BITS) for bits in range(_SKETCH_BITS + 1)],
    np.float32,
)
"""Linear counting (Whang, Vander-Zanden, Taylor 1990): distinct values by bits set; a full sketch reads 133."""

COMPILED_FOR: Final = "68e265e51a98a7e0"
"""The declarations that this file's machine code was made for. Numba keeps code by the file it is written in: a change
of a constant elsewhere must change this file, too, or the old code would be served under the new fingerprint."""
if COMPILED_FOR != FINGERPRINT:
    raise AssertionError(f"declarations have changed: set COMPILED_FOR to {FINGERPRINT!r}")

_F = TypeVar("_F", bound=Callable[..., Any])


def kernel(function: _F) -> _F:
    """Compile a function on its first use, and keep the machine code beside the source."""
    return cast("_F", njit(cache=True, nogil=True)(function))


def token_hash(token: str) -> int:
    """Return a stable 63-bit hash of a token, the same at every site (BLAKE2b, RFC 7693)."""
    return int.from_bytes(hashlib.blake2b(token.encode(), digest_size=8).digest(), "little") >> 1


def clamp_feature_time(now_us: int, occurred_us: int) -> int:
    """Return the time at which a payment counts: at most a minute ahead of the gate's clock, at most 7 days behind."""
    return min(max(occurred_us, now_us - OCCURRED_BEHIND_US_MAX), now_us + OCCURRED_AHEAD_US_MAX)


@kernel
def _stale(head: int, bucket: int, slots: int) -> int:
    """Return how many slots hold buckets that leave a ring when it advances from `head` to `bucket`."""
    return min(max(bucket - head, 0), slots)


@kernel
def _advance_rings(card: Any, five: int, hour: int, day: int) -> None:
    for step in range(_stale(card.five_head, five, FIVE_SLOTS)):
        slot = (five + 1 - step) % FIVE_SLOTS
        card.five_count[slot] = 0
        card.five_sum[slot] = 0
    for step in range(_stale(card.hour_head, hour, HOUR_SLOTS)):
        slot = (hour + 1 - step) % HOUR_SLOTS
        card.hour_count[slot] = 0
        card.hour_sum[slot] = 0
        card.hour_terminals[slot] = 0
    for step in range(_stale(card.day_head, day, DAY_SLOTS)):
        slot = (day + 1 - step) % DAY_SLOTS
        card.day_count[slot] = 0
        card.day_sum[slot] = 0
        card.day_max[slot] = 0
        card.day_fraud[slot] = 0
        card.day_cleared[slot] = 0
    card.five_head = max(card.five_head, five)
    card.hour_head = max(card.hour_head, hour)
    card.day_head = max(card.day_head, day)


@kernel
def _advance_card(card: Any, now_us: int) -> None:
    _advance_rings(card, now_us // FIVE_US, now_us // HOUR_US, now_us // DAY_US)


@kernel
def _advance_terminal(terminal: Any, now_us: int) -> None:
    hour, day = now_us // HOUR_US, now_us // DAY_US
    for step in range(_stale(terminal.hour_head, hour, HOUR_SLOTS)):
        terminal.hour_count[(hour + 1 - step) % HOUR_SLOTS] = 0
    for step in range(_stale(terminal.day_head, day, TERMINAL_DAY_SLOTS)):
        slot = (day + 1 - step) % TERMINAL_DAY_SLOTS
        terminal.day_count[slot] = 0
        terminal.day_fraud[slot] = 0
        terminal.day_cleared[slot] = 0
    terminal.hour_head = max(terminal.hour_head, hour)
    terminal.day_head = max(terminal.day_head, day)


@kernel
def _holds(head: int, bucket: int, slots: int) -> bool:
    return head + 2 - slots <= bucket <= head + 1


@kernel
def _bin(amount: int) -> int:
    at = 0
    while at < HISTOGRAM_BINS - 1 and amount >= _BIN_EDGES[at]:
        at += 1
    return at


@kernel
def _add_card(card: Any, feature_us: int, amount: int, terminal_hash: int) -> None:
    five, hour, day = feature_us // FIVE_US, feature_us // HOUR_US, feature_us // DAY_US
    if _holds(card.five_head, five, FIVE_SLOTS):
        slot = five % FIVE_SLOTS
        card.five_count[slot] = min(np.int64(card.five_count[slot]) + 1, _U2)
        card.five_sum[slot] = min(np.int64(card.five_sum[slot]) + amount, _U4)
    if _holds(card.hour_head, hour, HOUR_SLOTS):
        slot = hour % HOUR_SLOTS
        card.hour_count[slot] = min(np.int64(card.hour_count[slot]) + 1, _U2)
        card.hour_sum[slot] = min(np.int64(card.hour_sum[slot]) + amount, _U4)
        card.hour_terminals[slot] = np.int64(card.hour_terminals[slot]) | (np.int64(1) << (terminal_hash % 32))
    if _holds(card.day_head, day, DAY_SLOTS):
        slot = day % DAY_SLOTS
        card.day_count[slot] = min(np.int64(card.day_count[slot]) + 1, _U2)
        card.day_sum[slot] = min(np.int64(card.day_sum[slot]) + amount, _U4)
        card.day_max[slot] = min(max(np.int64(card.day_max[slot]), amount), _U4)
    at = _bin(amount)
    card.bin_count[at] = min(np.int64(card.bin_count[at]) + 1, _U4)
    card.bin_sum[at] = np.int64(card.bin_sum[at]) + amount
    card.last_us = max(card.last_us, feature_us)


@kernel
def _add_terminal(terminal: Any, feature_us: int) -> None:
    hour, day = feature_us // HOUR_US, feature_us // DAY_US
    if _holds(terminal.hour_head, hour, HOUR_SLOTS):
        slot = hour % HOUR_SLOTS
        terminal.hour_count[slot] = min(np.int64(terminal.hour_count[slot]) + 1, _U2)
    if _holds(terminal.day_head, day, TERMINAL_DAY_SLOTS):
        slot = day % TERMINAL_DAY_SLOTS
        terminal.day_count[slot] = min(np.int64(terminal.day_count[slot]) + 1, _U2)


@kernel
def _add_rings(into: Any, other: Any) -> None:
    """Add the buckets of `other` that are in the windows of `into`, whose heads are no earlier."""
    for bucket in range(into.five_head + 2 - FIVE_SLOTS, other.five_head + 2):
        slot = bucket % FIVE_SLOTS
        into.five_count[slot] = min(np.int64(into.five_count[slot]) + other.five_count[slot], _U2)
        into.five_sum[slot] = min(np.int64(into.five_sum[slot]) + other.five_sum[slot], _U4)
    for bucket in range(into.hour_head + 2 - HOUR_SLOTS, other.hour_head + 2):
        slot = bucket % HOUR_SLOTS
        into.hour_count[slot] = min(np.int64(into.hour_count[slot]) + other.hour_count[slot], _U2)
        into.hour_sum[slot] = min(np.int64(into.hour_sum[slot]) + other.hour_sum[slot], _U4)
        into.hour_terminals[slot] |= other.hour_terminals[slot]
    for bucket in range(into.day_head + 2 - DAY_SLOTS, other.day_head + 2):
        slot = bucket % DAY_SLOTS
        into.day_count[slot] = min(np.int64(into.day_count[slot]) + other.day_count[slot], _U2)
        into.day_sum[slot] = min(np.int64(into.day_sum[slot]) + other.day_sum[slot], _U4)
        into.day_max[slot] = max(into.day_max[slot], other.day_max[slot])
        into.day_fraud[slot] = min(np.int64(into.day_fraud[slot]) + other.day_fraud[slot], _U1)
        into.day_cleared[slot] = min(np.int64(into.day_cleared[slot]) + other.day_cleared[slot], _U1)


@kernel
def _lay_over(into: Any, other: Any) -> None:
    """Add a card's state at other sites to `into`, as `merge_cards` of both at the later of their clocks."""
    _advance_rings(into, other.five_head, other.hour_head, other.day_head)
    _add_rings(into, other)
    for at in range(HISTOGRAM_BINS):
        into.bin_count[at] = min(np.int64(into.bin_count[at]) + other.bin_count[at], _U4)
        into.bin_sum[at] = np.int64(into.bin_sum[at]) + np.int64(other.bin_sum[at])
    into.last_us = max(into.last_us, other.last_us)


@kernel
def _clean_mean(card: Any, count: int, mean: float) -> float:
    """Mean of the bins at or below `CLEAN_RATIO` times the median's bin mean; `count` payments, 1 or more."""
    seen = 0
    median = mean
    for at in range(HISTOGRAM_BINS):
        seen += card.bin_count[at]
        if 2 * seen >= count:
            median = card.bin_sum[at] / card.bin_count[at]
            break
    total, kept = 0.0, 0
    for at in range(HISTOGRAM_BINS):
        if card.bin_count[at] and card.bin_sum[at] <= CLEAN_RATIO * median * card.bin_count[at]:
            total += card.bin_sum[at]
            kept += card.bin_count[at]
    return total / kept if kept else mean


@kernel
def _read_history(card: Any, now_us: int, amount: int, out: Vector) -> None:
    """Write features 15 to 24: the payment against what the card did before it."""
    count, total = 0, 0.0
    for at in range(HISTOGRAM_BINS):
        count += card.bin_count[at]
        total += card.bin_sum[at]
    out[16] = count
    if count == 0:
        for at in (15, 17, 18, 19, 20, 21, 22, 24):
            out[at] = np.nan
        out[23] = 0
        return
    mean = total / count
    clean = _clean_mean(card, count, mean)
    own, lower, square = _bin(amount), 0, 0.0
    for at in range(HISTOGRAM_BINS):
        if card.bin_count[at]:
            away = card.bin_sum[at] / card.bin_count[at] - mean
            square += away * away * card.bin_count[at]
            if at < own:
                lower += card.bin_count[at]
    largest, days, since = 0.0, 0, np.nan
    for back in range(_FORTNIGHT - 1, -2, -1):
        top = card.day_max[(card.day_head - back) % DAY_SLOTS]
        largest = max(largest, top)
        if top > BIG_RATIO * clean:
            days += 1
            since = max(back, 0)
    out[15] = max(now_us - card.last_us, 0) / SECOND_US
    out[17] = mean
    out[18] = clean
    out[19] = amount / clean
    out[20] = (amount - mean) / np.sqrt(square / count + 1.0)
    out[21] = lower / count
    out[22] = largest / clean
    out[23] = days
    out[24] = since


@kernel
def _known_frauds(entity: Any, slot: int) -> Any:
    """Payments of a day that are called fraud and weren't cleared."""
    return max(np.int64(entity.day_fraud[slot]) - np.int64(entity.day_cleared[slot]), 0)


@kernel
def _read_card(card: Any, out: Vector) -> None:
    """Write features 3 to 14 and 25: counts and sums up to and including this payment."""
    recent, hour_count, hour_sum = 0, 0, 0.0
    for back in range(-1, FIVE_SLOTS - 1):
        slot = (card.five_head - back) % FIVE_SLOTS
        hour_count += card.five_count[slot]
        hour_sum += card.five_sum[slot]
        if back <= 1:
            recent += card.five_count[slot]
    count, total, bits, bits_now = 0, 0.0, np.int64(0), np.int64(0)
    for back in range(-1, HOUR_SLOTS - 1):
        slot = (card.hour_head - back) % HOUR_SLOTS
        count += card.hour_count[slot]
        total += card.hour_sum[slot]
        bits |= np.int64(card.hour_terminals[slot])
        if back <= 0:
            bits_now |= np.int64(card.hour_terminals[slot])
    week, week_sum, month, month_sum, frauds = 0, 0.0, 0, 0.0, 0
    for back in range(-1, _MONTH):
        slot = (card.day_head - back) % DAY_SLOTS
        month += card.day_count[slot]
        month_sum += card.day_sum[slot]
        frauds += _known_frauds(card, slot)
        if back < _WEEK:
            week += card.day_count[slot]
            week_sum += card.day_sum[slot]
    out[3] = recent
    out[4] = hour_count
    out[5] = hour_sum
    out[6] = count
    out[7] = total
    out[8] = total / count if count else np.nan
    out[9] = week
    out[10] = week_sum / week if week else np.nan
    out[11] = month
    out[12] = month_sum / month if month else np.nan
    out[13] = _DISTINCT[_ones(bits_now)]
    out[14] = _DISTINCT[_ones(bits)]
    out[25] = frauds


@kernel
def _ones(bits: Any) -> int:
    count = 0
    while bits:
        bits &= bits - 1
        count += 1
    return count


@kernel
def _read_counts(terminal: Any, out: Vector) -> None:
    """Write features 26 to 29: how busy the terminal is."""
    week, month = 0, 0
    for back in range(-1, _MONTH):
        count = terminal.day_count[(terminal.day_head - back) % TERMINAL_DAY_SLOTS]
        month += count
        if back < _WEEK:
            week += count
    day, hour = terminal.day_head, terminal.hour_head
    out[26] = (
        np.int64(terminal.hour_count[(hour - 1) % HOUR_SLOTS])
        + np.int64(terminal.hour_count[hour % HOUR_SLOTS])
        + np.int64(terminal.hour_count[(hour + 1) % HOUR_SLOTS])
    )
    out[27] = np.int64(terminal.day_count[day % TERMINAL_DAY_SLOTS]) + np.int64(
        terminal.day_count[(day + 1) % TERMINAL_DAY_SLOTS]
    )
    out[28] = week
    out[29] = month


@kernel
def _good(terminal: Any, back: int) -> Any:
    """Known good payments of the day `back` days ago: none inside the label delay, since frauds may still show up."""
    if back <= LABEL_DELAY_DAYS:
        return np.int64(0)
    slot = (terminal.day_head - back) % TERMINAL_DAY_SLOTS
    return max(np.int64(terminal.day_count[slot]) - _known_frauds(terminal, slot), 0)


@kernel
def _read_risk(terminal: Any, out: Vector) -> None:
    """Write features 30 to 32: shares of known frauds."""
    frauds, good, week_frauds, week_good = 0, 0, 0, 0
    for back in range(-1, LABEL_DELAY_DAYS + 1 + _RISK_DAYS):
        fraud = _known_frauds(terminal, (terminal.day_head - back) % TERMINAL_DAY_SLOTS)
        fine = _good(terminal, back)
        frauds += fraud
        good += fine
        if back < LABEL_DELAY_DAYS + 1 + _WEEK:
            week_frauds += fraud
            week_good += fine
    out[30] = week_frauds / (week_frauds + week_good) if week_frauds + week_good else np.nan
    out[31] = frauds / (frauds + good) if frauds + good else np.nan
    out[32] = frauds


@kernel
def _read_run(terminal: Any, out: Vector) -> None:
    """Write features 33 to 37: the trailing run of known frauds, read back from today to the last known good day."""
    run, first, last, since_good = 0, -1, -1, -1
    for back in range(-1, TERMINAL_DAY_SLOTS - 1):
        fraud = _known_frauds(terminal, (terminal.day_head - back) % TERMINAL_DAY_SLOTS)
        if fraud:
            run += fraud
            first = back
            if last < 0:
                last = max(back, 0)
        if _good(terminal, back):
            since_good = back
            break
    out[33] = run
    out[34] = max(first, 0) if run else np.nan
    out[35] = last if run else np.nan
    out[36] = since_good - first if run and since_good >= 0 else np.nan
    out[37] = since_good if since_good >= 0 else np.nan


@kernel
def observe(
    cards: Cards,
    card_slot: int,
    terminals: Terminals,
    terminal_slot: int,
    terminal_hash: int,
    now_us: int,
    feature_us: int,
    amount_minor: int,
    out: Vector,
) -> None:
    """Count one payment and write its vector.

    `now_us` is the gate's clock, `feature_us` comes from `clamp_feature_time`, `amount_minor` is 1 or more,
    `terminal_hash` is `token_hash` of the terminal's name, `out` is float32 of `FEATURE_COUNT` or more.

    Raises:
        IndexError: a slot that isn't there; nothing was changed.
    """
    if not (0 <= card_slot < len(cards) and 0 <= terminal_slot < len(terminals)):
        raise IndexError("slot out of range")
    card, terminal = cards[card_slot], terminals[terminal_slot]
    _advance_card(card, now_us)
    _advance_terminal(terminal, now_us)
    out[0] = amount_minor
    out[1] = feature_us // HOUR_US % 24
    out[2] = (feature_us // DAY_US + _MONDAY_SHIFT) % _WEEK
    _read_history(card, now_us, amount_minor, out)
    _add_card(card, feature_us, amount_minor, terminal_hash)
    _add_terminal(terminal, feature_us)
    _read_card(card, out)
    _read_counts(terminal, out)
    _read_risk(terminal, out)
    _read_run(terminal, out)


@kernel
def observe_over(
    cards: Cards,
    card_slot: int,
    overlay: Cards,
    overlay_slot: int,
    scratch: Cards,
    terminals: Terminals,
    terminal_slot: int,
    terminal_hash: int,
    now_us: int,
    feature_us: int,
    amount_minor: int,
    out: Vector,
) -> None:
    """Count one payment in the own state alone, and write the vector of own state and overlay together.

    As `observe`, beside it: `overlay` has what the card did at other sites, and isn't changed; `scratch` is one row,
    whose content before and after means nothing. The vector is the one of a window that saw all of it.

    Raises:
        IndexError: a slot that isn't there; nothing was changed.
    """
    if not (0 <= card_slot < len(cards) and 0 <= terminal_slot < len(terminals)):
        raise IndexError("slot out of range")
    if not (0 <= overlay_slot < len(overlay) and len(scratch)):
        raise IndexError("slot out of range")
    own, terminal, seen = cards[card_slot], terminals[terminal_slot], scratch[0]
    _advance_card(own, now_us)
    _advance_terminal(terminal, now_us)
    scratch[0] = own
    _lay_over(seen, overlay[overlay_slot])
    out[0] = amount_minor
    out[1] = feature_us // HOUR_US % 24
    out[2] = (feature_us // DAY_US + _MONDAY_SHIFT) % _WEEK
    _read_history(seen, now_us, amount_minor, out)
    _add_card(own, feature_us, amount_minor, terminal_hash)
    _add_card(seen, feature_us, amount_minor, terminal_hash)
    _add_terminal(terminal, feature_us)
    _read_card(seen, out)
    _read_counts(terminal, out)
    _read_risk(terminal, out)
    _read_run(terminal, out)


@kernel
def _count_label(entity: Any, slot: int, delta: int, top: int) -> None:
    if delta > 0:
        entity.day_fraud[slot] = min(np.int64(entity.day_fraud[slot]) + 1, top)
    else:
        entity.day_cleared[slot] = min(np.int64(entity.day_cleared[slot]) + 1, top)


@kernel
def label(
    cards: Cards, card_slot: int, terminals: Terminals, terminal_slot: int, now_us: int, event_us: int, delta: int
) -> None:
    """Count a payment of `event_us` as known fraud (`delta` 1) or take that back (-1).

    A slot of -1 leaves that entity out. A day that has left the ring changes nothing.

    Raises:
        IndexError: a slot that isn't there; nothing was changed.
    """
    if not (-1 <= card_slot < len(cards) and -1 <= terminal_slot < len(terminals)):
        raise IndexError("slot out of range")
    day = event_us // DAY_US
    if card_slot >= 0:
        card = cards[card_slot]
        _advance_card(card, now_us)
        if _holds(card.day_head, day, DAY_SLOTS):
            _count_label(card, day % DAY_SLOTS, delta, _U1)
    if terminal_slot >= 0:
        terminal = terminals[terminal_slot]
        _advance_terminal(terminal, now_us)
        if _holds(terminal.day_head, day, TERMINAL_DAY_SLOTS):
            _count_label(terminal, day % TERMINAL_DAY_SLOTS, delta, _U2)


@kernel
def fold(
    cards: Cards, slots: Ints, kinds: Ints, now_us: Ints, event_us: Ints, amounts: Ints, terminal_hashes: Ints
) -> None:
    """Count rows of `tidegate.deltas` in their order, as their origin's gate did: a use 1, a fraud 2, one cleared 3.

    `slots` are the cards' rows, -1 leaves one out; `now_us` is the clock of that gate at that row. Other kinds change
    nothing. The same code as the gate's, so the state of a card is that of its origin, to the byte.

    Raises:
        IndexError: a slot that isn't there; rows before it are counted.
    """
    for row in range(len(slots)):
        at = slots[row]
        if not -1 <= at < len(cards):
            raise IndexError("slot out of range")
        if at < 0 or not 1 <= kinds[row] <= _CLEARED:
            continue
        card = cards[at]
        _advance_card(card, now_us[row])
        if kinds[row] == 1:
            _add_card(card, event_us[row], amounts[row], terminal_hashes[row])
            continue
        day = event_us[row] // DAY_US
        if _holds(card.day_head, day, DAY_SLOTS):
            _count_label(card, day % DAY_SLOTS, 1 if kinds[row] == _FRAUD else -1, _U1)


@kernel
def advance_cards(cards: Cards, now_us: int) -> None:
    """Bring all cards to the gate's clock, so that equal histories are equal bytes."""
    for at in range(len(cards)):
        _advance_card(cards[at], now_us)


@kernel
def advance_terminals(terminals: Terminals, now_us: int) -> None:
    """Bring all terminals to the gate's clock."""
    for at in range(len(terminals)):
        _advance_terminal(terminals[at], now_us)


@kernel
def replay(
    cards: Cards,
    terminals: Terminals,
    terminal_hashes: Ints,
    card_slots: Ints,
    terminal_slots: Ints,
    now_us: Ints,
    feature_us: Ints,
    amounts: Ints,
    label_rows: Ints,
    label_us: Ints,
    label_deltas: Ints,
    out: Vector,
) -> None:
    """Count a stream of payments in order and write a vector for each, float32 [n, FEATURE_COUNT].

    Row `label_rows[k]` is called fraud (`label_deltas[k]` 1), or that is taken back (-1), at `label_us[k]`, ascending:
    before the first payment that isn't earlier. The same code as one by one: the loop calls `observe` and `label`.
    """
    known = 0
    for row in range(len(card_slots)):
        while known < len(label_rows) and label_us[known] <= now_us[row]:
            of, at_us, delta = label_rows[known], label_us[known], label_deltas[known]
            label(cards, card_slots[of], terminals, terminal_slots[of], at_us, feature_us[of], delta)
            known += 1
        observe(
            cards,
            card_slots[row],
            terminals,
            terminal_slots[row],
            terminal_hashes[terminal_slots[row]],
            now_us[row],
            feature_us[row],
            amounts[row],
            out[row],
        )


def warm() -> None:
    """Compile the kernel into its cache."""
    cards, terminals = np.zeros(1, CARD), np.zeros(1, TERMINAL)
    out = np.zeros((1, FEATURE_COUNT), np.float32)
    one, none = np.zeros(1, np.int64), np.zeros(0, np.int64)
    observe(cards, 0, terminals, 0, 1, 1, 1, 1, out[0])
    label(cards, 0, terminals, 0, 1, 1, 1)
    replay(cards, terminals, one, one, one, one, one, one + 1, none, none, none, out)
    fold(cards, none, none, none, none, none, none)
    observe_over(cards, 0, np.zeros(1, CARD), 0, np.zeros(1, CARD), terminals, 0, 1, 1, 1, 1, out[0])
    advance_cards(cards, 1)
    advance_terminals(terminals, 1)
