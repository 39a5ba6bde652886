"""A gate under a policy of its own: who overrules whom, brakes, spared cards, watched tokens, and the ladder of age."""

import asyncio
from typing import Any

import pytest

from actors.gate import orders as orders_module
from actors.gate.activation import Activator
from actors.gate.committer import Committer
from actors.gate.gate import Gate
from actors.gate.orders import Orders
from tidegate.clock import EventClock, ManualClock, rfc3339
from tidegate.decision import NUMBERS, REASONS, Mode, Outcome
from tidegate.errors import ListsError, NotFoundError, PolicyError, SettingsError
from tidegate.limits import DAY_US, HOUR_US, LISTS_KEPT, MINUTE_US
from tidegate.lists import Change, ListsActivation, parse
from tidegate.policy.costs import Liability
from tidegate.policy.terms import Policy
from tidegate.records import Kind

ALL = {"id": "all", "when": "true", "outcome": "decline"}
LATER = "2026-12-24T00:00:00Z"


def codes(gate: Gate, rig: Any, number: int, **other: Any) -> tuple[Outcome, list[str]]:
    """Decide one payment; return the outcome and the codes of its reasons."""
    decided = gate.decide(rig.payment(number, **other)).decided
    return decided.outcome, [REASONS[one].code for one in decided.reasons]


def test_an_active_rule_decides_from_the_next_payment_on_and_is_named(rig: Any) -> None:
    gate = rig.open()
    assert codes(gate, rig, 1)[0] is not Outcome.DECLINE
    active = rig.obey(gate, ALL)
    decided = gate.decide(rig.payment(2)).decided

    assert (decided.outcome, decided.rules_hit, decided.rules_deciding) == (Outcome.DECLINE, 1, 1)
    assert (decided.policy, decided.reasons[0]) == (active.id, NUMBERS["RULE_OTHER"])
    assert gate.answer(gate.decide(rig.payment(2)))["rules"] == [1]


def test_a_shadow_rule_is_recorded_and_changes_nothing(rig: Any) -> None:
    gate = rig.open()
    before = codes(gate, rig, 1, card="card-9")
    rig.obey(gate, ALL | {"state": "shadow"})
    decided = gate.decide(rig.payment(2, card="card-8")).decided

    assert (decided.outcome, decided.rules_hit, decided.rules_deciding) == (before[0], 1, 0)
    assert [REASONS[one].code for one in decided.reasons] == before[1]


def test_a_rule_that_fails_is_said_and_the_payment_is_decided(rig: Any) -> None:
    gate = rig.open()
    rig.obey(gate, {"id": "nan", "when": "0.0 / 0.0 > 1.0", "outcome": "decline"})
    decided = gate.decide(rig.payment(1)).decided

    assert (decided.rules_failed, decided.rules_hit) == (1, 0)
    assert NUMBERS["SYS_RULE_FAILED"] in decided.reasons
    assert decided.outcome is not Outcome.DECLINE


def test_a_hard_block_wins_over_an_override_and_that_over_a_rule(rig: Any) -> None:
    gate = rig.open()
    rig.obey(gate, ALL)
    rig.list(gate, "allow,card,card-1", "allow,card,card-2", "hard_block,terminal,t-9")

    assert codes(gate, rig, 1)[0] is Outcome.APPROVE
    assert codes(gate, rig, 2, card="card-2", terminal="t-9")[0] is Outcome.DECLINE
    assert codes(gate, rig, 3, card="card-3")[0] is Outcome.DECLINE
    rig.obey(gate, ALL | {"strength": "hard"})
    assert codes(gate, rig, 4)[0] is Outcome.DECLINE


def test_a_brake_lets_through_what_is_beyond_it_and_opens_when_the_period_has_passed(rig: Any) -> None:
    gate = rig.open()
    rig.obey(gate, ALL | {"brake": {"declines": 2, "minutes": 10}})
    outcomes = [codes(gate, rig, number, card=f"c-{number}") for number in range(3)]

    assert [outcome is Outcome.DECLINE for outcome, _ in outcomes] == [True, True, False]
    assert "SYS_RULE_BRAKED" in outcomes[2][1]
    rig.clock.advance(10 * MINUTE_US)
    assert codes(gate, rig, 4, card="c-4")[0] is Outcome.DECLINE


