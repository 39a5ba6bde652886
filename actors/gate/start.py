"""How a gate comes up: journal, checkpoint, replay, bundle, golden rows. The same in life and in simulation."""

import contextlib
from dataclasses import dataclass
from typing import Any

from actors.gate.answers import Answers, identity
from actors.gate.gate import ENTITY_OF, Gate
from actors.gate.labels import Labels
from actors.journal.journal import Bounds, Journal
from actors.journal.layout import located
from actors.journal.ports import Disk
from actors.journal.recovery import Owner, Recovery, open_journal
from actors.scorer.model import Scorer
from actors.window.checkpoint import Checkpoint, decode, encode
from actors.window.window import Evicted, Window
from tidegate.clock import Clock, EventClock, SteadyClock
from tidegate.decided import Decided
from tidegate.errors import JournalFormatError
from tidegate.ids import Entropy, GateId, SiteId
from tidegate.lists import ListIndex, Lists
from tidegate.records import Kind, Lane, Record, event_body
from tidegate.settings import SiteSettings

CHECKPOINT_FILE = "checkpoint"


@dataclass(slots=True)
class _State:
    """What a replay of the journal rebuilds."""

    window: Window
    answers: Answers
    labels: Labels
    lists: Lists
    bundle: str = ""
    config: str = ""
    window_pos: int = 0


def load_checkpoint(disk: Disk, epoch: str) -> Checkpoint | None:
    """Return the newest checkpoint of this epoch that proves whole, or None: the journal then rebuilds all of it."""
    with contextlib.suppress(FileNotFoundError, JournalFormatError):
        checkpoint = decode(disk.read(CHECKPOINT_FILE))
        return checkpoint if checkpoint.epoch == epoch else None
    return None


def save_checkpoint(disk: Disk, gate: Gate) -> None:
    """Store the window as of the journal's durable head; all of it must be durable."""
    checkpoint = Checkpoint(epoch=gate.epoch, pos=gate.journal.durable_pos, window=gate.window)
    disk.replace(CHECKPOINT_FILE, encode(checkpoint))


def _apply_decision(state: _State, place: int, record: Record) -> None:
    decided = Decided.from_body(record.body)
    state.answers.add(identity(decided.merchant, decided.transaction_id), place, record.time_us)
    if record.pos <= state.window_pos:
        return
    for overdue in state.window.overdue(decided.card, decided.terminal):
        # A bound lowered since then: memory stays bounded, and the live gate would have forgotten it, too.
        state.window.evict(overdue)
    state.window.observe(
        card=decided.card,
        terminal=decided.terminal,
        now_us=record.time_us,
        feature_us=decided.feature_us,
        amount_minor=decided.amount_minor,
    )


def _apply_label(state: _State, journal: Journal, record: Record) -> None:
    values = record.values()
    delta = state.labels.add(values)
    if not delta or record.pos <= state.window_pos:
        return
    decided = find_decided(state.answers, journal, values["merchant"], values["transaction_id"])
    if decided is not None:
        state.window.label(
            card=decided.card,
            terminal=decided.terminal,
            now_us=record.time_us,
            event_us=decided.feature_us,
            delta=delta,
        )


def find_decided(answers: Answers, journal: Journal, merchant: str, transaction_id: str) -> Decided | None:
    """Return the decision on a payment, as the index of answers knows it."""

    def is_it(place: int) -> bool:
        decided = Decided.from_body(journal.read(place).body)
        return (decided.merchant, decided.transaction_id) == (merchant, transaction_id)

    place = answers.find(identity(merchant, transaction_id), is_it)
    return None if place < 0 else Decided.from_body(journal.read(place).body)


