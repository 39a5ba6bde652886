"""The gate: verify, features, score, decide, journal, answer. One writer, no await, so it needs no lock.

Pure but for what it is handed (journal, clock): the whole of it runs under a seed in one process. What it returns may
be told to nobody before the journal has made it durable; `actors/gate/committer.py` waits for that.
"""

from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np

from actors.gate.applied import Applied
from actors.gate.deadline import Deadline
from actors.gate.judge import Basis, Conditions, fingerprint_of, forced, judge, never
from actors.gate.state import ENTITY_OF, First, State, count_brakes, count_label, find_first, key_of, lay_over
from actors.journal.journal import Journal
from actors.journal.log import Item
from actors.window.window import Evicted, Window
from tidegate.clock import EventClock, SteadyClock, microseconds, rfc3339
from tidegate.decided import Decided, answer
from tidegate.decision import Mark
from tidegate.deltas import Deltas, Label
from tidegate.errors import ConflictError, DeadlineError, FieldError, InvalidError, NotFoundError, NotReadyError
from tidegate.frames import Origin
from tidegate.ids import EpochId, GateId, SiteId
from tidegate.limits import DAY_US, EVENT_STEP_US_MAX, OCCURRED_AHEAD_US_MAX, OCCURRED_BEHIND_US_REFUSED
from tidegate.lists import ListIndex
from tidegate.payment import LabelRequest, PaymentRequest
from tidegate.policy.active import ActivePolicy, activation_of
from tidegate.records import DECISION_BODY_BYTES, Kind, Lane, Record, event_body
from tidegate.sandbox import PREFIX
from tidegate.settings import SiteSettings

_ANY_DECISION: Final = (Lane.DECISIONS, Kind.DECISION, bytes(DECISION_BODY_BYTES))
_RESERVED: Final = (
    f"{PREFIX}... is a test card, or would be one: a site of the profile sandbox takes those that are declared"
)
_KIND_OF: Final = {entity: kind for kind, entity in ENTITY_OF.items()}


class Decision(NamedTuple):
    """A decision and its record; `replayed` where it is the first answer to a retry."""

    epoch: EpochId
    record: Record
    decided: Decided
    replayed: bool


@dataclass(slots=True)
class Tally:
    """What the gate counts since its start, for `/metrics`."""

    replayed: int = 0
    evictions: int = 0
    late: int = 0
    fraud_labels: int = 0
    legit_labels: int = 0
    mode: int = 0
    sandbox: int = 0
    deltas: int = 0
    delta_rows: int = 0