def test_a_brake_remembers_its_declines_over_a_restart_and_over_another_policy(rig: Any) -> None:
    gate = rig.open()
    rig.obey(gate, ALL | {"brake": {"declines": 2, "minutes": 10}})
    codes(gate, rig, 1)
    gate = rig.reopen(gate)
    codes(gate, rig, 2)
    rig.obey(gate, ALL | {"brake": {"declines": 2, "minutes": 10}}, {"id": "two", "when": "false", "outcome": "review"})
    held = gate.state.brakes.held()

    assert codes(gate, rig, 3, card="c-3")[0] is not Outcome.DECLINE
    assert [len(times) for times in held.values()] == [2]
    assert rig.reopen(gate).state.brakes.held() == held


def test_a_card_is_spared_one_rule_until_its_date(rig: Any) -> None:
    gate = rig.open()
    rig.obey(gate, ALL)
    rig.list(gate, f"suppress,card,card-1,{LATER},all", f"suppress,card,card-2,{LATER},other")
    spared = gate.decide(rig.payment(1)).decided

    assert (spared.rules_hit, spared.rules_suppressed, spared.rules_deciding) == (1, 1, 0)
    assert spared.outcome is not Outcome.DECLINE
    assert codes(gate, rig, 2, card="card-2")[0] is Outcome.DECLINE
    rig.clock.advance(40 * DAY_US)
    assert codes(gate, rig, 3)[0] is Outcome.DECLINE


@pytest.mark.parametrize("word", ["approve", "challenge", "review"])
def test_a_watched_token_is_always_told_and_gets_at_least_what_the_policy_says(rig: Any, word: str) -> None:
    gate = rig.open()
    rig.obey(gate, watch_outcome=word)
    rig.list(gate, "watch,terminal,t-1", "allow,card,card-2")
    outcome, said = codes(gate, rig, 1)

    assert outcome >= Outcome[word.upper()]
    assert "LIST_WATCH" in said
    assert codes(gate, rig, 2, card="card-2") == (
        Outcome.APPROVE,
        ["LIST_OVERRIDE", "SYS_FEATURES_PARTIAL", "LIST_WATCH"],
    )


def test_a_model_has_no_age_where_the_clock_follows_a_stream(rig: Any) -> None:
    later_us = rig.scorer.bundle.manifest.trained_at_us + 90 * DAY_US
    rig.clock = ManualClock(later_us)
    aged = rig.open().decide(rig.payment()).decided
    again = type(rig)(rig.scorer, later_us, EventClock(later_us), layer={"clock": {"source": "events"}})
    followed = again.open().decide(again.payment()).decided

    assert (aged.mode_bundle, followed.mode_bundle) == (Mode.STALE, Mode.FRESH)
    assert NUMBERS["SYS_CLOCK_EVENTS"] in followed.reasons


def test_lists_that_grow_old_are_said_and_hold_large_amounts(rig: Any) -> None:
    gate = rig.open()
    rig.list(gate, "allow,card,card-1")
    assert gate.decide(rig.payment(1)).decided.mode is Mode.FRESH
    rig.clock.advance(8 * DAY_US)
    small, large = (
        gate.decide(rig.payment(n, amount={"minor": m, "currency": "EUR"})).decided
        for n, m in ((2, 50_000), (3, 50_001))
    )

    assert (small.mode_lists, small.mode_policy, small.mode) == (Mode.STALE, Mode.FRESH, Mode.STALE)
    assert (small.outcome, large.outcome) == (Outcome.APPROVE, Outcome.REVIEW)
    assert {NUMBERS["SYS_FLOOR_LIMIT"], NUMBERS["SYS_LISTS_STALE"]} <= set(large.reasons)


def test_a_model_that_grows_old_is_taken_with_caution(rig: Any) -> None:
    ladder = {
        "bundle": {"aging": {"hours": 25, "caution_ppm": 10_000_000}, "stale": {"hours": 99}, "blind": {"hours": 999}}
    }
    gate = rig.open()
    rig.obey(gate, ladder=ladder)
    fresh = gate.decide(rig.payment(1, card="a")).decided
    rig.clock.advance(2 * HOUR_US)
    aged = gate.decide(rig.payment(2, card="b")).decided

    assert (fresh.mode_bundle, aged.mode_bundle) == (Mode.FRESH, Mode.AGING)
    assert aged.outcome > fresh.outcome


def test_who_bears_the_loss_follows_from_how_the_card_was_read(rig: Any) -> None:
    gate = rig.open()
    rig.obey(
        gate, liability=[{"bearer": "issuer", "entry_modes": ["chip"]}, {"bearer": "platform", "channels": ["moto"]}]
    )
    asked: tuple[dict[str, str], ...] = ({"entry_mode": "chip"}, {"channel": "moto"}, {})
    bearers = [gate.decide(rig.payment(n, **one)).decided.liability for n, one in enumerate(asked)]

    assert bearers == [Liability.ISSUER, Liability.PLATFORM, Liability.MERCHANT]


