"""Recorded payments: mappings are read, what is wrong is named, and no feature knows the future."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tidegate.features.declarations import FEATURE_COUNT, NAMES
from tidegate.features.kernel import observe, token_hash
from tidegate.features.state import empty_cards, empty_terminals
from tidegate.limits import DAY_US, SECOND_US
from tidegate.payment import PaymentRequest
from training.dataset import NEVER, DatasetError, Events, features, load_mapping, payments, read
from training.synth import SynthConfig, generate

MAPPINGS = Path(__file__).resolve().parents[3] / "configs" / "datasets"
CSV = """id,paid_at,euros,card_token,till,mcc,decided,chargeback,chargeback_at,cashier
2,2026-03-02T10:00:00+01:00,12.34,tok-b,007,5411,approve,0,,anna
1,2026-03-02T08:30:00Z,5,tok-a,007,,decline,0,,anna
3,2026-03-02T11:00:00Z,0.01,tok-a,8,5411,approve,1,2026-03-09T00:00:00Z,ben
"""
COLUMNS = ("transaction_id", "ts", "customer_id", "terminal_id", "amount", "fraud", "fraud_scenario")


def _handbook(path: Path) -> Path:
    when = [datetime(2018, 4, 1, 0, 0, s, tzinfo=UTC).replace(tzinfo=None) for s in (31, 9, 31)]
    types = [pa.int32(), pa.timestamp("ms"), pa.int32(), pa.int32(), pa.float64(), pa.int8(), pa.int8()]
    columns = [[0, 1, 2], when, [596, 4961, 596], [3156, 3412, 3412], [57.16, 0.0, 220.29], [0, 0, 1], [0, 0, 1]]
    arrays = [pa.array(values, kind) for values, kind in zip(columns, types, strict=True)]
    pq.write_table(pa.table(dict(zip(COLUMNS, arrays, strict=True))), path)
    return path


def _csv(path: Path, text: str = CSV) -> Path:
    path.write_text(text)
    return path


def _synth(path: Path, days: int = 12) -> Events:
    pq.write_table(generate(SynthConfig(cards=100, terminals=40, days=days, fraud_share=0.05)), path)
    return read(path, load_mapping(MAPPINGS / "synth.toml"))


def test_the_handbook_file_is_read_in_time_order_with_tokens_of_its_bare_ids(tmp_path: Path) -> None:
    events = read(_handbook(tmp_path / "h.parquet"), load_mapping(MAPPINGS / "handbook.toml"))

    assert events.transaction_ids.to_pylist() == ["hb-1", "hb-0", "hb-2"]
    assert [events.cards[slot] for slot in events.card_slot] == ["c-4961", "c-596", "c-596"]
    assert [events.terminals[slot] for slot in events.terminal_slot] == ["t-3412", "t-3156", "t-3412"]
    assert events.amount_minor.tolist() == [1, 5716, 22029]
    assert events.fraud.tolist() == [False, False, True]
    assert events.occurred_us[0] == datetime(2018, 4, 1, 0, 0, 9, tzinfo=UTC).timestamp() * SECOND_US
    assert events.label_known_us.tolist() == [NEVER, NEVER, events.occurred_us[2] + 7 * DAY_US]
    assert "fraud_scenario" not in events.texts


def test_the_example_csv_is_read_as_its_comments_say(tmp_path: Path) -> None:
    events = read(_csv(tmp_path / "x.csv"), load_mapping(MAPPINGS / "example-csv.toml"))

    assert events.transaction_ids.to_pylist() == ["shop-1", "shop-2", "shop-3"]
    assert events.amount_minor.tolist() == [500, 1234, 1]
    assert events.terminals == ("till-007", "till-8")
    assert events.declined.tolist() == [True, False, False]
    assert events.texts["mcc"].of(slice(0, 3)) == [None, "5411", "5411"]
    assert events.label_known_us[2] == datetime(2026, 3, 9, tzinfo=UTC).timestamp() * SECOND_US


@pytest.mark.parametrize("mapped", ["handbook", "synth", "csv"])
def test_what_is_read_can_be_sent_to_the_door(tmp_path: Path, mapped: str) -> None:
    if mapped == "synth":
        events = _synth(tmp_path / "s.parquet", days=3)
    elif mapped == "csv":
        events = read(_csv(tmp_path / "x.csv"), load_mapping(MAPPINGS / "example-csv.toml"))
    else:
        events = read(_handbook(tmp_path / "h.parquet"), load_mapping(MAPPINGS / "handbook.toml"))
    bodies = [PaymentRequest.model_validate(body) for body in payments(events)]

    assert [body.occurred_us for body in bodies] == events.occurred_us.tolist()
    assert [body.amount.minor for body in bodies] == events.amount_minor.tolist()
    assert [body.transaction_id for body in payments_of(events, 1)] == [bodies[1].transaction_id]


def payments_of(events: Events, row: int) -> list[PaymentRequest]:
    return [PaymentRequest.model_validate(body) for body in payments(events, row, row + 1)]


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("12.34", "12.345", "column 'euros', row 1: must have two decimals"),
        ("12.34", "nan", "column 'euros', row 1"),
        ("0.01", "0.00", "column 'euros', row 3: must be 1 to"),
        ("12.34", "twelve", "column 'euros', row 1: must be a decimal number"),
        ("2026-03-02T08:30:00Z", "2026-03-02T08:30:00", "column 'paid_at', row 2: must be RFC 3339"),
        ("2026-03-02T08:30:00Z", "", "column 'paid_at', row 2: is empty"),
        ("tok-b", "4111111111111111", "column 'card_token', row 1: as card"),
        ("tok-b", "", "column 'card_token', row 1: is empty"),
        (",8,", ",a b,", "column 'till', row 3: as terminal"),
        (",approve,1", ",approve,7", "column 'chargeback', row 3: must be 0 or 1"),
        ("decline", "refuse", "column 'decided', row 2: as outcome"),
        ("2026-03-09", "2026-02-09", "column 'chargeback_at', row 3: is before the payment"),
        ("\n3,", "\n1,", "column 'id', row 3: is there twice"),
        ("\n3,", "\n4111111111111111,", "column 'id', row 3: could be taken for a card number"),
        ("euros", "dollars", "names columns that the file doesn't have: euros"),
        ("cashier", "cashier,extra", "x.csv"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_by_file_column_and_row(
    tmp_path: Path, old: str, new: str, where: str
) -> None:
    path = _csv(tmp_path / "x.csv", CSV.replace(old, new, 1))

    with pytest.raises(DatasetError, match=r"x\.csv") as caught:
        read(path, load_mapping(MAPPINGS / "example-csv.toml"))
    assert where in str(caught.value)


def test_a_column_nobody_spoke_of_is_an_error(tmp_path: Path) -> None:
    mapping = load_mapping(MAPPINGS / "handbook.toml").model_copy(update={"ignore": {}})

    with pytest.raises(DatasetError, match=r"\[ignore\] with a reason: fraud_scenario"):
        read(_handbook(tmp_path / "h.parquet"), mapping)


@pytest.mark.parametrize(("unit", "said"), [("seconds", "the mapping says 'seconds'"), ("rfc3339", "timestamp")])
def test_a_timestamp_column_is_never_read_in_a_unit_it_does_not_have(tmp_path: Path, unit: str, said: str) -> None:
    mapping = tmp_path / "m.toml"
    mapping.write_text((MAPPINGS / "handbook.toml").read_text().replace('"timestamp"', f'"{unit}"'))

    with pytest.raises(DatasetError, match=said):
        read(_handbook(tmp_path / "h.parquet"), load_mapping(mapping))


def test_milliseconds_taken_for_seconds_are_noticed(tmp_path: Path) -> None:
    mapping = tmp_path / "m.toml"
    mapping.write_text(
        (MAPPINGS / "example-csv.toml")
        .read_text()
        .replace('"paid_at", unit = "rfc3339"', '"paid_at", unit = "seconds"')
    )
    text = CSV.replace("2026-03-02T10:00:00+01:00", "1772442000000").replace("2026-03-02T08:30:00Z", "1772440200000")

    with pytest.raises(DatasetError, match="row 1: is no time in seconds"):
        read(_csv(tmp_path / "x.csv", text.replace("2026-03-02T11:00:00Z", "1772449200000")), load_mapping(mapping))


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ('format = "csv"', 'format = "xml"', "format"),
        ('"euros", unit = "major"', '"euros", unit = "cents"', "columns.amount.unit"),
        ("fraud = {", "frauds = {", "columns.f"),
        ("[columns]", "[columns", "m.toml"),
    ],
)
def test_what_is_wrong_in_a_mapping_is_named(tmp_path: Path, old: str, new: str, field: str) -> None:
    path = tmp_path / "m.toml"
    path.write_text((MAPPINGS / "example-csv.toml").read_text().replace(old, new))

    with pytest.raises(DatasetError, match=r"m\.toml") as caught:
        load_mapping(path)
    assert field in str(caught.value)


def test_features_are_what_the_online_kernel_says_payment_by_payment(tmp_path: Path) -> None:
    events = _synth(tmp_path / "s.parquet", days=3)
    events = replace(events, label_known_us=np.full(len(events), NEVER), label_corrected_us=np.full(len(events), NEVER))
    cards, terminals = empty_cards(len(events.cards)), empty_terminals(len(events.terminals))
    one, wanted = np.zeros(FEATURE_COUNT, np.float32), []
    for row in range(len(events)):
        card, terminal, now = int(events.card_slot[row]), int(events.terminal_slot[row]), int(events.occurred_us[row])
        key = token_hash(events.terminals[terminal])
        observe(cards, card, terminals, terminal, key, now, now, int(events.amount_minor[row]), one)
        wanted.append(one.copy())

    np.testing.assert_array_equal(features(events), np.array(wanted))


def _changed_after(events: Events, row: int) -> Events:
    """Return the same payments up to `row` with another future: amounts, cards, verdicts."""
    later = np.arange(len(events)) > row
    cut_us = events.occurred_us[row]
    known = np.where(events.label_known_us > cut_us, NEVER, events.label_known_us)
    corrected = np.where(events.label_corrected_us > cut_us, NEVER, events.label_corrected_us)
    return replace(
        events,
        amount_minor=np.where(later, 99_999, events.amount_minor),
        card_slot=np.where(later, 0, events.card_slot).astype(np.int32),
        label_known_us=known,
        label_corrected_us=corrected,
    )


def test_changing_the_future_changes_no_feature_of_the_past(tmp_path: Path) -> None:
    events = _synth(tmp_path / "s.parquet")
    row = len(events) * 2 // 3
    before, after = features(events), features(_changed_after(events, row))

    np.testing.assert_array_equal(before[: row + 1], after[: row + 1])
    assert not np.array_equal(before[row + 1 :], after[row + 1 :], equal_nan=True)


def test_a_verdict_counts_from_when_it_is_known_until_it_is_taken_back(tmp_path: Path) -> None:
    events = read(_csv(tmp_path / "x.csv"), load_mapping(MAPPINGS / "example-csv.toml"))
    start, hour = int(events.occurred_us[0]), 3600 * SECOND_US
    events = replace(
        events,
        occurred_us=start + np.array([0, 2, 4]) * hour,
        card_slot=np.zeros(3, np.int32),
        label_known_us=np.array([start + hour, NEVER, NEVER]),
        label_corrected_us=np.array([start + 3 * hour, NEVER, NEVER]),
    )
    at = NAMES.index(next(name for name in NAMES if "card" in name and "fraud" in name))

    assert features(events)[:, at].tolist() == [0.0, 1.0, 0.0]


def test_a_file_that_is_not_there_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"nowhere\.csv: no file is there; give payments as Parquet or CSV"):
        read(tmp_path / "nowhere.csv", load_mapping(MAPPINGS / "example-csv.toml"))
