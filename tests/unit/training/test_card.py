"""The model card: one text in two forms, plots inside the page, the champion beside where there is one."""

import base64
import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tidegate.bundle import CARD, CARD_PAGE, Override, bundle_id, card_of_override, decode
from tidegate.ids import BundleId
from training import plots
from training.card import Facts, named_gains, render
from training.dataset import Events, Words
from training.drift import profile, stability
from training.evaluate import by_segment, measured, walk
from training.fit import refit
from training.options import FitSettings
from training.walk import weeks

PLOTS = ("roc", "precision-recall", "calibration", "scores", "costs", "importances")


@pytest.fixture(scope="module")
def facts(
    events_of: Callable[..., Events], vectors_of: Callable[..., np.ndarray], bundle_files: dict[str, bytes]
) -> Facts:
    words = ("<script>alert(1)</script>", "b|c")
    plain = events_of(45)
    events = replace(plain, texts={"site": Words(np.arange(len(plain), dtype=np.int32) % 2, words)})
    vectors, settings = vectors_of(events), FitSettings(trees=8, depth=3, bins=32)
    made = walk(events, vectors, weeks(events, 1), settings)
    booster = refit(vectors, made.weeks[0], settings).booster
    gains = {str(name): float(gain) for name, gain in booster.get_score(importance_type="gain").items()}
    bundle = decode(bundle_files)
    return Facts(
        bundle=bundle.id,
        manifest=bundle.manifest,
        found=measured(made.scored, 1),
        weeks=made.scored,
        segments=by_segment(events, made.scored),
        gains=named_gains(gains),
        drift={},
    )


@pytest.fixture(scope="module")
def first(facts: Facts) -> dict[str, bytes]:
    return render(facts)


def _against(facts: Facts) -> Facts:
    """The same with a champion, which is the model itself."""
    rows = np.random.default_rng(1).normal(size=(500, 38)).astype(np.float32)
    moved = stability(profile(rows, rows[:, 0]), rows + 1, rows[:, 0])
    return replace(facts, rival="b-0123456789ab", rival_weeks=facts.weeks, drift=moved)


def test_a_first_models_card_has_each_plot_its_data_and_its_verdict(facts: Facts, first: dict[str, bytes]) -> None:
    files = first
    text = files[CARD].decode()

    assert {f"card-{name}.svg" for name in PLOTS} == set(files) - {CARD, CARD_PAGE}
    assert re.findall(r"!\[[^]]+\]\(card-([a-z-]+)\.svg\)", text) == list(PLOTS)
    assert f"# Model {facts.bundle}" in text
    assert "| replaces | nothing: a first model |" in text
    assert "## The gate: passed\n\n- it is a test's" in text
    value, low, high = facts.found["average_precision"]
    assert f"| average precision | {value:.4f} | {low:.4f} to {high:.4f} |" in text
    assert "there is nothing to compare with" in text


def test_beside_a_champion_the_card_has_its_values_its_curves_and_the_drift(facts: Facts) -> None:
    files = render(_against(facts))
    text = files[CARD].decode()

    assert "| shared weeks (1) | champion b-0123456789ab |" in text
    assert "card-drift.svg" in files
    assert "champion b-0123456789ab" in files["card-roc.svg"].decode()
    assert len(re.findall(r"\| [a-z_0-9]+ \| \d+\.\d{3} \| large \|", text)) == 10


def test_the_page_is_whole_by_itself_and_names_never_become_markup(first: dict[str, bytes]) -> None:
    page = first[CARD_PAGE].decode()
    images = re.findall(r'<img alt="[^"]+" src="data:image/svg\+xml;base64,([^"]+)">', page)

    assert len(images) == len(PLOTS)
    assert all(b"</svg>" in base64.b64decode(image) for image in images)
    assert re.findall(r'(?:src|href)="(?!data:)', page) == []
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "site b|c</td>" in page


def test_the_card_of_an_override_says_who_why_and_when_under_its_own_name(
    facts: Facts, first: dict[str, bytes]
) -> None:
    override = Override(by="Ada <b>", why="the old one is blind", at_us=1_795_500_000_000_000)
    changed = facts.manifest.model_copy(update={"override": override})
    cards = card_of_override(first, changed, BundleId(facts.bundle))
    text, page = cards[CARD].decode(), cards[CARD_PAGE].decode()

    assert text.startswith(f"# Model {bundle_id(changed)}\n\n> The gate has not passed {facts.bundle}; Ada <b> answers")
    assert "since 2026-11-24T06:00:00.000000Z: the old one is blind\n" in text
    assert f"Model {bundle_id(changed)}</h1><blockquote>" in page
    assert "Ada &lt;b&gt;" in page
    assert f"Model {facts.bundle}" not in text + page


def test_equal_numbers_give_equal_bytes(facts: Facts, first: dict[str, bytes]) -> None:
    assert plots.importances(facts.gains) == first["card-importances.svg"]


def test_gains_are_shares_by_the_names_of_features() -> None:
    assert named_gains({"f0": 3.0, "f2": 1.0}) == {"amount": 0.75, "weekday": 0.25}
