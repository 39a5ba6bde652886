"""A cloud's own authority: made once, its server's certificate made anew in time, keys readable by nobody else."""

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from serve_apps.plumbing.authority import Files, certificates
from tidegate.clock import ManualClock
from tidegate.errors import SettingsError
from tidegate.limits import AUTHORITY_DAYS, CERTIFICATE_DAYS, DAY_US, MINUTE_US

NOW_US: Final = 1_795_500_000_000_000
_THIRD_LEFT: Final = CERTIFICATE_DAYS * DAY_US * 2 // 3


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW_US)


def moment(clock: ManualClock) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=clock.now_us())


def accepted(files: Files, name: str, clock: ManualClock, authority: bytes | None = None) -> bool:
    """Tell whether who trusts the authority takes the server for `name`, by the rules of RFC 5280 and the web's."""
    trusted = x509.load_pem_x509_certificate(authority or files.authority.read_bytes())
    server = x509.load_pem_x509_certificate(files.server.read_bytes())
    policy = PolicyBuilder().store(Store([trusted])).time(moment(clock).replace(tzinfo=None))
    try:
        policy.build_server_verifier(x509.DNSName(name)).verify(server, [])
    except VerificationError:
        return False
    return True


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_it_vouches_for_its_server_under_its_names_alone(tmp_path: Path, clock: ManualClock) -> None:
    files = certificates(tmp_path, ["cloud.example", "10.0.0.7"], clock)

    assert accepted(files, "localhost", clock)
    assert accepted(files, "cloud.example", clock)
    assert not accepted(files, "other.example", clock)
    server = x509.load_pem_x509_certificate(files.server.read_bytes())
    named = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {str(each) for each in named.get_values_for_type(x509.IPAddress)} == {"127.0.0.1", "::1", "10.0.0.7"}


def test_it_vouches_for_nobody_elses_server(tmp_path: Path, clock: ManualClock) -> None:
    one, other = (certificates(tmp_path / name, [], clock) for name in ("one", "other"))

    assert not accepted(one, "localhost", clock, other.authority.read_bytes())


def test_it_is_made_once(tmp_path: Path, clock: ManualClock) -> None:
    certificates(tmp_path, ["cloud.example"], clock)
    before = contents(tmp_path)
    clock.advance(_THIRD_LEFT - 20 * MINUTE_US)

    certificates(tmp_path, ["cloud.example"], clock)
    certificates(tmp_path, [], clock)  # names more than are asked for do no harm
    assert contents(tmp_path) == before


def test_a_certificate_is_made_anew_when_a_third_of_its_life_is_left(tmp_path: Path, clock: ManualClock) -> None:
    files = certificates(tmp_path, [], clock)
    authority, server = files.authority.read_bytes(), files.server.read_bytes()
    clock.advance(_THIRD_LEFT + MINUTE_US)
    certificates(tmp_path, [], clock)

    assert files.server.read_bytes() != server
    assert files.authority.read_bytes() == authority
    clock.advance(CERTIFICATE_DAYS * DAY_US - MINUTE_US)
    assert accepted(files, "localhost", clock)
    clock.advance(2 * MINUTE_US)
    assert not accepted(files, "localhost", clock)


def test_a_server_of_another_name_gets_another_certificate(tmp_path: Path, clock: ManualClock) -> None:
    files = certificates(tmp_path, [], clock)
    assert not accepted(files, "cloud.example", clock)

    assert accepted(certificates(tmp_path, ["cloud.example"], clock), "cloud.example", clock)


def test_an_authority_that_is_made_anew_keeps_its_key_so_that_who_trusts_the_old_one_is_not_cut_off(
    tmp_path: Path, clock: ManualClock
) -> None:
    files = certificates(tmp_path, [], clock)
    before = files.authority.read_bytes()
    clock.advance(AUTHORITY_DAYS * DAY_US * 2 // 3 + DAY_US)
    certificates(tmp_path, [], clock)

    assert files.authority.read_bytes() != before
    assert accepted(files, "localhost", clock)
    assert accepted(files, "localhost", clock, before)


def test_keys_are_readable_by_nobody_else(tmp_path: Path, clock: ManualClock) -> None:
    certificates(tmp_path / "tls", [], clock)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "tls").iterdir()}

    assert modes == {"authority.pem": 0o644, "authority.key.pem": 0o600, "server.pem": 0o600}


@pytest.mark.parametrize("name", ["authority.key.pem", "server.pem"])
def test_a_key_that_others_may_read_and_what_is_no_key_are_refused_and_left(
    tmp_path: Path, clock: ManualClock, name: str
) -> None:
    certificates(tmp_path, [], clock)
    (tmp_path / name).chmod(0o644)
    with pytest.raises(SettingsError, match="others may read this key"):
        certificates(tmp_path, [], clock)

    (tmp_path / name).write_bytes(b"half")
    (tmp_path / name).chmod(0o600)
    with pytest.raises(SettingsError, match="isn't what was written there; move it away"):
        certificates(tmp_path, [], clock)
    assert (tmp_path / name).read_bytes() == b"half"


def test_what_is_missing_is_made_again_and_nothing_else(tmp_path: Path, clock: ManualClock) -> None:
    files = certificates(tmp_path, [], clock)
    before = contents(tmp_path)
    files.authority.unlink()
    certificates(tmp_path, [], clock)
    assert contents(tmp_path) == before

    files.server.unlink()
    certificates(tmp_path, [], clock)
    assert contents(tmp_path)["authority.key.pem"] == before["authority.key.pem"]
    assert accepted(files, "localhost", clock)


def test_a_name_that_is_none_is_refused(tmp_path: Path, clock: ManualClock) -> None:
    with pytest.raises(SettingsError, match="it is no host's"):
        certificates(tmp_path, ["büro"], clock)
