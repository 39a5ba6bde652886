"""The test cards: one for everything that can be answered, each of a meaning of its own."""

import re

from tidegate.decision import NO_SCORE, NUMBERS, REASONS, Mode, Outcome, RiskLevel
from tidegate.limits import TOKEN_BYTES_MAX
from tidegate.records import REASON_SLOTS
from tidegate.sandbox import CARDS, PREFIX, Trouble, table


def test_there_is_a_card_for_every_outcome_reason_mode_level_and_trouble() -> None:
    cards = CARDS.values()
    assert {card.outcome for card in cards} == set(Outcome)
    assert {number for card in cards for number in card.reasons} == set(REASONS) - {NUMBERS["SYS_SANDBOX"]}
    assert {card.mode for card in cards} == set(Mode)
    assert {card.level for card in cards} == set(RiskLevel)
    assert {card.trouble for card in cards if card.trouble} == set(Trouble)


def test_a_token_can_be_sent_and_says_what_it_forces() -> None:
    for token, card in CARDS.items():
        assert token == card.token
        assert re.fullmatch(rf"{PREFIX}[a-z_]+", token)
        assert len(token) <= TOKEN_BYTES_MAX
        said = (card.outcome.word, "mode_" + card.mode.name.lower(), "risk_" + card.level.name.lower(), card.trouble)
        assert any(word and token.startswith(PREFIX + word) for word in said)
        assert len(card.reasons) < REASON_SLOTS


def test_no_two_cards_are_the_same_and_one_without_a_score_never_approves() -> None:
    forced = {(c.outcome, c.level, c.reasons, c.mode, c.trouble) for c in CARDS.values()}
    assert len(CARDS) - len(forced) <= len(Mode) + len(RiskLevel)  # aliases by mode and by level
    unscored = [card for card in CARDS.values() if card.score == NO_SCORE]
    assert unscored
    assert all(card.outcome > Outcome.APPROVE for card in unscored)


def test_cards_once_declared_keep_their_token() -> None:
    given = {"test_approve", "test_challenge", "test_review", "test_decline", "test_timeout", "test_mode_blind"}
    given |= {"test_decline_list_hard_block", "test_approve_list_override", "test_challenge_model_challenge"}
    assert given <= set(CARDS)


def test_the_table_has_a_line_a_card() -> None:
    assert table().count("\n| `test_") == len(CARDS)
