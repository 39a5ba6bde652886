"""Laws of the feature state: any order, any split over sites, any restart gives the same bytes and the same vector."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tidegate.features.declarations import FEATURE_COUNT, FEATURES
from tidegate.features.kernel import (
    Vector,
    advance_cards,
    advance_terminals,
    clamp_feature_time,
    fold,
    label,
    observe,
    observe_over,
    replay,
)
from tidegate.features.merge import merge_cards, merge_terminals
from tidegate.features.state import FIVE_US, Cards, Terminals, empty_cards, empty_terminals
from tidegate.limits import DAY_US, HOUR_US, MINUTE_US, OCCURRED_AHEAD_US_MAX

START_US = 20_416 * DAY_US
CARDS, TERMINALS = 3, 6
GROWING = [
    at
    for at, feature in enumerate(FEATURES)
    if feature.unit in {"payments", "terminals"} or "_sum_" in feature.name or "frauds" in feature.name
]


@dataclass(frozen=True, slots=True)
class Payment:
    """One payment as a gate saw it; `fraud_after_us` is when it became known fraud, if ever."""

    now_us: int
    feature_us: int
    card: int
    terminal: int
    amount: int
    fraud_after_us: int | None


@dataclass(frozen=True, slots=True)
class Receipt:
    """A label as a gate received it."""

    now_us: int
    feature_us: int
    card: int
    terminal: int
    delta: int = 1


@dataclass(slots=True)
class Site:
    """The state of one site, and what it read last."""

    cards: Cards
    terminals: Terminals

    def apply(self, event: Payment | Receipt, now_us: int | None = None) -> Vector:
        """Count a payment or a label at `now_us` (its own time) and return the vector of a payment."""
        now_us = event.now_us if now_us is None else now_us
        out = np.zeros(FEATURE_COUNT, np.float32)
        where = (self.cards, event.card, self.terminals, event.terminal)
        if isinstance(event, Receipt):
            label(*where, now_us, event.feature_us, event.delta)
        else:
            observe(*where, event.terminal, now_us, event.feature_us, event.amount, out)
        return out

    def over(self, payment: Payment, overlay: Cards) -> Vector:
        """Count a payment, and return its vector with what the cards did elsewhere."""
        out, scratch, before = np.zeros(FEATURE_COUNT, np.float32), empty_cards(1), overlay.tobytes()
        scratch.view(np.uint8)[:] = 0xA5  # whatever was there before
        where = (self.cards, payment.card, overlay, payment.card, scratch, self.terminals, payment.terminal)
        observe_over(*where, payment.terminal, payment.now_us, payment.feature_us, payment.amount, out)
        assert overlay.tobytes() == before
        return out

    def at(self, now_us: int) -> bytes:
        """Return the canonical bytes at `now_us`."""
        advance_cards(self.cards, now_us)
        advance_terminals(self.terminals, now_us)
        return self.cards.tobytes() + self.terminals.tobytes()

    def copy(self) -> "Site":
        """Return the same state in memory of its own."""
        return Site(self.cards.copy(), self.terminals.copy())

    def merge(self, other: "Site") -> "Site":
        """Return a new state: this one and the other."""
        into = self.copy()
        merge_cards(into.cards, other.cards)
        merge_terminals(into.terminals, other.terminals)
        return into


def site() -> Site:
    return Site(empty_cards(CARDS), empty_terminals(TERMINALS))


gaps = st.one_of(
    st.sampled_from(
        [0, 1, MINUTE_US, FIVE_US - 1, FIVE_US, FIVE_US + 1, HOUR_US - 1, HOUR_US, DAY_US - 1, DAY_US, DAY_US + 1]
    ),
    st.sampled_from([7 * DAY_US, 31 * DAY_US, 39 * DAY_US, 40 * DAY_US, 41 * DAY_US, 400 * DAY_US]),
    st.integers(0, 3 * HOUR_US),
)
offsets = st.one_of(
    st.just(0),
    st.sampled_from([MINUTE_US, MINUTE_US - 1, -1, -FIVE_US, -HOUR_US, -DAY_US, -7 * DAY_US]),
    st.integers(-7 * DAY_US, MINUTE_US),
)
amounts = st.one_of(st.integers(1, 50_000), st.sampled_from([1, 47, 48, 98_304, 100_000_000]))
delays = st.one_of(st.none(), st.sampled_from([0, HOUR_US, 7 * DAY_US, 30 * DAY_US, 45 * DAY_US]))
rows = st.tuples(gaps, offsets, st.integers(0, CARDS - 1), st.integers(0, TERMINALS - 1), amounts, delays)


@st.composite
def payments(draw: st.DrawFn, most: int = 40) -> list[Payment]:
    """Return payments in the order a gate saw them, its clock starting just before a day begins."""
    now_us, stream = START_US - draw(st.sampled_from([0, 1, 30_000_000])), []
    for gap, offset, card, terminal, amount, delay in draw(st.lists(rows, min_size=1, max_size=most)):
        now_us += gap
        known_us = None if delay is None else now_us + delay
        feature_us = clamp_feature_time(now_us, now_us + offset)
        stream.append(Payment(now_us, feature_us, card, terminal, amount, known_us))
    return stream


def with_labels(stream: list[Payment]) -> list[Payment | Receipt]:
    """Return payments and the labels they got, by the gate's clock, a label before a payment of the same moment."""
    known = [
        Receipt(p.fraud_after_us, p.feature_us, p.card, p.terminal) for p in stream if p.fraud_after_us is not None
    ]
    return sorted([*known, *stream], key=lambda event: event.now_us)


