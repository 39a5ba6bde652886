"""How the cloud signs its catalogue: whole or not at all, through rotations, ends of words, and crashes anywhere."""

from collections.abc import Callable, Mapping

import pytest

from serve_apps.models.memory import MemoryKeys, MemoryPublished
from serve_apps.models.publisher import Publisher
from tidegate.errors import InvalidError
from tidegate.limits import CATALOGUE_TIMESTAMP_US, DAY_US
from tidegate.trust import DELEGATED, TOP, Target, check_follows, proven

NOW_US = 1_795_500_000_000_000
ONE = {"models/one": Target("a" * 64, 1)}
TWO = {"models/two": Target("b" * 64, 2)}


class CrashError(Exception):
    """The machine stopped."""


class Brittle(MemoryPublished):
    """A place that stops before the file number `left`."""

    left = 1 << 30

    def write(self, files: Mapping[str, bytes]) -> None:
        for name, data in files.items():
            if not self.left:
                raise CrashError
            self.left -= 1
            super().write({name: data})


def test_every_role_is_rotated_in_turn_and_a_site_with_the_first_root_follows() -> None:
    published = MemoryPublished()
    publisher = Publisher(published, MemoryKeys(), root_threshold=2)
    before = publisher.establish(NOW_US)
    publisher.publish("models", ONE, NOW_US)

    for role in (*TOP, *DELEGATED):
        after = publisher.rotate(role, NOW_US)
        check_follows(before, after)
        assert not before.roles[role].keys & after.roles[role].keys
        assert {**after.targets} == ONE
        before = after
    assert len(before.roles["root"].keys) == 2


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_a_root_is_rotated_by_as_many_keys_as_it_was_published_with(before: int, after: int) -> None:
    published, keys = MemoryPublished(), MemoryKeys()
    Publisher(published, keys, root_threshold=before).establish(NOW_US)

    rotated = Publisher(published, keys, root_threshold=after).rotate("root", NOW_US)

    assert len(rotated.roles["root"].keys) == before


def test_nothing_is_renewed_before_half_of_its_time_and_all_of_it_in_time() -> None:
    publisher = Publisher(MemoryPublished(), MemoryKeys())
    first = publisher.establish(NOW_US)

    assert publisher.renew(NOW_US + CATALOGUE_TIMESTAMP_US // 3) == first
    for half in range(1, 20):
        now_us = NOW_US + half * DAY_US // 2
        assert publisher.renew(now_us).expired(now_us + DAY_US // 2 - 1) == ()
    for days in range(10, 400, 40):
        assert publisher.renew(NOW_US + days * DAY_US).expired(NOW_US + days * DAY_US) == ()
    assert publisher.catalogue().roles["root"].version == 2


@pytest.mark.parametrize(
    "act",
    [
        lambda publisher: publisher.publish("models", TWO, NOW_US),
        *(lambda publisher, role=role: publisher.rotate(role, NOW_US) for role in (*TOP, *DELEGATED)),
    ],
)
def test_a_crash_before_any_file_leaves_what_was_or_is_finished_at_the_next_start(
    act: Callable[[Publisher], object],
) -> None:
    for left in range(12):
        published, keys = Brittle(), MemoryKeys()
        publisher = Publisher(published, keys)
        publisher.establish(NOW_US)
        before = publisher.publish("models", ONE, NOW_US)
        published.left = left
        try:
            act(publisher)
            done = True
        except CrashError:
            done = False
        published.left = 1 << 30

        again = Publisher(published, keys)
        check_follows(before, again.establish(NOW_US))
        assert again.publish("models", TWO, NOW_US).targets == TWO
        check_follows(before, proven(again.pinned, published.read))
        if done:
            return
    raise AssertionError("it never came to an end")


def test_a_crash_while_it_is_made_is_made_good_by_making_it_again() -> None:
    for left in range(16):
        published, keys, done = Brittle(), MemoryKeys(), True
        published.left = left
        try:
            Publisher(published, keys).establish(NOW_US)
        except CrashError:
            done = False
        published.left = 1 << 30

        publisher = Publisher(published, keys)
        publisher.establish(NOW_US)
        assert publisher.publish("models", ONE, NOW_US).targets == ONE
        if done:
            return
    raise AssertionError("it never came to an end")


@pytest.mark.parametrize("role", ["root", "nobody", ""])
def test_only_those_who_name_files_publish(role: str) -> None:
    publisher = Publisher(MemoryPublished(), MemoryKeys())
    publisher.establish(NOW_US)

    with pytest.raises(InvalidError, match="names no files"):
        publisher.publish(role, {}, NOW_US)


def test_a_role_that_is_none_is_not_rotated() -> None:
    publisher = Publisher(MemoryPublished(), MemoryKeys())
    publisher.establish(NOW_US)

    with pytest.raises(InvalidError, match="there is no 'nobody'"):
        publisher.rotate("nobody", NOW_US)
