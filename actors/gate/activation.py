"""Activation: another policy or other lists, tried before they decide, swapped in between two decisions, recorded.

What is tried runs beside the decisions in a thread; what is refused changes nothing.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

import numpy as np

from actors.gate.committer import Committer
from actors.gate.gate import Gate
from actors.gate.orders import Orders
from actors.scorer.model import Scorer
from tidegate.clock import rfc3339
from tidegate.decision import Mark, Outcome
from tidegate.errors import PolicyError
from tidegate.ids import PolicyId
from tidegate.limits import DAY_US, PAGE_SCAN_RECORDS_MAX, POLICY_DAY_ROWS_MAX
from tidegate.lists import Change, ListIndex, amended, listings, parse
from tidegate.policy.active import ActivePolicy
from tidegate.policy.check import Golden, Report, check_successor, examine, validated
from tidegate.policy.columns import decide_columns
from tidegate.policy.costs import MILLION
from tidegate.policy.terms import Policy, policy_id
from tidegate.records import DECISION

Answer = dict[str, Any]
Rows = np.ndarray[Any, Any]
_POLICY: Final = "policy"
_LISTS: Final = "lists"


class Activator:
    """Makes policies and lists active at one gate, one at a time."""

    def __init__(
        self, *, gate: Gate, committer: Committer, orders: Orders, ticks: Callable[[], float] = time.perf_counter
    ) -> None:
        self._gate = gate
        self._committer = committer
        self._orders = orders
        self._ticks = ticks
        self._turn = asyncio.Lock()

    async def policy(self, terms: object, *, by: str, why: str, override: bool) -> Answer:
        """Make a policy the active one; `override` takes it although it would decline more than is allowed.

        Raises:
            PolicyError: it doesn't compile, is too slow, takes a rule's number, or would decline too much; the
                active policy stays.
        """
        async with self._turn:
            policy = await asyncio.to_thread(validated, _POLICY, terms, lambda _: None)
            check_successor(_POLICY, self._gate.basis.policy.terms, policy)
            report = await asyncio.to_thread(
                examine, _POLICY, policy, golden_of_model(self._gate.basis.scorer), self._ticks
            )
            active = await asyncio.to_thread(self._made, policy, by, f"override: {why}" if override else why)
            rows = await self._last_day()
            tried = await asyncio.to_thread(tried_on, active, self._gate.basis.lists, rows)
            if not override:
                _bounded(tried, self._gate.settings.policy.declines_max_ppm)
            pos = self._gate.activate_policy(active)
            await self._committer.durable(pos)
            activation = self._gate.state.policy
            if activation is not None:
                await asyncio.to_thread(self._orders.keep_policy, activation)
            return {**policy_answer(active), **_report(report), "tried_on": tried}

    def _made(self, policy: Policy, by: str, why: str) -> ActivePolicy:
        return ActivePolicy(PolicyId(policy_id(policy)), policy, self._gate.now_us(), by, why)

    async def _last_day(self) -> Rows:
        """Return the decisions of the last day, the latest `POLICY_DAY_ROWS_MAX` of them, in order of time.

        They are read a page at a time, so that decisions go on meanwhile.
        """
        gate, found, seq = self._gate, list[Rows](), 1 << 62
        places, since_us = gate.state.places_of(gate.epoch), gate.now_us() - DAY_US
        while sum(map(len, found)) < POLICY_DAY_ROWS_MAX:
            page = places.before(seq, PAGE_SCAN_RECORDS_MAX)
            rows = gate.journal.rows([place for _, place in page]) if page else np.zeros(0, DECISION)
            recent = rows[rows["time_us"] > since_us]
            found.append(recent[::-1])
            if not len(recent) or len(recent) < len(rows):
                break
            seq = page[-1][0]
            await asyncio.sleep(0)
        day: Rows = np.concatenate(found[::-1])[-POLICY_DAY_ROWS_MAX:]
        real: Rows = day[(day["marks"] & Mark.SANDBOX) == 0]
        return real

    def active_policy(self) -> Answer:
        """Return the policy in force."""
        return policy_answer(self._gate.basis.policy)

    async def active_lists(self) -> Answer:
        """Return the lists in force, counted."""
        return await asyncio.to_thread(lists_answer, self._gate.basis.lists, self._gate.basis.policy)

    async def lists(self, lines: Iterable[str], *, by: str, why: str) -> Answer:
        """Make the lists of a text's lines the active ones, in the place of all before.

        Raises:
            ListsError: a line is wrong; the active lists stay.
        """
        async with self._turn:
            content = await asyncio.to_thread(parse, _LISTS, lines)
            before, now_us = self._gate.basis.lists.activation, self._gate.now_us()
            return await self._listed(
                await asyncio.to_thread(self._orders.store, content, before, as_of_us=now_us, by=by, why=why)
            )

    async def change_lists(self, change: Change, *, by: str, why: str) -> Answer:
        """Set and take off single entries, all or none; what changes nothing makes no version.

        The lists stay as old as their last load: who blocks one card has not heard what the network says today.

        Raises:
            ListsError: an entry is wrong, or isn't there to be removed; the active lists stay.
        """
        async with self._turn:
            lists, now_us = self._gate.basis.lists, self._gate.now_us()
            content, before = await asyncio.to_thread(amended, lists, change, now_us), lists.activation
            if await asyncio.to_thread(content.id) == before.lists:
                return await self.active_lists()
            as_of_us = before.as_of_us if before.version else now_us
            store = partial(self._orders.store, content, before, as_of_us=as_of_us, changed_us=now_us)
            return await self._listed(await asyncio.to_thread(store, by=by, why=why))

    async def _listed(self, lists: ListIndex) -> Answer:
        await self._committer.durable(self._gate.activate_lists(lists))
        await asyncio.to_thread(self._orders.keep_lists, lists.activation)
        return await self.active_lists()


def golden_of_model(scorer: Scorer) -> Golden:
    """Return the golden rows of a model, with their scores."""
    features, probabilities = scorer.bundle.golden_features, scorer.bundle.golden_probabilities
    scores = np.array([scorer.score(row).risk_score for row in features], np.uint8)
    return Golden(features, probabilities, scores)


def tried_on(policy: ActivePolicy, lists: ListIndex, rows: Rows) -> Answer:
    """Return what a policy would have decided of rows of dtype `records.DECISION`, beside what was decided."""
    modes = np.stack([rows["mode_bundle"], rows["mode_lists"], np.zeros(len(rows), np.uint8)], axis=1)
    found = decide_columns(policy, rows, modes=modes, listings=listings(lists, rows, policy))
    return {
        "decisions": len(rows),
        "declined_then": int((rows["outcome"] == Outcome.DECLINE).sum()),
        "declined_now": int((found.outcome == Outcome.DECLINE).sum()),
        "changed": int((found.outcome != rows["outcome"]).sum()),
    }


def _bounded(tried: Answer, declines_max_ppm: int) -> None:
    """Refuse a policy that would decline more than is allowed, and more than was declined."""
    declined, decisions = tried["declined_now"], max(tried["decisions"], 1)
    if declined * MILLION > declines_max_ppm * decisions and declined > tried["declined_then"]:
        raise PolicyError(
            f"policy: would decline {declined} of the last day's {decisions} decisions ({declined / decisions:.1%}; "
            f"{tried['declined_then']} were), allowed are {declines_max_ppm / MILLION:.1%}: narrow its rules, or "
            "activate it with an override that says why"
        )


def policy_answer(policy: ActivePolicy) -> Answer:
    """Render a policy in force."""
    told = {"policy": policy.id, "as_of": rfc3339(policy.as_of_us), "by": policy.by or "bundle", "why": policy.why}
    return {**told, "terms": policy.terms.model_dump(mode="json")}


def lists_answer(lists: ListIndex, policy: ActivePolicy) -> Answer:
    """Render lists in force; counting half a million entries takes a tenth of a second."""
    told, counts, spared = lists.activation, Counter[str](), set[str]()
    for table in lists.index.values():
        for entries in table.values():
            counts.update(entry.list for entry in entries)
            spared.update(entry.rule for entry in entries)
    named = {"version": told.version, "lists": told.lists or None, "entries": told.entries, "by_list": dict(counts)}
    unknown = sorted(spared - {"", *(rule.id for rule in policy.terms.rules)})
    as_of = rfc3339(told.as_of_us) if told.version else None
    changed = rfc3339(told.changed_us) if told.changed_us else None
    return {**named, "unknown_rules": unknown, "as_of": as_of, "changed_at": changed, "by": told.by, "why": told.why}


def _report(report: Report) -> Answer:
    return {"rules_p99_us": round(report.p99_us, 1), "golden_rows": report.rows, "golden_hits": report.hits}
