"""Whether it is time to train again: by the calendar, or because the champion no longer fits what sites decide.

A schedule asks often, and most days nothing is due. What is asked, cheapest first: how old the newest payment is that
the champion learnt from; how far its scores have moved since (the population stability index); whether its
probabilities still come true; and whether it finds the frauds that are reported now as it found those it was tested on.
The last one doesn't wait until payments have settled: that a fraud was missed is known as soon as it is reported.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from tidegate.bundle import Manifest
from tidegate.limits import DAY_US
from tidegate.trees import Floats
from training.calibrate import probabilities
from training.champion import Champion
from training.dataset import Events, Ints
from training.drift import LARGE, SCORE, stability
from training.labels import DELAY_US, Rows, training_rows
from training.metrics import FALSE_POSITIVE_RATE
from training.walk import WEEK_US, settled_until

RECALL_LOSS_MAX: Final = 0.15
"""Of the recall that the champion was tested with: weeks of one model differ by less."""
RECALL_FRAUDS_MIN: Final = 30
"""Reported in the last days: of fewer a recall says nothing."""
TRUE_TIMES_MAX: Final = 2.0
"""As many times more or fewer frauds than expected: a table of probabilities that is off by this much costs money."""
_RECENT_US: Final = WEEK_US
_RECALL: Final = "recall_at_fpr_0.001"


class _Recent(NamedTuple):
    """What the champion makes of the newest payments: features float32 [n, features] and margins [n] of them all."""

    now_us: int
    vectors: Floats
    margins: Floats


def due(events: Events, vectors: Floats, reigning: Champion | None, *, every_us: int) -> tuple[str, ...]:
    """Return why to train now, in words; nothing where nothing asks for it.

    `events` are in the order of time, `vectors` their features, float32 [n, features]; now is the newest's time.
    """
    if reigning is None:
        return ("there is no model yet",)
    if reigning.bundle is None:
        return (f"{reigning.id} can't score: {reigning.said}",)
    manifest, now_us = reigning.bundle.manifest, int(events.occurred_us[-1])
    recent = _Recent(now_us, vectors, reigning.margins(vectors))
    return (
        *_by_age(manifest, now_us, every_us),
        *_by_spread(manifest, events, recent),
        *_by_truth(manifest, events, recent),
        *_by_recall(manifest, events, recent),
    )


def _by_age(manifest: Manifest, now_us: int, every_us: int) -> Iterator[str]:
    new_us = settled_until(now_us) - manifest.data.cut_us
    if new_us >= every_us:
        allowed = every_us // DAY_US
        yield f"schedule: {new_us // DAY_US} days have settled that it didn't learn from, of {allowed} allowed"


def _by_spread(manifest: Manifest, events: Events, recent: _Recent) -> Iterator[str]:
    new = events.occurred_us > recent.now_us - _RECENT_US
    if manifest.profile is None or SCORE not in manifest.profile:
        return
    index = stability({SCORE: manifest.profile[SCORE]}, recent.vectors[new], recent.margins[new])[SCORE]
    if index >= LARGE:
        yield f"drift: scores of the last week have a stability index of {index:.2f}, {LARGE} allowed"


def _by_truth(manifest: Manifest, events: Events, recent: _Recent) -> Iterator[str]:
    rows = _settled(events, recent.now_us)
    came = int(rows.target.sum())
    if came < RECALL_FRAUDS_MIN:
        return
    said = float(probabilities(recent.margins[rows.index], manifest.calibration).sum())
    times = max(came / max(said, 1e-9), said / came)
    if times > TRUE_TIMES_MAX:
        yield f"calibration: of the newest settled week {said:.0f} frauds were expected, {came} came"


def _by_recall(manifest: Manifest, events: Events, recent: _Recent) -> Iterator[str]:
    tested = manifest.metrics.get(_RECALL)
    rows = _settled(events, recent.now_us)
    good, reported = rows.index[rows.target == 0], _reported(events, recent.now_us)
    if tested is None or len(reported) < RECALL_FRAUDS_MIN or not len(good):
        return
    threshold = np.quantile(recent.margins[good], 1 - FALSE_POSITIVE_RATE, method="higher")
    found = float((recent.margins[reported] > threshold).mean())
    if found < tested - RECALL_LOSS_MAX:
        yield (
            f"recall: of {len(reported)} frauds reported in the last week it finds {found:.0%} at 0.1 % false"
            f" positives, of those it was tested on {tested:.0%}"
        )


def _settled(events: Events, now_us: int) -> Rows:
    """Return the payments of the newest week of which all is known that will be."""
    rows = training_rows(events, cut_us=now_us, from_us=now_us - DELAY_US - WEEK_US)
    return rows.where(events.occurred_us[rows.index] <= now_us - DELAY_US)


def _reported(events: Events, now_us: int) -> Ints:
    """Return the frauds that were reported in the last days, and not taken back."""
    fresh = (events.label_known_us > now_us - _RECENT_US) & (events.label_known_us <= now_us)
    return np.flatnonzero(fresh & (events.label_corrected_us > now_us))
