"""The plots of a model card, as SVG: text stays text, and equal numbers give equal bytes."""

import io
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve, roc_curve

from tidegate.decision import Outcome
from training.drift import LARGE, MODERATE
from training.evaluate import Reliability
from training.metrics import FALSE_POSITIVE_RATE, Doubles, Scored, Targets

_SIZE: Final = (6.0, 3.8)
_POINTS_MAX: Final = 400  # of a curve: more can't be seen, and would fill the card
_SHOWN_MAX: Final = 20  # bars of a plot
_BINS: Final = 50
_OURS, _THEIRS, _GOOD, _BAD, _FAINT = "#0b6e99", "#d9822b", "#3a8a5f", "#b3322b", "#888888"


class Pooled(NamedTuple):
    """The payments of several weeks in one: targets, probabilities, margins, what each cost and would have cost."""

    target: Targets
    probability: Doubles
    margin: Doubles
    cost_minor: Doubles
    outcomes_minor: np.ndarray


def pooled(weeks: Sequence[Scored]) -> Pooled:
    """Return some weeks as one."""
    return Pooled(*(np.concatenate([getattr(week, name) for week in weeks], axis=-1) for name in Pooled._fields))


def roc(curves: Mapping[str, Pooled]) -> bytes:
    """Plot true against false positives, the latter by tens: what matters lies below one in a hundred."""
    figure, axes = _figure("false positives (share of good payments)", "frauds found")
    for (name, one), colour in zip(curves.items(), (_OURS, _THEIRS), strict=False):
        false, true, _ = roc_curve(one.target, one.probability)
        _line(axes, np.maximum(false, 1e-5), true, name, colour)
    axes.axvline(FALSE_POSITIVE_RATE, color=_FAINT, linewidth=0.8, linestyle=":")
    axes.set_xscale("log")
    return _svg(figure, axes)


def precision_recall(curves: Mapping[str, Pooled]) -> bytes:
    """Plot how many alarms are frauds against how many frauds are found."""
    figure, axes = _figure("frauds found", "frauds among alarms")
    for (name, one), colour in zip(curves.items(), (_OURS, _THEIRS), strict=False):
        precision, recall, _ = precision_recall_curve(one.target, one.probability)
        _line(axes, recall, precision, name, colour)
    return _svg(figure, axes)


def calibration(tables: Mapping[str, Reliability]) -> bytes:
    """Plot the share of frauds that came against the probability that was said, by tens."""
    figure, axes = _figure("probability said", "share of frauds that came")
    for (name, one), colour in zip(tables.items(), (_OURS, _FAINT), strict=False):
        axes.plot(np.maximum(one.said, 1e-5), np.maximum(one.came, 1e-5), "o-", color=colour, label=name, markersize=4)
    axes.plot([1e-5, 1], [1e-5, 1], color=_FAINT, linewidth=0.8, linestyle=":")
    axes.set_xscale("log")
    axes.set_yscale("log")
    return _svg(figure, axes)


def scores(one: Pooled) -> bytes:
    """Plot how margins of good payments and of frauds are spread."""
    figure, axes = _figure("margin (log odds)", "payments")
    edges = np.histogram_bin_edges(one.margin, _BINS).tolist()
    for name, fraud, colour in (("good", 0, _GOOD), ("fraud", 1, _BAD)):
        axes.hist(one.margin[one.target == fraud], edges, alpha=0.6, color=colour, label=name)
    axes.set_yscale("log")
    return _svg(figure, axes)


def costs_by_threshold(one: Pooled) -> bytes:
    """Plot what a payment costs where the most suspect are declined and all others approved; the policy beside it."""
    figure, axes = _figure("share of payments declined", "cost of a payment, minor units")
    order = np.argsort(-one.probability, kind="stable")
    approve, decline = one.outcomes_minor[Outcome.APPROVE, order], one.outcomes_minor[Outcome.DECLINE, order]
    cost = (np.cumsum(decline) + approve.sum() - np.cumsum(approve)) / len(order)
    _line(axes, np.arange(1, len(order) + 1) / len(order), cost, "one threshold", _THEIRS)
    axes.axhline(float(one.cost_minor.mean()), color=_OURS, label="the policy, by amount")
    axes.axhline(float(approve.mean()), color=_FAINT, linewidth=0.8, linestyle=":", label="approve all")
    axes.set_xscale("log")
    axes.set_ylim(0, 3 * float(approve.mean()))  # what declining nearly all would cost is no question
    return _svg(figure, axes)


def importances(gains: Mapping[str, float]) -> bytes:
    """Plot each feature's share of what splits gained."""
    figure, axes = _figure("share of the gain of all splits", "", height=5.2)
    _bars(axes, dict(sorted(gains.items(), key=lambda item: -item[1])[:_SHOWN_MAX]), [_OURS] * _SHOWN_MAX)
    return _svg(figure, axes)


def drift(found: Mapping[str, float]) -> bytes:
    """Plot the stability index of what moved most."""
    figure, axes = _figure("population stability index", "", height=5.2)
    shown = dict(list(found.items())[:_SHOWN_MAX])
    colours = [_BAD if value > LARGE else _THEIRS if value > MODERATE else _GOOD for value in shown.values()]
    _bars(axes, shown, colours)
    for at in (MODERATE, LARGE):
        axes.axvline(at, color=_FAINT, linewidth=0.8, linestyle=":")
    return _svg(figure, axes)


def _figure(x: str, y: str, height: float = _SIZE[1]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_SIZE[0], height), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _line(axes: Axes, x: Doubles, y: Doubles, name: str, colour: str) -> None:
    """Draw a curve of many points by as many as can be seen, evenly along its way."""
    rank = np.linspace(0, 1, len(x))
    way = np.log10(np.maximum(x, 1e-6)) + y / max(float(y.max()), 1e-9) + rank * 1e-9
    steps = np.cumsum(np.abs(np.diff(way, prepend=way[0])))
    kept = np.unique(np.searchsorted(steps, np.linspace(0, steps[-1], _POINTS_MAX)).clip(0, len(x) - 1))
    axes.plot(x[kept], y[kept], color=colour, label=name, linewidth=1.4)


def _bars(axes: Axes, values: Mapping[str, float], colours: Sequence[str]) -> None:
    axes.barh(list(values), list(values.values()), color=list(colours)[: len(values)])
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=8)


def _svg(figure: Figure, axes: Axes) -> bytes:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=9)
    sink = io.BytesIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "tidegate"}):
        figure.savefig(sink, format="svg", metadata={"Date": None, "Creator": None})
    return sink.getvalue()
