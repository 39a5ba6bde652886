"""A decision as it is stored and answered: one value that packs into the record and renders every answer."""

import struct
from typing import Any, Final, NamedTuple, Self

from tidegate.clock import rfc3339
from tidegate.decision import NO_SCORE, REASONS, Mode, Outcome, RiskLevel
from tidegate.ids import EpochId, GateId, SiteId
from tidegate.payment import CHANNELS, ENTRY_MODES
from tidegate.policy.costs import Liability
from tidegate.records import DECISION_BODY_BYTES, FEATURE_SLOTS, REASON_SLOTS, Lane, Record

_BODY: Final = struct.Struct(
    f"<64s32s64s32s64s3s2s4sBBHqq16sqq16s{FEATURE_SLOTS * 4}sfdBBBB{REASON_SLOTS}H16s16sQQH16sBBBB5Q"
)
if _BODY.size != DECISION_BODY_BYTES:
    raise AssertionError(f"the packed decision has {_BODY.size} bytes, its schema {DECISION_BODY_BYTES}")


def _text(field: bytes) -> str:
    return field.rstrip(b"\0").decode("ascii")


class Decided(NamedTuple):
    """All that one decision rested on and came to, in the order of `records.DECISION_FIELDS`.

    `rules_*` have a bit for each rule of `policy`, by its number: those that were true (shadow ones included), those
    that failed, those left out for this card or by their brake, and those that brought the outcome about.
    """

    transaction_id: str
    merchant: str
    card: str
    terminal: str
    device: str
    currency: str
    country: str
    mcc: str
    channel: int
    entry_mode: int
    attempt: int
    amount_minor: int
    occurred_us: int
    request_hash: bytes
    feature_us: int
    features_as_of_us: int
    feature_fingerprint: str
    features: bytes
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

    def to_body(self) -> bytes:
        """Return the fixed-width body of the decision's record."""
        texts = [field.encode("ascii") for field in self[:8]]
        reasons = self.reasons + (0,) * (REASON_SLOTS - len(self.reasons))
        fingerprint, features, margin, probability = self[16:20]
        return _BODY.pack(
            *texts,
            *self[8:16],
            fingerprint.encode("ascii"),
            features,
            margin,
            probability,
            *self[20:24],
            *reasons,
            self.bundle.encode("ascii"),
            self.config.encode("ascii"),
            self.lists_version,
            self.overlay_version,
            self.marks,
            self.policy.encode("ascii"),
            *self[31:],
        )

    @classmethod
    def from_body(cls, body: bytes) -> Self:
        """Return the decision that `body` stores; the exact inverse of `to_body`."""
        f = _BODY.unpack(body)
        reasons = tuple(number for number in f[24 : 24 + REASON_SLOTS] if number)
        bundle, config, lists_version, overlay_version, marks, policy, liability = f[24 + REASON_SLOTS :][:7]
        modes, masks = f[31 + REASON_SLOTS :][:3], f[34 + REASON_SLOTS :]
        words = (Outcome(f[20]), f[21], RiskLevel(f[22]), Mode(f[23]))
        versions = (_text(bundle), _text(config), lists_version, overlay_version, marks, _text(policy))
        parts = (Liability(liability), *map(Mode, modes))
        texts, score = map(_text, f[:8]), f[17:20]
        return cls._make((*texts, *f[8:16], _text(f[16]), *score, *words, reasons, *versions, *parts, *masks))


_CHANNEL_WORDS: Final = {number: word for word, number in CHANNELS.items()}
_ENTRY_WORDS: Final = {number: word for word, number in ENTRY_MODES.items()}


def request_body(decided: Decided) -> dict[str, Any]:
    """Return the payment that was asked about, as the body of `POST /v1/decisions` that asks the same."""
    return {
        "transaction_id": decided.transaction_id,
        "occurred_at": rfc3339(decided.occurred_us),
        "amount": {"minor": decided.amount_minor, "currency": decided.currency},
        "card": decided.card,
        "terminal": decided.terminal,
        "merchant": decided.merchant,
        "channel": _CHANNEL_WORDS[decided.channel],
        "country": decided.country or None,
        "mcc": decided.mcc or None,
        "entry_mode": _ENTRY_WORDS[decided.entry_mode],
        "device": decided.device or None,
    }


def reason_words(numbers: tuple[int, ...]) -> list[dict[str, Any]]:
    """Return reasons as they are answered; a number of a newer catalogue keeps its number."""
    return [_REASON_WORDS.get(number) or _newer(number) for number in numbers]


_REASON_WORDS: Final = {
    number: {"code": r.code, "source": r.source.value, "text": r.text} for number, r in REASONS.items()
}


def _newer(number: int) -> dict[str, str]:
    return {"code": f"REASON_{number}", "source": "system", "text": "A reason of a newer version."}


_LANE: Final = f"L{Lane.DECISIONS:d}"
_LEVEL_WORDS: Final = tuple(level.name.lower() for level in RiskLevel)
_MODE_WORDS: Final = tuple(mode.name.lower() for mode in Mode)
_LIABILITY_WORDS: Final = tuple(bearer.name.lower() for bearer in Liability)


def rule_numbers(mask: int) -> list[int]:
    """Return the numbers of the rules whose bits are set."""
    return [bit + 1 for bit in range(mask.bit_length()) if mask >> bit & 1]


def answer(
    site: SiteId, gate: GateId, epoch: EpochId, record: Record, decided: Decided, *, replayed: bool
) -> dict[str, Any]:
    """Return the answer to a decision: a pure function of its record, so a retry gets the first one again."""
    decided_at = rfc3339(record.time_us)
    same = decided.features_as_of_us == record.time_us
    return {
        "decision_id": f"{site}.{gate}.{epoch}.{_LANE}.{record.seq}",
        "transaction_id": decided.transaction_id,
        "outcome": decided.outcome.word,
        "risk_score": None if decided.risk_score == NO_SCORE else decided.risk_score,
        "risk_level": _LEVEL_WORDS[decided.risk_level],
        "probability": None if decided.risk_score == NO_SCORE else round(decided.probability, 6),
        "reasons": reason_words(decided.reasons),
        "mode": _MODE_WORDS[decided.mode],
        "modes": {
            "bundle": _MODE_WORDS[decided.mode_bundle],
            "lists": _MODE_WORDS[decided.mode_lists],
            "policy": _MODE_WORDS[decided.mode_policy],
        },
        "decided_by": "edge",
        "site": site,
        "bundle": decided.bundle,
        "policy": decided.policy,
        "lists": decided.lists_version,
        "rules": rule_numbers(decided.rules_deciding),
        "liability": _LIABILITY_WORDS[decided.liability],
        "features_as_of": decided_at if same else rfc3339(decided.features_as_of_us),
        "decided_at": decided_at,
        "replayed": replayed,
    }
