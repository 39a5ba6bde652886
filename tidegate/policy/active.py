"""A policy in force: its terms made ready, since when and by whom; and the judgement that rests on them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from tidegate.decision import NUMBERS, Mode, Outcome, Verdict
from tidegate.ids import PolicyId
from tidegate.payment import CHANNELS, ENTRY_MODES
from tidegate.policy.costs import MILLION, Liability
from tidegate.policy.rules import Matched, RuleBook
from tidegate.policy.terms import Policy, Step, outcome_of, policy_id
from tidegate.policy.verdict import Hit, Strength, decide

Column = np.ndarray[Any, np.dtype[np.uint8]]
_LISTS: Final = (0, *(NUMBERS[f"SYS_LISTS_{mode}"] for mode in ("AGING", "STALE", "BLIND")))
_POLICY: Final = (0, *(NUMBERS[f"SYS_POLICY_{mode}"] for mode in ("AGING", "STALE", "BLIND")))
_BUNDLE: Final = (0, *(NUMBERS[f"SYS_BUNDLE_{mode}"] for mode in ("AGING", "STALE", "BLIND")))
_FAILED: Final = NUMBERS["SYS_RULE_FAILED"]
_BRAKED: Final = NUMBERS["SYS_RULE_BRAKED"]
_WATCH: Final = NUMBERS["LIST_WATCH"]
DERIVED: Final = frozenset({*_LISTS, *_POLICY, *_BUNDLE, _FAILED, _BRAKED, NUMBERS["SYS_FLOOR_LIMIT"]})
"""The system reasons that follow from what `conclude` is given; the others are given to it."""


class Activation(BaseModel):
    """A policy as it is stored and journaled: what became active, since when it holds, who made it so and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: Annotated[str, Field(pattern=r"^p-[0-9a-f]{12}$")]
    terms: dict[str, Any]
    as_of_us: int
    by: Annotated[str, Field(max_length=64)]
    why: Annotated[str, Field(max_length=500)] = ""


class Modes(NamedTuple):
    """How fresh each thing is that a decision rests on."""

    bundle: Mode
    lists: Mode
    policy: Mode


FRESH: Final = Modes(Mode.FRESH, Mode.FRESH, Mode.FRESH)


class Facts(NamedTuple):
    """What a verdict rests on beside its policy; `suppressed` and `braked` are bits of rules that must not act."""

    probability: float | None
    amount_minor: int
    bearer: Liability
    matched: Matched
    listed: Sequence[Hit]
    suppressed: int
    braked: int
    modes: Modes
    system: tuple[int, ...]


class Conclusion(NamedTuple):
    """A verdict, and which hits of active rules were left out for it."""

    verdict: Verdict
    suppressed: int
    braked: int


