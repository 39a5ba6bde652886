"""What the contender `gate_rules` has on top of the gate: twenty active rules, as a site has them, and full lists."""

from typing import Final

from tidegate.decision import OutcomeWord
from tidegate.lists import Content, ListName, parse
from tidegate.policy.terms import Policy, Rule, RuleState

LISTED: Final = 1_000
"""Entries of each list; none is a card of the bench, as hardly any is of a site."""
_RULES: Final[tuple[tuple[str, str, OutcomeWord, str], ...]] = (
    ("velocity-10m", "card_count_10m > 6.0", "review", "RULE_VELOCITY"),
    ("velocity-1h", "card_count_1h > 12.0", "review", "RULE_VELOCITY"),
    ("velocity-24h", "card_count_24h > 60.0 && card_history > 10.0", "challenge", "RULE_VELOCITY"),
    ("sum-1h", "card_sum_1h > 300000.0", "review", "RULE_VELOCITY_AMOUNT"),
    ("sum-24h", "card_sum_24h > 900000.0 && amount > 20000.0", "decline", "RULE_VELOCITY_AMOUNT"),
    ("amount-cap", "amount > 500000.0", "decline", "RULE_AMOUNT"),
    ("amount-online", "channel == 'online' && amount > 250000.0", "review", "RULE_AMOUNT"),
    ("unusual", "amount_ratio > 40.0 && card_history >= 5.0", "challenge", "RULE_AMOUNT_UNUSUAL"),
    ("unusual-spread", "amount_spread > 60.0 && amount > 50000.0", "review", "RULE_AMOUNT_UNUSUAL"),
    ("new-card", "card_history == 0.0 && amount > 150000.0", "challenge", "RULE_NEW_CARD"),
    ("new-terminal", "terminal_count_30d < 2.0 && amount > 200000.0", "review", "RULE_NEW_TERMINAL"),
    ("terminals-1h", "card_terminals_1h > 6.0", "review", "RULE_TERMINALS"),
    ("terminals-24h", "card_terminals_24h > 20.0", "challenge", "RULE_TERMINALS"),
    ("terminal-risk", "terminal_risk_7d > 0.5 && terminal_count_7d > 20.0", "review", "RULE_TERMINAL_RISK"),
    ("terminal-run", "terminal_run > 5.0 && terminal_run_last < 3.0", "decline", "RULE_TERMINAL_RISK"),
    ("card-fraud", "card_frauds_30d > 2.0", "decline", "RULE_CARD_FRAUD"),
    ("testing", "card_count_1h > 8.0 && card_sum_1h < 2000.0", "decline", "RULE_TESTING"),
    ("dormant", "card_since_last > 2500000.0 && card_history > 20.0 && amount > 100000.0", "review", "RULE_DORMANT"),
    ("country", "has_country && country in ['KP', 'IR', 'SY'] && amount > 10000.0", "decline", "RULE_COUNTRY"),
    ("night", "hour < 4.0 && amount > 300000.0 && risk_score > 60.0", "review", "RULE_HOUR"),
)


def twenty_rules() -> Policy:
    """Return the default policy with all of them active."""
    rules = [
        Rule(
            number=number,
            id=name,
            state=RuleState.ACTIVE,
            when=when,
            outcome=outcome,
            reason=reason,
            text=f"Why {name}.",
        )
        for number, (name, when, outcome, reason) in enumerate(_RULES, 1)
    ]
    return Policy(name="bench", rules=tuple(rules))


def full_lists() -> Content:
    """Return lists that a payment is looked up in and isn't on."""
    names = (ListName.HARD_BLOCK, ListName.ALLOW, ListName.SOFT_BLOCK)
    entries = (f"{name},card,listed-{name}-{number}" for name in names for number in range(LISTED))
    return parse("bench", ["list,entity,value", *entries])
