"""A backtest's numbers for people: Markdown, and that as one page of HTML with nothing beside it."""

import html
import json
from collections.abc import Iterator, Sequence
from typing import Final

from markdown_it import MarkdownIt

from tidegate.decision import OUTCOME_WORDS
from tidegate.money import CURRENCIES, Money
from training.backtest.report import TRUTH_WORDS, Numbers

_MONEY_ROWS: Final = {
    "fraud_stopped_minor": "fraud declined",
    "fraud_held_minor": "fraud challenged or reviewed",
    "fraud_let_through_minor": "fraud approved",
    "good_declined_minor": "good declined, said to be good",
    "presumed_good_declined_minor": "good declined, presumed to be good",
    "fraud_loss_minor": "*loss by fraud*",
    "margin_lost_minor": "*margin and good will lost*",
    "work_minor": "*challenges and reviews*",
    "cost_minor": "**cost in all**",
}
_TRUTH_TEXTS: Final = {"fraud": "fraud", "good": "good", "presumed": "presumed good", "unknown": "not known"}
_EXAMPLES: Final = {
    "good_declined": "Good payments that would newly be declined",
    "fraud_let_through": "Frauds that would newly be approved",
    "fraud_stopped": "Frauds approved then that would be stopped now",
}
_STYLE: Final = """
:root { color-scheme: light dark; --ink: #10222b; --soft: #48616d; --page: #f2f6f7; --card: #fff; --line: #d3dfe4;
  --tide: #0b6b75; --bad: #a3212b; font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page); }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eef1; --soft: #9db2bc; --page: #0e181d; --card: #16242b;
  --line: #2b3d46; --tide: #4cc3cf; --bad: #ff8a8f; } }
body { margin: 0 auto; max-width: 74rem; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.5rem; margin: 0 0 .3rem; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .3rem; color: var(--tide); }
h3 { font-size: 1rem; margin: 1.4rem 0 .2rem; }
p, li { max-width: 62rem; } blockquote { margin: 1rem 0; padding: .1rem 1rem; background: var(--card);
  border-left: .3rem solid var(--tide); border-radius: .3rem; }
div { overflow-x: auto; margin: .8rem 0; border: 1px solid var(--line); border-radius: .5rem; background: var(--card); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: .35rem .7rem; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap; }
th { color: var(--soft); font-weight: 600; } tbody tr:last-child td { border-bottom: 0; }
em { font-style: normal; color: var(--soft); } code { font-size: .92em; }
blockquote.bad { border-color: var(--bad); } blockquote.bad strong { color: var(--bad); }
"""


def as_json(told: Numbers) -> str:
    """Return the numbers as JSON."""
    return json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def markdown(told: Numbers) -> str:
    """Return the report in Markdown."""
    return "\n".join(_lines(told)) + "\n"


def page(told: Numbers) -> str:
    """Return the report as one page of HTML: no script, no file beside it, light and dark."""
    body = str(MarkdownIt("commonmark").enable("table").render(markdown(told)))
    body = body.replace("<table>", "<div><table>").replace("</table>", "</table></div>")
    if told["check"]["differing"]:
        body = body.replace("<blockquote>", '<blockquote class="bad">', 1)
    title = html.escape(f"Backtest of {told['policy']['name']}")
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    return f'<!doctype html>\n<html lang="en">{head}<style>{_STYLE}</style>\n<body>\n{body}</body></html>\n'


def _lines(told: Numbers) -> Iterator[str]:
    policy = told["policy"]
    yield f"# Backtest of {_text(policy['name'])}"
    yield ""
    span = f"{_moment(told['from'])} to {_moment(told['to'])}"
    yield f"Policy `{policy['id']}` with {policy['rules']} rules, on decisions from {span}, as known at"
    yield f"{_moment(told['known_until'])}, from {_text(told['past'])}."
    yield ""
    yield from _checked(told)
    for section in (_summary, _changes, _confusion, _money, _rules, _cards, _examples, _reading):
        yield ""
        yield from section(told)


