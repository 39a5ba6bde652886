"""The words of a verdict: an order, a word for each number, and a catalogue that never says a thing twice."""

import re

from tidegate.decision import NO_SCORE, NUMBERS, OUTCOME_WORDS, PAYER_WORDS, REASONS, Mark, Outcome, Source

RANGES = {
    Source.MODEL: range(100, 200),
    Source.LIST: range(200, 300),
    Source.RULE: range(300, 400),
    Source.LIMIT: range(800, 900),
    Source.SYSTEM: range(900, 1_000),
}


def test_the_more_severe_outcome_is_the_greater() -> None:
    assert Outcome.DECLINE > Outcome.REVIEW > Outcome.CHALLENGE > Outcome.APPROVE


def test_each_outcome_is_written_as_its_name() -> None:
    assert [outcome.word for outcome in Outcome] == [outcome.name.lower() for outcome in Outcome]
    assert len(OUTCOME_WORDS) == len(Outcome)


def test_codes_are_upper_snake_and_found_by_number_and_by_name() -> None:
    assert [code for code in NUMBERS if not re.fullmatch(r"[A-Z]+(_[A-Z]+)+", code)] == []
    assert {NUMBERS[reason.code]: reason for reason in REASONS.values()} == REASONS


def test_a_reason_fits_its_column_and_stands_in_the_range_of_its_source() -> None:
    assert [r for r in REASONS.values() if not 0 < r.number < 1 << 16 or r.number not in RANGES[r.source]] == []


def test_fallbacks_and_nothing_else_begin_with_sys() -> None:
    assert [r for r in REASONS.values() if r.code.startswith("SYS_") != (r.source is Source.SYSTEM)] == []


def test_each_reason_is_a_sentence_of_its_own() -> None:
    texts = [reason.text for reason in REASONS.values()]

    assert [text for text in texts if not (text[0].isupper() and text.endswith("."))] == []
    assert len(set(texts)) == len(texts)
    assert [r.code for r in REASONS.values() if not (r.action[0].isupper() and r.action.endswith("."))] == []


def test_a_payer_is_told_what_comes_next_and_never_why() -> None:
    assert set(PAYER_WORDS) == set(OUTCOME_WORDS)
    telling = re.compile(r"list|model|risk|fraud|score|rule|limit|block", re.IGNORECASE)
    assert [words for words in PAYER_WORDS.values() if telling.search(words)] == []


def test_numbers_once_given_keep_their_code_and_a_new_one_is_written_down_here() -> None:
    given = {100: "MODEL_CHALLENGE", 101: "MODEL_REVIEW", 102: "MODEL_DECLINE", 200: "LIST_HARD_BLOCK"}
    given |= {201: "LIST_OVERRIDE", 202: "LIST_SOFT_BLOCK", 900: "SYS_FEATURES_PARTIAL", 901: "SYS_CLOCK"}
    given |= {902: "SYS_CLOCK_EVENTS", 903: "SYS_TIME_CLAMPED", 904: "SYS_BUNDLE_AGING", 905: "SYS_BUNDLE_STALE"}
    given |= {906: "SYS_BUNDLE_BLIND", 907: "SYS_OFFLINE_CLOSED", 908: "SYS_DEADLINE_SCORE"}
    given |= {800: "LIMIT_UNSCORED", 909: "SYS_DEADLINE_RULES", 910: "SYS_SANDBOX", 203: "LIST_WATCH"}
    rules = "VELOCITY VELOCITY_AMOUNT AMOUNT AMOUNT_UNUSUAL NEW_CARD NEW_TERMINAL TERMINALS TERMINAL_RISK CARD_FRAUD"
    rules += " TESTING DORMANT COUNTRY CATEGORY ENTRY HOUR SCORE TRUSTED OTHER"
    given |= {300 + at: f"RULE_{name}" for at, name in enumerate(rules.split())}
    given |= {920: "SYS_LISTS_AGING", 921: "SYS_LISTS_STALE", 922: "SYS_LISTS_BLIND", 923: "SYS_POLICY_AGING"}
    given |= {924: "SYS_POLICY_STALE", 925: "SYS_POLICY_BLIND", 926: "SYS_FLOOR_LIMIT", 927: "SYS_RULE_FAILED"}
    given |= {928: "SYS_RULE_BRAKED"}

    assert {number: reason.code for number, reason in REASONS.items()} == given


def test_marks_once_written_keep_their_meaning() -> None:
    assert {mark.name: int(mark) for mark in Mark} == {"SCORE_LEFT_OUT": 1, "RULES_LEFT_OUT": 2, "SANDBOX": 4}


def test_an_error_never_looks_like_a_score() -> None:
    assert not 0 <= NO_SCORE <= 100
