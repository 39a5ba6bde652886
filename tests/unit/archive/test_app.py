"""The archive over HTTP: who may ask, how far it is, what stands still, and whether it does its work."""

import asyncio
from random import Random

import httpx
import pytest

from serve_apps.archive.app import build
from serve_apps.archive.service import Service
from tests.unit.archive.test_service import PLACE, Full, live
from tidegate.clock import ManualClock
from tidegate.keys import KeyFile, Keyring, Scope, make_key
from tidegate.limits import ARCHIVE_STALLED_US

READER, _READER = make_key("anna", frozenset({Scope.READ}), Random(1).randbytes)
METER, _METER = make_key("bert", frozenset({Scope.METRICS}), Random(2).randbytes)
KEYRING = Keyring(KeyFile(keys=(_READER, _METER)))


def asked(service: Service, path: str, key: str = "", *, later_us: int = 0) -> httpx.Response:
    app = build(service, KEYRING, ManualClock(service.standing.looked_us + later_us))

    async def sent() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://cloud") as client:
            return await client.get(path, headers={"authorization": f"Bearer {key}"} if key else {})

    return asyncio.run(sent())


def test_it_says_how_far_each_partition_is_and_how_to_name_the_tables_as_they_are() -> None:
    told = asked(live(Full(0), 3).service, "/v1/status", READER).json()

    assert (told["messages"], told["rows"], told["trouble"]) == (1, 3, None)
    assert told["version"] == "1.0.0.0.0.0.0"
    assert told["versions"]["decisions"] == 1
    assert told["behind"] == {"tidegate.L1": 0, "tidegate.L2": 0, "tidegate.artifacts": 0}
    (row,) = [row for row in told["partitions"] if row["topic"] == "tidegate.L1"]
    assert row == {"topic": "tidegate.L1", "partition": 0, "offset": 1, "behind": 0, "halted": None}


def test_a_stopped_partition_is_named_with_its_reason() -> None:
    service = live(Full(0), 3, sent=b"no frame").service

    (row,) = [row for row in asked(service, "/v1/status", READER).json()["partitions"] if row["halted"]]

    assert (row["topic"], row["partition"]) == PLACE
    assert "malformed" in row["halted"]
    assert 'tidegate_archive_halted{topic="tidegate.L1"} 1.0' in asked(service, "/metrics", METER).text


@pytest.mark.parametrize(
    ("path", "key", "status"),
    [
        ("/v1/status", "", 401),
        ("/v1/status", METER, 403),
        ("/metrics", READER, 403),
        ("/metrics", METER, 200),
        ("/healthz", "", 200),
        ("/readyz", "", 200),
        ("/nothing", READER, 404),
    ],
)
def test_each_path_needs_its_scope(path: str, key: str, status: int) -> None:
    assert asked(live(Full(0), 3).service, path, key).status_code == status


def test_what_keeps_it_is_said_by_its_readiness() -> None:
    full, hung = live(Full(9), 2).service, live(Full(0), 3).service

    assert "the disk is full" in asked(full, "/readyz").json()["why"]
    told = asked(hung, "/readyz", later_us=ARCHIVE_STALLED_US + 1_000_000)
    assert (told.status_code, told.json()["ready"]) == (503, False)
