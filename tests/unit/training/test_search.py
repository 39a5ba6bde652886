"""The search for settings: it sees nothing of the test weeks, and what it finds is what a training takes."""

import datetime as dt
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tidegate.errors import SettingsError
from tidegate.limits import DAY_US, TRIALS_MAX
from training.dataset import NEVER, Events, features
from training.mapping import DatasetError
from training.options import FitSettings, Options, parameters, parser
from training.search import SPACE, before, dumped, tried
from training.tune import until_us
from training.walk import weeks

Make = Callable[..., Events]
TODAY = dt.date(2026, 11, 24)
FAST = FitSettings(trees=6, depth=2, bins=32)


def _spoiled(events: Events, until_us: int) -> Events:
    """The same payments before a moment; after it everything is another, and labels that came later are gone."""
    late, late_label = events.occurred_us >= until_us, events.label_known_us >= until_us
    return replace(
        events,
        amount_minor=np.where(late, 77, events.amount_minor),
        card_slot=np.where(late, 0, events.card_slot).astype(np.int32),
        fraud=np.where(late | late_label, ~events.fraud, events.fraud),
        label_known_us=np.where(late | late_label, NEVER, events.label_known_us),
        declined=late,
    )


def test_nothing_of_the_test_weeks_changes_what_a_search_finds(events_of: Make) -> None:
    events = events_of(80, known_days=3)
    options = Options(bundles=Path(), until=TODAY, weeks=2)
    stop_us = until_us(options, events)
    found = []
    for given in (events, _spoiled(events, stop_us)):
        seen = before(given, stop_us)
        chosen = weeks(seen, 2)
        vectors = features(seen)
        found.append(
            (vectors.tobytes(), [week.test.index.tolist() for week in chosen], tried(seen, vectors, chosen, FAST))
        )

    assert found[0] == found[1]
    assert stop_us == weeks(events, 2)[0].start_us
    assert before(events, stop_us).occurred_us.max() < stop_us
    assert before(events, stop_us).fraud.sum() < events.fraud[events.occurred_us < stop_us].sum()


def test_a_search_stops_at_the_given_day(events_of: Make) -> None:
    options = Options(bundles=Path(), until=TODAY, before=dt.date(1970, 2, 10))

    assert until_us(options, events_of(80)) == 40 * DAY_US


def test_a_day_before_all_payments_is_refused(events_of: Make) -> None:
    with pytest.raises(DatasetError, match="--before: no payment lies before it"):
        before(events_of(10), 0)


def test_what_a_search_finds_is_what_a_training_takes(tmp_path: Path) -> None:
    better = FitSettings(trees=50, depth=3, eta=0.3, shrink=1.0)
    file = tmp_path / "found.json"
    file.write_text(dumped(better, {"trials": 3}))

    options = Options(bundles=tmp_path, until=TODAY, params=file, threads=2, seed=9)

    assert options.settings() == replace(better, threads=2, seed=9)
    assert set(parameters(file)) == set(SPACE)


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ('{"parameters": {"depth": 40}}', "parameters.depth"),
        ('{"parameters": {"bins": 16}}', "parameters.bins"),
        ('{"parameters": {"leaves": 3}}', "parameters.leaves"),
        ("depth = 3", "file"),
    ],
)
def test_settings_that_are_unknown_or_out_of_bounds_are_refused_by_name(tmp_path: Path, said: str, field: str) -> None:
    file = tmp_path / "found.json"
    file.write_text(said)

    with pytest.raises(SettingsError, match=f"found.json: {field}: "):
        parameters(file)
    with pytest.raises(SettingsError, match="No such file"):
        parameters(tmp_path / "nowhere.json")


def test_every_value_of_the_space_may_be_trained_with(tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    for name, values in SPACE.items():
        for value in values:
            file.write_text(json.dumps({"parameters": {name: value}}))
            assert parameters(file)[name] == value


def test_trials_are_bounded(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser(TODAY).parse_args(["--bundles", "x", "--trials", str(TRIALS_MAX + 1)])

    assert f"must be 1 to {TRIALS_MAX}" in capsys.readouterr().err