def run(events: list[Payment | Receipt]) -> Site:
    """Return the state after the events, each at its own time."""
    state = site()
    for event in events:
        state.apply(event)
    return state


@given(st.data())
def test_any_order_of_the_same_events_gives_the_same_bytes(data: st.DataObject) -> None:
    events = with_labels(data.draw(payments()))
    end_us = max(event.now_us for event in events)
    mixed, now_us = site(), 0
    for event in data.draw(st.permutations(events)):
        now_us = max(now_us, event.feature_us - OCCURRED_AHEAD_US_MAX)
        mixed.apply(event, now_us)
    assert mixed.at(end_us) == run(events).at(end_us)


@given(payments(), st.lists(st.integers(0, 2), min_size=TERMINALS, max_size=TERMINALS), gaps, st.permutations(range(3)))
def test_any_split_that_keeps_each_terminal_at_one_site_merges_to_the_same_bytes_and_vector(
    stream: list[Payment], home: list[int], later: int, order: list[int]
) -> None:
    events = with_labels(stream)
    end_us = max(event.now_us for event in events) + later
    whole = run(events)
    parts = [run([event for event in events if home[event.terminal] == number]) for number in order]
    for part in parts:
        part.at(end_us)
    merged = parts[0].merge(parts[1]).merge(parts[2])
    assert merged.at(end_us) == whole.at(end_us)
    probe = Payment(end_us, end_us, 0, 0, 1234, None)
    assert merged.apply(probe).tobytes() == whole.apply(probe).tobytes()


def laid(overlay: Cards, event: Payment | Receipt) -> None:
    """Count what another site saw in an overlay, as deltas do."""
    said = (1, event.amount) if isinstance(event, Payment) else (2 if event.delta > 0 else 3, 0)
    row = [event.card, said[0], event.now_us, event.feature_us, said[1], event.terminal]
    fold(overlay, *(np.array([value], np.int64) for value in row))


@given(payments(), st.lists(st.booleans(), min_size=TERMINALS, max_size=TERMINALS))
def test_a_payment_reads_over_an_overlay_what_one_state_of_all_sites_reads(
    stream: list[Payment], here: list[bool]
) -> None:
    whole, own, alone, overlay = site(), site(), site(), empty_cards(CARDS)
    for event in with_labels(stream):
        seen = whole.apply(event)
        if not here[event.terminal]:
            laid(overlay, event)
        elif isinstance(event, Receipt):
            own.apply(event)
            alone.apply(event)
        else:
            assert own.over(event, overlay).tobytes() == seen.tobytes()
            alone.apply(event)
    assert own.at(START_US) == alone.at(START_US)


