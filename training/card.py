"""The model card: what a model learnt from, how good it is, where it isn't, what it replaces; Markdown and HTML.

The HTML is the Markdown rendered, with its plots inside. Both lie in the bundle's folder beside its parts.
"""

import base64
import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from markdown_it import MarkdownIt

from tidegate.bundle import CARD, CARD_PAGE, Manifest
from tidegate.clock import rfc3339
from tidegate.features.declarations import NAMES
from training import plots
from training.drift import LARGE, MODERATE
from training.evaluate import Segment, reliability
from training.metrics import Estimates, Scored, mean, measure
from training.options import SYNTH
from training.walk import WEEK_US

_DRIFT_SHOWN: Final = 10
_LABELS: Final = {
    "auc": "area under ROC",
    "average_precision": "average precision",
    "card_precision_100": "compromised cards among a day's 100 most suspect",
    "recall_at_fpr_0.001": "frauds found at 0.1 % false positives",
    "brier": "Brier score (smaller is better)",
    "cost_minor": "cost of a payment, minor units (smaller is better)",
}
_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:54rem;margin:2rem auto;padding:0 1rem;color:#1c2833}"
    "table{border-collapse:collapse;margin:1rem 0}td,th{border-bottom:1px solid #d5dbdf;padding:.25rem .8rem .25rem 0;"
    "text-align:left;font-variant-numeric:tabular-nums}h1,h2{line-height:1.2}img{max-width:100%;height:auto}"
)


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a card tells. `rival_weeks` are the champion's scores of the weeks it hasn't learnt from.

    `gains` is what splits on each feature gained in all; `drift` the stability index since the champion's data, largest
    first, empty without a champion that has kept its profile.
    """

    bundle: str
    manifest: Manifest
    found: Estimates
    weeks: Sequence[Scored]
    segments: Sequence[Segment]
    gains: Mapping[str, float]
    drift: Mapping[str, float]
    rival: str | None = None
    rival_weeks: Sequence[Scored] = ()


def named_gains(gains: Mapping[str, float]) -> dict[str, float]:
    """Return shares by the features' names of XGBoost's gains by `f0`, `f1` and so on."""
    total = sum(gains.values()) or 1.0
    return {NAMES[int(key[1:])]: value / total for key, value in gains.items()}


def render(facts: Facts) -> dict[str, bytes]:
    """Return the card's files by name: Markdown, its plots as SVG, and one HTML page that holds all."""
    drawn = {f"card-{name}.svg": svg for name, svg in _plots(facts).items()}
    text = "\n".join(_text(facts, drawn))
    return {CARD: text.encode(), CARD_PAGE: _page(facts.bundle, text, drawn).encode(), **drawn}


def _plots(facts: Facts) -> dict[str, bytes]:
    ours = plots.pooled(facts.weeks)
    curves = {"this model": ours}
    if facts.rival_weeks:
        curves = {
            "this model": plots.pooled(_shared(facts)),
            f"champion {facts.rival}": plots.pooled(facts.rival_weeks),
        }
    raw = 1 / (1 + np.exp(-ours.margin.astype(np.float64)))
    tables = {
        "calibrated": reliability(ours.target, ours.probability),
        "margins as log odds": reliability(ours.target, raw),
    }
    drawn = {
        "roc": plots.roc(curves),
        "precision-recall": plots.precision_recall(curves),
        "calibration": plots.calibration(tables),
        "scores": plots.scores(ours),
        "costs": plots.costs_by_threshold(ours),
        "importances": plots.importances(facts.gains),
    }
    return drawn | ({"drift": plots.drift(facts.drift)} if facts.drift else {})


def _shared(facts: Facts) -> list[Scored]:
    """Return the model's scores of the weeks that the champion hasn't learnt from either."""
    starts = {week.start_us for week in facts.rival_weeks}
    return [week for week in facts.weeks if week.start_us in starts]


def _text(facts: Facts, drawn: Mapping[str, bytes]) -> Iterator[str]:
    yield f"# Model {facts.bundle}\n"
    yield from _origin(facts.manifest)
    yield from _verdict(facts.manifest)
    yield from _metrics(facts)
    yield from _weeks(facts.weeks)
    for name, title in (
        ("roc", "ROC: frauds found by good payments stopped"),
        ("precision-recall", "Precision and recall"),
        ("calibration", "Calibration: what was said and what came"),
        ("scores", "Scores of good payments and of frauds"),
        ("costs", "What a threshold would cost, and what the policy does"),
        ("importances", "What the trees look at"),
    ):
        yield f"## {title}\n\n![{title}](card-{name}.svg)\n"
    yield from _segments(facts.segments)
    yield from _drift(facts, drawn)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _origin(manifest: Manifest) -> Iterator[str]:
    data, gate = manifest.data, manifest.gate
    if data.source.startswith(f"{SYNTH} "):
        yield "It has learnt from **generated payments**: its numbers say nothing of real ones.\n"
    settings = ", ".join(f"{name} {value}" for name, value in sorted(manifest.parameters.items()))
    rows = [
        ("trained at", rfc3339(manifest.trained_at_us)),
        ("replaces", (gate.against if gate else None) or "nothing: a first model"),
        ("source", data.source),
        ("payments from", rfc3339(data.first_us)),
        ("payments until", rfc3339(data.cut_us)),
        ("learnt from", f"{data.rows:,} payments, {data.frauds:,} of them frauds"),
        ("data's digest", data.sha256[:16]),
        ("features", f"{len(manifest.feature_names)}, {manifest.feature_fingerprint}"),
        ("settings", f"XGBoost {manifest.xgboost_version}: {settings}"),
    ]
    yield _table(("what", "value"), rows)


