"""The proof against a cloud: the same, incomplete and different are told apart, by hashes computed apart."""

from typing import Any

import pytest

from actors.journal.layout import located
from actors.journal.tail import Tail
from edge_nodes.proof import LaneProof, proof_lines, prove
from tests.unit.journal.conftest import Rig
from tidegate.passages import Span
from tidegate.records import CHAIN_START, Lane, chain
from tidegate.tide import LaneAnswer, RangeAnswer


@pytest.fixture
def site() -> Any:
    rig = Rig()
    journal, _ = rig.open()
    rig.decide(journal, 20)
    journal.commit()
    return rig, journal


def chains(rig: Rig, lane: Lane) -> list[bytes]:
    made = [CHAIN_START]
    for _, record in rig.entries():
        if record.lane is lane:
            made.append(chain(made[-1], record.to_bytes()))
    return made


def view(rig: Rig, lane: Lane, *spans: tuple[int, int]) -> LaneAnswer:
    known = chains(rig, lane)
    ranges = [
        RangeAnswer(first=a, last=b, before=known[a - 1].hex(), after=known[min(b, len(known) - 1)].hex())
        for a, b in spans
    ]
    return LaneAnswer(through=0, last=0, ranges=ranges)


def proven(rig: Rig, **told: LaneAnswer) -> dict[Lane, LaneProof]:
    found = prove(Tail(rig.disk), lambda _epoch, lane: told.get(lane.name))
    return {one.lane: one for one in found}


def test_a_cloud_that_has_everything_has_exactly_what_was_journaled(site: Any) -> None:
    rig, _ = site

    found = proven(rig, DECISIONS=view(rig, Lane.DECISIONS, (1, 20)), EVENTS=view(rig, Lane.EVENTS, (1, 1)))

    assert all(one.whole and one.sound for one in found.values())
    assert list(proof_lines(list(found.values())))[-1].startswith("ok:")


def test_what_is_not_there_yet_is_named_and_is_no_difference(site: Any) -> None:
    rig, _ = site

    found = proven(rig, DECISIONS=view(rig, Lane.DECISIONS, (1, 5), (9, 12)))[Lane.DECISIONS]

    assert (found.sound, found.whole, found.same) == (True, False, 9)
    assert found.missing == (Span(6, 8), Span(13, 20))
    assert list(proof_lines([found]))[-1].startswith("incomplete:")


@pytest.mark.parametrize("what", ["another record within", "more than was journaled"])
def test_what_differs_is_told(site: Any, what: str) -> None:
    rig, _ = site
    told = view(rig, Lane.DECISIONS, (1, 20) if what == "another record within" else (1, 21))
    told = told.model_copy(update={"ranges": [told.ranges[0].model_copy(update={"after": "0" * 64})]})

    found = proven(rig, DECISIONS=told)[Lane.DECISIONS]

    assert found.differing == (Span(1, 20 if what == "another record within" else 21),)
    assert list(proof_lines([found]))[-1].startswith("NOT ok:")


def test_a_cloud_that_nothing_came_to_lacks_everything(site: Any) -> None:
    rig, _ = site

    assert proven(rig)[Lane.DECISIONS].missing == (Span(1, 20),)


def test_what_damage_hides_is_neither_the_same_nor_different(site: Any) -> None:
    rig, _ = site
    told = view(rig, Lane.DECISIONS, (1, 5), (6, 20))
    at = next(at for at, record in rig.entries() if record.lane is Lane.DECISIONS and record.seq == 8)
    file = rig.disk.open(rig.segments()[0])
    file.pwrite(b"\xff" * 40, located(at)[2])

    found = proven(rig, DECISIONS=told)[Lane.DECISIONS]

    assert (found.same, found.sound, found.unproven) == (5, True, (Span(6, 20),))
