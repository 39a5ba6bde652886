"""The service: what the door may ask of a gate. Decides on the event loop, waits for the disk, renders answers."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from actors.gate.committer import Committer
from actors.gate.gate import Decision, Gate
from actors.gate.meter import Meter
from tidegate.clock import rfc3339
from tidegate.decided import Decided
from tidegate.decision import OUTCOME_WORDS
from tidegate.errors import FieldError, InvalidError, NotFoundError, NotReadyError, TidegateError
from tidegate.ids import RecordId
from tidegate.limits import LIVE_RECENT_ITEMS, PAGE_SCAN_RECORDS_MAX
from tidegate.payment import LabelRequest, PaymentRequest
from tidegate.records import Kind, Lane

Answer = dict[str, Any]
_FILTERS: Final = ("card", "terminal", "merchant", "outcome")


class Service:
    """One site's gate as the door sees it; before `opened` every call says why it can't be answered yet."""

    def __init__(self, *, ticks: Callable[[], float] = time.perf_counter) -> None:
        self.meter = Meter()
        self.why_not_ready: str | None = "starting: the journal is being read"
        self._gate: Gate | None = None
        self._committer: Committer | None = None
        self._places: list[int] = []
        self.ticks = ticks

    def opened(self, gate: Gate, committer: Committer, places: list[int]) -> None:
        """Take a gate that is ready; `places` locates its decisions in the order of `seq`."""
        self._gate, self._committer, self._places = gate, committer, places
        self.meter.watch(gate)
        self.why_not_ready = None

    def failed(self, why: str) -> None:
        """Stop answering: the disk failed, and only a restart tells what is durable."""
        self.why_not_ready = f"stopped: {why}"
        if self._gate is not None:
            self._gate.failed = why

    @property
    def gate(self) -> Gate:
        """The gate, where it is ready."""
        if self._gate is None or self.why_not_ready is not None:
            raise NotReadyError(f"the site isn't ready: {self.why_not_ready}")
        return self._gate

    async def _durable(self, pos: int) -> None:
        if self._committer is None:
            raise NotReadyError("the site isn't ready")
        await self._committer.durable(pos)

    async def decide(self, request: PaymentRequest, started: float) -> Answer:
        """Decide one payment and return the answer once it is durable; `started` is a reading of `ticks`."""
        gate, stage, ticks = self.gate, self.meter.stage, self.ticks
        verified = ticks()
        decision = self._decide(gate, request)
        decided = ticks()
        await self._durable(_awaited(gate, decision))
        ended = ticks()
        stage["verify"](verified - started)
        stage["decide"](decided - verified)
        stage["journal"](ended - decided)
        self.meter.decided(decision, ended - started)
        return gate.answer(decision)

    def _decide(self, gate: Gate, request: PaymentRequest) -> Decision:
        decision, place = gate.decide(request)
        if place is not None:
            self._places.append(place)
        return decision

    async def decide_many(self, requests: Sequence[PaymentRequest | TidegateError], started: float) -> list[Any]:
        """Decide a batch in order: a result each, an answer or the error of that one. One flush for all."""
        gate = self.gate
        results: list[Decision | TidegateError] = []
        for request in requests:
            try:
                results.append(request if isinstance(request, TidegateError) else self._decide(gate, request))
            except TidegateError as error:
                results.append(error)
        await self._durable(max((_awaited(gate, r) for r in results if isinstance(r, Decision)), default=0))
        ended = self.ticks()
        for result in results:
            if isinstance(result, Decision):
                self.meter.decided(result, ended - started)
        return [gate.answer(result) if isinstance(result, Decision) else result for result in results]

    async def label(self, request: LabelRequest) -> Answer:
        """Apply a label and return the answer once it is durable."""
        answer, pos = self.gate.label(request)
        await self._durable(pos)
        return answer

    def get(self, text: str) -> Answer:
        """Return a decision of this epoch by its id, with the inputs it rested on.

        Raises:
            NotFoundError: no such decision at this site, or it isn't durable.
        """
        gate = self.gate
        wanted = RecordId.parse(text)
        own = (gate.settings.site, gate.settings.gate, gate.epoch, Lane.DECISIONS)
        if wanted is None or wanted[:4] != own or not 1 <= wanted.seq <= len(self._places):
            raise NotFoundError("this site has no decision of that id: ask the site that is named in it")
        record = gate.journal.read(self._places[wanted.seq - 1])
        if record.pos > gate.journal.durable_pos or record.kind is not Kind.DECISION:
            raise NotFoundError("this decision isn't durable yet: ask again")
        decided = Decided.from_body(record.body)
        return {**gate.answer(Decision(gate.epoch, record, decided, replayed=False)), "request": _request(decided)}

    def page(self, *, limit: int, before: int | None, filters: dict[str, str]) -> Answer:
        """Return decisions, newest first; `before` is the cursor of the page before, a `seq`.

        Looks at `PAGE_SCAN_RECORDS_MAX` decisions at the most; `next_cursor` says where to go on.
        """
        gate = self.gate
        seq = min(before - 1 if before else len(self._places), len(self._places))
        last = max(seq - PAGE_SCAN_RECORDS_MAX, 0)
        items: list[Answer] = []
        while seq > last and len(items) < limit:
            record = gate.journal.read(self._places[seq - 1])
            decided = Decided.from_body(record.body)
            if record.pos <= gate.journal.durable_pos and _matches(decided, filters):
                items.append(gate.answer(Decision(gate.epoch, record, decided, replayed=False)))
            seq -= 1
        return {"data": items, "has_more": seq > 0, "next_cursor": str(seq + 1) if seq else None}

    def site(self) -> Answer:
        """Return what the site is and rests on."""
        gate = self.gate
        manifest = gate.scorer.bundle.manifest
        rung = gate.journal.rung().name.lower()
        heads = {f"L{lane:d}": gate.journal.head(lane).seq for lane in (Lane.DECISIONS, Lane.EVENTS)}
        return {
            "site": gate.settings.site,
            "gate": gate.settings.gate,
            "epoch": gate.epoch,
            "profile": gate.settings.profile,
            "currency": gate.settings.currency,
            "now": rfc3339(gate.now_us()),
            "clock_source": gate.settings.clock.source,
            "bundle": gate.scorer.bundle.id,
            "bundle_trained_at": rfc3339(manifest.trained_at_us),
            "policy_version": manifest.policy.version,
            "lists_version": gate.lists.lists.version,
            "config": gate.settings.fingerprint,
            "cards": len(gate.window.cards),
            "terminals": len(gate.window.terminals),
            "journal": {"durable_pos": gate.journal.durable_pos, "heads": heads, "rung": rung},
            "offline_approvals": gate.offline_approvals,
        }

    def live(self) -> Answer:
        """Return what the live page shows: counts, latency, the latest decisions."""
        gate = self.gate
        recent = [
            {**gate.answer(d), "amount_minor": d.decided.amount_minor, "card": d.decided.card}
            for d in list(self.meter.recent)[-LIVE_RECENT_ITEMS:][::-1]
        ]
        outcomes = dict(zip(OUTCOME_WORDS, self.meter.counts, strict=True))
        site = {"site": gate.settings.site, "bundle": gate.scorer.bundle.id, "currency": gate.settings.currency}
        counts = {"outcomes": outcomes, "cards": len(gate.window.cards)}
        return {**site, **counts, **self.meter.percentiles(), "recent": recent}


def _awaited(gate: Gate, decision: Decision) -> int:
    """Return the position that must be durable before a decision is told; what an older epoch holds is."""
    return decision.record.pos if decision.epoch == gate.epoch else 0


def _request(decided: Decided) -> Answer:
    return {
        "occurred_at": rfc3339(decided.occurred_us),
        "amount": {"minor": decided.amount_minor, "currency": decided.currency},
        "card": decided.card,
        "terminal": decided.terminal,
        "merchant": decided.merchant,
        "device": decided.device or None,
        "country": decided.country or None,
        "mcc": decided.mcc or None,
    }


def _matches(decided: Decided, filters: dict[str, str]) -> bool:
    return all(
        (decided.outcome.word if name == "outcome" else getattr(decided, name)) == value
        for name, value in filters.items()
    )


def check_filters(filters: dict[str, str]) -> dict[str, str]:
    """Return the filters that were given.

    Raises:
        InvalidError: an outcome that there is none of.
    """
    given = {name: value for name, value in filters.items() if value and name in _FILTERS}
    if given.get("outcome", "approve") not in OUTCOME_WORDS:
        raise InvalidError("outcome: unknown", fields=(FieldError("outcome", f"one of {', '.join(OUTCOME_WORDS)}"),))
    return given
