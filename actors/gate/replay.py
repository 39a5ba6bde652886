"""Replays a decision from what was stored: the same features, score and verdict, to the bit. Needs no running gate.

`stored` scores the stored vector again. `recompute` rebuilds the state that the gate had, from checkpoint and journal,
and judges the stored request again.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from actors.gate.gate import conditions_of
from actors.gate.judge import LEFT_OUT, Basis, find, fingerprint_of, force, forced, judge
from actors.gate.orders import Orders
from actors.gate.start import load_checkpoint
from actors.gate.state import Rebuild, State, new_state
from actors.journal.layout import located
from actors.journal.log import Entry
from actors.journal.ports import Disk
from actors.journal.reader import Reader
from actors.journal.segment import Columns
from actors.scorer.model import Scorer
from tidegate.decided import Decided, request_body
from tidegate.decision import REASONS, Mark, Source
from tidegate.errors import NotFoundError
from tidegate.features.declarations import FINGERPRINT
from tidegate.frames import Origin
from tidegate.ids import BundleId, GateId, RecordId, SiteId
from tidegate.payment import PaymentRequest
from tidegate.policy.active import DERIVED, active_of
from tidegate.records import Kind, Lane, Record
from tidegate.settings import SiteSettings

Load = Callable[[BundleId], Scorer]
"""Returns the scorer of a bundle, or raises BundleError where it is not at hand."""


_SAID: Final = frozenset({Kind.CONFIG_ACTIVATED, Kind.POLICY_ACTIVATED, Kind.LISTS_ACTIVATED})
"""Records that say what a site decides by from then on; an epoch begins with one of each."""


class Difference(NamedTuple):
    """A field that a replay gave otherwise."""

    field: str
    stored: str
    replayed: str


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay came to; `records` is how many of the journal's it took."""

    differences: tuple[Difference, ...]
    records: int

    @property
    def equal(self) -> bool:
        """Whether every field came out as it was stored, to the bit."""
        return not self.differences