def _checked(told: Numbers) -> Iterator[str]:
    check = told["check"]
    asked = check["equal"] + check["differing"]
    if check["differing"]:
        yield f"> **{check['differing']:,} of {asked:,} decisions came out otherwise than they were journaled**, when"
        yield f"> decided again by the policies of then, such as {', '.join(map(_code, check['examples']))}."
        yield "> Don't rest on this report: look one of them up with `tidegate decision replay`."
        return
    yield f"> Decided again by the policies of then, **{asked:,} of {asked:,} decisions came out as they were"
    yield "> journaled**."
    if check["braked"] or check["policy_lost"]:
        yield f"> Not asked: {check['braked']:,} on which a brake was closed, {check['policy_lost']:,} whose policy"
        yield "> was lost."


def _summary(told: Numbers) -> Iterator[str]:
    decisions, apart = told["decisions"], told["decisions"]["apart"]
    yield "## In short"
    yield ""
    unknown = sum(told["confusion"]["then"]["by_truth"]["unknown"].values())
    known = _part(decisions["judged"] - unknown, decisions["judged"])
    rows = [["decisions judged", *[f"{decisions['judged']:,}"] * 2], ["of which something is known", known, known]]
    rows += [[word, *(_part(told["outcomes"][side][word], decisions["judged"]) for side in ("then", "now"))]
             for word in OUTCOME_WORDS]  # fmt: skip
    shares = {
        "frauds declined": "frauds_declined",
        "frauds not simply approved": "frauds_not_approved",
        "frauds among declines": "precision_of_declines",
        "good payments declined": "good_declined",
    }
    rows += [
        [text, *(_percent(told["confusion"][side][name]) for side in ("then", "now"))] for text, name in shares.items()
    ]
    for each in told["money"]:
        if each["bearer"] == "all":
            sides = (_money_text(each[side]["cost_minor"], each["currency"]) for side in ("then", "now"))
            rows.append([f"**cost in all, {each['currency']}**", *sides])
    yield from _table(["", "then", "now"], rows)
    yield ""
    yield from _saved(told)
    yield f"Left out: {apart['sandbox']:,} forced by test cards, {apart['deadline']:,} whose deadline left no time"
    yield "for a score."


def _saved(told: Numbers) -> Iterator[str]:
    for each in told["money"]:
        if each["bearer"] == "all":
            saved = each["saved_minor"]
            word = "saves" if saved >= 0 else "loses"
            yield f"By its own costs the policy **{word} {_money_text(abs(saved), each['currency'])}**."
            yield ""


def _changes(told: Numbers) -> Iterator[str]:
    yield "## From then to now"
    yield ""
    rows = [[f"**{then}**", *(f"{told['changes'][then][now]:,}" for now in OUTCOME_WORDS)] for then in OUTCOME_WORDS]
    yield from _table(["then, and now →", *OUTCOME_WORDS], rows)


def _confusion(told: Numbers) -> Iterator[str]:
    yield "## Outcomes against what became of it"
    yield ""
    rows = []
    for truth in TRUTH_WORDS:
        then, now = (told["confusion"][side]["by_truth"][truth] for side in ("then", "now"))
        rows.append([f"**{_TRUTH_TEXTS[truth]}**", *(f"{then[word]:,} → {now[word]:,}" for word in OUTCOME_WORDS)])
    yield from _table(["it was, then → now", *OUTCOME_WORDS], rows)


def _money(told: Numbers) -> Iterator[str]:
    yield "## Money"
    yield ""
    yield "By who bears the loss under this policy, and by its own costs. What nothing is known of doesn't count."
    for currency in dict.fromkeys(each["currency"] for each in told["money"]):
        own = [each for each in told["money"] if each["currency"] == currency]
        yield ""
        head = [currency, *(f"{each['bearer']} {side}" for each in own for side in ("then", "now"))]
        rows = [
            [text, *(_amount(each[side][name], currency) for each in own for side in ("then", "now"))]
            for name, text in _MONEY_ROWS.items()
        ]
        yield from _table(head, rows)


