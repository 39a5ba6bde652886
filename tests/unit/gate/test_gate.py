"""The gate's recipe: what it refuses, remembers, journals and says of itself."""

import json
from typing import Any

import pytest

from actors.gate.gate import Decision, Gate
from actors.scorer.model import Scorer
from tidegate.bundle import MANIFEST, decode
from tidegate.clock import EventClock, rfc3339
from tidegate.decision import REASONS, Mode, Outcome
from tidegate.errors import ConflictError, DiskFullError, InvalidError, NotFoundError, NotReadyError
from tidegate.limits import DAY_US, HOUR_US, SECOND_US
from tidegate.records import Kind


def reasons(decision: Decision) -> set[str]:
    return {REASONS[number].code for number in decision.decided.reasons}


def kinds(gate: Gate) -> list[Kind]:
    gate.journal.commit()
    return [record.kind for _, record in gate.journal.scan()]


def test_a_retry_gets_the_first_answer_and_journals_nothing(rig: Any) -> None:
    gate = rig.open()
    first = gate.decide(rig.payment())
    before = kinds(gate)
    again = gate.decide(rig.payment())
    assert (first.replayed, again.replayed) == (False, True)
    assert gate.answer(again) == gate.answer(first) | {"replayed": True}
    assert kinds(gate) == before
    assert gate.tally.replayed == 1


@pytest.mark.parametrize(
    "other",
    [
        {"amount": {"minor": 1_251, "currency": "EUR"}},
        {"card": "card-2"},
        {"terminal": "t-2"},
        {"channel": "online"},
        {"country": "DE"},
        {"mcc": "5411"},
        {"entry_mode": "chip"},
        {"device": "d-1"},
        {"occurred_at": "2026-11-24T05:59:59Z"},
    ],
)
def test_the_same_id_with_another_body_is_refused_and_changes_nothing(rig: Any, other: dict[str, Any]) -> None:
    gate = rig.open()
    gate.decide(rig.payment())
    before = kinds(gate)
    with pytest.raises(ConflictError) as refused:
        gate.decide(rig.payment(**other))
    assert refused.value.fields[0].field == "transaction_id"
    assert kinds(gate) == before


def test_the_same_id_at_another_merchant_is_another_payment(rig: Any) -> None:
    gate = rig.open()
    assert not gate.decide(rig.payment()).replayed
    assert not gate.decide(rig.payment(merchant="m-2")).replayed


def test_a_payment_ahead_of_the_clock_or_long_ago_or_in_another_currency_is_refused(rig: Any) -> None:
    gate = rig.open()
    refused: dict[str, dict[str, Any]] = {
        "amount.currency": {"amount": {"minor": 1, "currency": "USD"}},
        "occurred_at": {"occurred_at": rfc3339(rig.now_us + 61 * SECOND_US)},
    }
    for field, other in refused.items():
        with pytest.raises(InvalidError) as error:
            gate.decide(rig.payment(**other))
        assert [wrong.field for wrong in error.value.fields] == [field]
    with pytest.raises(InvalidError):
        gate.decide(rig.payment(occurred_at=rfc3339(rig.now_us - 401 * DAY_US)))
    assert Kind.DECISION not in kinds(gate)
    assert len(gate.window.cards) == 0


def test_an_unknown_card_is_decided_at_once_and_says_so(rig: Any) -> None:
    gate = rig.open()
    assert "SYS_FEATURES_PARTIAL" in reasons(gate.decide(rig.payment(1)))
    assert "SYS_FEATURES_PARTIAL" not in reasons(gate.decide(rig.payment(2)))


def test_a_payment_older_than_the_windows_counts_at_their_edge_and_says_so(rig: Any) -> None:
    gate = rig.open()
    late = gate.decide(rig.payment(occurred_at=rfc3339(rig.now_us - 8 * DAY_US)))
    assert "SYS_TIME_CLAMPED" in reasons(late)
    assert late.decided.feature_us == rig.now_us - 7 * DAY_US
    assert gate.tally.late == 1


@pytest.mark.parametrize(
    ("hours", "mode", "reason"),
    [
        (1, Mode.FRESH, None),
        (24 * 14, Mode.AGING, "SYS_BUNDLE_AGING"),
        (24 * 45, Mode.STALE, "SYS_BUNDLE_STALE"),
        (24 * 120, Mode.BLIND, "SYS_BUNDLE_BLIND"),
    ],
)
def test_a_verdict_by_an_old_model_never_looks_like_a_clean_one(
    rig: Any, hours: int, mode: Mode, reason: str | None
) -> None:
    rig.clock.advance(hours * HOUR_US)
    decision = rig.open().decide(rig.payment())
    assert decision.decided.mode is mode
    assert (reason is None) or reason in reasons(decision)
    assert any(code.startswith("SYS_BUNDLE") for code in reasons(decision)) is (reason is not None)


