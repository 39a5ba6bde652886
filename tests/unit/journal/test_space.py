"""A bounded disk: the ladder, the reserve, compression, refusing before anything is changed."""

from contextlib import suppress
from random import Random
from typing import Any

import pytest

from actors.journal.layout import epoch_names
from actors.journal.log import Entry
from actors.journal.shelf import Shelf
from actors.journal.space import Rung, Space, rung
from actors.journal.verify import verify
from tidegate.errors import DiskFullError, JournalError, JournalFormatError, NotFoundError
from tidegate.records import DECISION_BODY_BYTES, Kind, Lane, event_body

NOW_US = 1_795_000_000_000_000
SEGMENT = 64 * 1024


@pytest.mark.parametrize(
    ("used", "free", "expected"),
    [
        (0, 10_000, Rung.NORMAL),
        (599, 10_000, Rung.NORMAL),
        (600, 10_000, Rung.COMPRESS),
        (800, 10_000, Rung.DROP_TRACES),
        (900, 10_000, Rung.LOWER_FLOORS),
        (950, 10_000, Rung.STOP_OFFLINE),
        (980, 10_000, Rung.REFUSE),
        (2_000, 10_000, Rung.REFUSE),
        (100, 100, Rung.NORMAL),
        (100, 20, Rung.DROP_TRACES),
        (100, 0, Rung.REFUSE),
    ],
)
def test_the_ladder_counts_the_bound_or_what_the_disk_has_left(used: int, free: int, expected: Rung) -> None:
    assert rung(Space(used, free, reserved=True), bytes_max=1_000) is expected


def test_without_its_reserve_a_journal_refuses() -> None:
    assert rung(Space(1, 1_000, reserved=False), bytes_max=1_000) is Rung.REFUSE


def fill(rig: Any, journal: Any, size: int = 2_000) -> list[Entry]:
    """Append and commit compressible events until the journal refuses."""
    entries: list[Entry] = []
    for _ in range(10_000):
        try:
            entries.append(rig.evict(journal, size))
        except DiskFullError:
            return entries
        journal.commit()
    raise AssertionError("it is never full")


def test_at_its_bound_a_journal_refuses_before_anything_is_changed(rig: Any) -> None:
    rig.bound(bytes_max=6 * SEGMENT)
    journal, _ = rig.open()
    entries = fill(rig, journal)
    last_pos, head = journal.last_pos, journal.head(Lane.EVENTS)

    with pytest.raises(DiskFullError, match=r"raise journal\.bytes_max"):
        rig.evict(journal, 2_000)

    assert (journal.last_pos, journal.head(Lane.EVENTS)) == (last_pos, head)
    assert journal.used_bytes <= 6 * SEGMENT
    assert list(journal.scan())[1:] == entries
    assert list(rig.reopen()[0].scan())[1:] == entries


def test_a_full_journal_that_is_tended_goes_on_and_every_locator_still_leads_to_its_record(rig: Any) -> None:
    rig.bound(bytes_max=6 * SEGMENT)
    journal, _ = rig.open()
    entries = fill(rig, journal)
    assert journal.rung() >= Rung.COMPRESS
    before = journal.used_bytes

    while journal.tend():
        pass

    assert journal.used_bytes < before
    assert journal.rung() < Rung.COMPRESS
    more = rig.evict(journal)
    journal.commit()
    assert [journal.read(at) for at, _ in entries] == [record for _, record in entries]
    assert list(journal.scan())[1:] == [*entries, more]
    assert verify(rig.disk).ok
    journal, recovery = rig.reopen()
    assert not recovery.new_epoch
    assert list(journal.scan())[1:] == [*entries, more]
    assert rig.entries()[1:] == [*entries, more]


def test_below_sixty_percent_nothing_is_compressed(rig: Any) -> None:
    journal, _ = rig.open()
    rig.fill_segment(journal)

    assert not journal.tend()
    assert all(name.endswith(".seg") for name in rig.segments())


def test_what_does_not_get_smaller_is_left_as_it_is(rig: Any) -> None:
    rig.bound(bytes_max=6 * SEGMENT)
    journal, _ = rig.open()
    while journal.rung() < Rung.COMPRESS:
        journal.append([(Lane.EVENTS, Kind.CARD_EVICTED, rig.rng.randbytes(9_000))], NOW_US)
        journal.commit()
    names = rig.segments()

    while journal.tend():
        pass

    assert rig.segments() == names


def test_a_full_disk_costs_the_reserve_and_no_record(rig: Any) -> None:
    """The bound was set higher than the disk is large: sealing uses the reserve, then the journal refuses."""
    rig.bound(reserve_bytes=SEGMENT)
    journal, _ = rig.open()
    rig.disk.full(int(3.2 * SEGMENT))
    entries = fill(rig, journal)

    assert not journal.failed
    assert journal.rung() is Rung.REFUSE
    assert "reserve" not in rig.disk.sizes()
    assert list(journal.scan())[1:] == entries
    rig.disk.full(20 * SEGMENT)
    assert journal.tend()
    assert "reserve" in rig.disk.sizes()
    entries.append(rig.evict(journal))
    journal.commit()
    assert list(rig.reopen()[0].scan())[1:] == entries


def test_a_disk_too_full_for_the_reserve_too_fails_the_journal_and_loses_nothing_acknowledged(rig: Any) -> None:
    rig.bound(reserve_bytes=1_000)
    journal, _ = rig.open()
    entries: list[Entry] = []
    rig.disk.full(int(1.5 * SEGMENT))
    while not journal.failed:
        entry = rig.evict(journal, 2_000)
        with suppress(JournalError):
            journal.commit()
            entries.append(entry)

    assert len(entries) > 20
    rig.disk.full(None)
    assert list(rig.reopen()[0].scan())[1 : len(entries) + 1] == entries


