"""What a training reads of an archive: features as served, labels as received, and nothing that came later."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serve_apps.archive.delta import open_store
from serve_apps.archive.ports import Piece
from tests.sent import NOW_US, SOURCE, decision_rows, source
from tidegate import archived
from tidegate.decision import Mark, Outcome
from tidegate.features.declarations import FEATURE_COUNT, FINGERPRINT
from tidegate.limits import DAY_US, HOUR_US
from tidegate.payment import CHANNELS, ENTRY_MODES
from training.archive import PinnedArchive
from training.dataset import NEVER
from training.labels import training_rows
from training.mapping import DatasetError
from training.served import served

COUNT = 12


def rows_of(first: int = 1, count: int = COUNT) -> np.ndarray[Any, Any]:
    rows = decision_rows(first, count)
    rows["feature_fingerprint"] = FINGERPRINT
    rows["merchant"], rows["currency"], rows["terminal"] = "m-1", "EUR", "t-1"
    rows["card"] = [f"card-{seq % 3}" for seq in range(first, first + count)]
    rows["amount_minor"] = np.arange(count) + 100
    rows["channel"], rows["entry_mode"] = next(iter(CHANNELS.values())), ENTRY_MODES[None]
    rows["features"] = np.arange(rows["features"].size).reshape(rows["features"].shape) / 3
    rows["features"][1, 1] = np.nan
    return rows


def label(seq: int, verdict: str, received_us: int, known_us: int | None = None) -> dict[str, Any]:
    told = {"source": SOURCE, "merchant": "m-1", "transaction_id": f"t-{seq}", "label_id": f"l-{received_us}"}
    return {**told, "verdict": verdict, "received_us": received_us, "known_us": known_us or received_us}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An archive of two sites, the second of which handed its payments in first."""
    store = open_store(tmp_path)
    other = rows_of(1, 3)
    other["time_us"] += 500_000
    for offset, (name, rows) in enumerate(((source(2), other), (SOURCE, rows_of()))):
        store.append("decisions", [Piece("test", offset, archived.decisions(name, rows))])
    return tmp_path


def told(folder: Path, *labels: dict[str, Any]) -> None:
    open_store(folder).append("labels", [Piece("test", 0, archived.batch_of("labels", labels))])


def test_features_are_those_that_were_served_to_the_bit_in_the_order_of_time(folder: Path) -> None:
    events, vectors = served(PinnedArchive.of(str(folder)))

    assert len(events) == COUNT + 3
    assert (np.diff(events.occurred_us) > 0).all()
    ours = np.array([site == "site-1" for site in events.texts["site"].of(slice(0, len(events)))])
    wanted = np.ascontiguousarray(rows_of()["features"][:, :FEATURE_COUNT])
    assert vectors[ours].tobytes() == wanted.tobytes()
    assert events.amount_minor[ours].tolist() == list(range(100, 100 + COUNT))
    assert [events.cards[slot] for slot in events.card_slot[ours][:3]] == ["card-1", "card-2", "card-0"]
    assert events.texts["currency"].of(slice(0, 2)) == ["EUR", "EUR"]
    assert events.texts["channel"].of(slice(0, 1)) == [next(iter(CHANNELS))]
    assert events.texts["entry_mode"].of(slice(0, 1)) == [None]
    assert "device" not in events.texts


def test_a_label_counts_from_its_receipt_and_a_correction_from_its_own(folder: Path) -> None:
    at = {seq: NOW_US + seq * DAY_US for seq in range(9)}
    told(
        folder,
        label(4, "fraud", at[1]),
        label(5, "fraud", at[1]),
        label(5, "legit", at[3]),
        label(6, "legit", at[2]),
        label(7, "fraud", at[2], known_us=at[2]),
        label(7, "legit", at[4], known_us=at[1]),  # older than what stands: it came late
        label(8, "legit", at[1]),
        label(8, "fraud", at[5]),
    )

    events, _ = served(PinnedArchive.of(str(folder)))

    found = {}
    for row, name in enumerate(events.transaction_ids.to_pylist()):
        known, corrected = events.label_known_us[row], events.label_corrected_us[row]
        if known != NEVER:
            found[name] = (int(known), int(corrected), bool(events.fraud[row]))
    assert found == {
        "t-4": (at[1], NEVER, True),
        "t-5": (at[1], at[3], False),
        "t-6": (at[2], at[2], False),
        "t-7": (at[2], NEVER, True),
        "t-8": (at[5], NEVER, True),
    }


def test_what_is_learnt_at_a_time_rests_on_what_was_received_by_then(folder: Path) -> None:
    told(folder, label(4, "fraud", NOW_US + 2 * DAY_US))
    events, _ = served(PinnedArchive.of(str(folder)))

    before, after = (training_rows(events, cut_us=NOW_US + hours * HOUR_US, delay_us=DAY_US) for hours in (36, 48))

    at = events.transaction_ids.to_pylist().index("t-4")
    assert dict(zip(before.index, before.target, strict=True))[at] == 0
    assert dict(zip(after.index, after.target, strict=True))[at] == 1


def test_a_decline_that_somebody_called_good_may_be_learnt_from_and_another_may_not(
    folder: Path, tmp_path: Path
) -> None:
    declined = rows_of(101, 2)
    declined["outcome"] = Outcome.DECLINE
    open_store(tmp_path).append("decisions", [Piece("test", 9, archived.decisions(SOURCE, declined))])
    told(folder, label(102, "legit", NOW_US + DAY_US))
    events, _ = served(PinnedArchive.of(str(folder)))

    learnt = training_rows(events, cut_us=NOW_US + 9 * DAY_US, delay_us=DAY_US)

    names = events.transaction_ids.take(learnt.index).to_pylist()
    assert ("t-102" in names, "t-101" in names) == (True, False)


def test_forced_answers_and_other_features_are_left_out(folder: Path) -> None:
    forced, foreign = rows_of(101, 2), rows_of(201, 2)
    forced["marks"], foreign["feature_fingerprint"] = Mark.SANDBOX, "0123456789abcdef"
    pieces = [Piece("more", offset, archived.decisions(SOURCE, rows)) for offset, rows in enumerate((forced, foreign))]
    open_store(folder).append("decisions", pieces)

    assert len(served(PinnedArchive.of(str(folder)))[0]) == COUNT + 3


def test_an_archive_without_this_programs_features_is_refused(tmp_path: Path) -> None:
    open_store(tmp_path).append("decisions", [Piece("test", 0, archived.decisions(SOURCE, decision_rows(1, 4)))])

    with pytest.raises(DatasetError, match="4 decisions, none with this program's features"):
        served(PinnedArchive.of(str(tmp_path)))


def test_what_is_too_old_to_be_learnt_from_is_never_read(folder: Path) -> None:
    old = rows_of(101, 2)
    old["time_us"] -= 30 * DAY_US
    open_store(folder).append("decisions", [Piece("more", 0, archived.decisions(SOURCE, old))])
    archive = PinnedArchive.of(str(folder))

    counts = [len(served(archive, days * DAY_US)[0]) for days in (29, 31)]

    assert counts == [COUNT + 3, COUNT + 5]