def test_lists_decide_before_the_model_does(rig: Any) -> None:
    gate = rig.open()
    rig.list(gate, "hard_block,terminal,t-9", "allow,card,card-7")
    blocked = gate.decide(rig.payment(1, terminal="t-9", card="card-7"))
    allowed = gate.decide(rig.payment(2, card="card-7"))
    assert (blocked.decided.outcome, allowed.decided.outcome) == (Outcome.DECLINE, Outcome.APPROVE)
    assert "LIST_HARD_BLOCK" in reasons(blocked)
    assert blocked.decided.lists_version == 1
    assert kinds(gate).count(Kind.LISTS_ACTIVATED) == 1


def test_a_clock_set_back_is_journaled_said_and_stops_offline_approvals_until_it_has_caught_up(rig: Any) -> None:
    gate = rig.open()
    gate.decide(rig.payment(1))
    rig.clock.advance(-6 * SECOND_US)
    back = gate.decide(rig.payment(2))
    assert reasons(back) >= {"SYS_CLOCK", "SYS_OFFLINE_CLOSED"}
    assert back.record.time_us == rig.now_us
    assert not gate.offline_approvals
    rig.clock.advance(7 * SECOND_US)
    caught_up = gate.decide(rig.payment(3))
    assert "SYS_CLOCK" not in reasons(caught_up)
    assert gate.offline_approvals
    gate.journal.commit()
    told = [record.values()["behind_us"] for _, record in gate.journal.scan() if record.kind is Kind.CLOCK_STEPPED]
    assert told == [6 * SECOND_US, 0]


def test_a_clock_that_is_still_behind_after_a_restart_is_known_from_the_journal(rig: Any) -> None:
    gate = rig.open()
    gate.decide(rig.payment(1))
    rig.clock.advance(-HOUR_US)
    gate.decide(rig.payment(2))
    gate = rig.reopen(gate)
    assert not gate.offline_approvals
    gate.decide(rig.payment(3))
    assert kinds(gate).count(Kind.CLOCK_STEPPED) == 1


def test_a_small_step_back_is_slewed_over_silently(rig: Any) -> None:
    gate = rig.open()
    gate.decide(rig.payment(1))
    rig.clock.advance(-4 * SECOND_US)
    assert "SYS_CLOCK" not in reasons(gate.decide(rig.payment(2)))
    assert Kind.CLOCK_STEPPED not in kinds(gate)


def test_a_site_whose_clock_follows_events_shows_it_in_every_answer(rig: Any) -> None:
    rig.clock, rig.layer = EventClock(rig.now_us), {"clock": {"source": "events"}}
    gate = rig.open()
    later = rig.payment(occurred_at=rfc3339(rig.now_us + 40 * DAY_US))
    decision = gate.decide(later)
    assert "SYS_CLOCK_EVENTS" in reasons(decision)
    assert decision.record.time_us == later.occurred_us


def test_a_refused_payment_moves_no_clock_of_events_and_no_payment_moves_it_far(rig: Any) -> None:
    rig.clock, rig.layer = EventClock(rig.now_us), {"clock": {"source": "events"}}
    gate = rig.open()
    gate.decide(rig.payment(1))
    refused: list[dict[str, Any]] = [
        {"occurred_at": rfc3339(rig.now_us + 41 * DAY_US)},
        {"occurred_at": rfc3339(rig.now_us + DAY_US), "amount": {"minor": 1, "currency": "USD"}},
    ]
    for other in refused:
        with pytest.raises(InvalidError):
            gate.decide(rig.payment(2, **other))
        assert gate.now_us() == rig.now_us


def test_a_clock_of_events_begins_where_its_stream_does(rig: Any) -> None:
    rig.clock, rig.layer = EventClock(), {"clock": {"source": "events"}}
    request = rig.payment(1, occurred_at=rfc3339(rig.now_us))
    assert rig.open().decide(request).record.time_us == rig.now_us


def test_eviction_at_the_bound_is_a_record_of_the_same_append_before_the_decision(rig: Any) -> None:
    gate = rig.open()
    for number in range(17):
        gate.decide(rig.payment(number, card=f"card-{number}", terminal=f"t-{number % 5}"))
    assert kinds(gate)[-3:] == [Kind.CARD_EVICTED, Kind.TERMINAL_EVICTED, Kind.DECISION]
    assert len(gate.window.cards) == 16
    assert gate.tally.evictions == 2 + 12


def test_a_refusal_of_the_journal_leaves_the_window_as_it_was(rig: Any) -> None:
    gate = rig.open()
    gate.decide(rig.payment(1))
    gate.journal.commit()
    before = gate.window.cards.state.tobytes(), gate.window.cards.holders.tobytes()

    def full(_items: object) -> int:
        raise DiskFullError("full")

    gate.journal.admit = full
    with pytest.raises(DiskFullError):
        gate.decide(rig.payment(2))
    assert (gate.window.cards.state.tobytes(), gate.window.cards.holders.tobytes()) == before


def test_a_gate_whose_disk_failed_answers_nothing_more(rig: Any) -> None:
    gate = rig.open()
    gate.failed = "the disk is gone"
    with pytest.raises(NotReadyError, match="the disk is gone"):
        gate.decide(rig.payment())
    with pytest.raises(NotReadyError):
        gate.label(rig.label())


