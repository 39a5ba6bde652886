"""The judgement: features, score, policy, as one value. The same where a payment is decided and where replayed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from actors.scorer.model import Assessment, Scorer
from actors.window.overlay import Reached
from actors.window.window import Vector, Window
from tidegate.decided import Decided
from tidegate.decision import NO_SCORE, NUMBERS, Mark, Mode, Outcome, RiskLevel, Verdict
from tidegate.features.declarations import FINGERPRINT
from tidegate.features.kernel import clamp_feature_time
from tidegate.limits import OVERLAY_RECENT_US
from tidegate.lists import Listed, ListIndex, hits_of, spared
from tidegate.payment import CHANNELS, ENTRY_MODES, PaymentRequest, request_hash
from tidegate.policy.active import ActivePolicy, Facts, Modes
from tidegate.policy.brake import Brakes
from tidegate.policy.costs import Liability
from tidegate.policy.rules import NOTHING, Matched
from tidegate.policy.variables import Inputs
from tidegate.policy.verdict import risk_level
from tidegate.records import FEATURE_SLOTS
from tidegate.sandbox import CARDS, PREFIX, TestCard
from tidegate.settings import SiteSettings

UNSCORED: Final = Assessment(float("nan"), float("nan"), NO_SCORE)
_NO_FEATURES: Final = bytes(4 * FEATURE_SLOTS)
LEFT_OUT: Final = {
    Mark.SCORE_LEFT_OUT: NUMBERS["SYS_DEADLINE_SCORE"],
    Mark.RULES_LEFT_OUT: NUMBERS["SYS_DEADLINE_RULES"],
}
_SANDBOX: Final = NUMBERS["SYS_SANDBOX"]


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

    def modes(self, now_us: int) -> Modes:
        """Return how fresh each thing is that a decision at this time rests on.

        A model is trained in life's time, so where the clock follows a stream its age can't be told, and isn't.
        """
        follows = self.settings.clock.source == "events"
        bundle_us = now_us if follows else self.scorer.bundle.manifest.trained_at_us
        return self.policy.modes(now_us=now_us, bundle_us=bundle_us, lists_us=self.lists.as_of_us)


def fingerprint_of(request: PaymentRequest, occurred_us: int) -> bytes:
    """Return 16 bytes that are equal where two requests ask the same; `occurred_us` is the request's own."""
    r, amount = request, request.amount
    return request_hash(
        f"{r.transaction_id}|{occurred_us}|{amount.minor}|{amount.currency}|{r.card}|{r.terminal}|{r.merchant}|"
        f"{r.channel}|{r.country}|{r.mcc}|{r.entry_mode}|{r.device}"
    )


def _recent(overlay: Reached, now_us: int, conditions: Conditions) -> bool:
    """Tell whether what is known of other sites, where anything is, isn't old; a stream's time says nothing of that."""
    return not overlay.version or conditions.events_clock or now_us - overlay.as_of_us <= OVERLAY_RECENT_US


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
    """What model, lists and policy come to on one payment: the last fields of a decision, given the others."""

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
    overlay_version: int
    marks: int
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


if Decided._fields[-len(Finding._fields) :] != Finding._fields:
    raise AssertionError("a decision ends with its finding")


def forced(card: str, settings: SiteSettings) -> TestCard | None:
    """Return the test card of a sandbox that forces the answer; others, and other sites, have none."""
    return CARDS.get(card) if card.startswith(PREFIX) and settings.profile == "sandbox" else None


def never() -> bool:
    """Say that there is time."""
    return False


def left_out_reasons(marks: int) -> tuple[int, ...]:
    """Return the reasons that say what was left out."""
    return tuple(number for mark, number in LEFT_OUT.items() if marks & mark)


def force(basis: Basis, request: PaymentRequest, card: TestCard, overlay_version: int) -> Finding:
    """Return what a test card forces: no state is read or changed, so it spoils no count of real cards."""
    verdict = Verdict(card.outcome, (*card.reasons, _SANDBOX))
    modes = Modes(*(card.mode if part in card.parts else Mode.FRESH for part in Modes._fields))
    assessment = Assessment(0.0, card.probability, card.score)
    return _finding(basis, overlay_version, assessment, verdict, modes, _bearer(basis, request), Mark.SANDBOX)


