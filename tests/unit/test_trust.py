"""What a site believes of a catalogue: whole and signed by the right ones, never older, never two things at once."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from serve_apps.models.memory import MemoryKeys, MemoryPublished
from serve_apps.models.publisher import Publisher
from tidegate.limits import CATALOGUE_ROLE_BYTES_MAX, CATALOGUE_TIMESTAMP_US, DAY_US
from tidegate.trust import Catalogue, CatalogueError, Target, check_bytes, check_follows, proven

NOW_US = 1_795_500_000_000_000
MODEL = {"models/b-0123456789ab/manifest.json": Target("a" * 64, 7)}
OTHER = {"models/b-0123456789ab/manifest.json": Target("b" * 64, 7)}


@dataclass
class Cloud:
    """A cloud's catalogue, whose files an attacker may change."""

    published: MemoryPublished = field(default_factory=MemoryPublished)
    keys: MemoryKeys = field(default_factory=MemoryKeys)

    def __post_init__(self) -> None:
        self.publisher = Publisher(self.published, self.keys)
        self.publisher.establish(NOW_US)
        self.publisher.publish("models", MODEL, NOW_US)

    def proven(self) -> Catalogue:
        return proven(self.publisher.pinned, self.published.read)

    def proven_from(self) -> set[str]:
        """Return the files that are read."""
        asked = set[str]()

        def read(name: str) -> bytes | None:
            found = self.published.read(name)
            asked.update({name} if found else ())
            return found

        proven(self.publisher.pinned, read)
        return asked

    def edit(self, name: str, change: Callable[[bytes], bytes]) -> None:
        self.published.write({name: change(self.published.read(name) or b"")})


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


def test_what_was_published_is_proven_from_the_pinned_root_alone(cloud: Cloud) -> None:
    assert cloud.proven().targets == MODEL


@pytest.mark.parametrize("name", ["timestamp.json", "2.snapshot.json", "1.targets.json", "2.models.json"])
def test_a_flipped_byte_of_any_role_is_refused(cloud: Cloud, name: str) -> None:
    data = cloud.published.read(name) or b""
    for at in range(0, len(data), len(data) // 40):
        cloud.published.write({name: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]})
        try:
            found = cloud.proven()
        except CatalogueError:
            continue
        assert found.targets == MODEL  # a space between words says nothing
        assert name == "timestamp.json"  # the one file whose bytes nobody else names


@pytest.mark.parametrize("name", ["timestamp.json", "2.snapshot.json", "1.targets.json", "2.models.json"])
def test_a_missing_role_is_refused_and_named(cloud: Cloud, name: str) -> None:
    def read(asked: str) -> bytes | None:
        return None if asked == name else cloud.published.read(asked)

    with pytest.raises(CatalogueError, match=f"{name}: missing"):
        proven(cloud.publisher.pinned, read)


def test_a_catalogue_of_foreign_keys_is_refused(cloud: Cloud) -> None:
    with pytest.raises(CatalogueError, match="not signed by whom it must be"):
        proven(Cloud().publisher.pinned, cloud.published.read)


def test_the_key_of_lists_signs_no_models(cloud: Cloud) -> None:
    thief = MemoryKeys()
    real = cloud.keys.signers
    thief.signers = lambda role: real("lists" if role == "models" else role)  # type: ignore[method-assign]

    with pytest.raises(CatalogueError, match="models: not signed"):
        Publisher(cloud.published, thief).publish("models", OTHER, NOW_US)

    assert cloud.proven().targets == MODEL


def test_a_role_says_nothing_of_anothers_paths(cloud: Cloud) -> None:
    with pytest.raises(CatalogueError, match="lists: may say nothing of models/"):
        cloud.publisher.publish("lists", OTHER, NOW_US)


def test_a_revoked_keys_word_counts_no_more(cloud: Cloud) -> None:
    stolen = cloud.keys.signers("models")[0]
    cloud.publisher.rotate("models", NOW_US)
    real = cloud.keys.signers
    thief = MemoryKeys()
    thief.signers = lambda role: (stolen,) if role == "models" else real(role)  # type: ignore[method-assign]

    with pytest.raises(CatalogueError, match="models: not signed"):
        Publisher(cloud.published, thief).publish("models", OTHER, NOW_US)


