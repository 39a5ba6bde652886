"""Reasons of a gate's decisions: at once for what wasn't approved, bounded, and the same whenever asked for."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from actors.gate.committer import Committer
from actors.gate.gate import Decision
from actors.gate.reasons import Reasons
from actors.gate.service import Service, rule_hits
from tidegate.bundle import Bundle
from tidegate.decision import Outcome
from tidegate.errors import BundleError, NotFoundError, OverloadedError
from tidegate.ids import BundleId
from tidegate.limits import EXPLANATIONS_PENDING_MAX
from tidegate.policy.active import ActivePolicy
from tidegate.policy.terms import Policy, Rule, RuleState, policy_id


def run(work: Any) -> Any:
    return asyncio.run(work)


def decisions(rig: Any, count: int) -> list[Decision]:
    """Return decisions of a gate that blocks the card, so that all are declined."""
    gate = rig.open()
    rig.list(gate, "hard_block,card,card-1")
    made = [gate.decide(rig.payment(number)) for number in range(count)]
    assert {decision.decided.outcome for decision in made} <= {Outcome.DECLINE}
    return made


def reasons(rig: Any, **options: Any) -> Reasons:
    return Reasons(load=lambda _bundle: rig.scorer.bundle, ticks=lambda: 0.0, **options)


def test_what_was_not_approved_is_explained_at_once_and_counted_by_its_leading_feature(rig: Any) -> None:
    made = decisions(rig, 5)
    why = reasons(rig)
    for decision in made:
        why.note(decision)
    assert why.because(made[0]) is None
    run(why.round())

    assert sum(why.led.values()) == 5
    assert all(str(why.because(decision)).endswith(".") for decision in made)


def test_approvals_and_retries_are_explained_only_when_asked_for(rig: Any) -> None:
    gate = rig.open()
    rig.list(gate, "allow,card,card-1")
    why = reasons(rig)
    approved = gate.decide(rig.payment(1))
    declined = approved._replace(decided=approved.decided._replace(outcome=Outcome.DECLINE), replayed=True)
    assert approved.decided.outcome is Outcome.APPROVE
    why.note(approved)
    why.note(declined)
    run(why.round())

    assert not why.led
    told = run(why.tell(approved, top=3, plainly=False))
    assert told["unexplained"] is None
    assert len(told["explanation"]["features"]) == 3


def test_beyond_the_bound_the_oldest_are_left_to_who_asks(rig: Any) -> None:
    made = decisions(rig, 3)
    why = reasons(rig)
    for number in range(EXPLANATIONS_PENDING_MAX + 1):
        why.note(made[min(number, 2)])
    run(why.round())

    assert why.dropped == 1
    assert why.because(made[0]) is None
    assert run(why.tell(made[0], top=1, plainly=False))["explanation"]["sums_to_margin"] is True


def test_a_round_ends_when_its_time_is_spent_and_the_next_goes_on(rig: Any) -> None:
    made = decisions(rig, 3)
    times = iter(range(1_000))
    why = Reasons(load=lambda _bundle: rig.scorer.bundle, ticks=lambda: float(next(times)))
    for decision in made:
        why.note(decision)
    run(why.round())
    assert sum(why.led.values()) == 1
    run(why.round())
    assert sum(why.led.values()) == 2
    assert why.spent_s == 2.0


def test_what_is_asked_for_again_or_after_a_restart_is_the_same(rig: Any) -> None:
    decision = decisions(rig, 1)[0]
    why = reasons(rig)
    asked = run(why.tell(decision, top=38, plainly=False))
    why.note(decision)
    run(why.round())

    assert run(why.tell(decision, top=38, plainly=False)) == asked
    assert run(reasons(rig).tell(decision, top=38, plainly=False)) == asked


def _gone(bundle: BundleId) -> Bundle:
    raise BundleError(f"{bundle}: not on the shelf; fetch or package it, or name one that is there")


def _unreadable(_bundle: BundleId) -> Bundle:
    raise OSError(5, "Input/output error")


@pytest.mark.parametrize(("load", "told"), [(_gone, "not on the shelf"), (_unreadable, "Input/output error")])
def test_without_the_bundle_there_is_no_explanation_but_a_sentence(rig: Any, load: Any, told: str) -> None:
    decision = decisions(rig, 1)[0]
    why = Reasons(load=load)
    why.note(decision)
    run(why.round())

    answer = run(why.tell(decision, top=8, plainly=False))
    assert answer["explanation"] is None
    assert told in answer["unexplained"]
    assert not why.led


def test_a_bundle_without_covers_says_so(rig: Any) -> None:
    decision = decisions(rig, 1)[0]
    why = Reasons(load=lambda _bundle: replace(rig.scorer.bundle, covers=None))

    assert "packaged without covers" in run(why.tell(decision, top=8, plainly=False))["unexplained"]


def opened(rig: Any) -> tuple[Service, str]:
    """Return a service with one declined payment, and its id."""
    gate = rig.open()
    rig.list(gate, "hard_block,card,card-1")
    service = Service(ticks=lambda: 0.0)
    on_failure = on_flush = lambda _told: None
    service.opened(gate, Committer(journal=gate.journal, inline=True, on_failure=on_failure, on_flush=on_flush))
    return service, run(service.decide(rig.payment(1), 0.0))["decision_id"]


def test_the_service_explains_a_decision_by_its_id_and_plainly_to_a_key_of_one_merchant(rig: Any) -> None:
    service, decision = opened(rig)
    full = run(service.explain(decision, top=38))
    plain = run(service.explain(decision, frozenset({"m-1"}), top=38))

    assert full["explanation"]["sums_to_margin"] is True
    assert {name: full[name] for name in service.get(decision)} == service.get(decision)
    assert full["versions"]["bundle"] == full["bundle"]
    assert plain["explanation"]["margin"] is None
    with pytest.raises(NotFoundError):
        run(service.explain(decision, frozenset({"m-2"}), top=8))


def test_the_live_page_has_the_sentence_of_what_was_declined(rig: Any) -> None:
    service, _ = opened(rig)
    assert service.live()["recent"][0]["because"] is None
    run(service.reasons.round())
    assert service.live()["recent"][0]["because"].endswith(".")


def test_decisions_are_checked_one_at_a_time(rig: Any) -> None:
    service, decision = opened(rig)
    with pytest.raises(NotFoundError, match="no files at hand"):
        run(service.check(decision))
    service.checks_with(lambda text: {"equal": True, "differences": [], "of": text})

    async def two() -> Any:
        return await asyncio.gather(service.check(decision), service.check(decision), return_exceptions=True)

    first, second = run(two())
    assert first["of"] == decision
    assert isinstance(second, OverloadedError)
    assert run(service.check(decision))["equal"]


def test_what_reasons_cost_is_among_the_metrics(rig: Any) -> None:
    service, _ = opened(rig)
    run(service.reasons.round())
    text = service.meter.text().decode()
    assert "tidegate_explained_total{feature=" in text
    assert "tidegate_explanations_dropped_total 0.0" in text
    assert "tidegate_explaining_seconds_total 0.0" in text


def test_the_rules_that_had_a_part_are_told_with_their_words_while_their_policy_is_in_force(rig: Any) -> None:
    decided = decisions(rig, 1)[0].decided
    said = {"number": 3, "id": "many", "state": "active", "when": "true", "outcome": "decline", "text": "No."}
    rule = Rule.model_validate(said | {"reason": "RULE_OTHER"})
    other = rule.model_copy(update={"number": 5, "id": "shade", "state": RuleState.SHADOW})
    terms = Policy(rules=(rule, other))
    policy = ActivePolicy(policy_id(terms), terms, as_of_us=0)
    acted = decided._replace(policy=policy.id, rules_hit=0b10100, rules_deciding=0b00100, rules_failed=0b1)

    told = {one["number"]: one for one in rule_hits(acted, policy)}
    assert told[3] == {"number": 3, "did": "decided", "id": "many", "version": 1, "state": "active", "text": "No."}
    assert (told[5]["did"], told[5]["state"]) == ("hit", "shadow")
    assert told[1] == {"number": 1, "did": "failed"}
    assert rule_hits(acted._replace(policy="p-000000000000"), policy)[0] == {"number": 3, "did": "decided"}
