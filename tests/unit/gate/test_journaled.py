"""What a gate and its journal write is what docs/tide.md tells others to expect."""

import re
from pathlib import Path
from typing import Any

from actors.journal.recovery import Owner
from tests.deltas import batch
from tests.unit.journal.conftest import Rig as Journaling
from tidegate.events import check
from tidegate.ids import GateId, SiteId
from tidegate.limits import SECOND_US
from tidegate.records import Kind, Record

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "tide.md").read_text()
TOLD = {
    int(kind): (name, set(re.findall(r"`(\w+)`", fields)))
    for kind, name, fields in re.findall(r"^\| (\d+) \| `([A-Z_]+)` \| (.*?) ?\| ", TEXT, re.MULTILINE)
}


def gates(rig: Any) -> list[Record]:
    """Return the events of a gate to which everything happened that a gate tells of."""
    gate = rig.open()
    for number in range(20):
        gate.decide(rig.payment(number, card=f"card-{number}", terminal=f"t-{number}"))
    gate.label(rig.label())
    rig.list(gate, "hard_block,card,card-1")
    rig.obey(gate)
    gate.take_deltas(batch(), since=0, until=3)
    gate.drop_overlay("a pack is gone")
    rig.clock.advance(-6 * SECOND_US)
    gate.decide(rig.payment(21))
    gate.journal.commit()
    return [record for _, record in gate.journal.scan() if record.kind is not Kind.DECISION]


def journals() -> list[Record]:
    """Return the events of a journal whose tail was cut, and of another that lost a segment."""
    torn = Journaling()
    journal, _ = torn.open()
    torn.fill_segment(journal)
    torn.disk.garble(torn.mark, 0, b"lost")
    torn.disk.garble(torn.segments()[1], 10, b"torn")
    lost = Journaling(owner=Owner(SiteId("s2"), GateId("g0"), "m2"))
    journal, _ = lost.open()
    for _ in range(2):
        lost.fill_segment(journal)
    lost.disk.remove(lost.segments()[1])
    found = [record for rig in (torn, lost) for _, record in rig.reopen()[0].scan()]
    return [record for record in found if record.kind is not Kind.DECISION]


def test_each_kind_says_what_the_document_tells(rig: Any) -> None:
    said = {record.kind: set(record.values()) for record in (*gates(rig), *journals())}

    assert {kind: name for kind, (name, _) in TOLD.items()} == {int(kind): kind.name for kind in Kind}
    assert said == {kind: TOLD[kind][1] for kind in Kind if kind is not Kind.DECISION}


def test_each_kind_is_let_in_by_the_cloud(rig: Any) -> None:
    written = [*gates(rig), *journals()]

    for record in written:
        check(record.kind, record.body)

    assert {record.kind for record in written} == {*Kind} - {Kind.DECISION}
