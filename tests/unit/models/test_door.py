"""Models over HTTP: from a bundle's files to what a site proves and has, who may what, and what a cache may keep."""

import asyncio
import hashlib
import json
from copy import deepcopy
from functools import cache
from random import Random
from typing import Any

import httpx
import pytest

from serve_apps.models.app import OCTETS, Room, build
from serve_apps.models.memory import MemoryArtifacts, MemoryBook, MemoryKeys, MemoryPublished
from serve_apps.models.publisher import Publisher
from serve_apps.models.service import Service
from tidegate.bundle import MANIFEST, canonical, decode
from tidegate.clock import ManualClock
from tidegate.ids import SiteId
from tidegate.keys import KeyFile, Keyring, Scope, make_key
from tidegate.limits import DAY_US
from tidegate.rollout import ASSIGNMENTS, Assignments
from tidegate.trust import Catalogue, check_bytes, proven

NOW_US = 1_795_500_000_000_000
KEYS = {scope: make_key(scope.value, frozenset({scope}), Random(scope.value).randbytes) for scope in Scope}
OPERATOR, _OPERATOR = make_key("operator", frozenset(Scope), Random(7).randbytes)
KEYRING = Keyring(KeyFile(keys=(*(stored for _, stored in KEYS.values()), _OPERATOR)))
SITE, CACHE = KEYS[Scope.CATALOGUE][0], KEYS[Scope.CACHE][0]
DATA = bytes(range(256)) * 8
NAME = hashlib.sha256(DATA).hexdigest()


@cache
def established() -> tuple[MemoryArtifacts, MemoryPublished, MemoryKeys]:
    """Return what a first start makes: a tenth of a second of signing."""
    artifacts, published, keys = MemoryArtifacts(), MemoryPublished(), MemoryKeys()
    publisher = Publisher(published, keys)
    Service(book=MemoryBook(), artifacts=artifacts, publisher=publisher, clock=ManualClock(NOW_US)).start()
    return artifacts, published, keys


class House:
    """Models in memory."""

    def __init__(self) -> None:
        self.clock, self.book, self.trouble = ManualClock(NOW_US), MemoryBook(), ""
        artifacts, published, self.keys = established()
        self.artifacts, self.published = deepcopy(artifacts), deepcopy(published)
        self.app = build(Room(self.started(), self.artifacts, self.published, lambda: self.trouble), KEYRING)

    def started(self) -> Service:
        publisher = Publisher(self.published, self.keys)
        made = Service(book=self.book, artifacts=self.artifacts, publisher=publisher, clock=self.clock)
        made.start()
        return made

    def ask(self, method: str, path: str, key: str = OPERATOR, **more: Any) -> httpx.Response:
        headers = ({"authorization": f"Bearer {key}"} if key else {}) | more.pop("headers", {})

        async def sent() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://cloud") as client:
                return await client.request(method, path, headers=headers, **more)

        return asyncio.run(sent())

    def put(self, data: bytes) -> str:
        name = hashlib.sha256(data).hexdigest()
        told = self.ask("PUT", f"/artifacts/{name}", content=data, headers={"content-type": OCTETS})
        assert told.status_code == 200, told.text
        return name

    def add(self, files: dict[str, bytes]) -> httpx.Response:
        said = {name: {"sha256": self.put(data), "bytes": len(data)} for name, data in files.items()}
        return self.ask("POST", "/bundles", json={"files": said})

    def change(self, act: str, **more: object) -> httpx.Response:
        return self.ask("POST", "/rollout/changes", json={"act": act, "why": "a test", **more})

    def report(self, site: str, bundle: str, state: str, why: str = "") -> None:
        said = {"bundle": bundle, "state": state, "why": why}
        told = self.ask("PUT", f"/reports/{site}", key=SITE, json=said)
        assert told.status_code == 200, told.text

    def catalogue(self) -> Catalogue:
        """Return what a site proves that was installed with the first root."""

        def read(name: str) -> bytes | None:
            told = self.ask("GET", f"/catalogue/{name}", key=SITE)
            return told.content if told.status_code == 200 else None

        return proven(read("1.root.json") or b"", read)

    def fetched(self, path: str) -> bytes:
        target = self.catalogue().targets[path]
        data = self.ask("GET", f"/artifacts/{target.sha256}", key=SITE).content
        check_bytes(path, target, data)
        return data

    def bundle_of(self, site: str) -> str | None:
        return Assignments.parse(self.fetched(ASSIGNMENTS)).bundle_of(SiteId(site))


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def offered(house: House, bundle_files: dict[str, bytes]) -> str:
    """A bundle that is at its one canary."""
    bundle = str(house.add(bundle_files).json()["bundle"])
    assert house.change("canaries", sites=["site-1"]).status_code == 200
    assert house.change("offer", bundle=bundle).json()["ring"] == "canary"
    return bundle