class Gate:
    """Decides payments and applies labels; every change of its state is a record first."""

    def __init__(
        self, *, basis: Basis, journal: Journal, state: State, clock: SteadyClock, source: EventClock | None
    ) -> None:
        self.basis = basis
        self.journal = journal
        self.tally = Tally()
        self.failed: str | None = None
        self._state = state
        self._clock = clock
        self._source = source
        self._site, self._gate = SiteId(basis.settings.site), GateId(basis.settings.gate)
        self._conditions = self._conditions_of(clock_behind=state.clock_behind)

    @property
    def settings(self) -> SiteSettings:
        """What the site was told."""
        return self.basis.settings

    @property
    def window(self) -> Window:
        """Feature state, as of the last record appended."""
        return self._state.window

    @property
    def state(self) -> State:
        """All that the journal's records have come to."""
        return self._state

    @property
    def epoch(self) -> EpochId:
        """The epoch of the journal's head."""
        return self.journal.epoch

    @property
    def offline_approvals(self) -> bool:
        """Whether payments may be accepted while cut off: not after damage, nor while the clock is set back."""
        return not self._conditions.offline_closed

    @property
    def behind_us(self) -> int:
        """How far the machine's clock is behind the highest time handed out."""
        return self._clock.behind_us

    def now_us(self) -> int:
        """The gate's steady clock."""
        return self._clock.now_us()

    def decide(self, request: PaymentRequest, deadline: Deadline | None = None) -> Decision:
        """Decide one payment, or return the decision its id was first answered with, which no deadline hinders.

        Raises:
            DeadlineError: it has passed; nothing was changed, and the next request with this id is the first.
            InvalidError: currency or time can't be; nothing was changed.
            ConflictError: the id was used with another body.
            NotReadyError, OverloadedError, DiskFullError: nothing was changed; try again.
        """
        self._must_run()
        occurred_us = request.occurred_us
        wanted = fingerprint_of(request, occurred_us)
        key = key_of(request.merchant, request.transaction_id)
        first = self._first(key, request)
        if first is None:
            return self._decide_new(request, occurred_us, wanted, key, deadline)
        if first.decided.request_hash != wanted:
            raise _conflict("transaction_id")
        self.tally.replayed += 1
        return Decision(self.journal.epoch_of(first.place), first.record, first.decided, replayed=True)

    def _decide_new(
        self, request: PaymentRequest, occurred_us: int, wanted: bytes, key: np.uint64, deadline: Deadline | None
    ) -> Decision:
        now_us = self._clock.now_us()
        self._check(request, occurred_us, now_us)
        if deadline is not None and deadline.passed():
            raise DeadlineError("the deadline passed before anything was decided: ask again with more time")
        evicted = self._overdue(request)
        items = [*self._clock_items(), *map(_evicted_item, evicted)]
        size = self.journal.admit([*items, _ANY_DECISION])
        # From here on the window changes, so the append must follow.
        if self._source is not None:
            self._source.follow(occurred_us)
            now_us = self._clock.now_us()
        self._note_clock()
        for gone in evicted:
            self.window.evict(gone)
        decided = judge(
            self.basis,
            self.window,
            request,
            wanted=wanted,
            occurred_us=occurred_us,
            now_us=now_us,
            conditions=self._conditions,
            brakes=self._state.brakes,
            pressed=never if deadline is None else deadline.presses,
        )
        items.append((Lane.DECISIONS, Kind.DECISION, decided.to_body()))
        place, record = self.journal.append(items, now_us, admitted=size)[-1]
        self._state.remember(self.epoch, place, record, key)
        count_brakes(self._state, decided, now_us)
        self._count(decided, len(evicted))
        return Decision(self.epoch, record, decided, replayed=False)

    def _overdue(self, request: PaymentRequest) -> tuple[Evicted, ...]:
        """Return what has to make room for this payment; a test card takes none, or refuses to be decided at all."""
        if not request.card.startswith(PREFIX):
            return self.window.overdue(request.card, request.terminal)
        card = forced(request.card, self.settings)
        if card is None:
            raise _invalid("card", _RESERVED)
        refusal = card.refusal()
        if refusal is not None:
            raise refusal
        return ()

    def _count(self, decided: Decided, evictions: int) -> None:
        if decided.marks & Mark.SANDBOX:
            self.tally.sandbox += 1
            return
        self.tally.evictions += evictions
        self.tally.late += decided.feature_us > decided.occurred_us
        self.tally.mode = decided.mode

    def _check(self, request: PaymentRequest, occurred_us: int, now_us: int) -> None:
        """Refuse what the request alone can't tell to be wrong."""
        if request.amount.currency != self.settings.currency:
            raise _invalid("amount.currency", f"this site takes {self.settings.currency} only")
        if self._source is None and occurred_us > now_us + OCCURRED_AHEAD_US_MAX:
            raise _invalid("occurred_at", "more than a minute ahead of the site's clock: set the device's clock")
        if self._source is not None and self._state.places and occurred_us > now_us + EVENT_STEP_US_MAX:
            raise _invalid("occurred_at", "more than 40 days ahead of the stream that the site's clock follows")
        if occurred_us < now_us - OCCURRED_BEHIND_US_REFUSED:
            raise _invalid("occurred_at", "more than 400 days ago: set the device's clock")

    def _clock_items(self) -> tuple[Item, ...]:
        """Return the record that tells a step of the machine's clock, back or caught up, where there was one."""
        if self._clock.stepped_back == self._state.clock_behind:
            return ()
        behind_us = max(self._clock.behind_us, 1) if self._clock.stepped_back else 0
        return ((Lane.EVENTS, Kind.CLOCK_STEPPED, event_body({"behind_us": behind_us})),)

    def _note_clock(self) -> None:
        """Take over what `_clock_items` tells; it is appended next."""
        if self._clock.stepped_back != self._state.clock_behind:
            self._state.clock_behind = self._clock.stepped_back
            self._conditions = self._conditions_of(clock_behind=self._clock.stepped_back)

    def _conditions_of(self, *, clock_behind: bool) -> Conditions:
        return conditions_of(self.settings, clock_behind=clock_behind, damaged=not self._state.offline_approvals)

    def _must_run(self) -> None:
        if self.failed is not None:
            raise NotReadyError(f"the gate has stopped: {self.failed}")

    def _first(self, key: np.uint64, request: PaymentRequest) -> First | None:
        return find_first(self._state.answers, self.journal, key, request.merchant, request.transaction_id)

    def label(self, request: LabelRequest) -> tuple[dict[str, Any], int]:
        """Apply a label, and return the answer and the position that must be durable before it is told.

        Raises:
            NotFoundError: this site never decided that payment.
            InvalidError: it became known in the future.
            ConflictError: the label's id was used with another body.
        """
        self._must_run()
        values = label_values(request)
        known = self._state.labels.knows(values)
        if known is None:
            raise _conflict("label_id")
        if known:
            return label_answer(values, replayed=True), self.journal.last_pos
        payment = (values["merchant"], values["transaction_id"])
        first = find_first(self._state.answers, self.journal, key_of(*payment), *payment)
        if first is None:
            raise NotFoundError(
                "this site has no decision on that payment: send the label to the site that decided it",
                fields=(FieldError("transaction_id", "unknown at this site"),),
            )
        now_us = self.now_us()
        # A stream's labels may come before the payments that would move its clock that far.
        ahead_us = OCCURRED_AHEAD_US_MAX if self._source is None else EVENT_STEP_US_MAX
        if values["known_us"] > now_us + ahead_us:
            told = "a minute" if self._source is None else f"{EVENT_STEP_US_MAX // DAY_US} days"
            raise _invalid("known_at", f"more than {told} ahead of the site's clock: nothing later could correct it")
        receipt = values | label_effect(first.decided, self._state.labels.effect(values))
        items = [*self._clock_items(), (Lane.EVENTS, Kind.LABEL_RECEIVED, event_body(receipt))]
        record = self.journal.append(items, now_us)[-1][1]
        self._note_clock()
        self._apply(values, first.decided, now_us)
        return label_answer(values, replayed=False), record.pos

    def _apply(self, values: dict[str, Any], decided: Decided, now_us: int) -> None:
        """Count a journaled label; the later known one of a payment stands."""
        delta = self._state.labels.add(values)
        if values["verdict"] == "fraud":
            self.tally.fraud_labels += 1
        else:
            self.tally.legit_labels += 1
        if delta:
            count_label(self.window, decided, now_us, delta)

    def activate_policy(self, policy: ActivePolicy) -> int:
        """Decide by another policy from the next decision on; return the position that must be durable for it.

        Raises:
            NotReadyError, OverloadedError, DiskFullError: nothing was changed; try again.
        """
        self._must_run()
        told = activation_of(policy)
        items = [*self._clock_items(), (Lane.EVENTS, Kind.POLICY_ACTIVATED, event_body(told.model_dump(mode="json")))]
        record = self.journal.append(items, self.now_us())[-1][1]
        self._note_clock()
        self.basis = replace(self.basis, policy=policy)
        self._state.take_policy(told)
        return record.pos

    def activate_lists(self, lists: ListIndex) -> int:
        """Decide by other lists from the next decision on; return the position that must be durable for it.

        Raises:
            NotReadyError, OverloadedError, DiskFullError: nothing was changed; try again.
        """
        self._must_run()
        told = lists.activation
        items = [*self._clock_items(), (Lane.EVENTS, Kind.LISTS_ACTIVATED, event_body(told.model_dump(mode="json")))]
        record = self.journal.append(items, self.now_us())[-1][1]
        self._note_clock()
        self.basis = replace(self.basis, lists=lists)
        self._state.lists = told
        return record.pos

    def take_posted(self, label: Label) -> bool:
        """Apply a label that was posted in the cloud as the gate's own; return whether it is one for this gate.

        One for another site's payment is passed over, as are one that can't be and one whose id is taken.

        Raises:
            NotReadyError, OverloadedError, DiskFullError: nothing was changed; try again.
        """
        said = {name: getattr(label, name) for name in ("label_id", "merchant", "transaction_id", "verdict", "source")}
        try:
            self.label(LabelRequest.model_validate(said | {"known_at": rfc3339(label.known_us)}))
        except (NotFoundError, ConflictError, InvalidError, ValueError, OverflowError):
            return False
        return True

    def take_deltas(self, batch: Deltas, *, since: int, until: int) -> int:
        """Read what other sites did, too, from the next decision on; return the position that must be durable for it.

        The batch holds versions from `since` on and before `until`. What lies between the overlay and `since` is lost
        to it, and what rests on it says so. Labels in it aren't applied: `take_posted` does that.

        Raises:
            InvalidError: versions that the overlay has already; nothing was changed.
            NotReadyError, OverloadedError, DiskFullError: nothing was changed; try again.
        """
        reached, now_us = self.window.overlay.reached, self.now_us()
        if not reached.version <= since < until:
            raise _invalid("version", f"the overlay is at {reached.version}: give what begins there")
        as_of_us = max(reached.as_of_us, min(int(batch.rows["time_us"].max()), now_us))
        return self._lay(Applied(since, until, batch.sha256, as_of_us, len(batch.rows)), batch)

    def nothing_came(self, as_of_us: int) -> int:
        """Note that the cloud had nothing newer than the overlay; return the position that must be durable for it."""
        version = self.window.overlay.reached.version
        return self._lay(Applied(version, version, "", min(as_of_us, self.now_us()), 0), None)

    def _lay(self, applied: Applied, batch: Deltas | None) -> int:
        self._must_run()
        items = [*self._clock_items(), (Lane.EVENTS, Kind.OVERLAY_APPLIED, event_body(applied.values()))]
        record = self.journal.append(items, self.now_us())[-1][1]
        self._note_clock()
        lay_over(self.window, batch, applied, Origin(self._site, self._gate, self.epoch))
        self.tally.deltas += batch is not None
        self.tally.delta_rows += applied.rows
        return record.pos

    def drop_overlay(self, why: str) -> None:
        """Forget other sites: what was counted can't be counted again at a start; they are asked for anew."""
        self.journal.append([(Lane.EVENTS, Kind.OVERLAY_DROPPED, event_body({"why": why}))], self.now_us())
        self.journal.commit()
        self.window.drop_overlay()

    def answer(self, decision: Decision) -> dict[str, Any]:
        """Render a decision as it is told."""
        epoch, record, decided, replayed = decision
        return answer(self._site, self._gate, epoch, record, decided, replayed=replayed)