def test_policy_and_lists_outlive_a_journal_that_is_lost(rig: Any) -> None:
    gate = rig.open()
    active, lists = rig.obey(gate, ALL), rig.list(gate, "allow,card,card-1")
    orders = Orders(rig.orders)
    orders.keep_policy(gate.state.policy)
    orders.keep_lists(lists.activation)
    gate.journal.commit()
    rig.mark = "another machine"
    again = rig.reopen(gate)

    assert again.epoch != gate.epoch
    assert (again.basis.policy, again.basis.lists) == (active, lists)


def test_lists_whose_text_is_gone_or_damaged_stop_the_start_by_name(rig: Any) -> None:
    gate = rig.open()
    rig.list(gate, "allow,card,card-1")
    gate.journal.commit()
    name = next(name for name in rig.orders.sizes() if name.endswith(".csv"))
    rig.orders.garble(name, 40, b"X")
    with pytest.raises((SettingsError, ListsError), match=name):
        rig.reopen(gate)
    rig.orders.remove(name)
    rig.disk.kill()
    with pytest.raises(NotFoundError, match="load them anew"):
        rig.open()


def activator(rig: Any, gate: Gate) -> Activator:
    done = lambda *_: None  # noqa: E731 - what nobody asks about
    committer = Committer(journal=gate.journal, inline=True, on_failure=done, on_flush=done)
    return Activator(gate=gate, committer=committer, orders=Orders(rig.orders), ticks=lambda: 0.0)


def terms(*rules: dict[str, Any]) -> dict[str, Any]:
    base = {"number": 1, "state": "active", "reason": "RULE_OTHER", "text": "t"}
    return Policy.model_validate({"rules": [base | rule for rule in rules]}).model_dump(mode="json")


def test_an_activated_policy_is_journaled_with_who_and_why_and_kept_for_another_epoch(rig: Any) -> None:
    gate = rig.open()
    told = asyncio.run(activator(rig, gate).policy(terms(ALL), by="anna", why="wave", override=False))
    record = [record for _, record in gate.journal.scan() if record.kind is Kind.POLICY_ACTIVATED][-1]
    values = record.values()

    assert (values["policy"], values["by"], values["why"]) == (told["policy"], "anna", "wave")
    assert gate.journal.durable_pos >= record.pos
    assert Orders(rig.orders).policy() == gate.state.policy
    assert rig.reopen(gate).basis.policy.id == told["policy"]


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ({"when": "amout > 1.0"}, "no such variable"),
        ({"when": "[1].all(x, x > 0)"}, "character 1"),
        ({"outcome": "refuse"}, "outcome"),
        ({"id": "another"}, "number 1 is all's"),
        ({"when": "false"}, "raise it above 1"),
    ],
)
def test_a_policy_that_is_refused_leaves_the_active_one_and_the_journal_as_they_are(
    rig: Any, rule: dict[str, Any], reason: str
) -> None:
    gate = rig.open()
    active = rig.obey(gate, ALL)
    before, wanted = gate.journal.last_pos, terms(ALL)
    wanted["rules"][0] |= rule
    with pytest.raises(PolicyError, match=reason):
        asyncio.run(activator(rig, gate).policy(wanted, by="anna", why="x", override=True))

    assert (gate.basis.policy, gate.journal.last_pos) == (active, before)
    assert Orders(rig.orders).policy() is None


def test_a_policy_that_declines_too_much_of_the_last_day_needs_an_override_that_is_recorded(rig: Any) -> None:
    gate = rig.open()
    for number in range(30):
        gate.decide(rig.payment(number, card=f"old-{number}"))
    rig.clock.advance(DAY_US)
    for number in range(100, 120):
        gate.decide(rig.payment(number, card=f"c-{number}"))
    wanted, active = terms(ALL), gate.basis.policy
    with pytest.raises(PolicyError, match=r"would decline 20 of the last day's 20 decisions \(100.0%; \d+ were\)"):
        asyncio.run(activator(rig, gate).policy(wanted, by="anna", why="attack", override=False))
    assert gate.basis.policy == active

    told = asyncio.run(activator(rig, gate).policy(wanted, by="anna", why="attack", override=True))
    assert told["tried_on"]["declined_now"] == 20
    assert gate.state.policy.why == "override: attack"
    assert asyncio.run(activator(rig, gate).policy(wanted, by="anna", why="again", override=True))["tried_on"]


