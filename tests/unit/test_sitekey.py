"""`tidegate site` against the cloud's registry: whatever is cut off in between, the same command again ends well."""

import stat
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from actors.uplink.disk import PosixFile
from actors.uplink.key import new_key, signer_of
from edge_nodes.loading import enrolled_layer, load
from edge_nodes.sitekey import SiteKeyFile, layer
from edge_nodes.upstream import Cloud, CloudError, read_api_key
from serve_apps.ingest.memory import MemoryRegister
from serve_apps.ingest.ports import SiteKey
from serve_apps.ingest.registry import Registry
from tidegate.clock import ManualClock, rfc3339
from tidegate.enrolment import Enrolment, KeyAnswer, Rotation
from tidegate.errors import SettingsError, TemporaryError, TidegateError
from tidegate.limits import TIDE_OVERLAP_US
from tidegate.settings import SiteSettings

NOW_US = 1_795_500_000_000_000


class Registrar:
    """The cloud without HTTP: its registry, and an answer that can get lost."""

    def __init__(self) -> None:
        self.clock = ManualClock(NOW_US)
        self.registry = Registry(MemoryRegister(), self.clock, Random(5).randbytes)
        self.token = self.registry.add("s1", by="anna").token
        self.before: Callable[[], None] = lambda: None
        self.after: Callable[[], None] = lambda: None

    def __call__(self, path: str, body: Enrolment | Rotation) -> KeyAnswer:
        self.before()
        assert path == ("/v1/sites/s1/enrolment" if isinstance(body, Enrolment) else "/v1/sites/s1/keys")
        try:
            known = self._answer(body)
        except TidegateError as error:
            raise CloudError(error.code, error.message) from error
        self.after()
        return KeyAnswer(
            site=known.site,
            key=known.key_id,
            public_key=known.public.hex(),
            state="active",
            enrolled_at=rfc3339(known.enrolled_us),
            retires_at=None,
            revoked_at=None,
            revoked_by=None,
            why=None,
        )

    def _answer(self, body: Enrolment | Rotation) -> SiteKey:
        return self.registry.enrol("s1", body) if isinstance(body, Enrolment) else self.registry.rotate("s1", body)

    def active(self) -> list[str]:
        keys = self.registry.site("s1").keys
        return [key.key_id for key in keys if key.revoked_us is None and key.retires_us is None]


def lost() -> None:
    raise TemporaryError("the answer was lost")


@pytest.fixture
def cloud() -> Registrar:
    return Registrar()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "uplink" / "site.key"


@pytest.fixture
def key(path: Path) -> SiteKeyFile:
    return SiteKeyFile(path, "s1", Random(1).randbytes)


def held(path: Path) -> str:
    return signer_of(path.read_bytes(), str(path)).key


def test_a_site_enrols_and_its_key_is_its_own(cloud: Registrar, key: SiteKeyFile, path: Path) -> None:
    told = key.enrol(cloud.token, cloud)

    assert cloud.active() == [told.key] == [held(path)]
    assert key.shown() == (told.key, told)
    assert {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()} == {
        "site.key": 0o600,
        "site.key.json": 0o600,
    }


@pytest.mark.parametrize("cut", ["before", "after"])
def test_an_enrolment_that_was_cut_off_ends_well_with_the_same_token(
    cloud: Registrar, key: SiteKeyFile, path: Path, cut: str
) -> None:
    setattr(cloud, cut, lost)
    with pytest.raises(TemporaryError):
        key.enrol(cloud.token, cloud)
    assert not path.exists()

    setattr(cloud, cut, lambda: None)
    told = SiteKeyFile(path, "s1", Random(2).randbytes).enrol(cloud.token, cloud)
    assert cloud.active() == [told.key] == [held(path)]
    assert len(cloud.registry.site("s1").keys) == 1


def test_an_enrolment_that_was_cut_off_ends_well_with_another_token(
    cloud: Registrar, key: SiteKeyFile, path: Path
) -> None:
    cloud.after = lost
    with pytest.raises(TemporaryError):
        key.enrol(cloud.token, cloud)

    cloud.after = lambda: None
    told = key.enrol(cloud.registry.token("s1").token, cloud)
    assert cloud.active() == [told.key] == [held(path)]


@pytest.mark.parametrize("cut", ["before", "after"])
def test_a_rotation_that_was_cut_off_leaves_a_key_that_signs_and_ends_well(
    cloud: Registrar, key: SiteKeyFile, path: Path, cut: str
) -> None:
    old = key.enrol(cloud.token, cloud).key
    setattr(cloud, cut, lost)
    with pytest.raises(TemporaryError):
        key.rotate(cloud)
    assert held(path) == old
    known = cloud.registry.key(old)
    assert known is not None
    assert known.revoked_us is None

    setattr(cloud, cut, lambda: None)
    told = key.rotate(cloud)
    assert told.key != old
    assert cloud.active() == [told.key] == [held(path)]
    assert len(cloud.registry.site("s1").keys) == 2


