"""The registry on each of its registers: who may sign for a site, from when, until when, and who may not."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from serve_apps.ingest.memory import MemoryRegister
from serve_apps.ingest.ports import ROTATED, Register, SiteEntry, SiteKey
from serve_apps.ingest.registry import KeyRefusedError, Registry, TokenError
from serve_apps.ingest.sqlite import SqliteRegister
from tidegate.clock import ManualClock
from tidegate.enrolment import Enrolment, Rotation, digest, enrolment, rotation
from tidegate.errors import InvalidError, NotFoundError, TakenError
from tidegate.frames import Signer, key_id
from tidegate.limits import TIDE_OVERLAP_US, TIDE_TOKEN_US

NOW_US: Final = 1_795_500_000_000_000
Opening = Callable[[], Register]
_SEEDS: Final = itertools.count(1)


@dataclass(frozen=True)
class Key:
    """A site's key pair."""

    signer: Signer
    public: bytes

    @classmethod
    def new(cls) -> "Key":
        private = Ed25519PrivateKey.from_private_bytes(Random(next(_SEEDS)).randbytes(32))
        return cls(Signer(key_id(private.public_key()), private.sign), private.public_key().public_bytes_raw())

    @property
    def id(self) -> str:
        return self.signer.key


@pytest.fixture(params=["memory", "sqlite"])
def opening(request: pytest.FixtureRequest, tmp_path: Path) -> Opening:
    """Return what opens one and the same register again and again."""
    if request.param == "sqlite":
        return lambda: SqliteRegister(tmp_path / "register.sqlite")
    register = MemoryRegister()
    return lambda: register


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW_US)


@pytest.fixture
def registry(opening: Opening, clock: ManualClock) -> Registry:
    return Registry(opening(), clock, Random(7).randbytes)


def enrolled(registry: Registry, site: str = "s1") -> Key:
    """Return the key of a site that has just enrolled."""
    key, made = Key.new(), registry.add(site, by="anna")
    registry.enrol(site, enrolment(site, made.token, key.public, key.signer))
    return key


def ask(site: str, token: str, key: Key) -> Enrolment:
    return enrolment(site, token, key.public, key.signer)


def turn(site: str, old: Key, new: Key) -> Rotation:
    return rotation(site, old.signer, new.public, new.signer)


def states(registry: Registry, site: str = "s1") -> dict[str, str]:
    return {key.key_id: key.why for key in registry.site(site).keys}


# Enrolment.


def test_a_site_enrols_its_key_by_its_token_and_every_process_knows_it_at_once(
    opening: Opening, registry: Registry, clock: ManualClock
) -> None:
    other = Registry(opening(), clock, Random(1).randbytes)
    key, made = Key.new(), registry.add("s1", by="anna")
    assert other.key(key.id) is None

    clock.advance(1_000)
    told = registry.enrol("s1", ask("s1", made.token, key))

    assert told == SiteKey(key.id, "s1", key.public, NOW_US + 1_000)
    assert other.key(key.id) == told
    assert other.site("s1") == registry.site("s1")
    assert registry.site("s1").site.made_by == "anna"


def test_a_token_is_good_until_it_is_too_old(registry: Registry, clock: ManualClock) -> None:
    for site, late_us in (("s1", 0), ("s2", 1)):
        made = registry.add(site, by="anna")
        assert made.until_us == clock.now_us() + TIDE_TOKEN_US
        clock.advance(TIDE_TOKEN_US - 1 + late_us)
        if late_us:
            with pytest.raises(TokenError, match="too old; ask for a new one: tidegate cloud site token"):
                registry.enrol(site, ask(site, made.token, Key.new()))
        else:
            registry.enrol(site, ask(site, made.token, Key.new()))


def test_a_token_enrols_one_key_and_who_didnt_hear_the_answer_hears_it_again(
    registry: Registry, clock: ManualClock
) -> None:
    key, made = Key.new(), registry.add("s1", by="anna")
    first = registry.enrol("s1", ask("s1", made.token, key))
    clock.advance(2 * TIDE_TOKEN_US)

    assert registry.enrol("s1", ask("s1", made.token, key)) == first
    with pytest.raises(TokenError, match="it was used; ask for a new one"):
        registry.enrol("s1", ask("s1", made.token, Key.new()))
    assert list(states(registry)) == [key.id]