def test_a_label_counts_once_and_its_correction_takes_it_back(rig: Any) -> None:
    gate = rig.open()
    gate.decide(rig.payment(1))

    def frauds() -> float:
        number = 100 + gate.journal.last_pos
        vector = gate.decide(rig.payment(number)).decided.features
        return float(memoryview(vector).cast("f")[25])

    answer, pos = gate.label(rig.label(1))
    assert (answer["replayed"], pos) == (False, gate.journal.last_pos)
    assert frauds() == 1
    assert gate.label(rig.label(1))[0]["replayed"]
    assert frauds() == 1
    rig.clock.advance(SECOND_US)
    gate.label(rig.label(1, "legit", label_id="l-2"))
    assert frauds() == 0
    assert (gate.tally.fraud_labels, gate.tally.legit_labels) == (1, 1)


def test_a_label_of_another_body_or_of_an_unknown_payment_is_refused(rig: Any) -> None:
    gate = rig.open()
    gate.decide(rig.payment(1))
    gate.label(rig.label(1))
    with pytest.raises(ConflictError):
        gate.label(rig.label(1, "legit"))
    with pytest.raises(NotFoundError):
        gate.label(rig.label(2))


def test_a_label_known_in_the_future_is_refused_since_no_later_one_could_correct_it(rig: Any) -> None:
    gate = rig.open()
    gate.decide(rig.payment(1))
    with pytest.raises(InvalidError) as refused:
        gate.label(rig.label(1, known_at=rfc3339(rig.now_us + 61 * SECOND_US)))
    assert refused.value.fields[0].field == "known_at"
    assert Kind.LABEL_RECEIVED not in kinds(gate)


def test_a_stream_may_label_ahead_of_its_clock_but_not_for_ever(rig: Any) -> None:
    rig.clock, rig.layer = EventClock(rig.now_us), {"clock": {"source": "events"}}
    gate = rig.open()
    gate.decide(rig.payment(1))
    with pytest.raises(InvalidError, match="more than 40 days ahead"):
        gate.label(rig.label(1, known_at=rfc3339(rig.now_us + 41 * DAY_US)))
    assert gate.label(rig.label(1, known_at=rfc3339(rig.now_us + 7 * DAY_US)))[0]["applied"]


def test_a_label_finds_a_payment_of_weeks_ago_after_a_restart(rig: Any) -> None:
    gate = rig.open()
    gate.decide(rig.payment(1))
    for day in range(1, 31):
        rig.clock.advance(DAY_US)
        gate.decide(rig.payment(100 + day))
    gate = rig.reopen(gate)
    assert gate.label(rig.label(1))[0]["applied"]


def test_what_changed_since_the_last_run_is_journaled_once(rig: Any) -> None:
    gate = rig.open()
    started = [Kind.EPOCH_STARTED, Kind.BUNDLE_ACTIVATED, Kind.POLICY_ACTIVATED, Kind.CONFIG_ACTIVATED]
    assert kinds(gate) == started
    gate = rig.reopen(gate)
    assert kinds(gate) == started
    rig.layer = {"window": {"checkpoint_every_records": 1_000}}
    gate = rig.reopen(gate)
    assert kinds(gate) == [*started, Kind.CONFIG_ACTIVATED]


def test_a_restart_gives_back_lists_labels_answers_and_places(rig: Any) -> None:
    gate = rig.open()
    answers = [gate.answer(gate.decide(rig.payment(number))) for number in range(9)]
    gate.label(rig.label(3))
    again = rig.reopen(gate)
    assert [again.answer(again.decide(rig.payment(number))) for number in range(9)] == [
        answer | {"replayed": True} for answer in answers
    ]
    assert again.label(rig.label(3))[0]["replayed"]
    assert again.state.places[again.epoch].last == 9


def test_on_another_machine_a_new_epoch_begins_with_an_empty_window_and_the_old_answers(rig: Any) -> None:
    gate = rig.open()
    old = gate.answer(gate.decide(rig.payment(1)))
    rig.mark = "another machine"
    again = rig.reopen(gate)
    assert again.epoch != gate.epoch
    assert len(again.window.cards) == 0
    assert again.answer(again.decide(rig.payment(1))) == old | {"replayed": True}
    assert "SYS_FEATURES_PARTIAL" in reasons(again.decide(rig.payment(2)))


def test_a_gate_that_comes_up_again_knows_every_bundle_that_its_journal_names(
    rig: Any, bundle_files: dict[str, bytes], now_us: int
) -> None:
    gate = rig.open()
    gate.decide(rig.payment(1))
    first = gate.basis.scorer.bundle.id
    manifest = json.loads(bundle_files[MANIFEST]) | {"trained_at_us": now_us - 1}
    rig.scorer = Scorer(decode({**bundle_files, MANIFEST: json.dumps(manifest).encode()}))

    again = rig.reopen(rig.reopen(gate))

    assert again.basis.scorer.bundle.id != first
    assert again.state.bundles == {first, again.basis.scorer.bundle.id}