def test_loaded_lists_grow_in_version_and_a_wrong_line_changes_nothing(rig: Any) -> None:
    gate = rig.open()
    made = activator(rig, gate)
    one = asyncio.run(made.lists(["list,entity,value", "allow,card,card-1"], by="anna", why="w"))
    active = gate.basis.lists
    with pytest.raises(ListsError, match="line 2: value: holds what looks like a card number"):
        asyncio.run(made.lists(["list,entity,value", "allow,card,c-4111111111111111"], by="anna", why="w"))
    assert gate.basis.lists == active
    two = asyncio.run(made.lists(["list,entity,value"], by="anna", why="none"))

    assert (one["version"], two["version"], two["entries"]) == (1, 2, 0)
    assert rig.reopen(gate).basis.lists.version == 2


def test_single_entries_are_set_dated_and_taken_off_and_the_lists_stay_as_old_as_their_load(rig: Any) -> None:
    gate = rig.open()
    made = activator(rig, gate)
    asyncio.run(made.lists(["list,entity,value", "hard_block,card,card-9", "watch,card,card-9"], by="net", why="load"))
    loaded_us = gate.basis.lists.as_of_us
    rig.clock.advance(HOUR_US)

    def change(**what: Any) -> dict[str, Any]:
        return asyncio.run(made.change_lists(Change.model_validate(what), by="anna", why="called us"))

    entry = {"list": "hard_block", "entity": "card", "value": "card-1"}
    added = change(add=[entry])
    assert gate.decide(rig.payment(1)).decided.outcome is Outcome.DECLINE
    assert (added["version"], added["entries"], added["by"], added["why"]) == (2, 3, "anna", "called us")
    assert gate.basis.lists.as_of_us == loaded_us
    assert change(add=[entry])["version"] == 2

    soon = rfc3339(gate.now_us() + HOUR_US)
    dated = change(add=[{**entry, "expires_at": soon}], remove=[{**entry, "value": "card-9"}])
    assert (dated["version"], dated["by_list"]) == (3, {"hard_block": 1, "watch": 1})
    rig.clock.advance(HOUR_US)
    assert gate.decide(rig.payment(2)).decided.outcome is not Outcome.DECLINE

    again = rig.reopen(gate)
    assert (again.basis.lists.version, again.basis.lists.index) == (3, gate.basis.lists.index)


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ({"remove": [{"list": "allow", "entity": "card", "value": "card-1"}]}, r"remove\.0: stands on no such list"),
        ({"add": [{"list": "allow", "entity": "card", "value": "4111111111111111"}]}, r"add\.0: value: an id must not"),
        (
            {"add": [{"list": "allow", "entity": "card", "value": "c", "expires_at": "2020-01-01T00:00:00Z"}]},
            r"add\.0: expires_at: is past",
        ),
        ({"add": [{"list": "suppress", "entity": "card", "value": "c", "rule": "r"}]}, r"add\.0: suppress: spares"),
    ],
)
def test_a_change_with_one_wrong_entry_is_refused_whole(rig: Any, what: dict[str, Any], told: str) -> None:
    gate = rig.open()
    made = activator(rig, gate)
    good = {"list": "allow", "entity": "card", "value": "good"}
    change = Change.model_validate({**what, "add": [*what.get("add", []), good]})
    with pytest.raises(ListsError, match=told):
        asyncio.run(made.change_lists(change, by="a", why="w"))
    assert gate.basis.lists.version == 0


def test_a_rule_that_cards_are_spared_and_nobody_knows_is_told(rig: Any) -> None:
    made = activator(rig, rig.open())
    spared = "suppress,card,card-1,2999-01-01T00:00:00Z,no-such-rule"

    told = asyncio.run(made.lists(["list,entity,value,expires_at,rule", spared], by="a", why="w"))

    assert told["unknown_rules"] == ["no-such-rule"]


def test_many_small_sets_are_kept_and_few_large_ones(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    orders, told = Orders(rig.orders), ListsActivation()
    for _ in range(LISTS_KEPT + 10):
        told = orders.store(parse("x", ["list,entity,value"]), told, as_of_us=rig.now_us, by="a", why="w").activation
        orders.keep_lists(told)
    assert orders.load(told.model_copy(update={"version": 1})).version == 1

    monkeypatch.setattr(orders_module, "LISTS_KEPT_SMALL_BYTES", 100)
    orders.keep_lists(told)
    assert sum(name.endswith(".csv") for name in rig.orders.sizes()) == LISTS_KEPT + 1
