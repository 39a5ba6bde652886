"""Dropping segments behind the cloud: what goes, what stays, and that the journal goes on as if it were all there."""

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from actors.journal.journal import Journal
from actors.journal.layout import SEGMENTS_MAX, epoch_names, located
from actors.journal.log import Entry
from actors.journal.memory import PowerCut
from actors.journal.report import verify_lines
from actors.journal.shelf import Shelf
from actors.journal.space import Rung
from actors.journal.tail import Tail
from actors.journal.trim import Line, TrimmedError, trim
from actors.journal.verify import verify
from tests.unit.journal.conftest import NOW_US
from tidegate.records import Kind, Lane, event_body

OLD_US = NOW_US + 1


def filled(rig: Any, segments: int = 3) -> tuple[Journal, list[Entry]]:
    """A journal of so many full segments, each with a policy and decisions; the last holds a few records."""
    journal, _ = rig.open()
    made = []
    for number in range(segments):
        body = event_body({"policy": number})
        made += journal.append([(Lane.EVENTS, Kind.POLICY_ACTIVATED, body)], NOW_US)
        made += rig.fill_segment(journal)
    return journal, made


def line(journal: Journal, **other: Any) -> Line:
    through = {(journal.epoch, lane): journal.head(lane).seq for lane in (Lane.DECISIONS, Lane.EVENTS)}
    return replace(Line(through, OLD_US, journal.last_pos), **other)


def drop(rig: Any, journal: Journal, behind: Line, *, current: bool = True) -> int:
    name = next(one for one in epoch_names(rig.disk.sizes()) if one.epoch == journal.epoch)
    return trim(rig.disk, name, SEGMENTS_MAX, behind, current=current)


def test_what_the_cloud_has_and_nobody_needs_goes_and_the_rest_goes_on(rig: Any) -> None:
    journal, made = filled(rig)
    heads = {lane: journal.head(lane) for lane in (Lane.DECISIONS, Lane.EVENTS)}

    assert drop(rig, journal, line(journal)) == 2
    assert Shelf(rig.disk).compress(epoch_names(rig.disk.sizes())[0], 2)
    again, recovery = rig.reopen()

    assert (again.epoch, recovery.new_epoch, recovery.lost, recovery.torn) == (journal.epoch, False, (), None)
    assert {lane: again.head(lane) for lane in heads} == heads
    assert recovery.offline_approvals
    kept = rig.entries()
    assert [record.kind for _, record in kept[:2]] == [Kind.EPOCH_STARTED, Kind.POLICY_ACTIVATED]
    assert kept[1][1].values() == {"policy": 0}
    assert kept[2:] == made[-len(kept[2:]) :]
    assert list(again.scan(kept[2][1].pos)) == kept[2:]
    assert rig.decide(again)[0][1].seq == heads[Lane.DECISIONS].seq + 1
    with pytest.raises(TrimmedError):
        again.read(made[1][0])


def test_the_journal_verifies_and_says_what_was_dropped(rig: Any) -> None:
    journal, made = filled(rig)
    drop(rig, journal, line(journal))
    drop(rig, journal, line(journal))

    verdict = verify(rig.disk)

    assert verdict.ok
    dropped = min(record.pos for at, record in made if located(at)[1] == 3) - 1
    assert f"  positions 1..{dropped} were dropped once the cloud had them" in list(verify_lines(verdict))


@pytest.mark.parametrize(
    "other",
    [{"before_us": NOW_US}, {"checkpoint_pos": 5}, {"committed": {}}],
    ids=["younger than the replay window", "no checkpoint covers it", "not in the cloud"],
)
def test_what_somebody_needs_stays(rig: Any, other: dict[str, Any]) -> None:
    journal, _ = filled(rig)
    before = rig.segments()

    assert drop(rig, journal, line(journal, **other)) == 0
    assert rig.segments() == before


@pytest.mark.parametrize("lane", [Lane.DECISIONS, Lane.EVENTS])
def test_one_record_that_the_cloud_lacks_keeps_its_segment(rig: Any, lane: Lane) -> None:
    journal, made = filled(rig)
    through = dict(line(journal).committed)
    last = max(record.seq for at, record in made if located(at)[1] == 1 and record.lane is lane)

    through[journal.epoch, lane] = last - 1
    assert drop(rig, journal, line(journal, committed=through)) == 0
    through[journal.epoch, lane] = last
    assert drop(rig, journal, line(journal, committed=through)) == 2
    assert drop(rig, journal, line(journal, committed=through)) == 0


