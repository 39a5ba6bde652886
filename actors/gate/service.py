"""The service: what the door may ask of a gate. Decides on the event loop, waits for the disk, renders answers."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from actors.gate.activation import Activator
from actors.gate.committer import Committer, Told
from actors.gate.deadline import Deadline, Pace
from actors.gate.gate import Decision, Gate
from actors.gate.intake import overlay_answer
from actors.gate.meter import Meter
from actors.gate.reasons import LoadBundle, Reasons
from tidegate.bundle import Bundle
from tidegate.clock import rfc3339
from tidegate.decided import Decided, request_body, rule_numbers
from tidegate.decision import OUTCOME_WORDS, Mark
from tidegate.errors import (
    BundleError,
    FieldError,
    InvalidError,
    NotFoundError,
    NotReadyError,
    OverloadedError,
    TidegateError,
)
from tidegate.ids import BundleId, EpochId, RecordId
from tidegate.limits import LIVE_RECENT_ITEMS, PAGE_SCAN_RECORDS_MAX, SANDBOX_LATE_S
from tidegate.payment import LabelRequest, PaymentRequest
from tidegate.policy.active import ActivePolicy
from tidegate.records import Lane, Record
from tidegate.sandbox import CARDS, Trouble

Answer = dict[str, Any]
Merchants = frozenset[str] | None
"""The merchants whose decisions a caller may see; None is all."""
Rows = np.ndarray[Any, np.dtype[np.void]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]
Tide = Callable[[], Answer | None]
"""Returns what the site's uplink says of itself; None: there is none, or it hasn't said anything yet."""
Check = Callable[[str], Answer]
"""Replays the decision of an id from the gate's files; slow, and in any thread."""
_NEWEST: Final = 2**62
_FILTERS: Final = ("card", "terminal", "merchant", "outcome")


class Begun(NamedTuple):
    """A decision that may be told once the record at `pos` is durable; the times are readings of `Service.ticks`."""

    decision: Decision
    pos: int
    started: float
    verified: float
    decided: float


def late_by_s(begun: Begun) -> float:
    """Return how long to keep the caller waiting, where a test card says so; the decision is durable meanwhile."""
    decided = begun.decision.decided
    if begun.decision.replayed or not decided.marks & Mark.SANDBOX:
        return 0.0
    return SANDBOX_LATE_S if CARDS[decided.card].trouble is Trouble.TIMEOUT else 0.0