def test_a_rotation_whose_answer_was_lost_is_found_after_the_old_key_has_ended(
    cloud: Registrar, key: SiteKeyFile, path: Path
) -> None:
    old = key.enrol(cloud.token, cloud).key
    cloud.after = lost
    with pytest.raises(TemporaryError):
        key.rotate(cloud)
    cloud.after = lambda: None
    cloud.clock.advance(TIDE_OVERLAP_US + 1)
    (taken,) = cloud.active()

    told = key.rotate(cloud)

    assert {each.key_id for each in cloud.registry.site("s1").keys} == {old, taken, told.key}
    assert cloud.active() == [told.key] == [held(path)]
    before = cloud.registry.key(taken)
    assert before is not None
    assert before.revoked_us is None, "it signs on for eight days"


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_such_a_rotation_that_is_cut_off_again_anywhere_ends_well_too(
    cloud: Registrar, key: SiteKeyFile, path: Path, cut: int
) -> None:
    key.enrol(cloud.token, cloud)
    cloud.after = lost
    with pytest.raises(TemporaryError):
        key.rotate(cloud)
    cloud.clock.advance(TIDE_OVERLAP_US + 1)
    asked = iter(range(1, 9))
    cloud.before = lambda: lost() if next(asked) == cut else None
    with pytest.raises(TemporaryError):
        key.rotate(cloud)

    cloud.before = cloud.after = lambda: None
    told = key.rotate(cloud)
    assert cloud.active() == [told.key] == [held(path)]


def test_another_cloud_that_knows_neither_key_costs_the_site_none(
    cloud: Registrar, key: SiteKeyFile, path: Path
) -> None:
    old = key.enrol(cloud.token, cloud).key
    cloud.after = lost
    with pytest.raises(TemporaryError):
        key.rotate(cloud)
    cloud.after = lambda: None
    with pytest.raises(CloudError, match="isn't one of this site's"):
        key.rotate(Registrar())
    assert held(path) == old

    (taken,) = cloud.active()
    assert key.rotate(cloud).key == taken == held(path)


def test_a_key_left_from_before_that_the_cloud_revoked_is_not_used(
    cloud: Registrar, key: SiteKeyFile, path: Path
) -> None:
    old = key.enrol(cloud.token, cloud).key
    cloud.after = lost
    with pytest.raises(TemporaryError):
        key.rotate(cloud)
    cloud.after = lambda: None
    cloud.registry.revoke_site("s1", why="stolen", by="anna")

    with pytest.raises(CloudError, match="was revoked: stolen"):
        key.rotate(cloud)
    assert held(path) == old
    told = key.enrol(cloud.registry.token("s1").token, cloud)
    assert cloud.active() == [told.key] == [held(path)]


def test_a_refused_enrolment_leaves_the_key_in_use_as_it_is(cloud: Registrar, key: SiteKeyFile, path: Path) -> None:
    old = key.enrol(cloud.token, cloud).key
    with pytest.raises(CloudError, match="it was used") as refused:
        SiteKeyFile(path, "s1", Random(3).randbytes).enrol(cloud.token, cloud)

    assert refused.value.code == "TOKEN_REFUSED"
    assert cloud.token not in str(refused.value)
    assert cloud.active() == [old] == [held(path)]


@pytest.mark.parametrize("token", ["", "tgt_12", "tgk_" + "0" * 64])
def test_what_is_no_token_is_never_sent(cloud: Registrar, key: SiteKeyFile, token: str) -> None:
    cloud.before = lost
    with pytest.raises(SettingsError, match="--token: it is none"):
        key.enrol(token, cloud)


def test_what_the_cloud_says_of_another_key_is_not_shown_for_this_one(
    cloud: Registrar, key: SiteKeyFile, path: Path
) -> None:
    key.enrol(cloud.token, cloud)
    PosixFile(path).save(new_key(Random(9).randbytes))

    assert key.shown() == (held(path), None)


def test_an_answer_for_another_key_is_refused(cloud: Registrar, key: SiteKeyFile, path: Path) -> None:
    with pytest.raises(CloudError, match="another key than was sent"):
        key.enrol(cloud.token, lambda path, body: cloud(path, body).model_copy(update={"key": "0" * 16}))
    assert not path.exists()


def test_what_an_enrolment_left_counts_until_a_file_says_otherwise(tmp_path: Path) -> None:
    config = tmp_path / "site.toml"
    config.write_text(f'data_dir = "{tmp_path}/data"\nmachine_mark = "{tmp_path}/mark"\n')
    url, name = "https://cloud.example:8500", f'{tmp_path}/a "key"'
    settings = load([config])
    assert settings.uplink.url == ""
    uplink = settings.uplink.model_copy(update={"url": url, "key": name})
    PosixFile(enrolled_layer(tmp_path / "data")).save(layer(settings.model_copy(update={"uplink": uplink})).encode())

    assert (load([config]).uplink.url, load([config]).uplink.key) == (url, name)
    over = tmp_path / "over.toml"
    over.write_text('[uplink]\nurl = "https://other.example"\n')
    assert (
        load([config, over]).uplink
        == SiteSettings.model_validate(
            settings.model_dump() | {"uplink": {"url": "https://other.example", "key": name}}
        ).uplink
    )


@pytest.mark.parametrize("url", ["http://cloud.example", "http://10.0.0.7:8500", "http://localhost.example"])
def test_tokens_and_keys_never_pass_in_clear(url: str) -> None:
    with pytest.raises(SettingsError, match="would pass in clear; say https://"):
        Cloud(url)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8500", "http://[::1]:8500", "http://localhost", "https://c.example"])
def test_this_machine_may_be_asked_in_clear(url: str) -> None:
    Cloud(url)


def test_a_file_without_a_key_is_told(tmp_path: Path) -> None:
    for content in (None, b"", b"\n", b"a\nb", b"\xff\xfe"):
        path = tmp_path / "key"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(SettingsError, match="--key-file"):
            read_api_key(path)
