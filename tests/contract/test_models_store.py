"""One suite for every place of artifacts, of the catalogue's files and of its keys, and for every registry's book."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from serve_apps.models.folder import FolderArtifacts, FolderKeys, FolderPublished
from serve_apps.models.memory import MemoryArtifacts, MemoryBook, MemoryKeys, MemoryPublished
from serve_apps.models.ports import ArtifactError, Artifacts, Book, Done, Entry, Keys, Published, Told
from serve_apps.models.publisher import Publisher
from serve_apps.models.sqlite import SqliteBook
from tidegate.errors import NotFoundError, SettingsError
from tidegate.limits import MODEL_ARTIFACT_BYTES_MAX
from tidegate.rollout import Report
from tidegate.trust import Target

NOW_US = 1_795_500_000_000_000
DATA = bytes(range(256)) * 40
TARGET = Target(hashlib.sha256(DATA).hexdigest(), len(DATA))


@pytest.fixture(params=["memory", "folder"])
def artifacts(request: pytest.FixtureRequest, tmp_path: Path) -> Artifacts:
    return MemoryArtifacts() if request.param == "memory" else FolderArtifacts(tmp_path / "artifacts")


@pytest.fixture(params=["memory", "folder"])
def published(request: pytest.FixtureRequest, tmp_path: Path) -> Published:
    return MemoryPublished() if request.param == "memory" else FolderPublished(tmp_path / "catalogue")


@pytest.fixture(params=["memory", "folder"])
def keys(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Keys]:
    if request.param == "folder":
        return lambda: FolderKeys(tmp_path / "keys")
    held = MemoryKeys()
    return lambda: held


def test_an_artifact_is_read_back_from_any_byte_on(artifacts: Artifacts) -> None:
    artifacts.put(TARGET, [DATA[:5], DATA[5:]])
    artifacts.put(TARGET, [DATA])

    assert artifacts.size(TARGET.sha256) == len(DATA)
    assert artifacts.read(TARGET.sha256, 0, len(DATA)) == DATA
    assert artifacts.read(TARGET.sha256, 300, 7) == DATA[300:307]
    assert artifacts.read(TARGET.sha256, len(DATA) - 1, 100) == DATA[-1:]


@pytest.mark.parametrize("data", [DATA[:-1], DATA + b"x", b"x" + DATA[1:], b""])
def test_other_bytes_than_were_told_of_leave_nothing(artifacts: Artifacts, data: bytes, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError):
        artifacts.put(TARGET, [data])

    assert artifacts.size(TARGET.sha256) is None
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    with pytest.raises(NotFoundError):
        artifacts.read(TARGET.sha256, 0, 1)


def test_what_is_beyond_the_bound_is_refused_by_its_word(artifacts: Artifacts) -> None:
    with pytest.raises(ArtifactError):
        artifacts.put(Target("a" * 64, MODEL_ARTIFACT_BYTES_MAX + 1), [])


def test_the_newest_version_is_told_by_role(published: Published) -> None:
    assert published.newest("models") == 0
    assert published.read("timestamp.json") is None

    published.write({"9.models.json": b"9", "10.models.json": b"10", "11.lists.json": b"11", "timestamp.json": b"t"})

    assert (published.newest("models"), published.newest("lists"), published.newest("timestamp")) == (10, 11, 0)
    assert published.read("timestamp.json") == b"t"


def test_a_key_is_there_again_after_a_start_and_in_the_order_it_was_made(keys: Callable[[], Keys]) -> None:
    made = [keys().make("models") for _ in range(3)]
    keys().make("lists")

    again = keys().signers("models")

    assert [key.public_key.keyid for key in again] == [key.public_key.keyid for key in made]
    made[0].public_key.verify_signature(again[0].sign(b"words"), b"words")


def test_a_catalogue_is_made_rotated_and_proven_in_each(published: Published, keys: Callable[[], Keys]) -> None:
    Publisher(published, keys()).establish(NOW_US)
    Publisher(published, keys()).rotate("targets", NOW_US)

    found = Publisher(published, keys()).publish("models", {"models/x": TARGET}, NOW_US)

    assert Publisher(published, keys()).catalogue() == found
    assert found.targets == {"models/x": TARGET}


def test_no_key_is_written_over_where_a_revoked_one_was_removed(tmp_path: Path) -> None:
    keys = FolderKeys(tmp_path)
    old, new = keys.make("root"), keys.make("root")
    (tmp_path / "root-00000001.pem").unlink()
    made = keys.make("root")

    assert [one.public_key for one in keys.signers("root")] == [new.public_key, made.public_key]
    assert old.public_key != made.public_key


def test_a_key_that_others_may_read_signs_nothing(tmp_path: Path) -> None:
    keys = FolderKeys(tmp_path)
    keys.make("models")
    (path,) = tmp_path.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)

    with pytest.raises(SettingsError, match="others may read this key"):
        keys.signers("models")


@pytest.fixture(params=["memory", "sqlite"])
def book(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Book]]:
    """What opens a book again, as a start does."""
    if request.param == "memory":
        held = MemoryBook()
        yield lambda: held
        return
    opened = list[SqliteBook]()

    def again() -> Book:
        opened.append(SqliteBook(tmp_path / "registry.sqlite"))
        return opened[-1]

    yield again
    for each in opened:
        each.close()


def test_a_bundle_is_kept_as_it_was_added_first(book: Callable[[], Book]) -> None:
    first, other = (Entry(f"b-{number:012x}", number, "anna", b"{}", {"a.npy": TARGET}) for number in (1, 2))
    for entry in (first, other, first._replace(by="eve")):
        book().add(entry)

    assert book().entry(first.bundle) == first
    assert book().entry("b-ffffffffffff") is None
    assert (book().entries(9), book().entries(1), book().count()) == ([other, first], [other], 2)


def test_how_things_stand_is_there_again_with_what_was_done(book: Callable[[], Book]) -> None:
    assert (book().course(), book().changes(9)) == (None, [])

    book().change("one", Done(1, "anna", "{}"))
    book().change("two", Done(2, "bert", "[]"))

    assert book().course() == "two"
    assert book().changes(9) == [Done(2, "bert", "[]"), Done(1, "anna", "{}")]
    assert len(book().changes(1)) == 1


def test_of_each_site_the_last_report_counts(book: Callable[[], Book]) -> None:
    said = Told(1, Report(bundle="b-000000000001", state="active"))
    later = Told(2, Report(bundle="b-000000000001", state="refused", why="golden rows"))
    book().report("b", said)
    book().report("a", said)
    book().report("a", later)

    assert list(book().reports().items()) == [("a", later), ("b", said)]
