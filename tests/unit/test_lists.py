"""Lists: exact tokens of four kinds of entity, strongest first, whole and bounded."""

import pytest
from pydantic import ValidationError

from tidegate.decision import Outcome
from tidegate.limits import LIST_ENTRIES_MAX
from tidegate.lists import ListEntry, ListIndex, ListName, Lists
from tidegate.policy.verdict import Hit, Strength

PAYMENT = {"card": "c-1", "device": "d-1", "terminal": "t-1", "merchant": "m-1"}


def index(*entries: tuple[str, str, str]) -> ListIndex:
    """Return an index of entries written as list, entity, value."""
    made = [
        ListEntry.model_validate({"list": name, "entity": entity, "value": value}) for name, entity, value in entries
    ]
    return ListIndex(Lists(version=1, entries=tuple(made)))


def hits(lists: ListIndex, **changes: str | None) -> list[Hit]:
    """Return what the lists say of a payment, with changes."""
    return lists.hits(**(PAYMENT | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("entity", PAYMENT)
def test_each_entity_of_a_payment_is_looked_up_as_itself(entity: str) -> None:
    lists = index(("hard_block", entity, PAYMENT[entity]))

    assert len(hits(lists)) == 1
    assert hits(lists, **{entity: "other"}) == []
    others = {name: PAYMENT[entity] for name in PAYMENT if name != entity}
    assert hits(lists, **others, **{entity: "other"}) == []


@pytest.mark.parametrize(
    ("name", "strength", "outcome"),
    [
        ("hard_block", Strength.HARD, Outcome.DECLINE),
        ("allow", Strength.OVERRIDE, Outcome.APPROVE),
        ("soft_block", Strength.SOFT, Outcome.DECLINE),
    ],
)
def test_each_list_speaks_with_its_own_strength(name: str, strength: Strength, outcome: Outcome) -> None:
    (hit,) = hits(index((name, "card", "c-1")))

    assert (hit.strength, hit.outcome) == (strength, outcome)


def test_one_entity_on_several_lists_is_told_of_by_each() -> None:
    both = index(("soft_block", "card", "c-1"), ("allow", "card", "c-1"), ("hard_block", "merchant", "m-1"))

    assert {hit.strength for hit in hits(both)} == set(Strength)


def test_a_token_is_matched_whole_and_by_case() -> None:
    lists = index(("hard_block", "card", "c-1"))

    assert hits(lists, card="c-11") == hits(lists, card="C-1") == hits(lists, card="c-") == []


def test_a_payment_without_a_device_is_on_no_device_list() -> None:
    assert hits(index(("hard_block", "device", "d-1")), device=None) == []


def test_empty_lists_say_nothing() -> None:
    assert hits(ListIndex(Lists())) == []


def test_lists_with_entries_have_a_version() -> None:
    with pytest.raises(ValidationError, match="version: lists with entries need a version of 1 or more"):
        Lists(entries=index(("allow", "card", "c-1")).lists.entries)


@pytest.mark.parametrize(
    "entry",
    [
        {"list": "grey", "entity": "card", "value": "c"},
        {"list": "allow", "entity": "person", "value": "c"},
        {"list": "allow", "entity": "card", "value": ""},
        {"list": "allow", "entity": "card", "value": "c" * 65},
        {"list": "allow", "entity": "card", "value": "c", "note": "x"},
        {"list": "allow", "entity": "card", "value": "4111 1111 1111 1111"},
        {"list": "allow", "entity": "card", "value": "c-4111111111111111"},
    ],
)
def test_an_entry_that_could_match_no_payment_is_refused(entry: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        ListEntry.model_validate(entry)


def test_a_list_is_bounded() -> None:
    entry = ListEntry(list=ListName.ALLOW, entity="card", value="c")

    assert len(Lists(version=1, entries=(entry,) * LIST_ENTRIES_MAX).entries) == LIST_ENTRIES_MAX
    with pytest.raises(ValidationError, match="entries"):
        Lists(version=1, entries=(entry,) * (LIST_ENTRIES_MAX + 1))
