"""What a site brings down: proven byte by byte, never older, gone on with after a cut, and known without a network."""

import pytest

from actors.keeper.catalogue import Keeping
from actors.keeper.memory import MemoryCatalogue, MemoryStore
from actors.keeper.ports import NoCatalogueError
from serve_apps.models.memory import MemoryPublished
from tests.unit.models.test_door import House
from tidegate.ids import BundleId, SiteId
from tidegate.limits import CATALOGUE_TIMESTAMP_US
from tidegate.rollout import ASSIGNMENTS
from tidegate.trust import CatalogueError, Target

SITE = SiteId("site-1")


class Site:
    """A site, and the cloud that it asks."""

    def __init__(self, house: House) -> None:
        self.house, self.store = house, MemoryStore()
        self.source = MemoryCatalogue({}, {})
        self.keeping = Keeping(pinned=house.published.read("1.root.json") or b"", source=self.source, store=self.store)
        self.heard()

    def heard(self, published: MemoryPublished | None = None) -> None:
        """Let the site's cloud be as the house is now."""
        self.source.files = dict((published or self.house.published).files)
        self.source.artifacts = dict(self.house.artifacts.kept)

    def bundle(self) -> BundleId | None:
        return self.keeping.bundle(self.keeping.look(self.house.clock.now_us()), SITE)

    def files(self, bundle: str) -> dict[str, bytes]:
        return self.keeping.files(self.keeping.look(self.house.clock.now_us()), BundleId(bundle))


@pytest.fixture
def offered(bundle_files: dict[str, bytes]) -> tuple[Site, str]:
    """A site that is a canary, and the bundle that it should have."""
    house = House()
    bundle = str(house.add(bundle_files).json()["bundle"])
    house.change("canaries", sites=[SITE])
    house.change("offer", bundle=bundle)
    return Site(house), bundle


def test_a_bundle_is_brought_down_whole_and_known_without_a_network_then(
    offered: tuple[Site, str], bundle_files: dict[str, bytes]
) -> None:
    site, bundle = offered
    assert site.keeping.known() is None
    assert site.bundle() == bundle
    assert site.files(bundle) == bundle_files

    site.source.away = 1 << 30

    known = site.keeping.known()
    assert known is not None
    assert site.keeping.files(known, BundleId(bundle)) == bundle_files
    with pytest.raises(NoCatalogueError):
        site.bundle()


def test_what_was_cut_off_is_gone_on_with_and_nothing_of_it_fetched_twice(
    offered: tuple[Site, str], bundle_files: dict[str, bytes]
) -> None:
    site, bundle = offered
    catalogue = site.keeping.look(site.house.clock.now_us())
    site.source.bytes_max, cut = 1_000, 0
    original = site.source.part

    def cutting(sha256: str, first: int, behind: int) -> bytes:
        nonlocal cut
        cut += 1
        site.source.away += cut % 3 == 0
        return original(sha256, first, behind)

    site.source.part = cutting  # type: ignore[method-assign]
    for _ in range(10_000):
        try:
            found = site.keeping.files(catalogue, BundleId(bundle))
            break
        except NoCatalogueError:
            continue

    assert found == bundle_files
    assert len(site.source.parts) == len(set(site.source.parts))


def test_a_flipped_byte_is_refused_and_fetched_anew(offered: tuple[Site, str], bundle_files: dict[str, bytes]) -> None:
    site, bundle = offered
    name = Target.of(bundle_files["nodes.npy"]).sha256
    site.source.artifacts[name] = b"\0" + site.source.artifacts[name][1:]

    with pytest.raises(CatalogueError, match=r"nodes\.npy: its bytes aren't those"):
        site.files(bundle)
    site.heard()
    assert site.files(bundle) == bundle_files


def test_an_older_catalogue_or_one_out_of_date_changes_nothing(offered: tuple[Site, str]) -> None:
    site, bundle = offered
    old = MemoryPublished()
    old.write(site.house.published.files)
    site.house.change("rollback")
    site.heard()
    assert site.bundle() is None
    kept = site.store.files["catalogue.json"]

    site.heard(old)
    with pytest.raises(CatalogueError, match="an older one is never taken"):
        site.bundle()
    site.heard()
    site.house.clock.advance(CATALOGUE_TIMESTAMP_US)
    with pytest.raises(CatalogueError, match="timestamp: out of date"):
        site.bundle()

    assert site.store.files["catalogue.json"] == kept
    assert bundle.startswith("b-")


def test_keys_that_were_rotated_are_followed_and_a_catalogue_of_strangers_is_not(offered: tuple[Site, str]) -> None:
    site, bundle = offered
    assert site.bundle() == bundle
    for role in ("root", "models", "timestamp"):
        assert site.house.ask("POST", f"/catalogue/roles/{role}/rotations", json={"why": "x"}).status_code == 200
        site.heard()
        assert site.bundle() == bundle

    stranger = Keeping(pinned=site.house.published.read("2.root.json") or b"", source=site.source, store=MemoryStore())
    assert stranger.look(site.house.clock.now_us()).targets
    site.source.files["timestamp.json"] = site.source.files["1.timestamp.json"]
    with pytest.raises(CatalogueError, match="not signed by whom it must be"):
        site.bundle()


def test_what_is_kept_and_damaged_is_told_and_not_taken_for_nothing(offered: tuple[Site, str]) -> None:
    site, _ = offered
    site.bundle()

    site.store.files["catalogue.json"] = b"[1]"
    with pytest.raises(CatalogueError, match=r"catalogue\.json: no catalogue"):
        site.bundle()


def test_nothing_but_what_is_known_stays_once_it_is_tidied(offered: tuple[Site, str]) -> None:
    site, bundle = offered
    site.files(bundle)

    site.keeping.tidy()

    assert site.store.names() == ["catalogue.json"]


def test_a_bundle_without_files_is_none(offered: tuple[Site, str]) -> None:
    site, _ = offered

    with pytest.raises(CatalogueError, match="0 files are signed for"):
        site.files("b-ffffffffffff")
    assert ASSIGNMENTS in site.keeping.look(site.house.clock.now_us()).targets
