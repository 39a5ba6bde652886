"""The gate: verify, features, score, decide, journal, answer. One writer, no await, so it needs no lock.

Pure but for what it is handed (journal, clock): the whole of it runs under a seed in one process. What it returns may
be told to nobody before the journal has made it durable; `actors/gate/committer.py` waits for that.
"""

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from actors.gate.answers import Answers, identity
from actors.gate.labels import Labels
from actors.journal.journal import Journal
from actors.scorer.model import Scorer
from actors.window.window import Evicted, Window
from tidegate.clock import EventClock, SteadyClock, microseconds
from tidegate.decided import Decided, answer
from tidegate.decision import NUMBERS, Mode
from tidegate.errors import ConflictError, FieldError, InvalidError, NotFoundError, NotReadyError
from tidegate.features.declarations import FINGERPRINT
from tidegate.features.kernel import clamp_feature_time
from tidegate.ids import EpochId, GateId, SiteId
from tidegate.limits import HOUR_US, OCCURRED_AHEAD_US_MAX, OCCURRED_BEHIND_US_REFUSED
from tidegate.lists import ListIndex
from tidegate.payment import CHANNELS, ENTRY_MODES, LabelRequest, PaymentRequest, request_hash
from tidegate.policy import decide, risk_level
from tidegate.records import DECISION_BODY_BYTES, Kind, Lane, Record, event_body
from tidegate.settings import Ages, SiteSettings

_BUNDLE_REASONS: Final = {
    Mode.AGING: NUMBERS["SYS_BUNDLE_AGING"],
    Mode.STALE: NUMBERS["SYS_BUNDLE_STALE"],
    Mode.BLIND: NUMBERS["SYS_BUNDLE_BLIND"],
}


class Decision(NamedTuple):
    """A decision and its record; `replayed` where it is the first answer to a retry."""

    epoch: EpochId
    record: Record
    decided: Decided
    replayed: bool


@dataclass(slots=True)
class Tally:
    """What the gate counts, for `/metrics` and the live page."""

    outcomes: list[int]
    replayed: int = 0
    evictions: int = 0
    late: int = 0
    labels: int = 0


def bundle_mode(age_us: int, ages: Ages) -> Mode:
    """Return how fresh a model of this age is."""
    hours = age_us // HOUR_US
    steps = ((ages.blind_hours, Mode.BLIND), (ages.stale_hours, Mode.STALE), (ages.aging_hours, Mode.AGING))
    return next((mode for bound, mode in steps if hours >= bound), Mode.FRESH)


def fingerprint_of(request: PaymentRequest) -> bytes:
    """Return 16 bytes that are equal where two requests ask the same."""
    r = request
    rest = (r.card, r.terminal, r.merchant, r.channel, r.country, r.mcc, r.entry_mode, r.device)
    return request_hash((r.transaction_id, r.occurred_us, r.amount.minor, r.amount.currency, *rest))


