"""The bench of frames measures what a gate journaled, and its decisions keep to the bytes that they may have."""

import json

import pytest

from tests.bench.decided import decided
from tests.bench.frames import frame, json_proven, json_rows, measured, proven
from tests.bench.fuzz_frames import main as fuzz
from tidegate.frames import parse
from tidegate.records import DECISION

SIZE = DECISION.itemsize


@pytest.fixture(scope="module")
def run() -> bytes:
    """Decisions of cards that have a past: their features compress worst."""
    return decided(1_024, warm=10_000)


def test_a_decision_takes_at_most_120_bytes_in_frames_of_1024_and_1536_alone(run: bytes) -> None:
    assert len(frame(run)) <= 120 * 1_024
    assert max(len(frame(run[at : at + SIZE])) for at in range(0, 40 * SIZE, SIZE)) <= 1_536


def test_both_forms_give_back_what_the_gate_decided(run: bytes) -> None:
    assert proven(frame(run)) == json_proven(json_rows(run)) == run
    assert parse(frame(run)).header.coding == "arrow"


def test_each_form_tells_its_bytes_and_its_cost(run: bytes) -> None:
    told = measured(run[: 16 * SIZE])

    forms = {f"{form}_{what}" for form in ("frame", "json") for what in ("bytes", "encode_us", "decode_us")}
    assert set(told) == {*forms, "columns_bytes"}
    assert min(told.values()) > 0


def test_the_fuzzer_says_what_came_of_its_cases(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["fuzz_frames", "--seconds", "6"])

    assert fuzz() == 0

    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["passed"]
    assert told["cases"] == sum(told["reasons"].values()) > 0
