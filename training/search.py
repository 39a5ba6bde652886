"""The search for settings: what may be tried, on weeks before those that models are tested on. Pure; no Ray."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, Final

import numpy as np

from tidegate.trees import Floats
from training.dataset import NEVER, Events
from training.evaluate import walk
from training.mapping import DatasetError
from training.metrics import mean, measure
from training.options import FitSettings
from training.walk import Week

METRIC: Final = "average_precision"
"""What is searched for: of all rankings it moves the most with settings, and the least by chance."""
SPACE: Final[Mapping[str, tuple[float, ...]]] = {
    "trees": (50, 80, 110, 160, 220),
    "depth": (3, 4, 5, 6),
    "eta": (0.03, 0.05, 0.1, 0.2, 0.3),
    "bins": (1_024, 2_048),
    "rows_part": (0.6, 0.8, 1.0),
    "columns_part": (0.3, 0.5, 0.7),
    "child_weight": (1.0, 5.0, 20.0),
    "shrink": (1.0, 5.0, 20.0),
}
"""Never fewer than 1,024 bins: they starve rare tails. Never deeper than 6: a site walks these trees."""


def before(events: Events, until_us: int) -> Events:
    """Return the payments before a moment with what was known by then: all that a search may see.

    Raises:
        DatasetError: there are none.
    """
    count = int(np.searchsorted(events.occurred_us, until_us))
    if not count:
        raise DatasetError("--before: no payment lies before it; give an older file, or a later day")
    columns = ("occurred_us", "amount_minor", "card_slot", "terminal_slot", "declined")
    known = events.label_known_us[:count]
    fraud = known < until_us
    corrected = events.label_corrected_us[:count]
    return replace(
        events,
        **{name: getattr(events, name)[:count] for name in columns},
        transaction_ids=events.transaction_ids[:0],
        texts={},
        fraud=fraud,
        label_known_us=np.where(fraud, known, NEVER),
        label_corrected_us=np.where(corrected < until_us, corrected, NEVER),
    )


def tried(events: Events, vectors: Floats, weeks: tuple[Week, ...], settings: FitSettings) -> dict[str, float]:
    """Return the metrics of some settings, means over the validation weeks."""
    made = walk(events, vectors, weeks, settings)
    return mean([measure(week) for week in made.scored])


def dumped(settings: FitSettings, found: Mapping[str, Any]) -> str:
    """Return what a search found as JSON, for `--params`; `found` says how it was found."""
    parameters = {name: value for name, value in asdict(settings).items() if name in SPACE}
    return json.dumps({"parameters": parameters, "found": dict(found)}, indent=2) + "\n"