class Replay:
    """One decision of a gate's journal, found, and what it rested on."""

    def __init__(self, *, wanted: RecordId, journal: Disk, checkpoints: Disk, orders: Disk, load: Load) -> None:
        """Find the decision.

        Raises:
            NotFoundError: the journal has no such decision.
        """
        if wanted.lane != Lane.DECISIONS:
            raise NotFoundError(f"{wanted}: lane L{wanted.lane} holds no decisions; a decision's id has L1 in it")
        self._reader = Reader(journal)
        self._checkpoints = checkpoints
        self._orders = Orders(orders)
        self._load = load
        self._wanted = wanted
        self._epoch_index = self._find_epoch()
        self._said: dict[Kind, Entry] = {}
        self._record = self._find()
        self.decided = Decided.from_body(self._record.body)

    def _find_epoch(self) -> int:
        found = {name.epoch: name.ordinal for name in self._reader.epochs()}
        if self._wanted.epoch not in found:
            raise NotFoundError(f"{self._wanted}: this journal has no epoch {self._wanted.epoch}; ask another site")
        return found[self._wanted.epoch]

    def _find(self) -> Record:
        """Return the decision's record; remember on the way what its epoch said of itself last."""
        for piece in self._reader.pieces(since=self._epoch_index):
            index = located(int(piece.locators[0]) if isinstance(piece, Columns) else piece[0])[0]
            if index != self._epoch_index:
                break
            if isinstance(piece, Columns):
                at = np.flatnonzero(piece.rows["seq"] == self._wanted.seq)
                if len(at):
                    return self._reader.read(int(piece.locators[at[0]]))
            elif self._is_it(*piece):
                return piece[1]
            elif piece[1].kind in _SAID:
                self._said[piece[1].kind] = piece
        raise NotFoundError(f"{self._wanted}: this journal has no such decision, or it was lost; verify the journal")

    def _is_it(self, place: int, record: Record) -> bool:
        told = (located(place)[0], record.kind, record.seq)
        return told == (self._epoch_index, Kind.DECISION, self._wanted.seq)

    def stored(self) -> Replayed:
        """Score the stored vector again and decide anew on it."""
        state, _ = self._state(window=False)
        basis, old = self._basis(state), self.decided
        request = PaymentRequest.model_validate(request_body(old), strict=False)
        if (card := forced(old.card, basis.settings)) is not None:
            return Replayed(
                differences(old, old._replace(**force(basis, request, card, old.overlay_version)._asdict())), 1
            )
        found = find(
            basis,
            request,
            np.frombuffer(old.features, np.float32),
            now_us=self._record.time_us,
            overlay_version=old.overlay_version,
            system=tuple(number for number in old.reasons if _given(number)),
            braked=lambda _: old.rules_braked,
            pressed=self._left_out,
        )
        again = old._replace(feature_fingerprint=FINGERPRINT, **found._asdict())
        return Replayed(differences(old, again), 1)

    def _left_out(self) -> bool:
        """Tell whether the decision had no time for its score: then a replay has none either."""
        return bool(self.decided.marks & Mark.SCORE_LEFT_OUT)

    def recompute(self) -> Replayed:
        """Rebuild the state as it was before the decision, and judge the stored request again."""
        state, records = self._state(window=True)
        basis = self._basis(state)
        request = PaymentRequest.model_validate(request_body(self.decided), strict=False)
        again = judge(
            basis,
            state.window,
            request,
            wanted=fingerprint_of(request, request.occurred_us),
            occurred_us=request.occurred_us,
            now_us=self._record.time_us,
            conditions=conditions_of(
                basis.settings, clock_behind=state.clock_behind, damaged=not state.offline_approvals
            ),
            brakes=state.brakes,
            pressed=self._left_out,
        )
        return Replayed(differences(self.decided, again), records)

    def basis(self) -> Basis:
        """Return what the decision rested on beside the window: settings, model, policy, lists."""
        return self._basis(self._state(window=False)[0])

    def _basis(self, state: State) -> Basis:
        settings = SiteSettings.model_validate(state.config["settings"])
        scorer = self._load(BundleId(self.decided.bundle))
        if state.policy is None:
            raise NotFoundError(f"{self._wanted}: the record of its policy was lost; verify the journal")
        return Basis(settings, settings.fingerprint, scorer, self._orders.load(state.lists), active_of(state.policy))

    def _state(self, *, window: bool) -> tuple[State, int]:
        """Return the state before the decision and how many records it took.

        Without its window only what the site said of itself: lists, policy, configuration. That was seen when the
        decision was found, so the journal isn't read again.
        """
        settings = self._settings()
        before = self._record.pos - 1
        checkpoint = load_checkpoint(self._checkpoints, self._wanted.epoch, through_pos=before) if window else None
        dropped = self._reader.trimmed_pos(self._epoch_index)
        if window and (checkpoint.pos if checkpoint is not None else 0) < dropped:
            raise NotFoundError(
                f"{self._wanted}: records up to position {dropped} were dropped here once the cloud had them, so its "
                "features can't be computed again; --stored judges what was stored"
            )
        state = new_state(settings, checkpoint)
        origin = Origin(SiteId(self._wanted.site), GateId(self._wanted.gate), self._wanted.epoch)
        replay = Rebuild(state, self._reader, epoch_index=self._epoch_index, origin=origin, packs=self._orders.packs())
        count = 0
        for piece in self._before() if window else self._said.values():
            replay.take(piece)
            count += len(piece.rows) if isinstance(piece, Columns) else 1
        if replay.lost:
            raise NotFoundError(
                f"{self._wanted}: {replay.lost}; its features can't be computed again without, --stored judges what "
                "was stored"
            )
        return state, count

    def _settings(self) -> SiteSettings:
        """Return the settings that were active at the decision."""
        if Kind.CONFIG_ACTIVATED not in self._said:
            raise NotFoundError(f"{self._wanted}: the record of its configuration was lost; verify the journal")
        return SiteSettings.model_validate(self._said[Kind.CONFIG_ACTIVATED][1].values()["settings"])

    def _before(self) -> Iterator[Columns | Entry]:
        """Yield what the journal holds before the decision, older epochs included; nothing behind it is read."""
        for piece in self._reader.pieces():
            index = located(int(piece.locators[0]) if isinstance(piece, Columns) else piece[0])[0]
            if index < self._epoch_index:
                yield piece
            else:
                yield from (own := list(self._cut(piece)))
                if not own:
                    return

    def _cut(self, piece: Columns | Entry) -> Iterator[Columns | Entry]:
        if not isinstance(piece, Columns):
            if piece[1].pos < self._record.pos:
                yield piece
            return
        count = int(np.searchsorted(piece.rows["pos"], self._record.pos))
        if count:
            yield Columns(piece.locators[:count], piece.rows[:count])


def told(replayed: Replayed) -> dict[str, Any]:
    """Return a replay as the door tells it."""
    fields = [{"field": one.field, "stored": one.stored, "replayed": one.replayed} for one in replayed.differences]
    return {"equal": replayed.equal, "differences": fields}


def differences(stored: Decided, replayed: Decided) -> tuple[Difference, ...]:
    """Return the fields in which two decisions differ, floats by their bits."""
    if stored.to_body() == replayed.to_body():
        return ()
    pairs = zip(Decided._fields, map(_text, stored), map(_text, replayed), strict=True)
    return tuple(Difference(name, old, new) for name, old, new in pairs if old != new)


def _given(number: int) -> bool:
    """Tell whether a reason says how a decision was made, and doesn't follow from what else is stored."""
    return REASONS[number].source is Source.SYSTEM and number not in DERIVED and number not in LEFT_OUT.values()


def _text(value: object) -> str:
    """Return a value so that unequal bits are unequal texts."""
    if isinstance(value, bytes):
        return value.hex(" ", 4)
    return float(value).hex() if isinstance(value, float) else str(value)
