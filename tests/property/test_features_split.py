"""Payments shared out over sites in any way: once the tide is quiet, each site reads what one gate of all would read.

Through the real way: frames, an extractor that dies in between, batches of deltas, states by origin, snapshots.
"""

from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from serve_apps.features.memory import MemoryStore
from serve_apps.features.views import card_of, snapshot_of
from serve_apps.plumbing.stream.log import DELTAS
from tests.property.test_features_state import CARDS, TERMINALS, Payment, Receipt, payments
from tests.sent import event, events_frame, frame
from tests.unit.cloudfeatures.test_extractor import Cloud
from tidegate.deltas import Deltas
from tidegate.features.declarations import FEATURE_COUNT, FEATURES
from tidegate.features.kernel import Vector, advance_cards, fold, label, observe, observe_over, token_hash
from tidegate.features.state import Cards, Terminals, empty_cards, empty_terminals
from tidegate.frames import Origin
from tidegate.ids import EpochId, GateId, SiteId
from tidegate.limits import DAY_US
from tidegate.records import DECISION, DECISION_BODY_BYTES, Kind, Lane
from tidegate.snapshots import Snapshot

SITES: Final = 3
HASHES: Final = [token_hash(f"till-{number}") for number in range(TERMINALS)]
OF_CARDS: Final = [at for at, feature in enumerate(FEATURES) if not feature.name.startswith("terminal_")]
"""What a site reads of cards, which a site whose disk was lost has in the cloud; its terminals' past is gone."""
LATER_US: Final = 10_000 * DAY_US
"""The cloud's clock is ahead of all that these payments say."""


@dataclass
class Gate:
    """One epoch of a site's gate: its state, and what it has journaled and not sent."""

    origin: Origin
    cards: Cards = field(default_factory=lambda: empty_cards(CARDS))
    terminals: Terminals = field(default_factory=lambda: empty_terminals(TERMINALS))
    pending: list[tuple[Payment | Receipt, int]] = field(default_factory=list)
    decided: list[Payment] = field(default_factory=list)
    pos: int = 0
    seqs: dict[Lane, int] = field(default_factory=lambda: {Lane.DECISIONS: 0, Lane.EVENTS: 0})

    def apply(self, one: Payment | Receipt, over: Cards | None = None) -> Vector:
        """Count a payment or a label, and return the vector of a payment, alone or over what others did."""
        out = np.zeros(FEATURE_COUNT, np.float32)
        if isinstance(one, Receipt):
            label(self.cards, one.card, self.terminals, one.terminal, one.now_us, one.feature_us, one.delta)
            return out
        where = (self.terminals, one.terminal, HASHES[one.terminal], one.now_us, one.feature_us, one.amount, out)
        if over is None:
            observe(self.cards, one.card, *where)
        else:
            observe_over(self.cards, one.card, over, one.card, empty_cards(1), *where)
        return out

    def copy(self) -> "Gate":
        """Return the same state in memory of its own."""
        return Gate(self.origin, self.cards.copy(), self.terminals.copy())

    def journal(self, one: Payment | Receipt) -> None:
        """Count and keep what happened, to be sent."""
        self.apply(one)
        self.pos += 1
        self.pending.append((one, self.pos))
        if isinstance(one, Payment):
            self.decided.append(one)

    def frames(self) -> list[tuple[Lane, bytes]]:
        """Return what is pending as frames, and forget it."""
        sent, self.pending = self.pending, []
        source = ".".join(self.origin)
        uses = [(one, pos) for one, pos in sent if isinstance(one, Payment)]
        told = [(one, pos) for one, pos in sent if isinstance(one, Receipt)]
        found = []
        if uses:
            found.append((Lane.DECISIONS, frame(Lane.DECISIONS, self._decisions(uses), source)))
        if told:
            found.append((Lane.EVENTS, self._events(told, source)))
        return found

    def _decisions(self, uses: list[tuple[Payment, int]]) -> bytes:
        rows = np.zeros(len(uses), DECISION)
        rows["lane"], rows["kind"], rows["size"] = Lane.DECISIONS, Kind.DECISION, DECISION_BODY_BYTES
        for row, (one, pos) in zip(rows, uses, strict=True):
            row["seq"], row["pos"], row["time_us"] = self._seq(Lane.DECISIONS), pos, one.now_us
            row["card"], row["terminal"] = f"card-{one.card}", f"till-{one.terminal}"
            row["feature_us"], row["amount_minor"] = one.feature_us, one.amount
        return rows.tobytes()

    def _events(self, told: list[tuple[Receipt, int]], source: str) -> bytes:
        records = []
        for one, pos in told:
            seq = self._seq(Lane.EVENTS)
            said: dict[str, Any] = {"label_id": f"l-{pos}", "merchant": "m", "transaction_id": "t", "verdict": "fraud"}
            said |= {"known_us": one.now_us, "card": f"card-{one.card}", "feature_us": one.feature_us, "delta": 1}
            made = event(Kind.LABEL_RECEIVED, seq, said)
            records.append(made._replace(pos=pos, time_us=one.now_us))
        return events_frame(*records, of=source)

    def _seq(self, lane: Lane) -> int:
        self.seqs[lane] += 1
        return self.seqs[lane]