def test_a_bundle_goes_from_its_files_to_a_canary_that_proves_each_byte_of_it(
    house: House, offered: str, bundle_files: dict[str, bytes]
) -> None:
    assert house.ask("GET", f"/bundles/{offered}").json()["added_by"] == "operator"
    assert (house.bundle_of("site-1"), house.bundle_of("site-2")) == (offered, None)
    assert {name: house.fetched(f"models/{offered}/{name}") for name in bundle_files} == bundle_files


def test_a_bundle_that_fails_at_a_canary_is_taken_back_at_once_and_it_is_told_why(house: House, offered: str) -> None:
    assert house.change("promote").json()["code"] == "ROLLOUT_REFUSED"

    house.report("site-1", offered, "refused", "golden rows: margin 3 differs")

    assert house.bundle_of("site-1") is None
    last = house.ask("GET", "/rollout/changes").json()["data"][0]
    assert (last["by"], last["act"]) == ("health", "rollback")
    assert last["told"]["why"] == "failed at site-1: golden rows: margin 3 differs"


def test_a_bundle_that_is_well_becomes_the_stable_one_of_all(house: House, offered: str) -> None:
    house.report("site-1", offered, "active")

    told = [house.change("promote").json() for _ in range(3)]

    assert [each["ring"] for each in told] == ["quarter", "all", None]
    assert {house.bundle_of(f"site-{number}") for number in range(9)} == {offered}
    assert house.ask("GET", "/reports").json()["data"][0]["site"] == "site-1"
    assert house.ask("GET", "/rollout").json() == told[-1]


def test_what_sites_said_counts_after_a_start(house: House, offered: str) -> None:
    house.report("site-1", offered, "active")

    assert house.started().course().active == 1


@pytest.mark.parametrize("wrong", ["flipped", "missing", "unjudged"])
def test_what_is_no_whole_admitted_bundle_is_refused(house: House, bundle_files: dict[str, bytes], wrong: str) -> None:
    files = dict(bundle_files)
    if wrong == "flipped":
        files["nodes.npy"] = files["nodes.npy"][:-1] + bytes([files["nodes.npy"][-1] ^ 1])
    elif wrong == "missing":
        del files["roots.npy"]
    else:
        files[MANIFEST] = canonical(decode(bundle_files).manifest.model_copy(update={"gate": None}))

    told = house.add(files)

    assert (told.status_code, told.json()["code"]) == (422, "BUNDLE_REFUSED")
    assert house.ask("GET", "/bundles").json() == {"data": []}


def test_a_bundle_of_files_that_were_never_put_or_have_another_size_is_refused(house: House) -> None:
    told = house.ask("POST", "/bundles", json={"files": {"a.npy": {"sha256": "a" * 64, "bytes": 1}}})
    assert (told.status_code, "files.a.npy" in told.json()["detail"]) == (404, True)

    said = {"a.npy": {"sha256": house.put(DATA), "bytes": 7}}
    assert house.ask("POST", "/bundles", json={"files": said}).json()["errors"][0]["field"] == "files.a.npy.bytes"