@pytest.mark.parametrize("site", ["s2", "nobody"])
def test_a_token_is_good_for_its_site_alone(registry: Registry, site: str) -> None:
    made = registry.add("s1", by="anna")
    registry.add("s2", by="anna")

    with pytest.raises(TokenError, match="made last for a site of that name"):
        registry.enrol(site, ask(site, made.token, Key.new()))


def test_who_has_neither_token_nor_key_keeps_nobody_from_changing_the_register(
    opening: Opening, registry: Registry
) -> None:
    key, stranger = enrolled(registry), Key.new()
    with opening().change():
        with pytest.raises(TokenError):
            registry.enrol("s1", ask("s1", "tgt_" + "0" * 64, stranger))
        with pytest.raises(KeyRefusedError):
            registry.rotate("s1", turn("s1", stranger, Key.new()))
        assert registry.key(key.id) is not None


def test_another_token_takes_the_place_of_the_one_before(registry: Registry) -> None:
    first, second = registry.add("s1", by="anna"), registry.token("s1")

    with pytest.raises(TokenError, match="made last"):
        registry.enrol("s1", ask("s1", first.token, Key.new()))
    registry.enrol("s1", ask("s1", second.token, Key.new()))


def test_of_a_token_the_digest_alone_is_kept(opening: Opening, registry: Registry, tmp_path: Path) -> None:
    made = registry.add("s1", by="anna")

    kept = opening().site("s1")
    assert kept is not None
    assert kept.token == digest(made.token)
    assert made.token[4:].encode() not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_who_enrols_has_to_hold_the_key(registry: Registry) -> None:
    made, own, foreign = registry.add("s1", by="anna"), Key.new(), Key.new()
    stolen = enrolment("s1", made.token, foreign.public, own.signer)
    elsewhere = ask("s2", made.token, own)

    for asked in (stolen, elsewhere):
        with pytest.raises(InvalidError, match="proof") as refused:
            registry.enrol("s1", asked)
        assert made.token not in str(refused.value)
    assert registry.site("s1").keys == ()
    registry.enrol("s1", ask("s1", made.token, own))


WEAK: Final = {
    "neutral": "01" + "00" * 31,
    "order 2": "ec" + "ff" * 30 + "7f",
    "order 4": "00" * 32,
    "order 4, negative": "00" * 31 + "80",
    "order 8": "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "order 8, negative": "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "not canonical": "ee" + "ff" * 30 + "7f",
    "beyond the prime": "ff" * 32,
}


@pytest.mark.parametrize("public", WEAK.values(), ids=WEAK)
def test_a_key_with_which_anybody_could_sign_is_none(registry: Registry, public: str) -> None:
    made, key = registry.add("s1", by="anna"), Key.new()
    asked = ask("s1", made.token, key).model_copy(update={"public_key": public})

    with pytest.raises(InvalidError, match=r"public_key: (a point of small order|not written canonically)"):
        registry.enrol("s1", asked)


def test_what_is_no_point_of_the_curve_has_signed_nothing(registry: Registry) -> None:
    made, key = registry.add("s1", by="anna"), Key.new()
    asked = ask("s1", made.token, key).model_copy(update={"public_key": "02" + "00" * 31})

    with pytest.raises(InvalidError, match="proof"):
        registry.enrol("s1", asked)


def test_two_sites_cant_enrol_one_key(registry: Registry) -> None:
    key, made = enrolled(registry), registry.add("s2", by="anna")

    with pytest.raises(TakenError, match="belongs to one site"):
        registry.enrol("s2", ask("s2", made.token, key))
    assert registry.site("s2").keys == ()
    found = registry.key(key.id)
    assert found is not None
    assert (found.site, found.revoked_us) == ("s1", None)