def _apply(state: _State, journal: Journal, place: int, record: Record) -> None:
    """Change the state as the live gate did when it wrote this record."""
    match record.kind:
        case Kind.DECISION:
            _apply_decision(state, place, record)
        case Kind.LABEL_RECEIVED:
            _apply_label(state, journal, record)
        case Kind.CARD_EVICTED | Kind.TERMINAL_EVICTED:
            if record.pos > state.window_pos:
                state.window.evict(Evicted(ENTITY_OF[record.kind], str(record.values()["token"])))
        case Kind.LISTS_ACTIVATED:
            state.lists = Lists.model_validate(record.values())
        case Kind.BUNDLE_ACTIVATED:
            state.bundle = str(record.values()["bundle"])
        case Kind.CONFIG_ACTIVATED:
            state.config = str(record.values()["config"])
        case _:
            pass


def rebuild(journal: Journal, checkpoint: Checkpoint | None, settings: SiteSettings) -> _State:
    """Return the gate's state as it was after the last durable record.

    Records of older epochs are kept and served: their answers stand. Own feature state begins anew with an epoch.
    """
    bounds = settings.window
    window = Window(cards_max=bounds.cards_max, terminals_max=bounds.terminals_max)
    state = _State(window=window, answers=Answers(), labels=Labels(), lists=Lists())
    if checkpoint is not None and checkpoint.pos <= journal.durable_pos and checkpoint.window.fits(window):
        state.window, state.window_pos = checkpoint.window, checkpoint.pos
    for place, record in journal.scan_all():
        if located(place)[0] == journal.epoch_index:
            _apply(state, journal, place, record)
        elif record.kind is Kind.DECISION:
            decided = Decided.from_body(record.body)
            state.answers.add(identity(decided.merchant, decided.transaction_id), place, record.time_us)
    return state


def _announce(gate: Gate, state: _State, lists: Lists) -> None:
    """Journal what changed since the last run: the bundle, the lists, the configuration."""
    items: list[tuple[Lane, Kind, dict[str, Any]]] = []
    if state.bundle != gate.scorer.bundle.id:
        items.append((Lane.EVENTS, Kind.BUNDLE_ACTIVATED, {"bundle": gate.scorer.bundle.id}))
    if state.lists != lists:
        items.append((Lane.EVENTS, Kind.LISTS_ACTIVATED, lists.model_dump(mode="json")))
    if state.config != gate.settings.fingerprint:
        items.append((Lane.EVENTS, Kind.CONFIG_ACTIVATED, {"config": gate.settings.fingerprint}))
    if items:
        gate.journal.append([(lane, kind, event_body(values)) for lane, kind, values in items], gate.now_us())
        gate.journal.commit()


def open_gate(
    *,
    settings: SiteSettings,
    machine_mark: str,
    journal_disk: Disk,
    checkpoint_disk: Disk,
    scorer: Scorer,
    lists: Lists,
    clock: Clock,
    entropy: Entropy,
) -> tuple[Gate, Recovery]:
    """Open the journal, rebuild the state, and return a gate that is ready to decide.

    Raises:
        JournalFormatError: the journal belongs to another site or version; it is left untouched.
        JournalError: the disk failed.
    """
    owner = Owner(site=SiteId(settings.site), gate=GateId(settings.gate), machine_mark=machine_mark)
    bounds = Bounds(segment_bytes=settings.journal.segment_bytes, bytes_max=settings.journal.bytes_max)
    journal, recovery = open_journal(disk=journal_disk, owner=owner, clock=clock, entropy=entropy, bounds=bounds)
    state = rebuild(journal, load_checkpoint(checkpoint_disk, journal.epoch), settings)
    gate = Gate(
        settings=settings,
        journal=journal,
        window=state.window,
        scorer=scorer,
        lists=ListIndex(lists),
        clock=SteadyClock(clock, floor_us=recovery.last_time_us),
        source=clock if isinstance(clock, EventClock) else None,
        answers=state.answers,
        labels=state.labels,
        offline_approvals=recovery.offline_approvals,
    )
    _announce(gate, state, lists)
    return gate, recovery
