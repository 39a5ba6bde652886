"""Settings: laid over each other, checked, frozen; every field says its unit and why its default."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from tidegate.errors import SettingsError
from tidegate.settings import SiteSettings, merge, parse, site_settings

BASE: dict[str, Any] = {"data_dir": "var/site", "machine_mark": "var/mark"}
UNITS = re.compile(
    r"\b(address|port|bytes|word|cards|terminals|records|hours|name|code|folder|file|millionths|partitions|brokers|days|files|committers|keys)\b"
)
KEYS = st.sampled_from("abc")
TREES = st.recursive(st.integers(), lambda inner: st.dictionaries(KEYS, inner, max_size=3), max_leaves=6)
LAYERS = st.lists(st.dictionaries(KEYS, TREES, max_size=3), max_size=4)


def fields(section: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, info in section.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from fields(info.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, info


FIELDS = dict(fields(SiteSettings))


def nested(path: str, value: object) -> dict[str, Any]:
    """Return a layer that says one thing."""
    for name in reversed(path.split(".")):
        value = {name: value}
    assert isinstance(value, dict)
    return value


def leaves(tree: object, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], object]:
    """Return everything that a layer says, by its place."""
    if not isinstance(tree, dict):
        return {path: tree}
    return {place: leaf for key, inner in tree.items() for place, leaf in leaves(inner, (*path, key)).items()}


@pytest.mark.parametrize("path", FIELDS)
def test_every_field_says_its_unit_and_why_its_default(path: str) -> None:
    said = FIELDS[path].description or ""

    assert UNITS.search(said)
    assert "because" in said


@given(LAYERS)
@effort(max_examples=20)
def test_what_a_later_layer_says_wins_and_what_it_does_not_say_stays(layers: list[dict[str, Any]]) -> None:
    merged = leaves(merge(layers))
    last = leaves(layers[-1]) if layers else {}

    assert last.items() <= merged.items() or () in merged
    for place, value in merged.items():
        assert any(leaves(layer).get(place) == value for layer in layers) or place == ()


def test_a_layer_over_a_table_changes_only_what_it_names() -> None:
    below, above = {"door": {"host": "::1", "port": 1}, "site": "a"}, {"door": {"port": 2}}

    assert merge([below, above]) == {"door": {"host": "::1", "port": 2}, "site": "a"}
    assert below == {"door": {"host": "::1", "port": 1}, "site": "a"}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("door.port", 65_536),
        ("door.port", -1),
        ("door.host", ""),
        ("journal.segment_bytes", 1),
        ("journal.bytes_max", 1),
        ("journal.flush", "never"),
        ("window.cards_max", 15),
        ("window.terminals_max", 0),
        ("window.checkpoint_every_records", 99),
        ("clock.source", "sun"),
        ("site", "Site"),
        ("gate", ""),
        ("profile", "test"),
        ("currency", "XTS"),
        ("data_dir", ""),
        ("machine_mark", "var/site/mark"),
        ("colour", "blue"),
        ("door.colour", "blue"),
    ],
)
def test_a_bad_field_is_named_with_its_file(path: str, value: object) -> None:
    with pytest.raises(SettingsError, match=rf"^a\.toml: {re.escape(path)}: ") as refused:
        site_settings([BASE, nested(path, value)], names="a.toml")

    assert [field.field for field in refused.value.fields] == [path]


@pytest.mark.parametrize("path", ["data_dir", "machine_mark"])
def test_what_has_no_default_is_missed_by_name(path: str) -> None:
    with pytest.raises(SettingsError, match=f"{path}: Field required"):
        site_settings([{name: value for name, value in BASE.items() if name != path}], names="a.toml")


def test_all_bad_fields_are_told_at_once() -> None:
    with pytest.raises(SettingsError) as refused:
        site_settings([BASE, {"site": "A", "door": {"port": -1}}], names="a.toml")

    assert {field.field for field in refused.value.fields} == {"site", "door.port"}


def test_a_clock_that_follows_events_is_refused_in_production_and_nowhere_else() -> None:
    events = {"clock": {"source": "events"}}

    assert site_settings([BASE, events, {"profile": "demo"}], names="x").clock.source == "events"
    with pytest.raises(SettingsError, match=r"clock\.source: .*refused under the production profile"):
        site_settings([BASE, events], names="x")


def test_production_is_what_nobody_has_to_ask_for() -> None:
    assert site_settings([BASE], names="x").profile == "production"


def test_a_text_that_is_no_toml_is_told_with_file_and_line() -> None:
    with pytest.raises(SettingsError, match=r"a\.toml: .*line 2.*Mend the file"):
        parse("a.toml", 'site = "a"\nport = \n')


def test_a_fingerprint_names_the_settings_and_nothing_else() -> None:
    one, same = (site_settings([BASE], names=name) for name in "ab")
    other = site_settings([BASE, {"door": {"port": 1}}], names="a")

    assert one.fingerprint == same.fingerprint != other.fingerprint
    assert SiteSettings.model_validate_json(one.model_dump_json()).fingerprint == one.fingerprint


def test_settings_cannot_be_changed_while_a_site_runs() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        site_settings([BASE], names="x").site = "b"