class Gate:
    """Decides payments and applies labels; every change of its state is a record first."""

    def __init__(  # noqa: PLR0913 - the gate is where everything comes together
        self,
        *,
        settings: SiteSettings,
        journal: Journal,
        window: Window,
        scorer: Scorer,
        lists: ListIndex,
        clock: SteadyClock,
        source: EventClock | None,
        answers: Answers,
        labels: Labels,
        offline_approvals: bool,
    ) -> None:
        self.settings = settings
        self.journal = journal
        self.window = window
        self.scorer = scorer
        self.lists = lists
        self.labels = labels
        self.offline_approvals = offline_approvals
        self.tally = Tally(outcomes=[0, 0, 0, 0])
        self.failed: str | None = None
        self._clock = clock
        self._source = source
        self._answers = answers
        self._config = settings.fingerprint
        self._site, self._gate = SiteId(settings.site), GateId(settings.gate)

    @property
    def epoch(self) -> EpochId:
        """The epoch of the journal's head."""
        return self.journal.epoch

    def now_us(self) -> int:
        """The gate's steady clock."""
        return self._clock.now_us()

    @property
    def behind_us(self) -> int:
        """How far the machine's clock is behind the highest time handed out."""
        return self._clock.behind_us

    def decide(self, request: PaymentRequest) -> tuple[Decision, int | None]:
        """Decide one payment, or return the decision its id was first answered with.

        The second value is the place of a new decision in the journal.

        Raises:
            InvalidError: currency or time can't be; nothing was changed.
            ConflictError: the id was used with another body.
            NotReadyError, OverloadedError, DiskFullError: nothing was changed; try again.
        """
        if self.failed is not None:
            raise NotReadyError(f"the gate has stopped: {self.failed}")
        wanted = fingerprint_of(request)
        key = identity(request.merchant, request.transaction_id)
        first = self._first(key, request)
        if first is not None:
            if first.decided.request_hash != wanted:
                raise _conflict("transaction_id")
            self.tally.replayed += 1
            return first, None
        return self._decide_new(request, wanted, key)

    def _decide_new(self, request: PaymentRequest, wanted: bytes, key: Any) -> tuple[Decision, int]:  # noqa: ANN401 - np.uint64
        occurred_us = request.occurred_us
        now_us = self._time(occurred_us)
        self._check(request, occurred_us, now_us)
        evicted = self.window.overdue(request.card, request.terminal)
        items = [(Lane.EVENTS, _EVICTED[e.entity], event_body({"token": e.token})) for e in evicted]
        self.journal.admit([*items, _ANY_DECISION])
        decided = self._judge(request, wanted, now_us, occurred_us, evicted)
        entries = self.journal.append([*items, (Lane.DECISIONS, Kind.DECISION, decided.to_body())], now_us)
        place, record = entries[-1]
        self._answers.add(key, place, now_us)
        self._count(decided, len(evicted))
        return Decision(self.epoch, record, decided, replayed=False), place

    def _judge(
        self, request: PaymentRequest, wanted: bytes, now_us: int, occurred_us: int, evicted: tuple[Evicted, ...]
    ) -> Decided:
        """Features, score, policy. From here on the window has changed, so the append must follow."""
        known = self.window.knows(request.card)
        for gone in evicted:
            self.window.evict(gone)
        feature_us = clamp_feature_time(now_us, occurred_us)
        vector = self.window.observe(
            card=request.card,
            terminal=request.terminal,
            now_us=now_us,
            feature_us=feature_us,
            amount_minor=request.amount.minor,
        )
        manifest = self.scorer.bundle.manifest
        assessment = self.scorer.score(vector)
        mode = bundle_mode(now_us - manifest.trained_at_us, self.settings.ages)
        verdict = decide(
            probability=assessment.probability,
            amount_minor=request.amount.minor,
            hits=self.lists.hits(
                card=request.card, device=request.device, terminal=request.terminal, merchant=request.merchant
            ),
            system=self._system(known=known, late=feature_us != occurred_us, mode=mode),
            policy=manifest.policy,
        )
        return Decided(
            transaction_id=request.transaction_id,
            merchant=request.merchant,
            card=request.card,
            terminal=request.terminal,
            device=request.device or "",
            currency=request.amount.currency,
            country=request.country or "",
            mcc=request.mcc or "",
            channel=CHANNELS[request.channel],
            entry_mode=ENTRY_MODES[request.entry_mode],
            attempt=1,
            amount_minor=request.amount.minor,
            occurred_us=occurred_us,
            request_hash=wanted,
            feature_us=feature_us,
            features_as_of_us=now_us,
            feature_fingerprint=FINGERPRINT,
            features=vector.tobytes(),
            margin=assessment.margin,
            probability=assessment.probability,
            outcome=verdict.outcome,
            risk_score=assessment.risk_score,
            risk_level=risk_level(assessment.risk_score, manifest.policy),
            mode=mode,
            reasons=verdict.reasons,
            bundle=self.scorer.bundle.id,
            config=self._config,
            lists_version=self.lists.lists.version,
            overlay_version=0,
        )

    def _system(self, *, known: bool, late: bool, mode: Mode) -> tuple[int, ...]:
        """Return the SYS_* reasons that say under which conditions a decision was made."""
        said = (
            (not known, "SYS_FEATURES_PARTIAL"),
            (late, "SYS_TIME_CLAMPED"),
            (self._clock.stepped_back, "SYS_CLOCK"),
            (self._source is not None, "SYS_CLOCK_EVENTS"),
            (not self.offline_approvals, "SYS_OFFLINE_CLOSED"),
        )
        numbers = tuple(NUMBERS[code] for applies, code in said if applies)
        return numbers if mode is Mode.FRESH else (*numbers, _BUNDLE_REASONS[mode])

    def _count(self, decided: Decided, evictions: int) -> None:
        self.tally.outcomes[decided.outcome] += 1
        self.tally.evictions += evictions
        self.tally.late += decided.feature_us > decided.occurred_us

    def _time(self, occurred_us: int) -> int:
        if self._source is not None:
            self._source.follow(occurred_us)
        return self._clock.now_us()

    def _check(self, request: PaymentRequest, occurred_us: int, now_us: int) -> None:
        """Refuse what the request alone can't tell to be wrong."""
        if request.amount.currency != self.settings.currency:
            raise _invalid("amount.currency", f"this site takes {self.settings.currency} only")
        if occurred_us > now_us + OCCURRED_AHEAD_US_MAX:
            raise _invalid("occurred_at", "more than a minute ahead of the site's clock: set the device's clock")
        if occurred_us < now_us - OCCURRED_BEHIND_US_REFUSED:
            raise _invalid("occurred_at", "more than 400 days ago: set the device's clock")

    def _first(self, key: Any, request: PaymentRequest | LabelRequest) -> Decision | None:  # noqa: ANN401 - np.uint64
        """Return the decision that a payment's id was first answered with."""

        def is_it(place: int) -> bool:
            decided = Decided.from_body(self.journal.read(place).body)
            return (decided.merchant, decided.transaction_id) == (request.merchant, request.transaction_id)

        place = self._answers.find(key, is_it)
        if place < 0:
            return None
        record = self.journal.read(place)
        return Decision(self.journal.epoch_of(place), record, Decided.from_body(record.body), replayed=True)

    def label(self, request: LabelRequest) -> tuple[dict[str, Any], int]:
        """Apply a label, and return the answer and the position that must be durable before it is told.

        Raises:
            NotFoundError: this site never decided that payment.
            ConflictError: the label's id was used with another body.
        """
        if self.failed is not None:
            raise NotReadyError(f"the gate has stopped: {self.failed}")
        values = label_values(request)
        known = self.labels.find(request.label_id)
        if known is not None:
            if known != values:
                raise _conflict("label_id")
            return label_answer(values, replayed=True), self.journal.last_pos
        first = self._first(identity(request.merchant, request.transaction_id), request)
        if first is None:
            raise NotFoundError(
                "this site has no decision on that payment: send the label to the site that decided it",
                fields=(FieldError("transaction_id", "unknown at this site"),),
            )
        now_us = self.now_us()
        ((_, record),) = self.journal.append([(Lane.EVENTS, Kind.LABEL_RECEIVED, event_body(values))], now_us)
        self.apply_label(values, first.decided, now_us)
        return label_answer(values, replayed=False), record.pos

    def apply_label(self, values: dict[str, Any], decided: Decided, now_us: int) -> None:
        """Count a journaled label; the later known one of a payment stands."""
        delta = self.labels.add(values)
        self.tally.labels += 1
        if delta:
            self.window.label(
                card=decided.card,
                terminal=decided.terminal,
                now_us=now_us,
                event_us=decided.feature_us,
                delta=delta,
            )

    def answer(self, decision: Decision) -> dict[str, Any]:
        """Render a decision as it is told."""
        epoch, record, decided, replayed = decision
        return answer(self._site, self._gate, epoch, record, decided, replayed=replayed)


_ANY_DECISION: Final = (Lane.DECISIONS, Kind.DECISION, bytes(DECISION_BODY_BYTES))
_EVICTED: Final = {"card": Kind.CARD_EVICTED, "terminal": Kind.TERMINAL_EVICTED}
ENTITY_OF: Final = {kind: entity for entity, kind in _EVICTED.items()}


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


def label_answer(values: dict[str, Any], *, replayed: bool) -> dict[str, Any]:
    """Render a label as it is told."""
    told = {key: values[key] for key in ("label_id", "merchant", "transaction_id", "verdict", "source")}
    return {**told, "applied": True, "replayed": replayed}