def test_a_journal_opens_on_a_full_disk_and_answers(rig: Any) -> None:
    journal, _ = rig.open()
    entries = rig.decide(journal, 3)
    journal.close()
    rig.disk.remove("reserve")
    rig.disk.full(0)

    journal, _ = rig.open()

    assert list(journal.scan())[1:] == entries
    assert journal.rung() is Rung.REFUSE
    with pytest.raises(DiskFullError):
        rig.decide(journal)


def test_a_new_epoch_begins_on_a_full_disk_with_what_was_kept_for_it(rig: Any) -> None:
    rig.bound(reserve_bytes=2 * SEGMENT)
    journal, _ = rig.open()
    rig.decide(journal, 3)
    journal.close()
    rig.disk.full(sum(rig.disk.sizes().values()))
    rig.disk.garble(rig.segments()[0], 700, b"rotten")

    journal, recovery = rig.open()

    assert recovery.epoch_index == 2
    assert len(recovery.lost) == 1
    assert journal.rung() is Rung.REFUSE


# --- Compressed segments. ---


def compressed(rig: Any) -> list[Entry]:
    """A journal whose first segment is compressed."""
    journal, _ = rig.open()
    entries: list[Entry] = list(journal.scan())
    while len(rig.segments()) < 2:
        body = event_body({"card": rig.rng.randbytes(600).hex()})
        entries += journal.append([(Lane.EVENTS, Kind.CARD_EVICTED, body)], NOW_US)
        journal.commit()
    journal.close()
    assert Shelf(rig.disk).compress(epoch_names(rig.disk.sizes())[0], 1)
    return entries


def test_a_compressed_segment_is_smaller_and_reads_the_same(rig: Any) -> None:
    entries = compressed(rig)

    assert [name[-4:] for name in rig.segments()] == [".zst", ".seg"]
    assert rig.disk.sizes()[rig.segments()[0]] < 0.7 * SEGMENT
    journal, recovery = rig.open()
    assert not recovery.new_epoch
    assert list(journal.scan()) == entries
    assert [journal.read(at) for at, _ in entries] == [record for _, record in entries]


def test_a_last_record_that_ends_in_zeros_survives_compression(rig: Any) -> None:
    journal, _ = rig.open()
    made = []
    while len(rig.segments()) < 2:
        made += journal.append([(Lane.DECISIONS, Kind.DECISION, b"\x01" + bytes(DECISION_BODY_BYTES - 1))], NOW_US)
        journal.commit()

    assert Shelf(rig.disk).compress(epoch_names(rig.disk.sizes())[0], 1)

    assert rig.entries()[1:] == made
    recovery = rig.reopen()[1]
    assert (recovery.new_epoch, recovery.lost) == (False, ())


def test_a_damaged_block_of_a_compressed_segment_is_lost_exactly_and_the_rest_is_kept(rig: Any) -> None:
    entries = compressed(rig)
    name = rig.segments()[0]
    rig.disk.garble(name, rig.disk.sizes()[name] // 2, b"rotten")

    journal, recovery = rig.open()

    gone = {pos for lost in recovery.lost for pos in range(lost.first_pos, lost.last_pos + 1)}
    assert gone
    assert [entry for entry in entries if entry[1].pos not in gone] == rig.entries()[:-2]
    with pytest.raises(NotFoundError):
        journal.read(next(at for at, record in entries if record.pos in gone))


@pytest.mark.parametrize("offset", [0, 14, 30])
def test_a_compressed_segment_with_a_damaged_head_is_lost_whole(rig: Any, offset: int) -> None:
    entries = compressed(rig)
    rig.disk.garble(rig.segments()[0], offset, b"rotten")

    recovery = rig.open()[1]

    (lost,) = recovery.lost
    assert (lost.first_pos, lost.last_pos) == (1, entries[-2][1].pos)


def test_a_compressed_segment_of_an_unknown_version_is_refused(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.journal.shelf._VERSION", 2)
    compressed(rig)
    monkeypatch.undo()

    with pytest.raises(JournalFormatError, match="compressed segment of version 2, this program reads 1"):
        rig.open()


def test_a_torn_segment_behind_a_compressed_one_is_cut(rig: Any) -> None:
    entries = compressed(rig)
    rig.disk.garble(rig.mark, 0, b"lost")
    rig.disk.garble(rig.segments()[1], 10, b"torn")

    journal, recovery = rig.open()

    assert recovery.torn is not None
    found = list(journal.scan())
    assert found[:-1] == entries[:-1]
    assert found[-1][1].kind is Kind.TAIL_CUT
    rig.disk.crash(Random(3))
    assert list(rig.open()[0].scan()) == found


def test_a_journal_never_goes_on_in_a_compressed_segment(rig: Any) -> None:
    """The segment behind it is gone, and so is every proof that it was ever there."""
    entries = compressed(rig)
    rig.disk.garble(rig.mark, 0, b"lost")
    rig.disk.remove(rig.segments()[1])

    journal, recovery = rig.open()
    entry = rig.evict(journal)
    journal.close()

    assert not recovery.new_epoch
    assert [name[-4:] for name in rig.segments()] == [".zst", ".seg"]
    assert list(rig.open()[0].scan()) == [*entries[:-1], entry]
