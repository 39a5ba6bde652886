"""What docs/tide.md says of the frame is what the code does."""

import re
from collections.abc import Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

from tidegate import limits
from tidegate.bundle import SCORE_STEPS
from tidegate.decision import NO_SCORE, Mark, Mode, Outcome, RiskLevel
from tidegate.frames import KNOWN, REASONS
from tidegate.payment import Channel, EntryMode
from tidegate.policy.costs import Liability
from tidegate.records import (
    CHAIN_START,
    DECISION,
    DECISION_FIELDS,
    SCHEMAS,
    Kind,
    Lane,
    Record,
    chain,
    event_body,
)

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "tide.md").read_text()


def test_the_table_of_a_decision_is_that_of_the_code() -> None:
    told = {field.name: field.metadata[b"type"].decode() for field in KNOWN[SCHEMAS[Lane.DECISIONS]].schema}
    fields: Mapping[str, Any] = DECISION.fields or {}

    rows = "\n".join(f"| {fields[name][1]} | `{name}` | `{kind}` |" for name, kind in told.items())
    assert f"| byte | field | type |\n|---|---|---|\n{rows}\n\n" in TEXT
    assert f"`{SCHEMAS[Lane.DECISIONS]}`" in TEXT
    assert f"`{SCHEMAS[Lane.EVENTS]}`" in TEXT


def test_the_example_of_an_event_is_right() -> None:
    body = event_body({"verdict": "fraud"})
    record = Record(Lane.EVENTS, Kind.LABEL_RECEIVED, 1, 1, 1_795_500_000_000_000, body).to_bytes()
    example = re.search(r"^    ([0-9a-f\s]+)\n\n", TEXT, re.MULTILINE)

    assert example is not None
    assert bytes.fromhex(example[1]) == record
    assert chain(CHAIN_START, record).hex() in TEXT


def test_every_reason_and_every_bound_is_told() -> None:
    assert re.findall(r"^\| `(\w+)` \| ", TEXT.split("### Bounds")[1].split("### Heads")[0], re.MULTILINE) == list(
        REASONS
    )
    bounds = f"{limits.FRAME_RECORDS_MAX:,} records, {limits.FRAME_BYTES_MAX // 1024} KiB a frame, "
    assert f"At most {bounds}{limits.FRAME_CANONICAL_BYTES_MAX >> 20} MiB of canonical bytes" in TEXT


WORDS: Final[dict[str, type[IntEnum]]] = {
    "channel": Channel,
    "entry_mode": EntryMode,
    "outcome": Outcome,
    "risk_level": RiskLevel,
    "mode": Mode,
    "liability": Liability,
    "marks": Mark,
}


def test_the_words_of_a_decision_are_those_of_the_code() -> None:
    told = {field: ", ".join(f"{int(each)} `{each.name.lower()}`" for each in words) for field, words in WORDS.items()}
    told["marks"] = f"bits: {told['marks']}"

    rows = "\n".join(f"| `{field}` | {words} |" for field, words in told.items())
    assert f"| field | words |\n|---|---|\n{rows}\n\n" in TEXT
    assert f"| `risk_score` | 0 to {SCORE_STEPS}, which rises with the probability; {NO_SCORE} where" in TEXT


def test_each_field_of_a_decision_is_told_once() -> None:
    section = TEXT.split("#### What a decision says")[1].split("#### What events say")[0]
    first = [row.split("|")[1] for row in section.splitlines() if row.startswith("| `")]

    told = [name for cell in first for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(told) == sorted(field[0] for field in DECISION_FIELDS)


def test_lanes_without_a_schema_are_told() -> None:
    without = " and ".join(str(int(lane)) for lane in Lane if lane not in SCHEMAS)

    assert f"{without} have no schema yet" in TEXT
