"""A gate, its uplink and its keeper in a real Ray cluster: killed, they come back; nothing is lost or doubled."""

import http.client
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from actors.journal.disk import PosixDisk
from actors.journal.reader import Reader
from actors.uplink.key import new_key, public_of, signer_of
from serve_apps.ingest.ports import SiteKey
from tests.integration.clouds import Cloud, serving
from tests.integration.spawned import Cluster, Gate, shelved
from tests.unit.cloudfeatures.test_door import READER, House
from tests.unit.cloudfeatures.test_extractor import decided
from tidegate.frames import OF_LANE, Origin, encode, packed
from tidegate.ids import EpochId, GateId, SiteId
from tidegate.records import DECISION_BODY_BYTES, Kind, Lane, Record
from tidegate.tide import lane_path

READY_S = 120
LANES = (Lane.DECISIONS, Lane.EVENTS)


def until(done: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + READY_S
    while not (met := done()) and time.monotonic() < deadline:
        threading.Event().wait(0.05)
    return met


@pytest.fixture(scope="module")
def pem() -> bytes:
    return new_key(os.urandom)


@pytest.fixture(scope="module")
def features() -> House:
    """What other sites did, in a log of its own."""
    return House()


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, features: House) -> Iterator[Cloud]:
    with serving(tmp_path_factory.mktemp("cloud"), features.app) as made:
        yield made


@pytest.fixture(scope="module")
def site(
    ray_cluster: Cluster,
    tmp_path_factory: pytest.TempPathFactory,
    bundle_files: dict[str, bytes],
    cloud: Cloud,
    pem: bytes,
) -> Iterator[Gate]:
    folder = shelved(tmp_path_factory.mktemp("site") / "sends-up", bundle_files)
    key = folder / "site.key"
    key.write_bytes(pem)
    key.chmod(0o600)
    signer = signer_of(pem, "key")
    cloud.keys.of[signer.key] = SiteKey(signer.key, "sends-up", public_of(pem, "key"), 0)
    reads = folder / "features.key"
    reads.write_text(READER)
    made = Gate(ray_cluster, folder, uplink={"url": cloud.url, "key": str(key), "features_key": str(reads)})
    assert made.tell("ready")["error"] is None
    yield made
    made.close()


def pay(site: Gate, first: int, count: int) -> None:
    for number in range(first, first + count):
        body = {
            "transaction_id": f"up-{number}",
            "occurred_at": datetime.now(UTC).isoformat(),
            "amount": {"minor": 100 + number, "currency": "EUR"},
            "card": f"card-{number % 17}",
            "terminal": "t-1",
            "merchant": "m-1",
            "channel": "online",
        }
        assert site.ask("/v1/decisions", body)[0] == 200


def journaled(site: Gate) -> dict[Lane, list[bytes]]:
    found: dict[Lane, list[bytes]] = {lane: [] for lane in LANES}
    for _, record in Reader(PosixDisk(site.folder / "journal")).entries():
        found[record.lane].append(record.to_bytes())
    return found


def arrived(site: Gate, cloud: Cloud) -> bool:
    return all(sorted(cloud.records(lane)) == sorted(records) for lane, records in journaled(site).items())


def test_an_uplink_killed_under_load_comes_back_and_sends_the_rest_once(site: Gate, cloud: Cloud) -> None:
    pay(site, 0, 40)
    assert until(lambda: arrived(site, cloud))
    killed = site.tell("uplink_pid")
    pay(site, 40, 20)

    os.kill(killed, signal.SIGKILL)
    pay(site, 60, 40)

    assert until(lambda: arrived(site, cloud))
    assert site.tell("uplink_pid") != killed
    assert len(cloud.records(Lane.DECISIONS)) == 100
    committed = json.loads((site.folder / "uplink" / "committed.json").read_bytes())["committed"]
    assert [spans[0][0] for spans in committed.values()] == [1, 1]
    status = site.ask("/v1/site")[1]
    assert status["epoch_began"] == "first_start"


def test_what_other_sites_did_reaches_the_gate_also_after_its_keeper_was_killed(site: Gate, features: House) -> None:
    def elsewhere(number: int) -> None:
        name = f"site-{number}.g0.0123456789abcdef"
        features.cloud.send(Lane.DECISIONS, decided(number, 1, of=name))
        features.live(3)

    def known() -> Any:
        return site.ask("/v1/site")[1]["overlay"]

    elsewhere(1)
    assert until(lambda: known()["version"] > 0)
    before, killed = known(), site.tell("keeper_pid")
    os.kill(killed, signal.SIGKILL)
    elsewhere(2)

    assert until(lambda: known()["version"] > before["version"])
    assert site.tell("keeper_pid") != killed
    assert (before["cards"], before["whole"]) == (1, True)


def lost(cloud: Cloud, pem: bytes) -> str:
    """Let the cloud have a decision that the site has lost; return its epoch."""
    (epoch,) = cloud.get("/v1/sites/sends-up")[1]["epochs"]
    view: Any = cloud.get(lane_path("sends-up", "g0", epoch["epoch"], 1))[1]
    seq = view["last"] + 1
    record = Record(Lane.DECISIONS, Kind.DECISION, seq, 10 * seq, 1, os.urandom(DECISION_BODY_BYTES)).to_bytes()
    origin = Origin(SiteId("sends-up"), GateId("g0"), EpochId(epoch["epoch"]))
    before = bytes.fromhex(view["ranges"][-1]["after"])
    data = encode(origin, record, before, signer_of(pem, "key"), layout=OF_LANE[Lane.DECISIONS]).data
    assert cloud.post("/v1/frames", packed([data]))[1]["results"][0]["status"] == "committed"
    return str(epoch["epoch"])


def test_a_site_whose_older_copy_was_put_back_begins_a_new_epoch_by_itself(
    site: Gate, cloud: Cloud, pem: bytes
) -> None:
    pay(site, 100, 5)
    assert until(lambda: arrived(site, cloud))
    old = lost(cloud, pem)

    def began() -> bool:
        try:
            status, told = site.ask("/v1/site")
        except (OSError, http.client.HTTPException):
            return False  # it restarts
        return status == 200 and told["epoch"] != old

    assert until(began)
    told = site.ask("/v1/site")[1]
    pay(site, 105, 3)

    assert (told["epoch_began"], told["offline_approvals"]) == ("restored", True)
    assert b'tidegate_epoch{reason="restored"} 2.0' in site.ask("/metrics")[1]
    assert until(lambda: len(cloud.records(Lane.DECISIONS)) == 100 + 5 + 1 + 3)
    assert {epoch["epoch"] for epoch in cloud.get("/v1/sites/sends-up")[1]["epochs"]} == {old, told["epoch"]}
