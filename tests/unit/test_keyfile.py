"""A site's keys: shown once, stored as digests, never lost by another's making; none at all is refused."""

import stat
from pathlib import Path

import pytest

from edge_nodes.keyfile import (
    add_key,
    add_to,
    cloud_keys,
    demo_key,
    path_of,
    prepare_keys,
    remove_from,
    remove_key,
    stored,
    stored_in,
)
from tidegate.errors import NotFoundError, SettingsError, UnauthenticatedError
from tidegate.keys import ANY_MERCHANT, Keyring, Scope, parse_keys
from tidegate.settings import SiteSettings

ALL = frozenset({ANY_MERCHANT})


@pytest.fixture
def site(tmp_path: Path) -> SiteSettings:
    return settings(tmp_path, "production")


def settings(folder: Path, profile: str) -> SiteSettings:
    layer = {"data_dir": str(folder / "site"), "machine_mark": str(folder / "mark"), "profile": profile}
    return SiteSettings.model_validate(layer)


def caller(site: SiteSettings, secret: str) -> str:
    keyring = Keyring(parse_keys("keys", path_of(site).read_bytes()))
    return keyring.caller([(b"authorization", f"Bearer {secret}".encode())]).name


def test_a_key_is_known_by_its_secret_of_which_the_file_holds_the_digest_alone(site: SiteSettings) -> None:
    secret = add_key(site, "till-1", frozenset({Scope.DECIDE}), frozenset({"m-1"}))
    assert caller(site, secret) == "till-1"
    assert secret not in path_of(site).read_text()
    assert stat.S_IMODE(path_of(site).stat().st_mode) == 0o600
    assert stored(site).keys[0].merchants == {"m-1"}


def test_a_removed_key_is_a_strangers_and_the_others_stay(site: SiteSettings) -> None:
    first, second = (add_key(site, name, frozenset({Scope.READ}), ALL) for name in ("a", "b"))
    remove_key(site, "a")
    assert caller(site, second) == "b"
    with pytest.raises(UnauthenticatedError):
        caller(site, first)
    with pytest.raises(NotFoundError, match="none of that name"):
        remove_key(site, "a")


def test_a_name_is_given_once(site: SiteSettings) -> None:
    add_key(site, "a", frozenset({Scope.READ}), ALL)
    with pytest.raises(SettingsError, match="already"):
        add_key(site, "a", frozenset({Scope.READ}), ALL)


def test_a_site_that_nobody_could_call_is_refused_with_what_to_do(site: SiteSettings) -> None:
    with pytest.raises(SettingsError, match="tidegate key add"):
        prepare_keys(site)
    add_key(site, "a", frozenset({Scope.READ}), ALL)
    assert prepare_keys(site)[1] == ""
    assert not (Path(site.data_dir) / "demo.key").exists()


def test_a_demo_makes_its_key_once_and_takes_nobody_elses_away(tmp_path: Path) -> None:
    site = settings(tmp_path, "demo")
    own = add_key(site, "own", frozenset({Scope.READ}), ALL)
    secret = demo_key(site)
    assert prepare_keys(site)[1] == secret == demo_key(site)
    (Path(site.data_dir) / "demo.key").unlink()
    again = demo_key(site)
    assert again != secret
    assert (caller(site, again), caller(site, own)) == ("demo", "own")


def test_a_broken_key_file_is_refused_by_name(site: SiteSettings) -> None:
    path_of(site).parent.mkdir()
    path_of(site).write_text('{"version": 2, "keys": []}')
    with pytest.raises(SettingsError, match=r"keys\.json: .*version"):
        stored(site)


def test_the_cloud_has_keys_of_its_own(tmp_path: Path) -> None:
    path = cloud_keys(tmp_path / "cloud")
    secret = add_to(path, "anna", frozenset({Scope.SITES}), ALL)

    assert parse_keys("keys", path.read_bytes()) == stored_in(path)
    found = Keyring(stored_in(path)).caller([(b"authorization", f"Bearer {secret}".encode())])
    assert (found.name, found.scopes) == ("anna", frozenset({Scope.SITES}))
    remove_from(path, "anna")
    assert stored_in(path).keys == ()
