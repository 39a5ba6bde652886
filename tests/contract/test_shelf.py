"""The shelf of bundles on both folders: what is put is there whole, the pointer is old or new, three are kept."""

import json
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from actors.scorer.disk import PosixFolder
from actors.scorer.memory import CrashError, MemoryFolder
from actors.scorer.ports import Folder
from actors.scorer.shelf import Shelf
from tidegate.bundle import ACTIVE, MANIFEST, decode
from tidegate.errors import BundleError
from tidegate.ids import BundleId
from tidegate.limits import BUNDLES_KEPT

Files = dict[str, bytes]
Made = Callable[[int], Files]


@pytest.fixture(params=["posix", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    return PosixFolder(tmp_path / "bundles") if request.param == "posix" else MemoryFolder()


@pytest.fixture
def made(bundle_files: Files) -> Made:
    """Make bundles that differ in when they were trained."""

    def make(trained_at_us: int) -> Files:
        manifest = json.loads(bundle_files[MANIFEST]) | {"trained_at_us": trained_at_us}
        return {**bundle_files, MANIFEST: json.dumps(manifest).encode()}

    return make


def test_what_is_put_is_there_by_its_id_and_loads(folder: Folder, made: Made) -> None:
    shelf = Shelf(folder=folder)

    bundle = shelf.put(made(1))

    assert bundle == decode(made(1)).id
    assert shelf.ids() == (bundle,)
    assert shelf.load(bundle).manifest.trained_at_us == 1


def test_an_empty_shelf_has_no_active_bundle(folder: Folder) -> None:
    assert Shelf(folder=folder).active() is None
    assert Shelf(folder=folder).ids() == ()


def test_putting_the_same_bundle_again_changes_nothing(folder: Folder, made: Made) -> None:
    shelf = Shelf(folder=folder)

    assert shelf.put(made(1)) == shelf.put(made(1))
    assert len(shelf.ids()) == 1


def test_ids_come_in_the_order_of_training_whatever_the_order_of_arrival(folder: Folder, made: Made) -> None:
    shelf = Shelf(folder=folder)

    late, early, between = shelf.put(made(30)), shelf.put(made(10)), shelf.put(made(20))

    assert shelf.ids() == (early, between, late)


def test_the_pointer_follows_the_last_activation_and_another_shelf_sees_it(folder: Folder, made: Made) -> None:
    shelf = Shelf(folder=folder)
    one, other = shelf.put(made(1)), shelf.put(made(2))

    shelf.activate(one)
    shelf.activate(other)

    assert Shelf(folder=folder).active() == other


@pytest.mark.parametrize("name", ["b-000000000000", "../b-0123456789ab", "", "b-"])
def test_a_bundle_that_is_not_there_is_neither_loaded_nor_activated(folder: Folder, made: Made, name: str) -> None:
    shelf = Shelf(folder=folder)
    one = shelf.put(made(1))
    shelf.activate(one)

    for use in (shelf.load, shelf.activate):
        with pytest.raises(BundleError, match=r"not on the shelf|is no id"):
            use(BundleId(name))
    assert shelf.active() == one


def test_a_bundle_under_anothers_name_is_refused(folder: Folder, made: Made) -> None:
    folder.make("b-0123456789ab", made(1))

    with pytest.raises(BundleError, match="b-0123456789ab: the manifest is that of b-"):
        Shelf(folder=folder).load(BundleId("b-0123456789ab"))


def test_a_damaged_bundle_is_never_activated_and_counts_as_the_oldest(folder: Folder, made: Made) -> None:
    shelf = Shelf(folder=folder)
    good = shelf.put(made(1))
    shelf.activate(good)
    folder.make("b-0123456789ab", {MANIFEST: b"{", "model.ubj": b"x"})

    with pytest.raises(BundleError, match=r"b-0123456789ab: manifest\.json: not JSON"):
        shelf.activate(BundleId("b-0123456789ab"))
    assert shelf.ids() == ("b-0123456789ab", good)
    assert shelf.active() == good


def _judged(files: Files, gate: object) -> Files:
    manifest = json.loads(files[MANIFEST]) | {"gate": gate}
    return {**files, MANIFEST: json.dumps(manifest).encode()}


FAILED = {"passed": False, "against": "b-0123456789ab", "reasons": ["average precision -0.100"]}


@pytest.mark.parametrize(
    ("gate", "said"), [(FAILED, "gate: failed: average precision -0.100"), (None, "gate: was never judged")]
)
def test_what_failed_its_gate_or_never_saw_it_is_not_activated_until_somebody_answers_for_it(
    folder: Folder, made: Made, gate: object, said: str
) -> None:
    shelf = Shelf(folder=folder)
    good, bad = shelf.put(made(1)), shelf.put(_judged(made(2), gate))
    shelf.activate(good)

    with pytest.raises(BundleError, match=said):
        shelf.activate(bad)
    assert shelf.active() == good
    answered = shelf.override(bad, by="Ada Lovelace", why="the old one is blind to the new pattern", at_us=77)
    shelf.activate(answered)

    assert shelf.active() == answered != bad
    override = shelf.load(answered).manifest.override
    assert override is not None
    assert (override.by, override.why, override.at_us) == (
        "Ada Lovelace",
        "the old one is blind to the new pattern",
        77,
    )
    assert shelf.load(bad).manifest.override is None
    assert shelf.load(answered).manifest.gate == shelf.load(bad).manifest.gate


@pytest.mark.parametrize(("by", "why", "field"), [("", "x", "by"), ("Ada", " ", "why"), ("Ada", "y" * 501, "why")])
def test_an_override_says_who_and_why(folder: Folder, made: Made, by: str, why: str, field: str) -> None:
    shelf = Shelf(folder=folder)
    bad = shelf.put(_judged(made(1), FAILED))

    with pytest.raises(BundleError, match=f"override: {field}: "):
        shelf.override(bad, by=by, why=why, at_us=1)
    assert shelf.ids() == (bad,)


def test_what_passed_its_gate_needs_no_override(folder: Folder, made: Made) -> None:
    shelf = Shelf(folder=folder)
    good = shelf.put(made(1))

    with pytest.raises(BundleError, match="nothing to override"):
        shelf.override(good, by="Ada", why="to be sure", at_us=1)


def test_a_pointer_that_holds_no_id_is_refused_with_what_to_do(folder: Folder) -> None:
    folder.replace(ACTIVE, b"\xff\n")

    with pytest.raises(BundleError, match="holds no bundle's id; activate a bundle again"):
        Shelf(folder=folder).active()


def test_what_is_no_bundle_is_not_put(folder: Folder, made: Made) -> None:
    shelf = Shelf(folder=folder)

    with pytest.raises(BundleError, match=r"nodes\.npy"):
        shelf.put({**made(1), "nodes.npy": b"x"})
    assert folder.names() == []


def test_pruning_keeps_the_active_bundle_and_the_newest_others(folder: Folder, made: Made) -> None:
    shelf = Shelf(folder=folder)
    every = [shelf.put(made(at)) for at in range(BUNDLES_KEPT + 2)]
    shelf.activate(every[0])

    gone = shelf.prune()

    assert gone == tuple(every[1:3])
    assert shelf.ids() == (every[0], *every[-BUNDLES_KEPT + 1 :])
    assert shelf.prune() == ()


def test_pruning_keeps_what_decisions_name_up_to_a_bound(
    folder: Folder, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.scorer.shelf.BUNDLES_NAMED_MAX", 2)
    shelf = Shelf(folder=folder)
    every = [shelf.put(made(at)) for at in range(7)]
    shelf.activate(every[6])

    assert shelf.prune({every[0], every[2], every[5]}) == (every[1], every[3])
    assert shelf.prune({every[0], every[2], every[4], "b-000000000000"}) == ()
    shelf.put(made(7))
    assert shelf.prune(set(every)) == (every[0],)
    assert shelf.ids() == (every[2], every[4], every[5], every[6], decode(made(7)).id)


def test_a_folder_is_never_made_over_another_nor_removed_twice(folder: Folder) -> None:
    folder.make("b-0123456789ab", {"a": b"1"})

    with pytest.raises(FileExistsError):
        folder.make("b-0123456789ab", {"a": b"2"})
    folder.remove("b-0123456789ab")
    with pytest.raises(FileNotFoundError):
        folder.remove("b-0123456789ab")
    with pytest.raises(FileNotFoundError):
        folder.files("b-0123456789ab")


def test_what_a_crash_left_beside_is_no_bundle_and_in_nobodys_way(folder: Folder, made: Made) -> None:
    shelf = Shelf(folder=folder)
    bundle = decode(made(1)).id
    folder.make(f".tmp-{bundle}", {"half": b""})

    assert shelf.ids() == ()
    assert shelf.put(made(1)) == bundle
    assert set(folder.files(bundle)) == set(made(1))


def _crash_points(change: Callable[[Shelf], object], made: Made, check: Callable[[Shelf, bool], None]) -> int:
    """Crash before each step of a change; after each, check what is there and that the change can be done again."""
    for steps in count():
        folder = MemoryFolder()
        shelf = Shelf(folder=folder)
        shelf.activate(shelf.put(made(1)))
        shelf.put(made(2))
        folder.crash_after(steps)
        try:
            change(shelf)
        except CrashError:
            folder.restart()
            check(shelf, False)
            change(shelf)
            check(shelf, True)
            continue
        check(shelf, True)
        return steps
    raise AssertionError("a change has an end")


def test_a_crash_at_any_step_of_putting_leaves_the_bundle_whole_or_absent(made: Made) -> None:
    third = decode(made(3)).id

    def check(shelf: Shelf, done: bool) -> None:  # noqa: FBT001 - said by the caller
        assert all(shelf.load(bundle).id == bundle for bundle in shelf.ids())
        assert (third in shelf.ids()) >= done

    assert _crash_points(lambda shelf: shelf.put(made(3)), made, check) >= len(made(3))


def test_a_crash_at_any_step_of_activating_leaves_the_old_or_the_new_pointer(made: Made) -> None:
    first, second = decode(made(1)).id, decode(made(2)).id

    def check(shelf: Shelf, done: bool) -> None:  # noqa: FBT001 - said by the caller
        assert shelf.active() in ({second} if done else {first, second})

    assert _crash_points(lambda shelf: shelf.activate(second), made, check) == 2


def test_a_crash_at_any_step_of_removing_leaves_no_broken_bundle_under_its_name(made: Made) -> None:
    def change(shelf: Shelf) -> None:
        for at in (3, 4):
            shelf.put(made(at))
        shelf.prune()

    def check(shelf: Shelf, done: bool) -> None:  # noqa: FBT001 - said by the caller
        assert all(shelf.load(bundle).id == bundle for bundle in shelf.ids())
        assert shelf.active() == decode(made(1)).id
        assert not done or len(shelf.ids()) == BUNDLES_KEPT

    assert _crash_points(change, made, check) > 2 * len(made(3))
