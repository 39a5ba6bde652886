"""The reasons of a gate's decisions: made at once for what wasn't approved, once that is durable, and when asked for.

They follow from the record and the bundle alone, so what is kept here is for speed: it may be dropped at any bound.
"""

import asyncio
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from typing import Any, NamedTuple

from actors.gate.gate import Decision
from tidegate.attribution import Attribution
from tidegate.bundle import Bundle
from tidegate.decided import Decided
from tidegate.decision import Outcome
from tidegate.errors import TidegateError
from tidegate.explanation import Explainer, raised_most, unexplained
from tidegate.ids import BundleId, EpochId
from tidegate.limits import (
    BUNDLES_KEPT,
    EXPLAIN_PAUSE_S,
    EXPLAIN_ROUND_S,
    EXPLAIN_SHARE_MAX,
    EXPLANATIONS_KEPT,
    EXPLANATIONS_PENDING_MAX,
)

LoadBundle = Callable[[BundleId], Bundle]
"""Returns a bundle, or raises BundleError where it is not at hand."""


class Why(NamedTuple):
    """An attribution and who made it, or why there is none."""

    made: Attribution | None = None
    explainer: Explainer | None = None
    missing: str | None = None


_Key = tuple[EpochId, int]


def _key(decision: Decision) -> _Key:
    return decision.epoch, decision.record.seq


class Reasons:
    """Explains the decisions of one gate, on its event loop; never in the way of one."""

    def __init__(self, *, load: LoadBundle, ticks: Callable[[], float] = time.perf_counter) -> None:
        self._load = load
        self._ticks = ticks
        self._explainers: OrderedDict[str, Explainer | str] = OrderedDict()
        """By bundle; a word of why where one can't be had."""
        self._pending: deque[Decision] = deque()
        self._kept: OrderedDict[_Key, Why] = OrderedDict()
        self.led: Counter[str] = Counter()
        """How often each feature raised the risk most, over what was explained at once."""
        self.dropped = 0
        self.spent_s = 0.0

    def note(self, decision: Decision) -> None:
        """Remember a durable decision that somebody will ask about; an approval is explained when it is asked for."""
        if decision.decided.outcome is Outcome.APPROVE or decision.replayed:
            return
        if len(self._pending) >= EXPLANATIONS_PENDING_MAX:
            self._pending.popleft()
            self.dropped += 1
        self._pending.append(decision)

    async def run(self) -> None:
        """Explain what was noted until cancelled, in short rounds between decisions."""
        spent = 0.0
        while True:
            await asyncio.sleep(max(EXPLAIN_PAUSE_S, spent / EXPLAIN_SHARE_MAX))
            spent = await self.round()

    async def round(self) -> float:
        """Explain what was noted, as far as a round's time goes, and return the seconds that it took.

        Each explanation makes way for decisions.
        """
        spent = 0.0
        while self._pending and spent < EXPLAIN_ROUND_S:
            decision = self._pending.popleft()
            await self.ready(decision.decided)
            started = self._ticks()
            self._explain_at_once(decision)
            spent += self._ticks() - started
            await asyncio.sleep(0)
        self.spent_s += spent
        return spent

    def _explain_at_once(self, decision: Decision) -> None:
        why = self.of(decision)
        if why.made is None:
            return
        self.led[raised_most(why.made)] += 1
        self._kept[_key(decision)] = why
        while len(self._kept) > EXPLANATIONS_KEPT:
            self._kept.popitem(last=False)

    async def ready(self, decided: Decided) -> None:
        """Have the bundle at hand that a decision names; one that isn't loaded yet is loaded beside the loop."""
        if decided.bundle not in self._explainers and unexplained(decided) is None:
            self._keep(decided.bundle, await asyncio.to_thread(self._explainer, decided.bundle))

    def of(self, decision: Decision) -> Why:
        """Return what a decision's margin is made of; its bundle must be `ready`."""
        known = self._kept.get(_key(decision))
        if known is not None:
            return known
        decided = decision.decided
        missing = unexplained(decided)
        explainer = None if missing else self._explainers[decided.bundle]
        if not isinstance(explainer, Explainer):
            return Why(missing=missing or explainer)
        return Why(explainer.attribute(decided), explainer)

    async def tell(self, decision: Decision, *, top: int, plainly: bool) -> dict[str, Any]:
        """Return `explanation`, or None and in `unexplained` the reason why there is none."""
        await self.ready(decision.decided)
        made, explainer, missing = self.of(decision)
        if made is None or explainer is None:
            return {"explanation": None, "unexplained": missing}
        return {"explanation": explainer.tell(decision.decided, made, top=top, plainly=plainly), "unexplained": None}

    def because(self, decision: Decision) -> str | None:
        """Return in a sentence what raised the risk most, where it was explained already."""
        made, explainer, _ = self._kept.get(_key(decision), Why())
        return None if made is None or explainer is None else explainer.because(decision.decided, made)

    def _explainer(self, bundle: str) -> Explainer | str:
        """Return who explains what a bundle scored, or why nobody can."""
        try:
            return Explainer(self._load(BundleId(bundle)))
        except TidegateError as error:
            return error.message
        except OSError as error:
            return f"{bundle} can't be read ({error.strerror})"

    def _keep(self, bundle: str, explainer: Explainer | str) -> None:
        """Keep as many as the shelf does; who couldn't be had isn't asked for again while it is among them."""
        self._explainers[bundle] = explainer
        while len(self._explainers) > BUNDLES_KEPT:
            self._explainers.popitem(last=False)