@given(payments(), st.lists(st.booleans(), min_size=TERMINALS - 1, max_size=TERMINALS - 1), st.data())
def test_an_overlay_that_came_in_any_order_by_clocks_ahead_or_behind_reads_the_same(
    stream: list[Payment], here: list[bool], data: st.DataObject
) -> None:
    events, home = with_labels(stream), [True, *here]
    whole, overlay = run(events), empty_cards(CARDS)
    own = run([event for event in events if home[event.terminal]])
    for event in data.draw(st.permutations([event for event in events if not home[event.terminal]])):
        laid(overlay, event)
    now_us = data.draw(st.sampled_from(events)).now_us + data.draw(gaps)
    probe = Payment(now_us, now_us, data.draw(st.integers(0, CARDS - 1)), 0, 1234, None)
    assert own.over(probe, overlay).tobytes() == whole.apply(probe).tobytes()


@given(payments(), st.lists(st.tuples(offsets, amounts), max_size=60))
def test_a_flood_at_another_site_dated_ahead_or_behind_lowers_no_count_and_no_sum(
    stream: list[Payment], flood: list[tuple[int, int]]
) -> None:
    state, overlay = run(with_labels(stream)), empty_cards(CARDS)
    now_us = max(event.now_us for event in with_labels(stream))
    probe = Payment(now_us, now_us, 0, 0, 100, None)
    quiet = state.copy().over(probe, overlay)
    for offset, amount in flood:
        laid(overlay, Payment(now_us, clamp_feature_time(now_us, now_us + offset), 0, 1, amount, None))
    assert (state.over(probe, overlay)[GROWING] >= quiet[GROWING]).all()


@given(payments(15), payments(15), payments(15), gaps)
def test_merging_is_commutative_and_associative_and_an_empty_state_changes_nothing(
    one: list[Payment], two: list[Payment], three: list[Payment], later: int
) -> None:
    a, b, c = (run(with_labels(stream)) for stream in (one, two, three))
    end_us = max(event.now_us for stream in (one, two, three) for event in with_labels(stream)) + later
    assert_merge_laws(a, b, c, end_us)


@given(payments(15), st.integers(1, 2**32 - 1))
def test_merging_full_numbers_obeys_the_same_laws(stream: list[Payment], fill: int) -> None:
    a = run(list(stream))
    b, c = a.copy(), a.copy()
    for name in ("five_count", "hour_sum", "day_sum", "day_fraud", "bin_count"):
        top = np.iinfo(a.cards[name].dtype).max
        b.cards[name] = top - fill % 7
        c.cards[name] = fill % top
    assert_merge_laws(a, b, c, stream[-1].now_us)


def assert_merge_laws(a: Site, b: Site, c: Site, end_us: int) -> None:
    """Check the laws of a join on three states at the same clock."""
    for state in (a, b, c):
        state.at(end_us)
    assert a.merge(b).at(end_us) == b.merge(a).at(end_us)
    assert a.merge(b).merge(c).at(end_us) == a.merge(b.merge(c)).at(end_us)
    assert a.merge(site()).at(end_us) == site().merge(a).at(end_us) == a.at(end_us)


@given(payments(), st.lists(st.tuples(offsets, st.integers(0, TERMINALS - 1), amounts), max_size=60), gaps)
def test_a_flood_dated_ahead_or_behind_lowers_no_count_and_no_sum(
    stream: list[Payment], flood: list[tuple[int, int, int]], later: int
) -> None:
    calm = run(with_labels(stream))
    now_us = max(event.now_us for event in with_labels(stream))
    flooded = calm.copy()
    for offset, terminal, amount in flood:
        flooded.apply(Payment(now_us, clamp_feature_time(now_us, now_us + offset), 0, terminal, amount, None))
    quiet = calm.apply(probe := Payment(now_us + later, now_us + later, 0, 0, 100, None))
    noisy = flooded.apply(probe)
    growing = [at for at in GROWING if later == 0 or FEATURES[at].name != "terminal_run"]
    assert (noisy[growing] >= quiet[growing]).all()


