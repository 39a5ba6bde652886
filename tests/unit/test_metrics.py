"""Metrics: a name by Prometheus' rules, a meaning, and buckets that resolve the budget of a decision."""

import re
from typing import get_args

from tidegate.metrics import LATENCY_BUCKETS_S, MEANINGS, STAGES, MetricName


def test_every_name_has_a_meaning_and_no_meaning_is_left_without_its_name() -> None:
    assert set(MEANINGS) == set(get_args(MetricName))


def test_names_are_of_the_house_and_end_with_what_they_measure() -> None:
    form = re.compile(r"tidegate_[a-z]+(_[a-z]+)*")
    plain = {"tidegate_cards", "tidegate_epoch", "tidegate_mode", "tidegate_overlay_version"}

    assert [name for name in MEANINGS if not form.fullmatch(name)] == []
    assert [name for name in MEANINGS if not name.endswith(("_total", "_seconds", "_ratio"))] == sorted(plain)


def test_each_meaning_is_one_sentence_of_its_own() -> None:
    assert [text for text in MEANINGS.values() if not (text[0].isupper() and text.endswith("."))] == []
    assert len(set(MEANINGS.values())) == len(MEANINGS)


def test_buckets_ascend_and_have_an_edge_at_each_promise() -> None:
    assert list(LATENCY_BUCKETS_S) == sorted(set(LATENCY_BUCKETS_S))
    assert {0.00025, 0.001} <= set(LATENCY_BUCKETS_S)


def test_the_stages_that_are_timed_are_those_that_the_meaning_names() -> None:
    assert [stage for stage in STAGES if stage not in MEANINGS["tidegate_decision_seconds"]] == []
    assert STAGES[-1] == "total"
