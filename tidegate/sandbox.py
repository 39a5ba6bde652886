"""The declared test cards of a sandbox site: each forces one answer, whatever was learnt of cards and terminals.

A card's token says what it forces, and keeps that for ever. There is one for every outcome, reason, mode and risk
level, and for each way in which an answer may fail to come; they follow from the catalogue, so none is forgotten.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tidegate.decision import NO_SCORE, NUMBERS, REASONS, Mode, Outcome, Reason, RiskLevel, Source
from tidegate.errors import DeadlineError, NotReadyError, OverloadedError, TemporaryError

PREFIX: Final = "test_"
"""No other card's token may begin so, at any site."""


class Trouble(StrEnum):
    """How an answer fails to come."""

    TIMEOUT = "timeout"
    DEADLINE = "deadline"
    NOT_READY = "not_ready"
    OVERLOADED = "overloaded"


@dataclass(frozen=True, slots=True)
class TestCard:
    """What a declared card forces."""

    __test__ = False

    token: str
    meaning: str
    outcome: Outcome
    level: RiskLevel
    reasons: tuple[int, ...] = ()
    mode: Mode = Mode.FRESH
    trouble: Trouble | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of the site that are as old as `mode` says."""
        codes = [REASONS[number].code for number in self.reasons]
        return tuple(part for part in _PARTS if any(code.startswith(f"SYS_{part.upper()}_") for code in codes))

    @property
    def score(self) -> int:
        """The risk score that is told, 0 to 100, or `NO_SCORE`."""
        return _SCORES[self.level][0]

    @property
    def probability(self) -> float:
        """The probability that is told; NaN where there is no score."""
        return _SCORES[self.level][1]

    def refusal(self) -> TemporaryError | None:
        """Return the error that stands in place of a decision, or None."""
        refused = _REFUSALS.get(self.trouble) if self.trouble else None
        return None if refused is None else refused(f"{self.token} forces this; nothing was decided")


_REFUSALS: Final[dict[Trouble, type[TemporaryError]]] = {
    Trouble.DEADLINE: DeadlineError,
    Trouble.NOT_READY: NotReadyError,
    Trouble.OVERLOADED: OverloadedError,
}
_SCORES: Final = {
    RiskLevel.NORMAL: (5, 0.001),
    RiskLevel.ELEVATED: (70, 0.05),
    RiskLevel.HIGHEST: (95, 0.6),
    RiskLevel.NOT_ASSESSED: (NO_SCORE, float("nan")),
}
_LEVELS: Final = {
    Outcome.APPROVE: RiskLevel.NORMAL,
    Outcome.CHALLENGE: RiskLevel.ELEVATED,
    Outcome.REVIEW: RiskLevel.ELEVATED,
    Outcome.DECLINE: RiskLevel.HIGHEST,
}
_OUTCOMES: Final = {
    "MODEL_CHALLENGE": Outcome.CHALLENGE,
    "MODEL_REVIEW": Outcome.REVIEW,
    "LIST_OVERRIDE": Outcome.APPROVE,
    "LIST_WATCH": Outcome.REVIEW,
    "RULE_TRUSTED": Outcome.APPROVE,
    "SYS_FLOOR_LIMIT": Outcome.REVIEW,
    "LIMIT_UNSCORED": Outcome.REVIEW,
    "SYS_DEADLINE_SCORE": Outcome.REVIEW,
    "SYS_DEADLINE_RULES": Outcome.REVIEW,
}
"""Outcomes that go with a reason, where they are not its source's: system reasons approve, all others decline."""
_PARTS: Final = ("lists", "policy", "bundle")
_MODES: Final = {f"SYS_{part.upper()}_{mode.name}": mode for part in _PARTS for mode in Mode if mode}
_UNSCORED: Final = frozenset({"LIMIT_UNSCORED", "SYS_DEADLINE_SCORE"})
_TROUBLES: Final = (
    (Trouble.TIMEOUT, "Decided and durable, but the first answer comes 30 seconds late; a retry gets it at once."),
    (Trouble.DEADLINE, "504 `DEADLINE_PASSED`: nothing is decided, each time."),
    (Trouble.NOT_READY, "503 `NOT_READY`: nothing is decided, each time."),
    (Trouble.OVERLOADED, "503 `OVERLOADED`: nothing is decided, each time."),
)


def _of_outcomes() -> Iterator[TestCard]:
    for outcome in Outcome:
        yield TestCard(f"{PREFIX}{outcome.word}", "The outcome alone.", outcome, _LEVELS[outcome])


def _of_reason(reason: Reason) -> TestCard:
    of_source = Outcome.APPROVE if reason.source is Source.SYSTEM else Outcome.DECLINE
    outcome = _OUTCOMES.get(reason.code, of_source)
    level = RiskLevel.NOT_ASSESSED if reason.code in _UNSCORED else _LEVELS[outcome]
    name = reason.code.lower().removeprefix("rule_")
    mode = _MODES.get(reason.code, Mode.FRESH)
    return TestCard(f"{PREFIX}{outcome.word}_{name}", reason.text, outcome, level, (reason.number,), mode)


def _of_modes() -> Iterator[TestCard]:
    by_mode = {mode: (NUMBERS[code],) for code, mode in _MODES.items()}
    for mode in Mode:
        word = mode.name.lower()
        meaning = f"Decided in mode `{word}`."
        yield TestCard(f"{PREFIX}mode_{word}", meaning, Outcome.APPROVE, RiskLevel.NORMAL, by_mode.get(mode, ()), mode)


def _of_levels() -> Iterator[TestCard]:
    for level in RiskLevel:
        word = level.name.lower()
        outcome = Outcome.REVIEW if level is RiskLevel.NOT_ASSESSED else Outcome.APPROVE
        yield TestCard(f"{PREFIX}risk_{word}", f"Risk level `{word}`.", outcome, level)


def _of_troubles() -> Iterator[TestCard]:
    for trouble, meaning in _TROUBLES:
        yield TestCard(f"{PREFIX}{trouble}", meaning, Outcome.APPROVE, RiskLevel.NORMAL, trouble=trouble)


def _all() -> Iterator[TestCard]:
    yield from _of_outcomes()
    yield from (_of_reason(reason) for reason in REASONS.values() if reason.code != "SYS_SANDBOX")  # all have it
    yield from _of_modes()
    yield from _of_levels()
    yield from _of_troubles()


CARDS: Final = {card.token: card for card in _all()}


def table() -> str:
    """Return the cards as a Markdown table, a line each."""
    head = "| card | outcome | risk | mode | what it forces |\n|---|---|---|---|---|\n"
    return head + "".join(map(_line, CARDS.values()))


def _line(card: TestCard) -> str:
    decided = card.refusal() is None
    told = (card.outcome.word, card.level.name.lower(), card.mode.name.lower()) if decided else ("", "", "")
    return f"| `{card.token}` | {' | '.join(told)} | {card.meaning} |\n"