def find(
    basis: Basis,
    request: PaymentRequest,
    vector: Vector,
    *,
    now_us: int,
    overlay_version: int,
    system: tuple[int, ...],
    braked: Callable[[int], int],
    pressed: Callable[[], bool] = never,
) -> Finding:
    """Return what a basis says of a request with this vector: where it is decided, and where it is replayed.

    `braked` returns the bits of the rules that have declined as often as they may at a time; it is asked only where
    such a rule is true. `pressed` tells before the score is made whether there is no time for it and for the rules.
    """
    policy, amount_minor = basis.policy, request.amount.minor
    book, matched, assessment, marks = policy.book, NOTHING, UNSCORED, 0
    if pressed():
        marks = Mark.SCORE_LEFT_OUT | (Mark.RULES_LEFT_OUT if book.runs else 0)
        system = (*left_out_reasons(marks), *system)
    else:
        assessment = basis.scorer.score(vector)
        if book.runs:
            probability, score = assessment.probability, assessment.risk_score
            matched = book.match(Inputs(vector, amount_minor, probability, score, texts_of(request)))
    found = _listed(basis.lists, request, now_us) if basis.lists.index else ()
    bearer, modes = _bearer(basis, request), basis.modes(now_us)
    facts = Facts(
        probability=None if marks else assessment.probability,
        amount_minor=amount_minor,
        bearer=bearer,
        matched=matched,
        listed=hits_of(found, policy.watch) if found else (),
        suppressed=book.bits(spared(found)) if found else 0,
        braked=braked(now_us) if matched.hit & book.braked else 0,
        modes=modes,
        system=system,
    )
    verdict, suppressed, held = policy.conclude(facts)
    return _finding(basis, overlay_version, assessment, verdict, modes, bearer, marks, matched, suppressed, held)


def _listed(lists: ListIndex, request: PaymentRequest, now_us: int) -> list[Listed]:
    r = request
    return lists.find((r.card, r.device or "", r.terminal, r.merchant, r.country or "", r.mcc or ""), now_us)


def _bearer(basis: Basis, request: PaymentRequest) -> Liability:
    return basis.policy.bearer(CHANNELS[request.channel], ENTRY_MODES[request.entry_mode])


def _finding(  # noqa: PLR0913, PLR0917 - all that a finding tells
    basis: Basis,
    overlay_version: int,
    assessment: Assessment,
    verdict: Verdict,
    modes: Modes,
    bearer: Liability,
    marks: int,
    matched: Matched = NOTHING,
    suppressed: int = 0,
    braked: int = 0,
) -> Finding:
    policy = basis.policy
    return Finding(
        margin=assessment.margin,
        probability=assessment.probability,
        outcome=verdict.outcome,
        risk_score=assessment.risk_score,
        risk_level=risk_level(assessment.risk_score, policy.terms),
        mode=max(modes),
        reasons=verdict.reasons,
        bundle=basis.scorer.bundle.id,
        config=basis.config,
        lists_version=basis.lists.version,
        overlay_version=overlay_version,
        marks=marks,
        policy=policy.id,
        liability=bearer,
        mode_bundle=modes.bundle,
        mode_lists=modes.lists,
        mode_policy=modes.policy,
        rules_hit=matched.hit,
        rules_failed=matched.failed,
        rules_suppressed=suppressed,
        rules_braked=braked,
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
    conditions: Conditions,
    brakes: Brakes,
    pressed: Callable[[], bool] = never,
) -> Decided:
    """Return the decision on a request at `now_us`; the window, which must have room, has counted it then.

    `wanted` and `occurred_us` follow from the request; whoever calls has them already.
    """
    feature_us, features = clamp_feature_time(now_us, occurred_us), _NO_FEATURES
    card, overlay = forced(request.card, basis.settings), window.overlay.reached
    if card is None:
        known = window.knows(request.card) and _recent(overlay, now_us, conditions)
        vector = window.observe(
            card=request.card,
            terminal=request.terminal,
            now_us=now_us,
            feature_us=feature_us,
            amount_minor=request.amount.minor,
        )
        features = vector.tobytes()
        system = system_reasons(conditions, known=known, late=feature_us != occurred_us)
        found = find(
            basis,
            request,
            vector,
            now_us=now_us,
            overlay_version=overlay.version,
            system=system,
            braked=brakes.closed,
            pressed=pressed,
        )
    else:
        found = force(basis, request, card, overlay.version)
    return Decided(
        request.transaction_id,
        request.merchant,
        request.card,
        request.terminal,
        request.device or "",
        request.amount.currency,
        request.country or "",
        request.mcc or "",
        CHANNELS[request.channel],
        ENTRY_MODES[request.entry_mode],
        1,  # attempt
        request.amount.minor,
        occurred_us,
        wanted,
        feature_us,
        min(overlay.as_of_us, now_us) if overlay.version else now_us,
        FINGERPRINT,
        features,
        *found,
    )
