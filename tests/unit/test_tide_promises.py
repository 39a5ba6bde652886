"""The promises of the tide's bench: what was measured keeps one, breaks it, or says nothing of it."""

import pytest

from tests.bench.tide_promises import PROMISES, as_json, judged, lines


@pytest.mark.parametrize(
    ("part", "name", "measured", "kept"),
    [
        ("sqlite", "records_per_s", 40_000.0, True),
        ("sqlite", "records_per_s", 39_999.0, False),
        ("kafka", "live_p99_s", 2.0, True),
        ("kafka", "live_p99_s", 2.01, False),
        ("gate", "p50_ratio", 1.21, False),
    ],
)
def test_a_promise_is_kept_up_to_its_bound(part: str, name: str, measured: float, kept: bool) -> None:  # noqa: FBT001
    found = {(each.promise.part, each.promise.name): each for each in judged({part: {name: measured}})}

    assert found[part, name].kept is kept
    assert [each.kept for key, each in found.items() if key != (part, name)] == [None] * (len(PROMISES) - 1)


def test_the_table_says_of_each_what_became_of_it() -> None:
    found = judged({"frames": {"bytes_of_1024": 98.5, "bytes_of_1_max": 1_537.0}})
    told = list(lines(found))

    assert len(told) == len(PROMISES) == len(as_json(found))
    assert [line.rpartition("  ")[2] for line in told if "bytes" in line] == ["kept", "NOT KEPT"]
    assert [line for line in told if "bytes" not in line and not line.endswith("  not measured")] == []
    assert {"what": PROMISES[-2].what, "bound": 1_536, "measured": 1_537.0, "kept": False} in as_json(found)