def test_the_segment_in_use_and_a_damaged_one_stay(rig: Any) -> None:
    journal, _ = filled(rig, 1)
    name = epoch_names(rig.disk.sizes())[0]
    assert trim(rig.disk, name, 1, line(journal), current=True) == 0
    rig.disk.garble(rig.segments()[0], 3_000, b"\xff" * 64)

    assert drop(rig, journal, line(journal)) == 0


def test_an_epoch_that_was_left_is_dropped_but_for_its_last_segment(rig: Any) -> None:
    journal, _ = filled(rig)
    behind, heads = line(journal, checkpoint_pos=0), {lane: journal.head(lane) for lane in Lane}
    rig.disk.kill()
    rig.owner = rig.owner.__class__(rig.owner.site, rig.owner.gate, "m2")
    rig.open()

    while drop(rig, journal, behind, current=False):
        pass

    tail = Tail(rig.disk)
    tail.refresh(everything=True)
    assert len([name for name in rig.segments() if journal.epoch in name]) == 1
    assert {lane: tail.head(journal.epoch, lane) for lane in heads} == heads
    assert tail.first(journal.epoch, Lane.DECISIONS) > 1
    assert verify(rig.disk).ok


def test_what_is_kept_is_read_beside_the_gate_and_continues_its_hash(rig: Any) -> None:
    journal, made = filled(rig)
    drop(rig, journal, line(journal))
    tail = Tail(rig.disk)
    tail.refresh(everything=True)
    first, last = tail.first(journal.epoch, Lane.DECISIONS), journal.head(Lane.DECISIONS)

    passage = tail.read(journal.epoch, Lane.DECISIONS, 1, through=last.seq, records_max=5_000, bytes_max=1 << 24)

    assert passage is not None
    assert (passage.first, passage.last, passage.after) == (first, last.seq, last.chain)
    assert tail.head(journal.epoch, Lane.DECISIONS) == last
    assert passage.canonical == b"".join(r.to_bytes() for _, r in made if r.lane is Lane.DECISIONS and r.seq >= first)


def test_the_ladder_drops_before_it_compresses_and_only_where_there_is_a_cloud(rig: Any) -> None:
    journal, _ = filled(rig)
    rig.bound(bytes_max=5 * 64 * 1024)
    journal, _ = rig.reopen()

    while journal.tend():
        pass
    assert len(rig.segments()) == 4
    while journal.tend(line(journal)):
        pass

    assert journal.rung() is Rung.NORMAL  # no more goes than there is need for
    assert len(rig.segments()) == 3
    assert located(journal.kept()[journal.epoch])[1] == 2


def test_a_power_cut_at_any_step_leaves_a_journal_that_goes_on(rig: Any) -> None:
    journal, made = filled(rig, 2)
    behind, head = line(journal), journal.head(Lane.DECISIONS)
    rig.disk.kill()
    base, step, name = rig.disk.copy(), 0, epoch_names(rig.disk.sizes())[0]
    while True:
        step += 1
        rig.disk = base.copy()
        rig.disk.cut_at(step)
        try:
            done = trim(rig.disk, name, 3, behind, current=True)
        except PowerCut:
            rig.disk.crash(Random(step))
            journal, recovery = rig.open()
            assert (recovery.new_epoch, recovery.lost) == (False, ())
            assert journal.head(Lane.DECISIONS) == head
            kept = [entry for entry in rig.entries() if entry in made]
            assert kept == made[-len(kept) :]
            continue
        assert (done, step > 5) == (2, True)
        return


def test_where_what_stands_for_them_is_damaged_they_count_as_lost(rig: Any) -> None:
    journal, _ = filled(rig)
    drop(rig, journal, line(journal))
    rig.disk.garble(next(name for name in rig.disk.sizes() if name.endswith("/trimmed")), 40, b"\xff")

    _, recovery = rig.reopen()

    assert (recovery.new_epoch, recovery.reason) == (True, "damaged")
    assert recovery.lost[0].first_pos == 1