def conditions_of(settings: SiteSettings, *, clock_behind: bool, damaged: bool) -> Conditions:
    """Return what is true of a site of these settings."""
    return Conditions(
        clock_behind=clock_behind,
        events_clock=settings.clock.source == "events",
        offline_closed=clock_behind or damaged,
    )


def _evicted_item(evicted: Evicted) -> Item:
    return Lane.EVENTS, _KIND_OF[evicted.entity], event_body({"token": evicted.token})


def _invalid(field: str, message: str) -> InvalidError:
    return InvalidError(f"{field}: {message}", fields=(FieldError(field, message),))


def _conflict(field: str) -> ConflictError:
    message = "was used before with another body; the first answer stands: make a new id for a new payment"
    return ConflictError(f"{field}: {message}", fields=(FieldError(field, message),))


def label_values(request: LabelRequest) -> dict[str, Any]:
    """Return a label as it is journaled."""
    return {
        "label_id": request.label_id,
        "merchant": request.merchant,
        "transaction_id": request.transaction_id,
        "verdict": request.verdict,
        "source": request.source,
        "known_us": microseconds(request.known_at),
    }


def label_effect(decided: Decided, delta: int) -> dict[str, Any]:
    """Return what a receipt says of the card that it changed, for who has no decisions at hand; empty: it changed none.

    An answer that a test card forced counts nowhere.
    """
    if not delta or decided.marks & Mark.SANDBOX:
        return {}
    return {"card": decided.card, "feature_us": decided.feature_us, "delta": delta}


def label_answer(values: dict[str, Any], *, replayed: bool) -> dict[str, Any]:
    """Render a label as it is told."""
    told = {key: values[key] for key in ("label_id", "merchant", "transaction_id", "verdict", "source")}
    return {**told, "applied": True, "replayed": replayed}
