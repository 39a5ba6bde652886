"""A site's private key on disk: read by its owner alone, and read again where another has taken its place."""

import errno
from pathlib import Path
from random import Random

import pytest

from actors.uplink.disk import PosixFile, WatchedKey, promote, read_key
from actors.uplink.key import new_key, public_of, signer_of
from tidegate.errors import DiskFullError, SettingsError

FIRST, SECOND = (new_key(Random(seed).randbytes) for seed in (1, 2))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "uplink" / "site.key"
    PosixFile(made).save(FIRST)
    return made


def test_a_key_is_told_once_and_again_when_another_took_its_place(path: Path) -> None:
    watched = WatchedKey(path)
    assert watched.fresh() == FIRST
    assert watched.fresh() is None

    beside = path.with_name("next")
    PosixFile(beside).save(SECOND)
    promote(beside, path)
    assert not beside.exists()
    assert watched.fresh() == SECOND
    assert watched.fresh() is None


def test_a_key_that_is_away_for_a_moment_is_the_same_and_one_that_never_was_is_an_error(path: Path) -> None:
    watched = WatchedKey(path)
    watched.fresh()
    path.unlink()
    assert watched.fresh() is None

    with pytest.raises(SettingsError, match="tidegate site enrol"):
        WatchedKey(path).fresh()


def test_a_key_that_others_may_read_is_refused(path: Path) -> None:
    path.chmod(0o640)

    for read in (WatchedKey(path).fresh, lambda: read_key(path)):
        with pytest.raises(SettingsError, match="chmod 600 it, and rotate it"):
            read()


@pytest.mark.parametrize("pem", [b"", b"half a key", FIRST[:40]])
def test_what_is_no_key_is_told_by_its_name_and_never_repeated(pem: bytes) -> None:
    for read in (signer_of, public_of):
        with pytest.raises(SettingsError, match=r"site\.key: .*enrol the site anew") as refused:
            read(pem, "site.key")
        assert "half" not in str(refused.value)


def test_on_a_full_disk_the_old_stands_and_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = PosixFile(tmp_path / "committed.json")
    file.save(b"old")

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr("os.fsync", full)

    with pytest.raises(DiskFullError, match="free space"):
        file.save(b"new")
    assert file.load() == b"old"
