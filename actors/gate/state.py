"""What a gate knows, all of it rebuilt by its journal: the same code at a start, and where a decision is replayed."""

from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

import numpy as np

from actors.gate.answers import Answers, identity
from actors.gate.applied import Applied
from actors.gate.labels import Labels
from actors.gate.packs import Packs
from actors.gate.places import Places
from actors.journal.layout import located
from actors.journal.log import Entry
from actors.journal.segment import Columns
from actors.journal.trim import TrimmedError
from actors.window.checkpoint import Checkpoint
from actors.window.window import Evicted, Window
from tidegate.decided import Decided
from tidegate.decision import Mark, Outcome
from tidegate.deltas import ROW, Deltas
from tidegate.errors import NotFoundError
from tidegate.frames import Origin
from tidegate.ids import EpochId
from tidegate.limits import ANSWERS_GENERATIONS
from tidegate.lists import ListsActivation
from tidegate.policy.active import Activation
from tidegate.policy.brake import Brakes
from tidegate.policy.terms import Policy
from tidegate.records import Kind, Record
from tidegate.settings import SiteSettings

Rows = np.ndarray[Any, np.dtype[np.void]]
ENTITY_OF: Final = {Kind.CARD_EVICTED: "card", Kind.TERMINAL_EVICTED: "terminal"}


@dataclass(slots=True)
class State:
    """A gate's state after some record. Up to `window_pos` the window has seen all of it already."""

    window: Window
    window_pos: int = 0
    answers: Answers = field(default_factory=Answers)
    labels: Labels = field(default_factory=Labels)
    places: dict[EpochId, Places] = field(default_factory=dict)
    lists: ListsActivation = field(default_factory=ListsActivation)
    bundle: str = ""
    bundles: set[str] = field(default_factory=set)
    """All that a record names: what a replay may need."""
    policy: Activation | None = None
    brakes: Brakes = field(default_factory=Brakes)
    config: dict[str, Any] = field(default_factory=dict)
    epoch_began: str = ""
    offline_approvals: bool = True
    clock_behind: bool = False

    def remember(self, epoch: EpochId, place: int, record: Record, key: np.uint64) -> None:
        """Index a decision by its payment's identity and by its `seq`."""
        self.answers.add(key, place, record.time_us)
        self.places_of(epoch).put(record.seq, place)

    def take_policy(self, activation: Activation) -> None:
        """Go on under another policy; rules that go on keep what their brakes have counted."""
        self.policy = activation
        self.brakes.fit(Policy.model_validate(activation.terms))

    def places_of(self, epoch: EpochId) -> Places:
        """Return where an epoch's decisions stand."""
        places = self.places.get(epoch)
        if places is None:
            places = self.places[epoch] = Places()
        return places


