"""The judgement: features, score, policy, as one value. The same where a payment is decided and where replayed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from actors.scorer.model import Scorer
from actors.window.window import Evicted, Vector, Window
from tidegate.decided import Decided
from tidegate.decision import NUMBERS, Mode, Outcome, RiskLevel
from tidegate.features.declarations import FINGERPRINT
from tidegate.features.kernel import clamp_feature_time
from tidegate.lists import ListIndex
from tidegate.payment import CHANNELS, ENTRY_MODES, PaymentRequest, request_hash
from tidegate.policy.active import ActivePolicy, Facts
from tidegate.policy.brake import Brakes
from tidegate.policy.costs import Liability
from tidegate.policy.rules import NOTHING
from tidegate.policy.variables import Inputs
from tidegate.policy.verdict import risk_level
from tidegate.settings import SiteSettings


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
    policy: ActivePolicy


def fingerprint_of(request: PaymentRequest, occurred_us: int) -> bytes:
    """Return 16 bytes that are equal where two requests ask the same; `occurred_us` is the request's own."""
    r, amount = request, request.amount
    return request_hash(
        f"{r.transaction_id}|{occurred_us}|{amount.minor}|{amount.currency}|{r.card}|{r.terminal}|{r.merchant}|"
        f"{r.channel}|{r.country}|{r.mcc}|{r.entry_mode}|{r.device}"
    )


def system_reasons(conditions: Conditions, *, known: bool, late: bool) -> tuple[int, ...]:
    """Return the SYS_* reasons that say under which conditions a decision was made; how old what is comes later."""
    if known and not late and conditions == _CLEAN:
        return ()
    said = (
        (not known, "SYS_FEATURES_PARTIAL"),
        (late, "SYS_TIME_CLAMPED"),
        (conditions.clock_behind, "SYS_CLOCK"),
        (conditions.events_clock, "SYS_CLOCK_EVENTS"),
        (conditions.offline_closed, "SYS_OFFLINE_CLOSED"),
    )
    return tuple(NUMBERS[code] for applies, code in said if applies)


def texts_of(request: PaymentRequest) -> tuple[str, ...]:
    """Return a payment's fields as rules read them, in the order of `variables.TEXTS`."""
    r = request
    optional = (r.country or "", r.mcc or "", r.amount.currency, r.channel, r.entry_mode or "")
    return (r.card, r.device or "", r.terminal, r.merchant, *optional)


class Finding(NamedTuple):
    """What model, lists and policy come to on one payment: the fields of a decision that follow from the others."""

    margin: float
    probability: float
    outcome: Outcome
    risk_score: int
    risk_level: RiskLevel
    mode: Mode
    reasons: tuple[int, ...]
    bundle: str
    config: str
    lists_version: int
    policy: str
    liability: Liability
    mode_bundle: Mode
    mode_lists: Mode
    mode_policy: Mode
    rules_hit: int
    rules_failed: int
    rules_suppressed: int
    rules_braked: int
    rules_deciding: int


def find(
    basis: Basis,
    request: PaymentRequest,
    vector: Vector,
    *,
    now_us: int,
    system: tuple[int, ...],
    braked: Callable[[int], int],
) -> Finding:
    """Return what a basis says of a request with this vector: where it is decided, and where it is replayed.

    `braked` returns the bits of the rules that have declined as often as they may at a time; it is asked only where
    such a rule is true.
    """
    policy, manifest, amount_minor = basis.policy, basis.scorer.bundle.manifest, request.amount.minor
    margin, probability, score = basis.scorer.score(vector)
    matched = NOTHING
    if policy.book.runs:
        matched = policy.book.match(Inputs(vector, amount_minor, probability, score, texts_of(request)))
    modes = policy.modes(now_us=now_us, bundle_us=manifest.trained_at_us, lists_us=None)
    bearer = policy.bearer(CHANNELS[request.channel], ENTRY_MODES[request.entry_mode])
    facts = Facts(
        probability=probability,
        amount_minor=amount_minor,
        bearer=bearer,
        matched=matched,
        listed=basis.lists.hits(
            card=request.card, device=request.device, terminal=request.terminal, merchant=request.merchant
        ),
        suppressed=0,
        braked=braked(now_us) if matched.hit & policy.book.braked else 0,
        modes=modes,
        system=system,
    )
    verdict, left_out, held = policy.conclude(facts)
    return Finding(
        margin=margin,
        probability=probability,
        outcome=verdict.outcome,
        risk_score=score,
        risk_level=risk_level(score, policy.terms),
        mode=max(modes),
        reasons=verdict.reasons,
        bundle=basis.scorer.bundle.id,
        config=basis.config,
        lists_version=basis.lists.lists.version,
        policy=policy.id,
        liability=bearer,
        mode_bundle=modes.bundle,
        mode_lists=modes.lists,
        mode_policy=modes.policy,
        rules_hit=matched.hit,
        rules_failed=matched.failed,
        rules_suppressed=left_out,
        rules_braked=held,
        rules_deciding=verdict.deciding,
    )


def judge(  # noqa: PLR0913 - all that a decision rests on
    basis: Basis,
    window: Window,
    request: PaymentRequest,
    *,
    wanted: bytes,
    occurred_us: int,
    now_us: int,
    evicted: tuple[Evicted, ...],
    conditions: Conditions,
    brakes: Brakes,
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
    system = system_reasons(conditions, known=known, late=feature_us != occurred_us)
    found = find(basis, request, vector, now_us=now_us, system=system, braked=brakes.closed)
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
        overlay_version=0,
        **found._asdict(),
    )
