"""Whether to train: a model that fits is left alone; age, moved scores, untrue probabilities and missed frauds ask."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tidegate.bundle import Bundle, DataVersion, GateVerdict, Profile, decode
from tidegate.limits import DAY_US
from tidegate.policy.terms import Policy
from training.champion import Champion
from training.dataset import Events
from training.drift import SCORE, profile
from training.due import due
from training.fit import refit
from training.options import FitSettings
from training.package import Judged, assemble
from training.walk import settled

EVERY_US = 7 * DAY_US


@pytest.fixture(scope="module")
def events(events_of: Callable[..., Events]) -> Events:
    return events_of(40)


@pytest.fixture(scope="module")
def vectors(events: Events, vectors_of: Callable[..., np.ndarray]) -> np.ndarray:
    return vectors_of(events, signal=4.0)


@pytest.fixture(scope="module")
def champion(events: Events, vectors: np.ndarray) -> Champion:
    """A model of all that has settled, which was tested with a recall of 60 %."""
    rest = settled(events)
    fitted = refit(vectors, rest, FitSettings(trees=30, depth=3, bins=64))
    learnt = vectors[rest.rows.index]
    data = DataVersion(source="x", first_us=0, cut_us=rest.end_us, rows=len(learnt), frauds=1, sha256="0" * 64)
    files = assemble(
        booster=fitted.booster,
        rows=learnt,
        calibration=fitted.calibration,
        data=data,
        metrics={"recall_at_fpr_0.001": 0.6},
        parameters=fitted.parameters,
        policy=Policy(),
        trained_at_us=0,
        seed=1,
        judged=Judged(
            gate=GateVerdict(passed=True, reasons=("it is a test's",)), profile=profile(learnt, fitted.margins(learnt))
        ),
    )
    made = decode(files)
    return Champion(made.id, made)


def changed(champion: Champion, **update: object) -> Champion:
    bundle = of(champion)
    return replace(champion, bundle=replace(bundle, manifest=bundle.manifest.model_copy(update=update)))


def of(champion: Champion) -> Bundle:
    assert champion.bundle is not None
    return champion.bundle


def test_a_model_that_fits_is_left_alone(events: Events, vectors: np.ndarray, champion: Champion) -> None:
    assert due(events, vectors, champion, every_us=EVERY_US) == ()


def test_without_a_model_that_scores_one_is_due(events: Events, vectors: np.ndarray) -> None:
    assert due(events, vectors, None, every_us=EVERY_US) == ("there is no model yet",)
    broken = Champion("b-2", None, "trees: damaged")
    assert due(events, vectors, broken, every_us=EVERY_US) == ("b-2 can't score: trees: damaged",)


def test_a_schedule_counts_days_that_have_settled(events: Events, vectors: np.ndarray, champion: Champion) -> None:
    data = of(champion).manifest.data
    older = changed(champion, data=data.model_copy(update={"cut_us": data.cut_us - EVERY_US}))

    (said,) = due(events, vectors, older, every_us=EVERY_US)

    assert said == "schedule: 7 days have settled that it didn't learn from, of 7 allowed"
    assert due(events, vectors, older, every_us=EVERY_US + DAY_US) == ()


def test_scores_that_moved_ask_for_a_training(events: Events, vectors: np.ndarray, champion: Champion) -> None:
    moved = vectors.copy()
    moved[events.occurred_us > events.occurred_us[-1] - 3 * DAY_US, 0] += 3.0

    assert any(
        said.startswith("drift: scores of the last week") for said in due(events, moved, champion, every_us=EVERY_US)
    )


def test_probabilities_that_do_not_come_true_ask_for_a_training(
    events: Events, vectors: np.ndarray, champion: Champion
) -> None:
    table = of(champion).manifest.calibration
    lower = tuple(each / 4 for each in table.probabilities)
    told = changed(champion, calibration=table.model_copy(update={"probabilities": lower}))

    (said,) = due(events, vectors, told, every_us=EVERY_US)

    assert said == "calibration: of the newest settled week 13 frauds were expected, 56 came"


def test_frauds_reported_now_that_it_misses_ask_before_their_payments_have_settled(
    events: Events, vectors: np.ndarray, champion: Champion
) -> None:
    new = events.fraud & (events.occurred_us > events.occurred_us[-1] - 6 * DAY_US)
    unlike = vectors.copy()
    unlike[new, 0] -= 4.0

    said = due(events, unlike, champion, every_us=EVERY_US)

    assert len(said) == 1
    assert said[0].startswith("recall: of 56 frauds reported in the last week it finds ")
    assert said[0].endswith("at 0.1 % false positives, of those it was tested on 60%")


def test_frauds_that_were_taken_back_say_nothing(events: Events, vectors: np.ndarray, champion: Champion) -> None:
    unlike = vectors.copy()
    unlike[events.fraud & (events.occurred_us > events.occurred_us[-1] - 6 * DAY_US), 0] -= 4.0
    back = np.where(events.label_known_us <= events.occurred_us[-1], events.label_known_us, events.label_corrected_us)
    taken = replace(events, label_corrected_us=back)

    assert not any(said.startswith("recall") for said in due(taken, unlike, champion, every_us=EVERY_US))


def test_a_model_of_before_profiles_is_judged_by_the_rest(
    events: Events, vectors: np.ndarray, champion: Champion
) -> None:
    assert due(events, vectors, changed(champion, profile=None, metrics={}), every_us=EVERY_US) == ()
    kept = of(champion).manifest.profile or {}
    features_alone: dict[str, Profile] = {name: each for name, each in kept.items() if name != SCORE}
    assert due(events, vectors, changed(champion, profile=features_alone), every_us=EVERY_US) == ()