def test_a_site_on_a_new_machine_enrols_anew_and_the_old_ones_key_ends(registry: Registry, clock: ManualClock) -> None:
    old, new, made = enrolled(registry), Key.new(), registry.token("s1")
    clock.advance(5)
    registry.enrol("s1", ask("s1", made.token, new))

    assert states(registry) == {new.id: "", old.id: "replaced by an enrolment"}
    with pytest.raises(KeyRefusedError, match="revoked: replaced by an enrolment; enrol anew"):
        registry.rotate("s1", turn("s1", old, Key.new()))


def test_a_name_is_given_once(registry: Registry) -> None:
    made = registry.add("s1", by="anna")

    with pytest.raises(TakenError, match="tidegate cloud site token s1"):
        registry.add("s1", by="bert")
    registry.enrol("s1", ask("s1", made.token, Key.new()))


def test_who_asks_for_what_isnt_there_is_told_how_to_make_it(registry: Registry) -> None:
    for asked in (registry.site, registry.token):
        with pytest.raises(NotFoundError, match="tidegate cloud site add"):
            asked("s9")
    with pytest.raises(NotFoundError):
        registry.revoke_site("s9", why="w", by="anna")


# Rotation.


def test_a_rotated_key_signs_on_through_the_overlap_and_then_ends_by_itself(
    registry: Registry, clock: ManualClock
) -> None:
    old, new = enrolled(registry), Key.new()
    told = registry.rotate("s1", turn("s1", old, new))

    assert told == SiteKey(new.id, "s1", new.public, NOW_US)
    clock.advance(TIDE_OVERLAP_US - 1)
    assert states(registry) == {new.id: "", old.id: ""}
    clock.advance(1)
    ended = registry.key(old.id)
    assert ended is not None
    assert (ended.revoked_us, ended.why) == (NOW_US + TIDE_OVERLAP_US, ROTATED)
    assert registry.key(new.id) == told


def test_a_rotation_asked_for_again_is_the_same_one(registry: Registry, clock: ManualClock) -> None:
    old, new = enrolled(registry), Key.new()
    asked = turn("s1", old, new)
    first = registry.rotate("s1", asked)
    clock.advance(1_000)

    assert registry.rotate("s1", asked) == first
    assert len(registry.site("s1").keys) == 2


def test_a_key_is_replaced_once(registry: Registry) -> None:
    old, new = enrolled(registry), Key.new()
    registry.rotate("s1", turn("s1", old, new))

    with pytest.raises(KeyRefusedError, match="replaced before, by another"):
        registry.rotate("s1", turn("s1", old, Key.new()))
    registry.rotate("s1", turn("s1", new, Key.new()))


def test_both_keys_have_to_sign_a_rotation(registry: Registry) -> None:
    old, new, other = enrolled(registry), Key.new(), Key.new()
    forged = rotation("s1", Signer(old.id, other.signer.sign), new.public, new.signer)
    foreign = rotation("s1", old.signer, new.public, other.signer)

    with pytest.raises(KeyRefusedError, match="signature: it isn't the old key's"):
        registry.rotate("s1", forged)
    with pytest.raises(InvalidError, match="proof"):
        registry.rotate("s1", foreign)
    assert states(registry) == {old.id: ""}


def test_a_key_rotates_at_its_own_site_alone(registry: Registry) -> None:
    old = enrolled(registry)
    registry.add("s2", by="anna")

    for key in (old, Key.new()):
        with pytest.raises(KeyRefusedError, match="isn't one of this site's"):
            registry.rotate("s2", turn("s2", key, Key.new()))


def test_a_key_that_is_enrolled_replaces_no_other(registry: Registry) -> None:
    first, second = enrolled(registry, "s1"), enrolled(registry, "s2")

    with pytest.raises(TakenError):
        registry.rotate("s1", turn("s1", first, second))
    with pytest.raises(TakenError):
        registry.rotate("s1", turn("s1", first, first))
    assert states(registry) == {first.id: ""}


# Revocation.


