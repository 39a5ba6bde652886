"""The gate's indexes: answers by a payment's identity, places by seq, labels by id; each bounded."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.gate.answers import Answers, identity
from actors.gate.labels import Labels
from actors.gate.places import Places
from tidegate.limits import ANSWERS_AGE_US, ANSWERS_GENERATIONS

HERE = {"merchant": "m-1", "transaction_id": "tx-1"}


def any_place(_place: int) -> bool:
    return True


def test_an_identity_takes_merchant_and_transaction_apart() -> None:
    assert identity(b"ab", b"c") != identity(b"a", b"bc")
    assert identity(b"m", b"t") == identity(b"m", b"t")
    assert identity(b"m", b"t") != 0


def test_a_place_is_only_told_where_the_record_there_confirms_it() -> None:
    answers, key = Answers(ids_per_generation=8), identity(b"m", b"t")
    answers.add(key, 10, 0)
    answers.add(key, 20, 0)  # another payment of the same hash
    assert answers.find(key, lambda place: place == 20) == 20
    assert answers.find(key, lambda place: place == 10) == 10
    assert answers.find(key, lambda _place: False) == -1
    assert answers.find(identity(b"m", b"u"), any_place) == -1


def test_the_oldest_generation_is_forgotten_at_the_bound_of_ids() -> None:
    answers = Answers(ids_per_generation=4)
    keys = [identity(b"m", str(number).encode()) for number in range(4 * ANSWERS_GENERATIONS + 1)]
    for place, key in enumerate(keys, 1):
        answers.add(key, place, 0)
    assert [answers.find(key, any_place) for key in keys[:4]] == [-1] * 4
    assert answers.find(keys[4], any_place) == 5
    assert len(answers) == 4 * (ANSWERS_GENERATIONS - 1) + 1


def test_an_answer_is_found_for_as_long_as_is_promised_and_forgotten_some_time_after() -> None:
    answers, step_us = Answers(ids_per_generation=1_000), ANSWERS_AGE_US // 80
    keys = [identity(b"m", str(number).encode()) for number in range(160)]
    for number, key in enumerate(keys):
        answers.add(key, number + 1, number * step_us)
    found = [answers.find(key, any_place) > 0 for key in keys]
    assert all(found[-80:])
    assert not any(found[:59])


@settings(max_examples=30)
@given(st.lists(st.integers(1, 70_000), max_size=30, unique=True))
def test_places_give_back_what_was_put_and_nothing_else(seqs: list[int]) -> None:
    places = Places()
    for seq in sorted(seqs):
        places.put(seq, seq * 10)
    assert places.last == max(seqs, default=0)
    assert [places.find(seq) for seq in seqs] == [seq * 10 for seq in seqs]
    assert places.find(0) is places.find(-1) is places.find(places.last + 1) is None


def test_places_before_a_seq_come_newest_first_and_leave_lost_ones_out() -> None:
    places = Places()
    places.put_run(np.array([1, 2, 4, 5]), np.array([11, 12, 14, 15]))
    assert places.before(2**60, 3) == [(5, 15), (4, 14)]
    assert places.before(3, 10) == [(2, 12), (1, 11)]
    assert places.before(1, 10) == []


def label(number: int, verdict: str, known_us: int, **other: str) -> dict[str, object]:
    return {**HERE, "label_id": f"l-{number}", "verdict": verdict, "source": "s", "known_us": known_us, **other}


def test_the_verdict_known_last_stands_in_whatever_order_labels_arrive() -> None:
    early, late = label(1, "fraud", 10), label(2, "legit", 20)
    assert [(labels := Labels()).add(early), labels.add(late)] == [1, -1]
    assert [(labels := Labels()).add(late), labels.add(early)] == [0, 0]


def test_a_label_is_known_by_its_id_and_told_from_another_body() -> None:
    labels = Labels()
    labels.add(label(1, "fraud", 10))
    assert labels.knows(label(1, "fraud", 10)) is True
    assert labels.knows(label(1, "legit", 10)) is None
    assert labels.knows(label(2, "fraud", 10)) is False


def test_the_oldest_labels_are_forgotten_at_the_bound() -> None:
    labels = Labels(bound=3)
    for number in range(5):
        labels.add(label(number, "fraud", number, transaction_id=f"tx-{number}"))
    assert len(labels) == 3
    assert labels.knows(label(1, "fraud", 1, transaction_id="tx-1")) is False
    assert labels.knows(label(4, "fraud", 4, transaction_id="tx-4")) is True