def _verdict(manifest: Manifest) -> Iterator[str]:
    gate = manifest.gate
    if gate is None:
        return
    yield f"## The gate: {'passed' if gate.passed else 'failed'}\n"
    yield "\n".join(f"- {reason}" for reason in gate.reasons) + "\n"
    if not gate.passed:
        yield "It decides nowhere unless somebody records an override; `tidegate bundle list` shows who and why.\n"


def _metrics(facts: Facts) -> Iterator[str]:
    yield f"## How good it is (test weeks: {len(facts.weeks)})\n"
    yield (
        "Each week was scored by a model made before it; this one was made in the same way, of all payments that had"
        " settled, those weeks included. Intervals are of 95 %, by a bootstrap of cards and terminals.\n"
    )
    same = _shared(facts)
    rows = [[_LABELS[name], f"{e.value:.4f}", f"{e.low:.4f} to {e.high:.4f}"] for name, e in facts.found.items()]
    head = ["metric", "value", "interval"]
    if same:
        head += [f"shared weeks ({len(same)})", f"champion {facts.rival}"]
        own, other = (mean([measure(week) for week in weeks]) for weeks in (same, facts.rival_weeks))
        for row, name in zip(rows, facts.found, strict=True):
            row += [f"{own[name]:.4f}", f"{other[name]:.4f}"]
    yield _table(head, rows)


def _weeks(weeks: Sequence[Scored]) -> Iterator[str]:
    rows = []
    for week in weeks:
        values = measure(week)
        days = f"{rfc3339(week.start_us)[:10]} to {rfc3339(week.start_us + WEEK_US - 1)[:10]}"
        numbers = [f"{values[name]:.4f}" for name in ("auc", "average_precision", "card_precision_100")]
        rows.append([days, f"{len(week.target):,}", f"{int(week.target.sum()):,}", *numbers])
    yield _table(("week", "payments", "frauds", "area under ROC", "average precision", "of 100 cards"), rows)


def _segments(segments: Sequence[Segment]) -> Iterator[str]:
    yield "## By segment\n"
    yield (
        "At the threshold that stops 0.1 % of all good payments. The last column is the frauds that were expected over"
        " those that came. Segments with fewer than ten frauds are left out.\n"
    )
    rows = [
        [
            one.name,
            f"{one.rows:,}",
            f"{one.frauds:,}",
            f"{one.average_precision:.3f}",
            f"{one.recall:.1%}",
            f"{one.false_positives:.2%}",
            f"{one.said_over_came:.2f}",
        ]
        for one in segments
    ]
    head = ("segment", "payments", "frauds", "average precision", "found", "good ones stopped", "said / came")
    yield _table(head, rows)


def _drift(facts: Facts, drawn: Mapping[str, bytes]) -> Iterator[str]:
    yield "## Drift against the champion's data\n"
    if "card-drift.svg" not in drawn:
        yield "No champion has left a profile of its data: there is nothing to compare with.\n"
        return
    yield f"How differently values are spread than in the data of {facts.rival} (population stability index):\n"
    words = [
        (name, f"{value:.3f}", "large" if value > LARGE else "moderate" if value > MODERATE else "none")
        for name, value in list(facts.drift.items())[:_DRIFT_SHOWN]
    ]
    yield _table(("value", "index", "drift"), words)
    yield "![Drift](card-drift.svg)\n"


def _page(title: str, text: str, drawn: Mapping[str, bytes]) -> str:
    """Return the Markdown as one page, plots inside; names in it can't become markup."""
    made = MarkdownIt("commonmark", {"html": False}).enable("table")

    def image(_self: Any, tokens: Sequence[Any], at: int, *_rest: Any) -> str:  # noqa: ANN401 - the renderer's own
        svg = base64.b64encode(drawn[str(tokens[at].attrGet("src"))]).decode()
        return f'<img alt="{html.escape(tokens[at].content)}" src="data:image/svg+xml;base64,{svg}">'

    made.add_render_rule("image", image)
    head = f'<meta charset="utf-8"><title>Model {html.escape(title)}</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{made.render(text)}</body></html>'