def test_a_revoked_key_is_revoked_in_every_process_at_once_and_for_ever(
    opening: Opening, registry: Registry, clock: ManualClock
) -> None:
    other = Registry(opening(), clock, Random(1).randbytes)
    key = enrolled(registry)
    clock.advance(10)
    told = registry.revoke_key("s1", key.id, why="the till was stolen", by="anna")

    assert (told.revoked_us, told.why, told.by) == (NOW_US + 10, "the till was stolen", "anna")
    assert other.key(key.id) == told
    clock.advance(10)
    assert registry.revoke_key("s1", key.id, why="again", by="bert") == told


def test_a_stolen_key_does_nothing_after_its_revocation(registry: Registry) -> None:
    key, made = Key.new(), registry.add("s1", by="anna")
    registry.enrol("s1", ask("s1", made.token, key))
    registry.revoke_key("s1", key.id, why="stolen", by="anna")

    with pytest.raises(KeyRefusedError, match="was revoked: stolen; enrol anew, with a new token"):
        registry.rotate("s1", turn("s1", key, Key.new()))
    with pytest.raises(KeyRefusedError, match="was revoked"):
        registry.enrol("s1", ask("s1", made.token, key))
    with pytest.raises(TakenError):
        registry.enrol("s1", ask("s1", registry.token("s1").token, key))


def test_of_a_rotated_key_no_more_is_left_than_of_any_other_when_it_is_revoked(
    registry: Registry, clock: ManualClock
) -> None:
    old, new = enrolled(registry), Key.new()
    registry.rotate("s1", turn("s1", old, new))
    clock.advance(1)
    registry.revoke_key("s1", old.id, why="stolen", by="anna")
    clock.advance(TIDE_OVERLAP_US)

    assert states(registry) == {new.id: "", old.id: "stolen"}


def test_a_revoked_site_has_neither_keys_nor_a_token_and_comes_back_by_a_new_one(
    registry: Registry, clock: ManualClock
) -> None:
    old, new = enrolled(registry), Key.new()
    registry.rotate("s1", turn("s1", old, new))
    waiting = registry.token("s1")
    clock.advance(3)
    told = registry.revoke_site("s1", why="closed", by="anna")

    assert {key.why for key in told.keys} == {"closed"}
    assert (told.site.revoked_us, told.site.why, told.site.by) == (NOW_US + 3, "closed", "anna")
    with pytest.raises(TokenError):
        registry.enrol("s1", ask("s1", waiting.token, Key.new()))
    assert registry.revoke_site("s1", why="again", by="bert") == told

    fresh = Key.new()
    registry.enrol("s1", ask("s1", registry.token("s1").token, fresh))
    assert registry.site("s1").site.revoked_us is None
    assert states(registry) == {fresh.id: "", new.id: "closed", old.id: "closed"}


def test_a_key_is_revoked_at_its_own_site_alone(registry: Registry) -> None:
    key = enrolled(registry)
    registry.add("s2", by="anna")

    for site, name in (("s2", key.id), ("s1", "0" * 16)):
        with pytest.raises(NotFoundError, match="key: this site has none of that id"):
            registry.revoke_key(site, name, why="w", by="anna")


# The register itself.


def test_sites_are_listed_by_name_a_page_at_a_time(registry: Registry) -> None:
    for name in ("b", "d", "a", "c"):
        registry.add(name, by="anna")

    assert [each.site.name for each in registry.sites(after="", items=3)] == ["a", "b", "c"]
    assert [each.site.name for each in registry.sites(after="c", items=3)] == ["d"]


def test_a_change_that_fails_leaves_nothing(opening: Opening) -> None:
    register = opening()
    with register.change() as draft:
        draft.put_site(SiteEntry("s1", 1, "anna"))

    def failing() -> None:
        with register.change() as draft:
            draft.put_site(SiteEntry("s1", 2, "bert"))
            draft.put_key(SiteKey("0" * 16, "s1", bytes(32), 1))
            raise LookupError

    with pytest.raises(LookupError):
        failing()

    assert register.site("s1") == SiteEntry("s1", 1, "anna")
    assert register.key("0" * 16) is None
    assert opening().keys("s1") == []
    assert opening().count() == 1