@given(payments(), offsets, offsets)
def test_counts_and_sums_do_not_depend_on_how_the_request_is_dated(stream: list[Payment], one: int, other: int) -> None:
    """Windows are read at the gate's clock: another date moves the payment itself, never what is read around it."""
    state = run(with_labels(stream))
    now_us = max(event.now_us for event in with_labels(stream))
    dated = [clamp_feature_time(now_us, now_us + offset) for offset in (one, other)]
    left, right = (state.copy().apply(Payment(now_us, at_us, 0, 0, 100, None)) for at_us in dated)
    counts = [at for at in GROWING if FEATURES[at].unit == "payments"]
    assert (abs(left[counts] - right[counts]) <= 1).all()


@given(st.data())
def test_a_checkpoint_at_any_point_continues_as_if_nothing_had_happened(data: st.DataObject) -> None:
    events = with_labels(data.draw(payments()))
    cut = data.draw(st.integers(0, len(events)))
    whole, before = run(events[:cut]), run(events[:cut])
    restored = Site(
        np.frombuffer(before.cards.tobytes(), before.cards.dtype).copy(),
        np.frombuffer(before.terminals.tobytes(), before.terminals.dtype).copy(),
    )
    for event in events[cut:]:
        assert restored.apply(event).tobytes() == whole.apply(event).tobytes()
    assert restored.cards.tobytes() == whole.cards.tobytes()
    assert restored.terminals.tobytes() == whole.terminals.tobytes()


@given(payments())
def test_advancing_at_any_time_between_changes_nothing_in_the_end(stream: list[Payment]) -> None:
    events = with_labels(stream)
    end_us = events[-1].now_us
    watched = site()
    for event, following in pairwise([*events, events[-1]]):
        watched.apply(event)
        watched.at((event.now_us + following.now_us) // 2)
    assert watched.at(end_us) == run(events).at(end_us)


@given(payments())
def test_replaying_a_batch_is_the_same_as_one_by_one(stream: list[Payment]) -> None:
    events = [event for event in with_labels(stream) if event.now_us <= stream[-1].now_us]
    single = site()
    vectors = [(event, single.apply(event)) for event in events]
    batch, out = replayed(stream)
    assert out.tobytes() == b"".join(vector.tobytes() for event, vector in vectors if isinstance(event, Payment))
    assert batch.cards.tobytes() + batch.terminals.tobytes() == single.cards.tobytes() + single.terminals.tobytes()


def replayed(stream: list[Payment]) -> tuple[Site, Vector]:
    """Return the state and the vectors, float32 [n, FEATURE_COUNT], of the batch form."""
    known = sorted((p.fraud_after_us, row) for row, p in enumerate(stream) if p.fraud_after_us is not None)
    label_us, label_rows = np.array(known, np.int64).reshape(-1, 2).T.copy()
    columns = [[p.card, p.terminal, p.now_us, p.feature_us, p.amount] for p in stream]
    card, terminal, now_us, feature_us, amount = np.array(columns, np.int64).T.copy()
    state, out = site(), np.zeros((len(stream), FEATURE_COUNT), np.float32)
    hashes = np.arange(TERMINALS, dtype=np.int64)
    streams = (hashes, card, terminal, now_us, feature_us, amount, label_rows, label_us, np.ones_like(label_us))
    replay(state.cards, state.terminals, *streams, out)
    return state, out


def test_a_correction_that_overtakes_its_label_still_takes_it_back() -> None:
    mark, correction = (Receipt(START_US, START_US, 0, 0, delta) for delta in (1, -1))
    assert run([mark, correction]).at(START_US) == run([correction, mark]).at(START_US)


def test_a_correction_received_at_another_site_takes_the_label_back_after_the_merge() -> None:
    mark, correction = (Receipt(START_US, START_US, 0, -1, delta) for delta in (1, -1))
    assert run([mark]).merge(run([correction])).at(START_US) == run([mark, correction]).at(START_US)


def test_a_full_count_of_labels_does_not_depend_on_the_order_of_a_correction() -> None:
    marks = [Receipt(START_US, START_US, 0, -1) for _ in range(256)]
    correction = Receipt(START_US, START_US, 0, -1, -1)
    assert run([*marks, correction]).at(START_US) == run([*marks[1:], correction, marks[0]]).at(START_US)