class Early(NamedTuple):
    """A snapshot that was made while payments went on, of which cards, and for which epoch."""

    made: Snapshot
    cards: list[str]
    origin: Origin


class Town:
    """Sites, the cloud, and what has reached it."""

    def __init__(self, home: list[int]) -> None:
        self.home, self.cloud, self.store = home, Cloud(), MemoryStore()
        self.cloud.clock.advance(LATER_US)
        self.folder = self.cloud.folder(self.store)
        self.gates = [self._gate(number, 0) for number in range(SITES)]
        self.lost: set[int] = set()
        self.reached: list[Payment | Receipt] = []
        self.early: list[Early] = []

    def _gate(self, number: int, epoch: int) -> Gate:
        return Gate(Origin(SiteId(f"s{number}"), GateId("g0"), EpochId(f"{epoch:016x}")))

    def happen(self, one: Payment | Receipt, payment: Payment) -> None:
        """Have the site of a terminal decide, or hear of a label; one that has lost the decision can't take it."""
        gate = self.gates[self.home[one.terminal]]
        if isinstance(one, Payment) or any(payment is each for each in gate.decided):
            gate.journal(one)

    def send(self, number: int) -> None:
        """Have a site send all that it has."""
        gate = self.gates[number]
        self.reached += [one for one, _ in gate.pending]
        for lane, data in gate.frames():
            self.cloud.send(lane, data)

    def lose(self, number: int) -> None:
        """Have a site's disk replaced: what it didn't send is gone, and it begins anew under its name."""
        epoch = int(self.gates[number].origin.epoch, 16) + 1
        self.gates[number] = self._gate(number, epoch)
        self.lost.add(number)

    def die(self) -> None:
        """Have the extractor read, and be killed before it commits."""
        self.cloud.extractor.step()
        self.cloud.begin()

    def look(self, number: int) -> None:
        """Have a gate fetch a snapshot while others go on."""
        self.folder.step()
        origin = self.gates[number].origin
        self.early.append(Early(snapshot_of(self.store, origin), self.store.cards_of(origin.site), origin))

    def quiet(self) -> None:
        """Have all of it sent, made deltas of, and folded."""
        for number in range(SITES):
            self.send(number)
        self.cloud.settle()
        while self.folder.step():
            pass

    def batches(self) -> list[tuple[int, Deltas]]:
        reader = self.cloud.stream.reader()
        found = reader.read(DELTAS, 0, 0, messages_max=10_000, bytes_max=1 << 30)
        return [(stored.offset, Deltas.from_bytes(stored.value)) for stored in found]

    def overlay(self, origin: Origin, early: Early | None = None) -> Cards:
        """Return what others did, as a gate has it that reads all deltas, or those behind a snapshot."""
        cards, versions = empty_cards(CARDS), np.full(CARDS, -1 if early is None else early.made.through)
        if early is not None:
            for card, state, version in zip(early.made.cards, early.made.states, early.made.versions, strict=True):
                cards[slot(card)], versions[slot(card)] = state, version
        for version, batch in self.batches():
            for row in batch.but(origin):
                at = slot(row["card"].decode())
                if version > versions[at]:
                    names = ("kind", "time_us", "event_us", "amount_minor", "terminal_hash")
                    fold(cards, np.array([at]), *(np.array([row[name]], np.int64) for name in names))
        return cards

    def kept(self, origin: Origin) -> Cards:
        """Return what others did, as the cloud's store has it."""
        cards = empty_cards(CARDS)
        for at in range(CARDS):
            made = card_of(self.store, origin, f"card-{at}")
            if made.cards:
                cards[at] = made.states[0]
        return cards


