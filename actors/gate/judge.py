"""The judgement: features, score, policy, as one value. The same where a payment is decided and where replayed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from actors.scorer.model import Assessment, Scorer
from actors.window.window import Window
from tidegate.decided import Decided
from tidegate.decision import NO_SCORE, NUMBERS, Mark, Mode, RiskLevel, Verdict
from tidegate.features.declarations import FINGERPRINT
from tidegate.features.kernel import clamp_feature_time
from tidegate.limits import HOUR_US
from tidegate.lists import ListIndex
from tidegate.payment import CHANNELS, ENTRY_MODES, PaymentRequest, request_hash
from tidegate.policy import decide, risk_level
from tidegate.records import FEATURE_SLOTS
from tidegate.sandbox import CARDS, PREFIX, TestCard
from tidegate.settings import Ages, SiteSettings

_BUNDLE_REASONS: Final = {
    Mode.AGING: NUMBERS["SYS_BUNDLE_AGING"],
    Mode.STALE: NUMBERS["SYS_BUNDLE_STALE"],
    Mode.BLIND: NUMBERS["SYS_BUNDLE_BLIND"],
}


class Conditions(NamedTuple):
    """What was true of the site while it decided, beside its data."""

    clock_behind: bool
    events_clock: bool
    offline_closed: bool


_CLEAN: Final = Conditions(clock_behind=False, events_clock=False, offline_closed=False)


@dataclass(frozen=True, slots=True)
class Basis:
    """What a judgement rests on, beside the window."""

    settings: SiteSettings
    config: str
    scorer: Scorer
    lists: ListIndex


def bundle_mode(age_us: int, ages: Ages) -> Mode:
    """Return how fresh a model of this age is."""
    hours = age_us // HOUR_US
    if hours < ages.aging_hours:
        return Mode.FRESH
    if hours < ages.stale_hours:
        return Mode.AGING
    return Mode.STALE if hours < ages.blind_hours else Mode.BLIND


def fingerprint_of(request: PaymentRequest, occurred_us: int) -> bytes:
    """Return 16 bytes that are equal where two requests ask the same; `occurred_us` is the request's own."""
    r, amount = request, request.amount
    return request_hash(
        f"{r.transaction_id}|{occurred_us}|{amount.minor}|{amount.currency}|{r.card}|{r.terminal}|{r.merchant}|"
        f"{r.channel}|{r.country}|{r.mcc}|{r.entry_mode}|{r.device}"
    )


def system_reasons(conditions: Conditions, mode: Mode, *, known: bool, late: bool) -> tuple[int, ...]:
    """Return the SYS_* reasons that say under which conditions a decision was made."""
    if known and not late and mode is Mode.FRESH and conditions == _CLEAN:
        return ()
    said = (
        (not known, "SYS_FEATURES_PARTIAL"),
        (late, "SYS_TIME_CLAMPED"),
        (conditions.clock_behind, "SYS_CLOCK"),
        (conditions.events_clock, "SYS_CLOCK_EVENTS"),
        (conditions.offline_closed, "SYS_OFFLINE_CLOSED"),
    )
    numbers = tuple(NUMBERS[code] for applies, code in said if applies)
    return numbers if mode is Mode.FRESH else (*numbers, _BUNDLE_REASONS[mode])


UNSCORED: Final = Assessment(float("nan"), float("nan"), NO_SCORE)
_NO_FEATURES: Final = bytes(4 * FEATURE_SLOTS)
_LEFT_OUT: Final = ((Mark.SCORE_LEFT_OUT, NUMBERS["SYS_DEADLINE_SCORE"]),)
_SANDBOX: Final = NUMBERS["SYS_SANDBOX"]


def left_out_reasons(marks: int) -> tuple[int, ...]:
    """Return the reasons that say what was left out."""
    return tuple(number for mark, number in _LEFT_OUT if marks & mark)


def forced(card: str, settings: SiteSettings) -> TestCard | None:
    """Return the test card of a sandbox that forces the answer; others, and other sites, have none."""
    return CARDS.get(card) if card.startswith(PREFIX) and settings.profile == "sandbox" else None


def never() -> bool:
    """Say that there is time."""
    return False


class _Judged(NamedTuple):
    """What a judgement comes to, beside what it is about."""

    features: bytes
    assessment: Assessment
    level: RiskLevel
    mode: Mode
    verdict: Verdict
    marks: int


def forced_verdict(card: TestCard) -> Verdict:
    """Return what a test card forces."""
    return Verdict(card.outcome, (*card.reasons, _SANDBOX))


def _forced(card: TestCard) -> _Judged:
    """Judge by a test card: no state is read or changed, so it spoils no count of real cards and terminals."""
    assessment = Assessment(0.0, card.probability, card.score)
    return _Judged(_NO_FEATURES, assessment, card.level, card.mode, forced_verdict(card), Mark.SANDBOX)


def judge(
    basis: Basis,
    window: Window,
    request: PaymentRequest,
    *,
    wanted: bytes,
    occurred_us: int,
    now_us: int,
    conditions: Conditions,
    pressed: Callable[[], bool] = never,
) -> Decided:
    """Return the decision on a request at `now_us`; the window, which must have room, has counted it then.

    `wanted` and `occurred_us` follow from the request; whoever calls has them already. `pressed` tells before the
    score is made whether there is no time for it.
    """
    feature_us = clamp_feature_time(now_us, occurred_us)
    card = forced(request.card, basis.settings)
    if card is None:
        late = feature_us != occurred_us
        judged = _judged(basis, window, request, now_us, feature_us, conditions, pressed, late=late)
    else:
        judged = _forced(card)
    features, assessment, level, mode, verdict, marks = judged
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
        features=features,
        margin=assessment.margin,
        probability=assessment.probability,
        outcome=verdict.outcome,
        risk_score=assessment.risk_score,
        risk_level=level,
        mode=mode,
        reasons=verdict.reasons,
        bundle=basis.scorer.bundle.id,
        config=basis.config,
        lists_version=basis.lists.lists.version,
        overlay_version=0,
        marks=marks,
    )


def _judged(
    basis: Basis,
    window: Window,
    request: PaymentRequest,
    now_us: int,
    feature_us: int,
    conditions: Conditions,
    pressed: Callable[[], bool],
    *,
    late: bool,
) -> _Judged:
    """Count the payment, score it where there is time, and decide."""
    known = window.knows(request.card)
    vector = window.observe(
        card=request.card,
        terminal=request.terminal,
        now_us=now_us,
        feature_us=feature_us,
        amount_minor=request.amount.minor,
    )
    manifest = basis.scorer.bundle.manifest
    mode = bundle_mode(now_us - manifest.trained_at_us, basis.settings.ages)
    system = system_reasons(conditions, mode, known=known, late=late)
    if pressed():
        assessment, probability, marks = UNSCORED, None, int(Mark.SCORE_LEFT_OUT)
        system = (*left_out_reasons(marks), *system)
    else:
        assessment, marks = basis.scorer.score(vector), 0
        probability = assessment.probability
    verdict = decide(
        probability=probability,
        amount_minor=request.amount.minor,
        hits=basis.lists.hits(
            card=request.card, device=request.device, terminal=request.terminal, merchant=request.merchant
        ),
        system=system,
        policy=manifest.policy,
    )
    level = risk_level(assessment.risk_score, manifest.policy)
    return _Judged(vector.tobytes(), assessment, level, mode, verdict, marks)