def _rules(told: Numbers) -> Iterator[str]:
    yield "## Rule by rule"
    yield ""
    if not told["rules"]:
        yield "The policy has no rule that runs."
        return
    head = ["rule", "state", "hits", "frauds", "good", "not known", "precision", "alone", "decided", "spared", "braked"]
    yield from _table([*head, "failed"], [_rule(rule) for rule in told["rules"]])
    yield ""
    yield "`alone`: no other rule was true. `decided`: it brought the outcome about, which a shadow rule never does."


def _rule(rule: Numbers) -> list[str]:
    truth = rule["by_truth"]
    counts = (rule["hits"], truth["fraud"], truth["good"] + truth["presumed"], truth["unknown"])
    used = (rule[name] for name in ("unique", "deciding", "suppressed", "braked", "failed"))
    named = f"{rule['number']} {_code(rule['id'])} {rule['outcome']}"
    return [named, rule["state"], *(f"{n:,}" for n in counts), _percent(rule["precision"]), *(f"{n:,}" for n in used)]


def _cards(told: Numbers) -> Iterator[str]:
    cards = told["good_cards_declined"]
    yield "## Good cards newly declined"
    yield ""
    yield f"{cards['cards']:,} cards, {cards['declines']:,} payments that are good or presumed to be."
    if cards["of_cards_not_told_apart"]:
        yield f"{cards['of_cards_not_told_apart']:,} of the payments are of further cards."
    if cards["worst"]:
        yield ""
        rows = [[_code(one["card"]), f"{one['declines']:,}", _code(one["first"])] for one in cards["worst"]]
        yield from _table(["card", "declines", "the first"], rows)


def _examples(told: Numbers) -> Iterator[str]:
    yield "## Examples, the largest amounts"
    for name, title in _EXAMPLES.items():
        yield ""
        yield f"### {title}"
        yield ""
        if not told["examples"][name]:
            yield "None."
            continue
        rows = [
            [
                _code(one["decision_id"]),
                _code(one["card"]),
                _money_text(one["amount_minor"], one["currency"]),
                f"{one['then']} → {one['now']}",
                ", ".join(one["by"]),
                _TRUTH_TEXTS[one["truth"]],
            ]
            for one in told["examples"][name]
        ]
        yield from _table(["decision", "card", "amount", "outcome", "by", "it was"], rows)


def _reading(told: Numbers) -> Iterator[str]:
    yield "## How to read it"
    yield ""
    yield "- Features and scores are those stored with each decision; lists are the ones that were in force then."
    yield "- Bundle and lists are as old as they were then, by this policy's ladder; the policy itself counts as fresh."
    yield "- *Good* is what a label says, *presumed good* what was approved and not called fraud for a week,"
    yield "  *not known* the rest."
    yield "- Frauds are labelled more often than good payments: look at both counts before you trust what it saves."
    if told["brakes"] == "none":
        yield "- No rule of this policy that acts has a brake."
    else:
        yield "- Brakes are replayed in order, all of them open at the beginning."


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield a table; columns behind the first whose every cell is a figure stand right."""
    right = [at > 0 and bool(rows) and all(row[at][:1] in "0123456789-" for row in rows) for at in range(len(head))]
    yield f"| {' | '.join(head)} |"
    yield f"|{'|'.join(' --: ' if flag else ' --- ' for flag in right)}|"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _moment(text: str) -> str:
    """Return an RFC 3339 time without a fraction that is nothing."""
    return text.replace(".000000Z", "Z")


def _code(text: str) -> str:
    """Return a token so that no letter of it is taken for markup."""
    return "`" + text.replace("`", "'").replace("|", "\\|") + "`"


def _text(text: str) -> str:
    return text.replace("|", "\\|")


def _part(count: int, whole: int) -> str:
    return f"{count:,} ({count / whole:.2%})" if whole else "0"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.2%}"


def _amount(minor: int, currency: str) -> str:
    """Return an amount without its currency; of a currency without known decimals in minor units."""
    if currency not in CURRENCIES:
        return f"{minor:,}"
    text = str(Money(minor, currency)).partition(" ")[0]
    whole, dot, part = text.partition(".")
    return f"{int(whole):,}{dot}{part}" if minor >= 0 else f"-{_amount(-minor, currency)}"


def _money_text(minor: int, currency: str) -> str:
    return f"{_amount(minor, currency)} {currency}"
