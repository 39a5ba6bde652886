"""What may be trained on at a cut: only what was known by then."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.limits import DAY_US
from training.dataset import NEVER, Events, load_mapping, read
from training.labels import training_rows
from training.synth import SynthConfig, generate

MAPPING = Path(__file__).resolve().parents[3] / "configs" / "datasets" / "synth.toml"
CONFIG = SynthConfig(cards=100, terminals=40, days=30, fraud_share=0.05)
CUT_US = CONFIG.start_us + 20 * DAY_US


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Events:
    path = tmp_path_factory.mktemp("labels") / "s.parquet"
    pq.write_table(generate(CONFIG), path)
    return read(path, load_mapping(MAPPING))


def _hand_made(events: Events, occurred_days: list[int], known: list[int], corrected: list[int]) -> Events:
    days = np.array([occurred_days, known, corrected], np.int64)
    times = np.where(days < 0, NEVER, CONFIG.start_us + days * DAY_US)
    count = len(occurred_days)
    return replace(
        events,
        occurred_us=times[0],
        label_known_us=times[1],
        label_corrected_us=times[2],
        declined=np.zeros(count, np.bool_),
    )


def test_known_fraud_is_one_old_silence_is_zero_and_the_rest_is_left_out(events: Events) -> None:
    """Rows: known fraud; fraud known too late, but old; the same, young; silent and old; silent and young; after."""
    made = _hand_made(events, [18, 10, 18, 10, 18, 21], [19, 21, 21, -1, -1, 22], [-1] * 6)
    rows = training_rows(made, cut_us=CUT_US)

    assert dict(zip(rows.index.tolist(), rows.target.tolist(), strict=True)) == {0: 1, 1: 0, 3: 0}


def test_a_verdict_taken_back_by_the_cut_is_none_and_one_taken_back_later_stands(events: Events) -> None:
    made = _hand_made(events, [5, 5], [8, 8], [12, 25])

    assert training_rows(made, cut_us=CUT_US).target.tolist() == [0, 1]


def test_the_age_at_which_silence_counts_is_the_callers(events: Events) -> None:
    made = _hand_made(events, [10, 18], [-1, -1], [-1, -1])

    assert training_rows(made, cut_us=CUT_US, delay_us=DAY_US).index.tolist() == [0, 1]


def test_declines_without_a_verdict_are_left_out(events: Events) -> None:
    """Rows: declined and silent; declined, and somebody called it fraud; approved and silent."""
    made = replace(_hand_made(events, [5, 5, 5], [-1, 8, -1], [-1] * 3), declined=np.array([True, True, False]))
    rows = training_rows(made, cut_us=CUT_US)

    assert (rows.index.tolist(), rows.target.tolist()) == ([1, 2], [1, 0])


def test_rows_before_the_start_are_left_out(events: Events) -> None:
    made = _hand_made(events, [5, 10], [-1, -1], [-1, -1])

    assert training_rows(made, cut_us=CUT_US, from_us=CONFIG.start_us + 7 * DAY_US).index.tolist() == [1]


def test_nothing_known_after_the_cut_changes_what_is_trained_on(events: Events) -> None:
    rng = np.random.default_rng(1)
    before = training_rows(events, cut_us=CUT_US)
    later = CUT_US + 1 + rng.integers(9 * DAY_US, size=len(events))
    known = np.where(events.label_known_us > CUT_US, later, events.label_known_us)
    corrected = np.where(events.label_corrected_us > CUT_US, later, events.label_corrected_us)
    after = training_rows(
        replace(events, label_known_us=known, label_corrected_us=corrected, fraud=~events.fraud), cut_us=CUT_US
    )

    assert before.index.tolist() == after.index.tolist()
    assert before.target.tolist() == after.target.tolist()
    assert before.target.sum() > 10
    assert np.all(events.occurred_us[before.index] <= CUT_US)


_DAY = st.integers(0, 30)
_KNOWN = st.one_of(st.just(-1), _DAY)


@given(st.lists(st.tuples(_DAY, _KNOWN, _KNOWN, _DAY), min_size=1, max_size=20))
def test_whatever_becomes_known_after_the_cut_the_training_rows_stay(
    events: Events, rows: list[tuple[int, int, int, int]]
) -> None:
    """Rows: day of the payment, of its label, of the correction, and days that both move on if after the cut."""
    occurred, known, corrected, further = (list(column) for column in zip(*rows, strict=True))
    later = [
        [day + more if day > 20 else day for day, more in zip(days, further, strict=True)]
        for days in (known, corrected)
    ]
    silent = [[-1 if day > 20 else day for day in days] for days in (known, corrected)]
    before = training_rows(_hand_made(events, occurred, known, corrected), cut_us=CUT_US)

    for known_later, corrected_later in (later, silent):
        after = training_rows(_hand_made(events, occurred, known_later, corrected_later), cut_us=CUT_US)
        assert before.index.tolist() == after.index.tolist()
        assert before.target.tolist() == after.target.tolist()