def test_an_older_catalogue_is_refused_after_a_newer_one(cloud: Cloud) -> None:
    old = cloud.proven()
    cloud.publisher.publish("models", OTHER, NOW_US)

    check_follows(old, cloud.proven())
    with pytest.raises(CatalogueError, match="an older one is never taken"):
        check_follows(cloud.proven(), old)


def test_two_contents_of_one_version_are_refused(cloud: Cloud) -> None:
    twin = Cloud(keys=cloud.keys)
    twin.publisher.publish("models", OTHER, NOW_US)
    cloud.publisher.publish("models", MODEL | OTHER, NOW_US + DAY_US)

    with pytest.raises(CatalogueError, match="says two things"):
        check_follows(cloud.proven(), twin.proven())


def test_a_stolen_key_that_counted_to_the_end_has_not_the_last_word(cloud: Cloud) -> None:
    thief = Cloud(keys=cloud.keys)
    for _ in range(5):
        thief.publisher.publish("models", OTHER, NOW_US)
    believed = thief.proven()

    for role in ("timestamp", "snapshot"):
        cloud.publisher.rotate(role, NOW_US)
    with pytest.raises(CatalogueError, match="models: version"):
        check_follows(believed, cloud.proven())
    cloud.publisher.rotate("models", NOW_US)
    check_follows(believed, cloud.proven())


def test_roles_of_two_catalogues_are_not_mixed(cloud: Cloud) -> None:
    old = {name: cloud.published.read(name) or b"" for name in ("timestamp.json", "2.snapshot.json", "2.models.json")}
    cloud.publisher.publish("models", OTHER, NOW_US)

    for name, data in (("3.snapshot.json", old["2.snapshot.json"]), ("3.models.json", old["2.models.json"])):
        files = MemoryPublished()
        files.write({each: cloud.published.read(each) or b"" for each in cloud.proven_from()} | {name: data})
        with pytest.raises(CatalogueError, match="not the file that was signed for"):
            proven(cloud.publisher.pinned, files.read)


def test_an_expired_role_is_told_and_not_refused(cloud: Cloud) -> None:
    found = cloud.proven()

    assert found.expired(NOW_US) == ()
    assert found.expired(NOW_US + CATALOGUE_TIMESTAMP_US) == ("timestamp",)
    assert found.expired(NOW_US + 400 * DAY_US) == tuple(sorted(found.roles))


def test_roots_are_followed_one_by_one_and_none_is_left_out(cloud: Cloud) -> None:
    for _ in range(3):
        cloud.publisher.rotate("root", NOW_US)

    assert cloud.proven().roles["root"].version == 4
    cloud.edit("2.root.json", lambda _: cloud.published.read("3.root.json") or b"")
    with pytest.raises(CatalogueError, match="root"):
        cloud.proven()


def test_a_root_signed_by_the_new_keys_alone_is_refused(cloud: Cloud) -> None:
    cloud.publisher.rotate("root", NOW_US)
    (old,) = {*json.loads(cloud.publisher.pinned)["signed"]["roles"]["root"]["keyids"]}

    def without_old(data: bytes) -> bytes:
        said = json.loads(data)
        said["signatures"] = [each for each in said["signatures"] if each["keyid"] != old]
        return json.dumps(said).encode()

    cloud.edit("2.root.json", without_old)
    with pytest.raises(CatalogueError, match="root: not signed"):
        cloud.proven()


def test_what_is_oversized_is_not_even_read(cloud: Cloud) -> None:
    cloud.edit("timestamp.json", lambda data: data + b" " * CATALOGUE_ROLE_BYTES_MAX)

    with pytest.raises(CatalogueError, match="at most"):
        cloud.proven()


@pytest.mark.parametrize("data", [b"", b"abc", b"abd "])
def test_bytes_that_were_not_signed_for_are_refused(data: bytes) -> None:
    target = Target("a52d159f262b2c6ddb724a61840befc36eb30c88877a4030b65cbe86298449c9", 3)

    check_bytes("models/x", target, b"abd")
    with pytest.raises(CatalogueError, match="models/x"):
        check_bytes("models/x", target, data)