@dataclass(frozen=True, slots=True)
class ActivePolicy:
    """A policy made ready."""

    id: PolicyId
    terms: Policy
    as_of_us: int
    by: str = "bundle"
    why: str = ""
    book: RuleBook = field(init=False, compare=False)
    watch: Hit = field(init=False, compare=False)
    _bearers: dict[tuple[int, int], Liability] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "book", RuleBook(self.terms))
        object.__setattr__(self, "watch", Hit(Strength.SOFT, outcome_of(self.terms.watch_outcome), _WATCH))
        object.__setattr__(self, "_bearers", bearers(self.terms))

    def bearer(self, channel: int, entry_mode: int) -> Liability:
        """Return who bears the loss of a payment that came in this way."""
        return self._bearers[channel, entry_mode]

    def bearers(self, channels: Column, entry_modes: Column) -> Column:
        """Return who bears the loss of each payment, uint8, from columns of channels and entry modes."""
        table = np.zeros((max(CHANNELS.values()) + 1, max(ENTRY_MODES.values()) + 1), np.uint8)
        for (channel, entry_mode), bearer in self._bearers.items():
            table[channel, entry_mode] = bearer
        return table[channels, entry_modes]

    def modes(self, *, now_us: int, bundle_us: int, lists_us: int | None) -> Modes:
        """Return how fresh all is; `lists_us` is None where the site has no lists."""
        ladder = self.terms.ladder
        lists = Mode.FRESH if lists_us is None else ladder.lists.mode(now_us - lists_us)
        return Modes(ladder.bundle.mode(now_us - bundle_us), lists, ladder.policy.mode(now_us - self.as_of_us))

    def conclude(self, facts: Facts) -> Conclusion:
        """Return the verdict on one payment: a pure function, the same where it is decided and where replayed."""
        acting = facts.matched.hit & self.book.active
        suppressed = facts.suppressed & acting
        braked = facts.braked & acting & ~suppressed
        hits, left = facts.listed, acting & ~suppressed & ~braked
        if left:
            hits = [*hits, *self.book.hits(left)]
        system, floor, probability = facts.system, Outcome.APPROVE, facts.probability
        failed = facts.matched.failed & self.book.active
        if failed or braked:
            system = (*system, *((_FAILED,) if failed else ()), *((_BRAKED,) if braked else ()))
        if any(hit.reason == _WATCH for hit in hits):
            system = (*system, _WATCH)
        if facts.modes != FRESH:
            system = (*system, *aged(facts.modes))
            floor, probability = self._aged(facts)
        verdict = decide(
            probability=probability,
            amount_minor=facts.amount_minor,
            bearer=facts.bearer,
            policy=self.terms,
            hits=hits,
            system=system,
            floor=floor,
        )
        return Conclusion(verdict, suppressed, braked)

    def steps(self, modes: Modes) -> list[Step]:
        """Return the steps of the ladder that a site of this age stands on."""
        ladder = self.terms.ladder
        steps = (ladder.bundle.step(modes.bundle), ladder.lists.step(modes.lists), ladder.policy.step(modes.policy))
        return [step for step in steps if step is not None]

    def _aged(self, facts: Facts) -> tuple[Outcome, float | None]:
        """Return the mildest outcome that the site's age allows, and the probability with its caution."""
        steps = self.steps(facts.modes)
        floors = [outcome_of(step.outcome) for step in steps if facts.amount_minor > step.floor_minor]
        caution = max(step.caution_ppm for step in steps)
        careful = None if facts.probability is None else min(facts.probability * caution / MILLION, 1.0)
        return max(floors, default=Outcome.APPROVE), careful


def aged(modes: Modes) -> tuple[int, ...]:
    """Return the reasons that say how old what is."""
    said = (_BUNDLE[modes.bundle], _LISTS[modes.lists], _POLICY[modes.policy])
    return tuple(number for number in said if number)


def bearers(terms: Policy) -> dict[tuple[int, int], Liability]:
    """Return who bears a loss, for each channel and entry mode by their numbers."""
    found: dict[tuple[int, int], Liability] = {}
    for channel, channel_number in CHANNELS.items():
        for entry, entry_number in ENTRY_MODES.items():
            fits = (
                Liability[bearing.bearer.upper()]
                for bearing in terms.liability
                if (not bearing.channels or channel in bearing.channels)
                and (not bearing.entry_modes or entry in bearing.entry_modes)
            )
            found[channel_number, entry_number] = next(fits, Liability.MERCHANT)
    return found


def default_of(terms: Policy, as_of_us: int) -> ActivePolicy:
    """Return a bundle's own policy, in force since the bundle was made."""
    return ActivePolicy(policy_id(terms), terms, as_of_us)


def activation_of(active: ActivePolicy) -> Activation:
    """Return a policy as it is stored and journaled."""
    terms = active.terms.model_dump(mode="json")
    return Activation(policy=active.id, terms=terms, as_of_us=active.as_of_us, by=active.by, why=active.why)


def active_of(activation: Activation) -> ActivePolicy:
    """Return a stored policy made ready; its id is the one it was stored under.

    Raises:
        ValueError: its terms can't be read.
    """
    terms = Policy.model_validate(activation.terms)
    return ActivePolicy(PolicyId(activation.policy), terms, activation.as_of_us, activation.by, activation.why)