def slot(card: str) -> int:
    return int(card.removeprefix("card-"))


def events_of(stream: list[Payment]) -> list[tuple[Payment | Receipt, Payment]]:
    """Return payments and their labels in the order of their times, each with its payment."""
    told: list[tuple[Payment | Receipt, Payment]] = [
        (Receipt(one.fraud_after_us, one.feature_us, one.card, one.terminal), one)
        for one in stream
        if one.fraud_after_us is not None and one.fraud_after_us > one.now_us
    ]
    return sorted([*told, *((one, one) for one in stream)], key=lambda each: each[0].now_us)


def same(one: Cards, other: Cards, now_us: int) -> bool:
    advance_cards(one, now_us)
    advance_cards(other, now_us)
    return one.tobytes() == other.tobytes()


deeds = st.tuples(st.sampled_from(["send", "send", "step", "die", "look", "lose"]), st.integers(0, SITES - 1))
steps = st.lists(deeds, max_size=3)


@settings(max_examples=40)
@given(
    stream=payments(25),
    home=st.lists(st.integers(0, SITES - 1), min_size=TERMINALS, max_size=TERMINALS),
    between=st.lists(steps, min_size=1, max_size=10),
)
def test_any_split_over_sites_reads_once_the_tide_is_quiet_what_one_gate_of_all_reads(
    stream: list[Payment], home: list[int], between: list[list[tuple[str, int]]]
) -> None:
    town, events = Town(home), events_of(stream)
    ways = {
        "send": town.send,
        "step": lambda _: town.cloud.settle(),
        "die": lambda _: town.die(),
        "look": town.look,
        "lose": town.lose,
    }
    for at, (one, payment) in enumerate(events):
        town.happen(one, payment)
        for deed, number in between[at % len(between)]:
            ways[deed](number)
    town.quiet()
    end_us, whole = max(one.now_us for one, _ in events), Gate(town.gates[0].origin)
    for one in town.reached:
        whole.apply(one)
    for number, gate in enumerate(town.gates):
        overlay, terminal = town.overlay(gate.origin), home.index(number) if number in home else 0
        assert same(overlay, town.kept(gate.origin), end_us)
        compared = OF_CARDS if number in town.lost or number not in home else list(range(FEATURE_COUNT))
        for card in range(CARDS):
            probe = Payment(end_us, end_us, card, terminal, 1234, None)
            read, meant = gate.copy().apply(probe, overlay), whole.copy().apply(probe)
            assert read[compared].tobytes() == meant[compared].tobytes()


@settings(max_examples=25)
@given(
    stream=payments(25),
    home=st.lists(st.integers(0, SITES - 1), min_size=TERMINALS, max_size=TERMINALS),
    between=st.lists(st.tuples(st.sampled_from(["send", "step", "look"]), st.integers(0, SITES - 1)), min_size=2),
)
def test_a_snapshot_that_was_made_at_any_time_and_the_deltas_behind_it_are_what_all_deltas_are(
    stream: list[Payment], home: list[int], between: list[tuple[str, int]]
) -> None:
    town = Town(home)
    for at, (one, payment) in enumerate(events_of(stream)):
        town.happen(one, payment)
        deed, number = between[at % len(between)]
        {"send": town.send, "step": lambda _: town.cloud.settle(), "look": town.look}[deed](number)
    town.quiet()
    end_us = max(one.now_us for one, _ in events_of(stream))
    for early in town.early:
        whole, behind = town.overlay(early.origin), town.overlay(early.origin, early)
        listed = [slot(card) for card in early.cards]
        assert same(whole[listed], behind[listed], end_us)