def new_state(settings: SiteSettings, checkpoint: Checkpoint | None = None) -> State:
    """Return an empty state, or one that begins with a checkpoint; one made under other bounds is left aside."""
    bounds = settings.window
    window = Window(cards_max=bounds.cards_max, terminals_max=bounds.terminals_max)
    answers = Answers(ids_per_generation=bounds.answers_max // ANSWERS_GENERATIONS)
    if checkpoint is not None and checkpoint.window.fits(window):
        return State(window=checkpoint.window, answers=answers, window_pos=checkpoint.pos)
    return State(window=window, answers=answers)


class Records(Protocol):
    """What is read of a journal by locator: an open one, or the files of one that somebody else has open."""

    def read(self, locator: int) -> Record:
        """Return the record at a locator."""

    def epoch_of(self, locator: int) -> EpochId:
        """Return the epoch that the record at a locator belongs to."""


def _each_once(names: Rows) -> list[bytes]:
    """Return the values of a column of long runs, more than once where they come back: sorting would cost more."""
    if not len(names):
        return []
    starts = np.flatnonzero(names[1:] != names[:-1]) + 1
    found: list[bytes] = [names[0].item(), *names[starts].tolist()]
    return found


class Rebuild:
    """Applies a journal's records to a state, each as the live gate did when it wrote it.

    Decisions of older epochs are only indexed: their answers stand. Own feature state begins anew with an epoch.
    """

    def __init__(self, state: State, records: Records, *, epoch_index: int, origin: Origin, packs: Packs) -> None:
        self.state = state
        self.lost = ""
        """Why the overlay can't be made again from some record on; nothing more is counted in it then."""
        self._records = records
        self._epoch_index = epoch_index
        self._origin = origin
        self._packs = packs

    def take(self, piece: Columns | Entry) -> None:
        """Apply the next piece of the journal, all epochs in order."""
        if isinstance(piece, Columns):
            self._run(piece)
        elif located(piece[0])[0] == self._epoch_index:
            self._apply(*piece)
        elif piece[1].kind is Kind.DECISION:
            self._index(*piece, Decided.from_body(piece[1].body))

    def _run(self, run: Columns) -> None:
        """Index a run of decisions, and apply those that the window hasn't seen."""
        if located(int(run.locators[0]))[0] == self._epoch_index:
            seen = int(np.searchsorted(run.rows["pos"], self.state.window_pos, side="right"))
        else:
            seen = len(run.rows)
        self._index_run(Columns(run.locators[:seen], run.rows[:seen]))
        if located(int(run.locators[0]))[0] == self._epoch_index:
            self._brake_run(run.rows[:seen])
        for place, row in zip(run.locators[seen:].tolist(), run.rows[seen:], strict=True):
            self._apply(place, Record.from_bytes(row.tobytes()))

    def _brake_run(self, rows: Rows) -> None:
        """Count the declines of rules that the window has seen already: brakes are in no checkpoint."""
        declined = rows[(rows["outcome"] == Outcome.DECLINE) & (rows["rules_deciding"] != 0)]
        for deciding, time_us in zip(declined["rules_deciding"].tolist(), declined["time_us"].tolist(), strict=True):
            self.state.brakes.count(deciding, time_us)

    def _index_run(self, run: Columns) -> None:
        if not len(run.rows):
            return
        rows, add = run.rows, self.state.answers.add
        columns = (rows["merchant"], rows["transaction_id"], run.locators, rows["time_us"])
        for merchant, transaction, place, time_us in zip(*(column.tolist() for column in columns), strict=True):
            add(identity(merchant, transaction), place, time_us)
        self.state.bundles.update(name.decode("ascii") for name in _each_once(rows["bundle"]))
        epoch = self._records.epoch_of(int(run.locators[0]))
        self.state.places_of(epoch).put_run(rows["seq"], run.locators)

    def _index(self, place: int, record: Record, decided: Decided) -> None:
        key = key_of(decided.merchant, decided.transaction_id)
        self.state.bundles.add(decided.bundle)
        self.state.remember(self._records.epoch_of(place), place, record, key)

    def _apply(self, place: int, record: Record) -> None:
        """Change the state as one record of this epoch says."""
        match record.kind:
            case Kind.DECISION:
                self._decision(place, record)
            case Kind.LABEL_RECEIVED:
                self._label(record)
            case Kind.CARD_EVICTED | Kind.TERMINAL_EVICTED:
                if record.pos > self.state.window_pos:
                    self.state.window.evict(Evicted(ENTITY_OF[record.kind], str(record.values()["token"])))
            case Kind.OVERLAY_APPLIED | Kind.OVERLAY_DROPPED:
                if record.pos > self.state.window_pos:
                    self._overlay(record)
            case _:
                self._say(record)

    def _overlay(self, record: Record) -> None:
        """Count other sites' deltas as they were counted, or forget them as they were forgotten."""
        if record.kind is Kind.OVERLAY_DROPPED:
            self.lost = ""
            self.state.window.drop_overlay()
        elif not self.lost:
            applied = Applied.of(record.values())
            try:
                batch = self._packs.get(applied.until, applied.sha256) if applied.sha256 else None
            except NotFoundError as error:
                self.lost = error.message
            else:
                lay_over(self.state.window, batch, applied, self._origin)

    def _say(self, record: Record) -> None:
        state = self.state
        match record.kind:
            case Kind.EPOCH_STARTED:
                state.epoch_began = str(record.values()["reason"])
                state.offline_approvals = bool(record.values()["offline_approvals"])
            case Kind.LISTS_ACTIVATED:
                state.lists = ListsActivation.model_validate(record.values())
            case Kind.BUNDLE_ACTIVATED:
                state.bundle = str(record.values()["bundle"])
                state.bundles.add(state.bundle)
            case Kind.POLICY_ACTIVATED:
                state.take_policy(Activation.model_validate(record.values()))
            case Kind.CONFIG_ACTIVATED:
                state.config = record.values()
            case Kind.CLOCK_STEPPED:
                state.clock_behind = record.values()["behind_us"] > 0
            case _:
                pass

    def _decision(self, place: int, record: Record) -> None:
        decided, window = Decided.from_body(record.body), self.state.window
        self._index(place, record, decided)
        count_brakes(self.state, decided, record.time_us)
        if record.pos <= self.state.window_pos or decided.marks & Mark.SANDBOX:
            return
        for overdue in window.overdue(decided.card, decided.terminal):
            # A bound lowered since then: memory stays bounded, and the live gate would have forgotten it, too.
            window.evict(overdue)
        window.observe(
            card=decided.card,
            terminal=decided.terminal,
            now_us=record.time_us,
            feature_us=decided.feature_us,
            amount_minor=decided.amount_minor,
        )

    def _label(self, record: Record) -> None:
        values = record.values()
        delta = self.state.labels.add(values)
        if not delta or record.pos <= self.state.window_pos:
            return
        merchant, transaction = values["merchant"], values["transaction_id"]
        key = key_of(merchant, transaction)
        first = find_first(self.state.answers, self._records, key, merchant, transaction)
        if first is not None:
            count_label(self.state.window, first.decided, record.time_us, delta)


def lay_over(window: Window, batch: Deltas | None, applied: Applied, own: Origin) -> None:
    """Count a batch in the overlay, but for the rows of the gate's own epoch: it has counted them itself."""
    overlay = window.overlay
    overlay.apply(np.zeros(0, ROW) if batch is None else batch.but(own), applied.reached(overlay.reached))


def count_brakes(state: State, decided: Decided, now_us: int) -> None:
    """Count a decline for the brakes of the rules that brought it about."""
    if decided.rules_deciding and decided.outcome is Outcome.DECLINE:
        state.brakes.count(decided.rules_deciding, now_us)


def count_label(window: Window, decided: Decided, now_us: int, delta: int) -> None:
    """Count a payment as known fraud (1) or take that back (-1); an answer that a test card forced counts nowhere."""
    if decided.marks & Mark.SANDBOX:
        return
    window.label(card=decided.card, terminal=decided.terminal, now_us=now_us, event_us=decided.feature_us, delta=delta)


class First(NamedTuple):
    """The decision that a payment's id was first answered with, and where it stands."""

    place: int
    record: Record
    decided: Decided


def key_of(merchant: str, transaction_id: str) -> np.uint64:
    """Return the 64-bit hash of a payment's identity."""
    return identity(merchant.encode(), transaction_id.encode())


def find_first(answers: Answers, records: Records, key: np.uint64, merchant: str, transaction_id: str) -> First | None:
    """Return the first decision on a payment, as the index of answers knows it; `key` is `key_of` it."""
    found: list[First] = []

    def is_it(place: int) -> bool:
        try:
            record = records.read(place)
        except TrimmedError:
            return False  # older than any retry that is promised its first answer
        decided = Decided.from_body(record.body)
        found.append(First(place, record, decided))
        return (decided.merchant, decided.transaction_id) == (merchant, transaction_id)

    place = answers.find(key, is_it)
    return None if place < 0 else found[-1]
