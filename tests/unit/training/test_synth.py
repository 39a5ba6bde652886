"""Generated payments: the same for the same seed, lifelike in their rates, and nowhere telling more than is known."""

import hashlib
import re
from dataclasses import replace
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tidegate.limits import DAY_US, HOUR_US
from training.synth import KINDS, SCHEMA, SynthConfig, generate, live, live_table
from training.synth.world import CATEGORIES

SMALL = SynthConfig(cards=600, terminals=240, days=20, fraud_share=0.03)
GOLDEN = "c260f80774e21fee"


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return generate(SMALL)


def _hash(table: pa.Table) -> str:
    rows = repr([table[name].to_pylist() for name in table.column_names])
    return hashlib.sha256(rows.encode()).hexdigest()[:16]


def test_a_seed_gives_the_same_payments_for_ever() -> None:
    assert _hash(generate(SynthConfig(cards=400, terminals=60, days=4))) == GOLDEN


def test_another_seed_gives_other_payments() -> None:
    assert _hash(generate(SynthConfig(seed=8, cards=400, terminals=60, days=4))) != GOLDEN


def test_rates_are_what_the_configuration_says(table: pa.Table) -> None:
    payments_a_day = table.num_rows / SMALL.cards / SMALL.days
    share = np.mean(table["fraud"].to_numpy())

    assert 0.85 * SMALL.payments_a_day < payments_a_day < 1.15 * SMALL.payments_a_day
    assert 0.7 * SMALL.fraud_share < share < 1.3 * SMALL.fraud_share


def test_payments_are_in_time_order_with_ids_of_their_own(table: pa.Table) -> None:
    assert np.all(np.diff(table["occurred_us"].to_numpy()) >= 0)
    assert pc.count_distinct(table["transaction_id"]).as_py() == table.num_rows
    assert table.schema == SCHEMA


def test_nobody_pays_at_a_closed_terminal(table: pa.Table) -> None:
    shops = {c.mcc: c for c in CATEGORIES}
    for row in table.to_pylist():
        shop, time_us = shops[row["mcc"]], row["occurred_us"] % DAY_US
        assert shop.opens * HOUR_US <= time_us < shop.closes * HOUR_US
        assert shop.on_sundays or (row["occurred_us"] // DAY_US + 3) % 7 != 6


def test_a_terminal_belongs_to_one_site_and_one_merchant(table: pa.Table) -> None:
    pairs = {(row["terminal"], row["site"], row["merchant"]) for row in table.to_pylist()}

    assert len(pairs) == len({terminal for terminal, _, _ in pairs})
    assert {site for _, site, _ in pairs} == {"site-1", "site-2", "site-3"}


def test_cards_have_habits(table: pa.Table) -> None:
    """A card's commonest terminal takes far more than the 1 in 240 that chance would give it."""
    counts = table.filter(pc.invert(table["fraud"])).group_by(["card", "terminal"]).aggregate([("card", "count")])
    best = counts.group_by("card").aggregate([("card_count", "max"), ("card_count", "sum")])

    assert np.median(best["card_count_max"].to_numpy() / best["card_count_sum"].to_numpy()) > 0.2


def test_no_token_could_be_taken_for_a_card_number(table: pa.Table) -> None:
    wide = generate(SynthConfig(seed=9_999_999, cards=50, terminals=40, days=1))
    for column in ("transaction_id", "card", "terminal", "merchant", "site"):
        for text in [*table[column].unique().to_pylist(), *wide[column].unique().to_pylist()]:
            assert not re.search(r"\d(?:[ -]?\d){12,}", text)


def test_most_payments_at_a_taken_over_terminal_are_fraud(table: pa.Table) -> None:
    """Counted over the days on which the thief uses it."""
    taken = table.filter(pc.equal(table["fraud_kind"], "terminal"))
    held = {(row["terminal"], row["occurred_us"] // DAY_US) for row in taken.to_pylist()}
    all_there = [row for row in table.to_pylist() if (row["terminal"], row["occurred_us"] // DAY_US) in held]

    assert len(held) > 5
    assert 0.5 < taken.num_rows / len(all_there) < 0.9


def test_labels_come_late_and_by_kind(table: pa.Table) -> None:
    late = {}
    for kind in ("card_testing", "terminal"):
        rows = table.filter(pc.equal(table["fraud_kind"], kind))
        delays = pc.subtract(rows["label_known_us"], rows["occurred_us"]).drop_null().to_numpy()
        assert delays.min() >= HOUR_US
        late[kind] = np.median(delays) / DAY_US

    assert 0.6 < late["card_testing"] < 1.6
    assert 2 < late["terminal"] < 4.5


def test_some_fraud_is_never_noticed_and_some_verdicts_are_taken_back(table: pa.Table) -> None:
    fraud = table.filter(table["fraud"])
    taken_back = table.filter(table["label_corrected_us"].is_valid())

    assert 0 < fraud["label_known_us"].null_count < 0.2 * fraud.num_rows
    assert taken_back.num_rows > 0
    assert not any(taken_back["fraud"].to_pylist())
    assert pc.all(pc.less(taken_back["label_known_us"], taken_back["label_corrected_us"])).as_py()


def test_a_new_pattern_begins_at_its_date_and_changes_nothing_else(table: pa.Table) -> None:
    since = SMALL.start_us + 10 * DAY_US
    with_new = generate(replace(SMALL, new_pattern_from=since))
    new = pc.equal(with_new["fraud_kind"], "new_pattern")
    added = with_new.filter(new)
    spare = {"transaction_id"}

    assert added.num_rows > 10
    assert since <= pc.min(added["occurred_us"]).as_py() < since + 3 * DAY_US
    rest = with_new.filter(pc.invert(new))
    for name in set(SCHEMA.names) - spare:
        assert rest[name].to_pylist() == table[name].to_pylist()


def test_all_kinds_but_the_new_one_occur(table: pa.Table) -> None:
    assert set(table["fraud_kind"].unique().to_pylist()) == set(KINDS) - {"new_pattern"}


@pytest.mark.parametrize("hours", [0, 24 * 5, 24 * 5 + 7])
def test_live_payments_are_those_of_the_file_wherever_they_begin(table: pa.Table, hours: int) -> None:
    begin = SMALL.start_us + hours * HOUR_US
    first = int(np.searchsorted(table["occurred_us"].to_numpy(), begin))

    assert list(islice(live(SMALL, begin), 1_500)) == table.slice(first, 1_500).to_pylist()


def test_live_payments_go_on_beyond_the_days_of_the_file() -> None:
    tables = list(islice(live_table(SynthConfig(cards=50, terminals=40, days=1), SMALL.start_us), 4))

    assert [t["occurred_us"][0].as_py() // DAY_US - SMALL.start_us // DAY_US for t in tables] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("given", "named"),
    [({"seed": -1}, "seed"), ({"start_us": 5}, "start_us"), ({"days": 0}, "days"), ({"terminals": 3}, "terminals")],
)
def test_what_cannot_be_generated_is_refused_by_name(given: dict[str, int], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        SynthConfig(**given)
