"""The judgement: features, score, policy, as one value. The same where a payment is decided and where replayed."""

from dataclasses import dataclass
from typing import Final, NamedTuple

from actors.scorer.model import Scorer
from actors.window.window import Evicted, Window
from tidegate.decided import Decided
from tidegate.decision import NUMBERS, Mode
from tidegate.features.declarations import FINGERPRINT
from tidegate.features.kernel import clamp_feature_time
from tidegate.limits import HOUR_US
from tidegate.lists import ListIndex
from tidegate.payment import CHANNELS, ENTRY_MODES, PaymentRequest, request_hash
from tidegate.policy import decide, risk_level
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


def judge(
    basis: Basis,
    window: Window,
    request: PaymentRequest,
    *,
    wanted: bytes,
    occurred_us: int,
    now_us: int,
    evicted: tuple[Evicted, ...],
    conditions: Conditions,
) -> Decided:
    """Return the decision on a request at `now_us`, after forgetting `evicted`; the window has counted it then.

    `wanted` and `occurred_us` follow from the request; whoever calls has them already.
    """
    known = window.knows(request.card)
    for gone in evicted:
        window.evict(gone)
    amount_minor = request.amount.minor
    feature_us = clamp_feature_time(now_us, occurred_us)
    vector = window.observe(
        card=request.card,
        terminal=request.terminal,
        now_us=now_us,
        feature_us=feature_us,
        amount_minor=amount_minor,
    )
    bundle = basis.scorer.bundle
    policy = bundle.manifest.policy
    assessment = basis.scorer.score(vector)
    mode = bundle_mode(now_us - bundle.manifest.trained_at_us, basis.settings.ages)
    verdict = decide(
        probability=assessment.probability,
        amount_minor=amount_minor,
        hits=basis.lists.hits(
            card=request.card, device=request.device, terminal=request.terminal, merchant=request.merchant
        ),
        system=system_reasons(conditions, mode, known=known, late=feature_us != occurred_us),
        policy=policy,
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
        amount_minor=amount_minor,
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
        risk_level=risk_level(assessment.risk_score, policy),
        mode=mode,
        reasons=verdict.reasons,
        bundle=bundle.id,
        config=basis.config,
        lists_version=basis.lists.lists.version,
        overlay_version=0,
    )
