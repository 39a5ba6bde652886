"""The published catalogue of reasons is the one that the code has."""

import json
from pathlib import Path

from tidegate.catalogue import listing, markdown
from tidegate.decision import REASONS
from tidegate.features.declarations import NAMES

PUBLISHED = Path(__file__).resolve().parents[2] / "docs" / "reasons.md"


def test_the_document_is_what_the_command_prints() -> None:
    assert PUBLISHED.read_text() == markdown(), "make it anew: tidegate reasons > docs/reasons.md"


def test_the_listing_has_every_reason_in_order_and_every_feature() -> None:
    told = listing()

    assert [reason["number"] for reason in told["data"]] == sorted(REASONS)
    assert [feature["feature"] for feature in told["features"]] == list(NAMES)
    assert json.loads(json.dumps(told)) == told
