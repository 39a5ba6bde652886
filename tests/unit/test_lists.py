"""Lists: exact tokens of six kinds of entity, dated, read whole from lines or refused with line and reason."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate import lists as module
from tidegate.decision import NUMBERS, Outcome
from tidegate.errors import ListsError
from tidegate.limits import LIST_ERRORS_TOLD_MAX
from tidegate.lists import COLUMNS, ENTITIES, Content, ListIndex, ListName, ListsActivation, hits_of, parse, spared
from tidegate.policy.verdict import Hit, Strength

VALUES = ("c-1", "d-1", "t-1", "m-1", "DE", "5411")
PAYMENT: dict[str, str] = dict(zip(ENTITIES, VALUES, strict=True))
WATCHED = Hit(Strength.SOFT, Outcome.REVIEW, NUMBERS["LIST_WATCH"])
NOW_US = 1_795_500_000_000_000
LATER, EARLIER = "2026-11-24T07:00:00Z", "2026-11-24T05:59:59Z"


def content(*lines: str) -> Content:
    """Return the entries of lines written as list, entity, value, date, rule."""
    return parse("a.csv", [",".join(COLUMNS), *(line + "," * (4 - line.count(",")) for line in lines)])


def index(*lines: str) -> ListIndex:
    """Return lines ready for look-up."""
    return ListIndex(ListsActivation(version=1), content(*lines).index)


def hits(lists: ListIndex, **changes: str) -> list[Hit]:
    """Return what the lists say of the payment, with changes."""
    values = PAYMENT | changes
    return hits_of(lists.find(tuple(values[entity] for entity in ENTITIES), NOW_US), WATCHED)


@pytest.mark.parametrize("entity", PAYMENT)
def test_each_entity_of_a_payment_is_looked_up_as_itself(entity: str) -> None:
    lists = index(f"hard_block,{entity},{PAYMENT[entity]}")

    assert len(hits(lists)) == 1
    assert hits(lists, **{entity: "other"}) == []


@pytest.mark.parametrize(
    ("name", "strength", "outcome"),
    [
        ("hard_block", Strength.HARD, Outcome.DECLINE),
        ("allow", Strength.OVERRIDE, Outcome.APPROVE),
        ("soft_block", Strength.SOFT, Outcome.DECLINE),
        ("watch", Strength.SOFT, Outcome.REVIEW),
    ],
)
def test_each_list_speaks_with_its_own_strength(name: str, strength: Strength, outcome: Outcome) -> None:
    (hit,) = hits(index(f"{name},card,c-1"))

    assert (hit.strength, hit.outcome) == (strength, outcome)


def test_one_entity_on_several_lists_is_told_of_by_each() -> None:
    both = index("soft_block,card,c-1", "allow,card,c-1", "hard_block,merchant,m-1")

    assert {hit.strength for hit in hits(both)} == set(Strength)


def test_a_token_is_matched_whole_and_by_case() -> None:
    lists = index("hard_block,card,c-1")

    assert hits(lists, card="c-11") == hits(lists, card="C-1") == hits(lists, card="c-") == []


def test_a_payment_without_a_device_is_on_no_device_list() -> None:
    assert hits(index("hard_block,device,d-1"), device="") == []


def test_an_entry_counts_until_it_expires() -> None:
    assert len(hits(index(f"hard_block,card,c-1,{LATER}"))) == 1
    assert hits(index(f"hard_block,card,c-1,{EARLIER}")) == []


def test_a_card_is_spared_one_rule_until_a_date_and_that_is_no_hit() -> None:
    lists = index(f"suppress,card,c-1,{LATER},often", f"suppress,card,c-1,{EARLIER},large")
    found = lists.find(VALUES, NOW_US)

    assert hits_of(found, WATCHED) == []
    assert spared(found) == ("often",)


def test_empty_lists_say_nothing_and_never_grow_old() -> None:
    assert hits(ListIndex()) == []
    assert ListIndex().as_of_us is None


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("grey,card,c", "list: one of"),
        ("allow,person,c", "entity: one of"),
        ("allow,card,", "value: "),
        (f"allow,card,{'c' * 65}", "value: "),
        ("allow,card,4111 1111 1111 1111", "value: "),
        ("allow,card,4111111111111111", "value: an id must not be 13 to 19 digits"),
        ("allow,card,c-4111111111111111", "value: holds what looks like a card number"),
        ("allow,country,de", "value: "),
        ("allow,mcc,54111", "value: "),
        ("allow,card,c,tomorrow", "expires_at: RFC 3339 is expected"),
        ("allow,card,c,2027-01-01T00:00:00", "expires_at: says no offset"),
        ("allow,card,c,,often", "rule: only suppress names a rule"),
        ("suppress,card,c,,often", "suppress: spares a card"),
        (f"suppress,terminal,c,{LATER},often", "suppress: spares a card"),
        (f"suppress,card,c,{LATER},", "rule: "),
        ("hard_block,card,c-1", "this token stands on this list already"),
    ],
)
def test_a_wrong_line_refuses_the_whole_file_with_its_number_and_reason_and_no_value(line: str, reason: str) -> None:
    with pytest.raises(ListsError) as refused:
        content("hard_block,card,c-1", "allow,merchant,m-1", line)

    assert str(refused.value.message).startswith(f"a.csv: line 4: {reason}")
    assert [field.field for field in refused.value.fields] == ["line 4"]
    assert "4111" not in refused.value.message


def test_of_many_wrong_lines_the_first_are_told() -> None:
    with pytest.raises(ListsError) as refused:
        content(*["x,y,z"] * 100)

    assert len(refused.value.fields) == LIST_ERRORS_TOLD_MAX


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([], "line 1: must name the columns"),
        (["value,list,entity"], "line 1: must name the columns"),
        (["list,entity,value,note"], "line 1: must name the columns"),
        (["list,entity,value", "allow,card"], "line 2: 2 columns, expected 3"),
        (["list,entity,value", "allow,card," + "c" * 600], "line 2: longer than"),
        (["list,entity,value", 'allow,card,"c'], "line 2: "),
    ],
)
def test_what_is_no_table_of_lists_is_refused(lines: list[str], reason: str) -> None:
    with pytest.raises(ListsError, match=reason):
        parse("a.csv", lines)


def test_a_set_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIST_ENTRIES_MAX", 3)

    assert content(*(f"allow,card,c-{n}" for n in range(3))).entries == 3
    with pytest.raises(ListsError, match="line 5: more than 3 entries"):
        content(*(f"allow,card,c-{n}" for n in range(4)))


ENTRIES = st.lists(
    st.tuples(
        st.sampled_from(["hard_block", "allow", "soft_block", "watch"]),
        st.sampled_from(["card", "device", "terminal", "merchant"]),
        st.sampled_from(["a", "b", "c-1", "d:2"]),
        st.sampled_from(["", LATER, "2027-03-01T12:00:00.5+02:00"]),
    ),
    unique_by=lambda entry: entry[:3],
)


@given(ENTRIES, st.randoms())
@settings(max_examples=50)
def test_the_same_entries_have_the_same_name_in_any_order_and_come_back_as_they_were(
    entries: list[tuple[str, ...]], rng: object
) -> None:
    one = content(*(",".join(entry) for entry in entries))
    rng.shuffle(entries)  # type: ignore[attr-defined]
    other = content(*(",".join(entry) for entry in entries))
    again = parse("again", one.lines())

    assert one.id() == other.id() == again.id()
    assert one.index == other.index == again.index
    assert one.entries == len(entries)


def test_each_list_is_written_as_its_name() -> None:
    assert [str(name) for name in ListName] == ["hard_block", "allow", "soft_block", "watch", "suppress"]