def test_registry_and_reports_are_bounded(
    house: House, bundle_files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_apps.models.service.MODEL_BUNDLES_MAX", 0)
    monkeypatch.setattr("serve_apps.models.service.ROLLOUT_SITES_REPORTING_MAX", 1)
    said = {"bundle": "b-0123456789ab", "state": "active"}

    assert house.add(bundle_files).status_code == 409
    told = [house.ask("PUT", f"/reports/{site}", json=said).status_code for site in ("a", "b", "a")]
    assert told == [200, 409, 200]


def test_a_bundle_that_is_not_in_the_registry_is_neither_offered_nor_pinned_nor_shown(house: House) -> None:
    unknown = "b-0123456789ab"

    assert house.change("offer", bundle=unknown).status_code == 404
    assert house.change("pin", site="site-1", bundle=unknown).status_code == 404
    assert house.ask("GET", f"/bundles/{unknown}").status_code == 404


def test_a_role_gets_new_keys_and_sites_follow(house: House) -> None:
    before = house.catalogue()

    told = house.ask("POST", "/catalogue/roles/models/rotations", json={"why": "somebody left"})

    known = set(told.json()["roles"]["models"]["keys"])
    assert not before.roles["models"].keys & known
    assert house.catalogue().roles["models"].keys == known
    assert house.ask("GET", "/rollout/changes").json()["data"][0]["told"] == {"role": "models", "why": "somebody left"}
    assert house.ask("GET", "/catalogue").json() == told.json()
    assert house.ask("POST", "/catalogue/roles/nobody/rotations", json={"why": "x"}).status_code == 404


def test_the_catalogue_is_renewed_in_time_and_says_what_a_crash_kept_from_being_said(
    house: House, bundle_files: dict[str, bytes]
) -> None:
    bundle = house.add(bundle_files).json()["bundle"]
    house.change("canaries", sites=["site-1"])
    course = json.loads(house.book.course() or "")
    course["assignments"]["candidate"] = bundle
    house.book.change(json.dumps(course), house.book.changes(1)[0])
    assert house.bundle_of("site-1") is None

    house.clock.advance(DAY_US)
    house.started().tick()

    assert house.bundle_of("site-1") == bundle
    assert house.catalogue().expired(house.clock.now_us() + DAY_US // 2) == ()


@pytest.mark.parametrize(
    ("asked", "status", "first", "behind"),
    [
        ("", 200, 0, 2048),
        ("bytes=0-", 206, 0, 2048),
        ("bytes=100-199", 206, 100, 200),
        ("bytes=2000-9999", 206, 2000, 2048),
        ("bytes=-48", 206, 2000, 2048),
        ("bytes=-9999", 206, 0, 2048),
        ("bytes=9-8", 200, 0, 2048),
        ("bytes=0-1,5-6", 200, 0, 2048),
        ("lines=1-2", 200, 0, 2048),
    ],
)
def test_an_artifact_is_sent_from_where_it_was_cut_off(
    house: House, asked: str, status: int, first: int, behind: int
) -> None:
    told = house.ask("GET", f"/artifacts/{house.put(DATA)}", key=SITE, headers={"range": asked} if asked else {})

    assert (told.status_code, told.content) == (status, DATA[first:behind])
    assert told.headers["etag"] == f'"{NAME}"'
    assert told.headers["content-length"] == str(behind - first)
    assert told.headers.get("content-range") == (f"bytes {first}-{behind - 1}/2048" if status == 206 else None)


@pytest.mark.parametrize("asked", ["bytes=2048-", "bytes=-0"])
def test_where_there_is_nothing_in_a_range_it_is_said(house: House, asked: str) -> None:
    told = house.ask("GET", f"/artifacts/{house.put(DATA)}", headers={"range": asked})

    assert (told.status_code, told.headers["content-range"]) == (416, "bytes */2048")


def test_a_range_of_another_artifact_is_answered_with_all_of_this_one(house: House) -> None:
    headers = {"range": "bytes=7-", "if-range": '"another"'}

    assert house.ask("GET", f"/artifacts/{house.put(DATA)}", headers=headers).content == DATA


@pytest.mark.parametrize(("key", "whose"), [(SITE, "private"), (CACHE, "public"), (OPERATOR, "private")])
def test_what_never_changes_is_kept_for_a_year_and_the_timestamp_for_seconds(
    house: House, key: str, whose: str
) -> None:
    kept, soon = f"{whose}, max-age=31536000, immutable", f"{whose}, max-age=5, stale-while-revalidate=30"
    for path, told in (
        (f"/artifacts/{house.put(DATA)}", kept),
        ("/catalogue/1.root.json", kept),
        ("/catalogue/timestamp.json", f"{soon}, stale-if-error=86400"),
    ):
        answer = house.ask("GET", path, key=key)
        assert answer.headers["cache-control"] == told
        again = house.ask("GET", path, key=key, headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert house.ask("GET", path, key=key, headers={"if-none-match": '"other"'}).status_code == 200


def test_that_there_is_no_newer_root_is_kept_for_seconds(house: House) -> None:
    told = house.ask("GET", "/catalogue/2.root.json", key=CACHE)

    assert (told.status_code, told.json()["code"]) == (404, "NOT_FOUND")
    assert told.headers["cache-control"].startswith("public, max-age=5, ")


def test_bytes_of_another_digest_are_not_kept(house: House) -> None:
    told = house.ask("PUT", f"/artifacts/{'a' * 64}", content=DATA, headers={"content-type": OCTETS})

    assert (told.status_code, told.json()["code"]) == (422, "ARTIFACT_REFUSED")
    assert house.ask("GET", f"/artifacts/{'a' * 64}").status_code == 404


@pytest.mark.parametrize("name", ["x.json", "0.root.json", "..%2Fkeys.json", "timestamp.json.json"])
def test_only_files_of_the_catalogue_are_read(house: House, name: str) -> None:
    assert house.ask("GET", f"/catalogue/{name}").status_code in {404, 422}


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/catalogue/timestamp.json", Scope.CATALOGUE),
        ("GET", "/catalogue", Scope.MODELS),
        ("POST", "/catalogue/roles/models/rotations", Scope.MODELS),
        ("GET", f"/artifacts/{'a' * 64}", Scope.CATALOGUE),
        ("PUT", f"/artifacts/{'a' * 64}", Scope.MODELS),
        ("GET", "/bundles", Scope.MODELS),
        ("POST", "/bundles", Scope.MODELS),
        ("GET", "/rollout", Scope.MODELS),
        ("GET", "/rollout/changes", Scope.MODELS),
        ("POST", "/rollout/changes", Scope.MODELS),
        ("GET", "/reports", Scope.MODELS),
        ("PUT", "/reports/site-1", Scope.CATALOGUE),
    ],
)
def test_each_path_has_its_scope(house: House, method: str, path: str, scope: Scope) -> None:
    body = {
        "/bundles": {"files": {"a.npy": {"sha256": "a" * 64, "bytes": 1}}},
        "/rollout/changes": {"act": "thaw", "why": "x"},
        "/reports/site-1": {"bundle": "b-0123456789ab", "state": "active"},
    }.get(path, {"why": "x"})

    assert house.ask(method, path, key="", json=body).status_code == 401
    for other in set(Scope) - {scope, Scope.CACHE}:
        assert house.ask(method, path, key=KEYS[other][0], json=body).status_code == 403
    assert house.ask(method, path, key=KEYS[scope][0], json=body).status_code not in {401, 403}


def test_it_is_ready_unless_the_catalogue_cant_be_kept_up(house: House) -> None:
    assert house.ask("GET", "/readyz", key="").json() == {"ready": True, "why": None}
    house.trouble = "the disk is full"
    assert house.ask("GET", "/readyz", key="").status_code == 503
    assert house.ask("GET", "/healthz", key="").status_code == 200
