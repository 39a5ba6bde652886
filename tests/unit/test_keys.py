"""API keys: known by a digest alone, and good for what they were made for."""

import json
from random import Random

import pytest

from tidegate.errors import ForbiddenError, SettingsError, UnauthenticatedError
from tidegate.keys import ANY_MERCHANT, PREFIX, Caller, KeyFile, Keyring, Scope, dump_keys, make_key, parse_keys
from tidegate.limits import API_KEYS_MAX

SECRET, STORED = make_key("till", frozenset({Scope.DECIDE}), Random(1).randbytes, frozenset({"m-1"}))
FILE = KeyFile(keys=(STORED,))


def caller(value: bytes, header: bytes = b"authorization") -> Caller:
    """Return who sends a header."""
    return Keyring(FILE).caller([(b"host", b"x"), (header, value)])


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_known_key_tells_who_calls(scheme: str) -> None:
    assert caller(f"{scheme} {SECRET}".encode()) == Caller("till", frozenset({Scope.DECIDE}), frozenset({"m-1"}))


@pytest.mark.parametrize(
    "value",
    [
        f"Bearer {SECRET[:-1]}",
        f"Bearer {SECRET}0",
        f"Bearer  {SECRET}",
        f"Bearer {SECRET.upper()}",
        f"Basic {SECRET}",
        f"Bearer {STORED.sha256}",
        SECRET,
        "Bearer ",
        "",
    ],
    ids=["cut", "longer", "two blanks", "capitals", "basic", "digest", "bare", "no key", "nothing"],
)
def test_an_unknown_key_is_refused_and_not_repeated(value: str) -> None:
    with pytest.raises(UnauthenticatedError, match="nobody here knows that API key") as refused:
        caller(value.encode())

    assert SECRET[:-1] not in str(refused.value)


def test_who_sends_no_key_is_told_how() -> None:
    with pytest.raises(UnauthenticatedError, match="Authorization: Bearer KEY"):
        caller(SECRET.encode(), header=b"x-key")


def test_what_is_stored_tells_nothing_of_the_secret() -> None:
    stored = dump_keys(FILE)

    assert SECRET.removeprefix(PREFIX).encode() not in stored
    assert STORED.sha256.encode() in stored


def test_a_secret_is_all_the_entropy_it_was_given() -> None:
    secret, _ = make_key("a", frozenset(), lambda count: bytes(range(count)))

    assert secret == PREFIX + bytes(range(32)).hex()


@pytest.mark.parametrize("scope", Scope)
def test_a_key_covers_its_scopes_and_no_other(scope: Scope) -> None:
    only = Caller("a", frozenset({scope}), frozenset({"m-1"}))

    only.need(scope)
    for other in set(Scope) - {scope}:
        with pytest.raises(ForbiddenError, match=f"may not {other.value}"):
            only.need(other)


def test_a_key_is_good_for_its_merchants_alone() -> None:
    own = Caller("a", frozenset(), frozenset({"m-1", "m-2"}))

    own.need_merchant("m-2")
    with pytest.raises(ForbiddenError, match="another merchant's") as refused:
        own.need_merchant("m-9")
    assert [field.field for field in refused.value.fields] == ["merchant"]
    assert "m-9" not in str(refused.value)


def test_a_key_of_any_merchant_is_good_for_each() -> None:
    Caller("a", frozenset(), frozenset({ANY_MERCHANT})).need_merchant("m-9")


def test_a_key_file_is_read_as_it_was_written_and_written_the_same_again() -> None:
    assert parse_keys("keys.json", dump_keys(FILE)) == FILE
    assert dump_keys(parse_keys("keys.json", dump_keys(FILE))) == dump_keys(FILE)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"sha256": "abc"}, "keys.0.sha256"),
        ({"name": "A b"}, "keys.0.name"),
        ({"scopes": ["all"]}, "keys.0.scopes.0"),
        ({"merchants": []}, "keys.0.merchants"),
        ({"secret": "s"}, "keys.0.secret"),
    ],
)
def test_a_broken_key_file_is_refused_by_field(change: dict[str, object], field: str) -> None:
    data = json.loads(dump_keys(FILE))
    data["keys"][0] |= change

    with pytest.raises(SettingsError, match=r"keys\.json: .*; restore it or make new keys") as refused:
        parse_keys("keys.json", json.dumps(data).encode())
    assert [found.field for found in refused.value.fields] == [field]


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"version":2,"keys":[]}'])
def test_what_is_no_key_file_of_this_version_is_refused(data: bytes) -> None:
    with pytest.raises(SettingsError, match=r"keys\.json"):
        parse_keys("keys.json", data)


def test_keys_are_bounded() -> None:
    with pytest.raises(ValueError, match="keys"):
        KeyFile(keys=(STORED,) * (API_KEYS_MAX + 1))
