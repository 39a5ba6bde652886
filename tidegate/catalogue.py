"""The catalogue of reasons as it is published: at `/v1/reasons`, and in `docs/reasons.md`, which is made of it."""

from collections.abc import Iterator
from typing import Any

from tidegate.decision import PAYER_WORDS, REASONS, Source
from tidegate.features.declarations import FEATURES
from tidegate.features.phrases import PHRASES

_INTRODUCTION = """# Reasons

Every decision names its reasons by code, weightiest first. Neither number nor code is ever reused. `GET /v1/reasons`
has this catalogue for programs, `tidegate reasons` prints it; this file is made by that command and never by hand.

`text` and `action` are for the merchant's or the site's own people. A payer is told what comes next, and never why: it
would tell a thief what to change, and of whom a list warns.
"""
_FEATURES = """## What the model looked at

`GET /v1/decisions/{id}?explain=true` adds what each feature did to the score, in log odds: the base, which is what the
model says of a payment of which nothing is known, and the contributions add up to the margin. They are exact Shapley
values (path-dependent TreeSHAP). A key of single merchants is told the few features that raised the risk most by name
alone, since their values tell what a card did elsewhere.
"""
_ABOUT = {
    Source.RULE: "Rules, written by people",
    Source.MODEL: "The model, by expected cost",
    Source.LIST: "Lists",
    Source.LIMIT: "Limits",
    Source.SYSTEM: "How the decision was made",
}


def listing() -> dict[str, Any]:
    """Return the catalogue as `/v1/reasons` tells it."""
    reasons = sorted(REASONS.values(), key=lambda reason: reason.number)
    told = [
        {"number": r.number, "code": r.code, "source": r.source.value, "text": r.text, "action": r.action}
        for r in reasons
    ]
    features = [
        {"feature": f.name, "label": PHRASES[f.name].label, "unit": f.unit, "meaning": f.meaning} for f in FEATURES
    ]
    return {"data": told, "features": features, "payer": PAYER_WORDS}


def markdown() -> str:
    """Return the catalogue as a document."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    yield _INTRODUCTION
    yield from _table(("outcome", "what a payer may be told"), PAYER_WORDS.items())
    for source in Source:
        rows = [
            (str(r.number), f"`{r.code}`", r.text, r.action)
            for r in sorted(REASONS.values(), key=lambda reason: reason.number)
            if r.source is source
        ]
        if rows:
            yield f"## {_ABOUT[source]}\n"
            yield from _table(("number", "code", "text", "action"), rows)
    yield _FEATURES
    yield from _table(
        ("feature", "unit", "told as"), ((f"`{f.name}`", f.unit, PHRASES[f.name].label) for f in FEATURES)
    )


def _table(head: tuple[str, ...], rows: Any) -> Iterator[str]:  # noqa: ANN401 - any pairs or tuples of words
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""