class Service:
    """One site's gate as the door sees it; before `opened` every call says why it can't be answered yet."""

    def __init__(
        self,
        *,
        ticks: Callable[[], float] = time.perf_counter,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._pace = Pace()
        self._pause = pause
        self.meter = Meter()
        self.why_not_ready: str | None = "starting: the journal is being read"
        self._gate: Gate | None = None
        self._committer: Committer | None = None
        self._load: LoadBundle = _no_other
        self._check: Check = _no_files
        self._tide: Tide = _no_tide
        self._activator: Activator | None = None
        self._checking = False
        self.reasons = Reasons(load=self._bundle, ticks=ticks)
        self.ticks = ticks

    def opened(
        self,
        gate: Gate,
        committer: Committer,
        *,
        load: LoadBundle | None = None,
        activator: Activator | None = None,
    ) -> None:
        """Take a gate that is ready; `load` returns bundles beside the active one, to explain what they scored.

        `activator` makes other policies and lists active.
        """
        self._gate, self._committer, self._activator = gate, committer, activator
        self._load = load or self._load
        self.meter.watch(gate, self.reasons)
        self.why_not_ready = None

    def checks_with(self, check: Check) -> None:
        """Take what replays decisions from the gate's files."""
        self._check = check

    def tide_from(self, tide: Tide) -> None:
        """Take what knows how the site's uplink does."""
        self._tide = tide

    def _bundle(self, bundle: BundleId) -> Bundle:
        active = self.gate.basis.scorer.bundle
        return active if bundle == active.id else self._load(bundle)

    def failed(self, why: str) -> None:
        """Stop answering: the disk failed, and only a restart tells what is durable."""
        self.why_not_ready = f"stopped: {why}"
        if self._gate is not None:
            self._gate.failed = why

    @property
    def activator(self) -> Activator:
        """What makes policies and lists active, where the gate is ready."""
        if self._activator is None or self.why_not_ready is not None:
            raise NotReadyError(f"the site isn't ready: {self.why_not_ready}")
        return self._activator

    @property
    def gate(self) -> Gate:
        """The gate, where it is ready."""
        if self._gate is None or self.why_not_ready is not None:
            raise NotReadyError(f"the site isn't ready: {self.why_not_ready}")
        return self._gate

    async def durable(self, pos: int) -> None:
        """Return once the record at `pos` is durable."""
        if self._committer is None:
            raise NotReadyError("the site isn't ready")
        await self._committer.durable(pos)

    def begin(self, request: PaymentRequest, started: float, deadline_ms: int | None = None) -> Begun:
        """Decide one payment; it may be told once `Begun.pos` is durable.

        `started` is a reading of `ticks`; `deadline_ms` is what the caller gives from then on.
        """
        gate, ticks = self.gate, self.ticks
        verified = ticks()
        decision = gate.decide(request, None if deadline_ms is None else self._deadline(deadline_ms, started))
        return Begun(decision, _awaited(gate, decision), started, verified, ticks())

    def end(self, begun: Begun) -> Answer:
        """Return the answer to a decision that is durable now."""
        decision, _, started, verified, decided = begun
        ended = self.ticks()
        self.meter.took((verified - started, decided - verified, ended - decided, ended - started))
        self.meter.decided(decision)
        self.reasons.note(decision)
        if not decision.replayed:
            self._pace.waited(ended - decided)
        return self.gate.answer(decision)

    def when_durable(self, pos: int, told: Told) -> None:
        """Call `told` once the record at `pos` is durable, or never will be."""
        if self._committer is None:
            raise NotReadyError("the site isn't ready")
        self._committer.when_durable(pos, told)

    async def decide(self, request: PaymentRequest, started: float, deadline_ms: int | None = None) -> Answer:
        """Decide one payment and return the answer once it is durable."""
        return await self.told(self.begin(request, started, deadline_ms))

    async def told(self, begun: Begun) -> Answer:
        """Return the answer to a decision once it is durable."""
        await self.durable(begun.pos)
        answer = self.end(begun)
        if late_s := late_by_s(begun):
            await self._pause(late_s)
        return answer

    def _deadline(self, milliseconds: int, started: float) -> Deadline:
        return Deadline(milliseconds, started, self._pace.p99_s, self.ticks)

    async def decide_many(self, requests: Sequence[PaymentRequest | TidegateError], started: float) -> list[Any]:
        """Decide a batch in order: a result each, an answer or the error of that one. One flush for all."""
        gate = self.gate
        results: list[Decision | TidegateError] = []
        for request in requests:
            try:
                results.append(request if isinstance(request, TidegateError) else gate.decide(request))
            except TidegateError as error:
                results.append(error)
        await self.durable(max((_awaited(gate, r) for r in results if isinstance(r, Decision)), default=0))
        ended = self.ticks()
        for result in results:
            if isinstance(result, Decision):
                self.meter.took_in_batch((ended - started,))
                self.meter.decided(result)
                self.reasons.note(result)
        return [gate.answer(result) if isinstance(result, Decision) else result for result in results]

    async def label(self, request: LabelRequest) -> Answer:
        """Apply a label and return the answer once it is durable."""
        answer, pos = self.gate.label(request)
        await self.durable(pos)
        return answer

    def get(self, text: str, merchants: Merchants = None) -> Answer:
        """Return a decision by its id, with the inputs it rested on; `merchants` are those that the caller may see.

        Raises:
            NotFoundError: no such decision at this site, or it isn't durable.
        """
        return self._full(self._found(text, merchants))

    async def explain(self, text: str, merchants: Merchants = None, *, top: int) -> Answer:
        """Return what `get` does, and what each feature did; who may see some merchants only is told it plainly.

        Raises:
            NotFoundError: as `get`.
        """
        decision = self._found(text, merchants)
        why = await self.reasons.tell(decision, top=top, plainly=merchants is not None)
        rules = [] if merchants is not None else rule_hits(decision.decided, self.gate.basis.policy)
        return {**self._full(decision), **why, "rule_hits": rules}

    async def check(self, text: str, merchants: Merchants = None) -> Answer:
        """Decide again from what was stored, beside the loop, and tell whether every bit came out the same.

        Raises:
            NotFoundError: as `get`, or the journal has lost what is needed.
            OverloadedError: another check is under way: each reads the journal.
        """
        self._found(text, merchants)
        if self._checking:
            raise OverloadedError("another decision is being checked: ask again when it is done")
        self._checking = True
        try:
            return await asyncio.to_thread(self._check, text)
        finally:
            self._checking = False

    def _full(self, decision: Decision) -> Answer:
        decided = decision.decided
        versions = {
            "bundle": decided.bundle,
            "config": decided.config,
            "policy": decided.policy,
            "lists": decided.lists_version,
            "overlay": decided.overlay_version,
            "features": decided.feature_fingerprint,
        }
        return {**self.gate.answer(decision), "request": request_body(decided), "versions": versions}

    def _found(self, text: str, merchants: Merchants) -> Decision:
        gate = self.gate
        wanted = RecordId.parse(text)
        own = (gate.settings.site, gate.settings.gate)
        places = gate.state.places.get(wanted.epoch) if wanted and wanted[:2] == own else None
        place = places.find(wanted.seq) if places and wanted and wanted.lane == Lane.DECISIONS else None
        if place is None or wanted is None:
            raise NotFoundError("this site has no decision of that id: ask the site that is named in it")
        record = gate.journal.read(place)
        decided = Decided.from_body(record.body)
        if merchants is not None and decided.merchant not in merchants:
            raise NotFoundError("this site has no decision of that id: ask the site that is named in it")
        decision = Decision(wanted.epoch, record, decided, replayed=False)
        if _awaited(gate, decision) > gate.journal.durable_pos:
            raise NotFoundError("this decision isn't durable yet: ask again")
        return decision

    def page(self, *, limit: int, cursor: str | None, filters: dict[str, str], merchants: Merchants = None) -> Answer:
        """Return decisions, newest first, older epochs behind this one; `cursor` is that of the page before.

        Looks at `PAGE_SCAN_RECORDS_MAX` decisions at the most; `next_cursor` says where to go on.

        Raises:
            InvalidError: a cursor that no page gave.
        """
        gate = self.gate
        epochs = list(gate.state.places)
        epoch, seq = self._start(cursor, epochs)
        while epoch >= 0 and (places := gate.state.places[epochs[epoch]]):
            found = places.before(seq, PAGE_SCAN_RECORDS_MAX)
            if found:
                break
            epoch, seq = epoch - 1, _NEWEST
        else:
            return {"data": [], "has_more": False, "next_cursor": None}
        return self._page(epochs[epoch], found, limit, filters, merchants, earlier=epoch > 0)

    def _page(
        self,
        epoch: EpochId,
        found: list[tuple[int, int]],
        limit: int,
        filters: dict[str, str],
        merchants: Merchants,
        *,
        earlier: bool,
    ) -> Answer:
        gate = self.gate
        rows = gate.journal.rows([place for _, place in found])
        chosen = np.flatnonzero(_matches(rows, filters, merchants) & self._told(epoch, rows))
        items = [_decision(epoch, rows[at]) for at in chosen[:limit].tolist()]
        last = int(rows["seq"][chosen[limit - 1]]) if len(chosen) >= limit else found[-1][0]
        more = earlier or last > 1
        cursor = f"{epoch}.{last}" if more else None
        return {"data": [gate.answer(item) for item in items], "has_more": more, "next_cursor": cursor}

    def _told(self, epoch: EpochId, rows: Rows) -> Flags:
        """Return which rows are durable: nothing else is shown to anybody."""
        durable: Flags = rows["pos"] <= self.gate.journal.durable_pos
        return durable if epoch == self.gate.epoch else np.ones(len(rows), np.bool_)

    @staticmethod
    def _start(cursor: str | None, epochs: list[EpochId]) -> tuple[int, int]:
        """Return the number of the epoch and the `seq` that a page begins below."""
        if cursor is None:
            return len(epochs) - 1, _NEWEST
        epoch, _, seq = cursor.partition(".")
        if epoch not in epochs or not (seq.isascii() and seq.isdigit()):
            message = "is none that a page of this site gave; begin without one"
            raise InvalidError(f"cursor: {message}", fields=(FieldError("cursor", message),))
        return epochs.index(EpochId(epoch)), int(seq)

    def site(self) -> Answer:
        """Return what the site is and rests on."""
        gate, basis = self.gate, self.gate.basis
        manifest = basis.scorer.bundle.manifest
        rung = gate.journal.rung().name.lower()
        heads = {f"L{lane:d}": gate.journal.head(lane).seq for lane in (Lane.DECISIONS, Lane.EVENTS)}
        return {
            "site": gate.settings.site,
            "gate": gate.settings.gate,
            "epoch": gate.epoch,
            "epoch_began": gate.state.epoch_began,
            "profile": gate.settings.profile,
            "currency": gate.settings.currency,
            "now": rfc3339(gate.now_us()),
            "clock_source": gate.settings.clock.source,
            "bundle": basis.scorer.bundle.id,
            "bundle_trained_at": rfc3339(manifest.trained_at_us),
            "policy": basis.policy.id,
            "policy_name": basis.policy.terms.name,
            "policy_as_of": rfc3339(basis.policy.as_of_us),
            "lists_version": basis.lists.version,
            "lists": basis.lists.activation.lists or None,
            "list_entries": basis.lists.activation.entries,
            "config": basis.config,
            "cards": len(gate.window.cards),
            "terminals": len(gate.window.terminals),
            "overlay": overlay_answer(gate),
            "journal": {"durable_pos": gate.journal.durable_pos, "heads": heads, "rung": rung},
            "offline_approvals": gate.offline_approvals,
            "tide": self._tide(),
        }

    def live(self) -> Answer:
        """Return what the live page shows: counts, latency, the latest decisions."""
        gate = self.gate
        recent = [
            {
                **gate.answer(d),
                "amount_minor": d.decided.amount_minor,
                "card": d.decided.card,
                "because": self.reasons.because(d),
            }
            for d in list(self.meter.recent)[-LIVE_RECENT_ITEMS:][::-1]
        ]
        outcomes = dict(zip(OUTCOME_WORDS, self.meter.counts, strict=True))
        bundle = gate.basis.scorer.bundle.id
        site = {"site": gate.settings.site, "bundle": bundle, "currency": gate.settings.currency}
        counts = {"outcomes": outcomes, "refused": self.meter.refusals, "cards": len(gate.window.cards)}
        return {**site, **counts, **self.meter.percentiles(), "recent": recent}


def rule_hits(decided: Decided, policy: ActivePolicy) -> list[Answer]:
    """Return the rules that had a part in a decision and what each did; their words where the policy is still that."""
    known = {rule.number: rule for rule in policy.terms.rules} if policy.id == decided.policy else {}
    did = {
        "decided": decided.rules_deciding,
        "braked": decided.rules_braked,
        "suppressed": decided.rules_suppressed,
        "failed": decided.rules_failed,
        "hit": decided.rules_hit,
    }
    told: dict[int, Answer] = {}
    for word, mask in did.items():
        for number in rule_numbers(mask):
            rule = known.get(number)
            words = (
                {"id": rule.id, "version": rule.version, "state": rule.state.value, "text": rule.text} if rule else {}
            )
            told.setdefault(number, {"number": number, "did": word, **words})
    return list(told.values())


def _no_other(bundle: BundleId) -> Bundle:
    raise BundleError(f"{bundle}: this gate has no bundle but the active one at hand")


def _no_tide() -> Answer | None:
    return None


def _no_files(_decision: str) -> Answer:
    raise NotFoundError("this gate has no files at hand to check a decision by: use `tidegate decision replay`")


def _awaited(gate: Gate, decision: Decision) -> int:
    """Return the position that must be durable before a decision is told; what an older epoch holds is."""
    return decision.record.pos if decision.epoch == gate.epoch else 0


def _decision(epoch: EpochId, row: Any) -> Decision:  # noqa: ANN401 - a row of dtype DECISION
    record = Record.from_bytes(row.tobytes())
    return Decision(epoch, record, Decided.from_body(record.body), replayed=False)


def _matches(rows: Rows, filters: dict[str, str], merchants: Merchants) -> Flags:
    """Return which rows, of dtype DECISION, pass all filters and are of these merchants."""
    chosen: Flags = np.ones(len(rows), np.bool_)
    for name, value in filters.items():
        wanted: Any = OUTCOME_WORDS.index(value) if name == "outcome" else value.encode()
        chosen &= rows[name] == wanted
    if merchants is not None:
        chosen &= np.isin(rows["merchant"], [merchant.encode() for merchant in merchants])
    return chosen


def check_filters(filters: dict[str, str]) -> dict[str, str]:
    """Return the filters that were given.

    Raises:
        InvalidError: an outcome that there is none of.
    """
    given = {name: value for name, value in filters.items() if value and name in _FILTERS}
    if given.get("outcome", "approve") not in OUTCOME_WORDS:
        raise InvalidError("outcome: unknown", fields=(FieldError("outcome", f"one of {', '.join(OUTCOME_WORDS)}"),))
    return given
