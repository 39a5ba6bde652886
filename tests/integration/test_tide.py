"""A journal on a disk, a real uplink, ingest over HTTP, its log in a file: all of it arrives, and can be asked for."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from actors.uplink.key import new_key, signer_of
from edge_nodes.cli import app
from serve_apps.ingest.ports import SiteKey
from tests.integration.clouds import Cloud
from tests.integration.tides import Site, opened
from tidegate.frames import MEDIA_TYPE, OF_LANE, Head, Origin, SignedHead, Signer, encode, packed
from tidegate.ids import EpochId, GateId, SiteId
from tidegate.records import CHAIN_START, DECISION_BODY_BYTES, Kind, Lane, Record


@pytest.fixture
def enrolled(cloud: Cloud, tmp_path: Path) -> Iterator[Callable[[str], Site]]:
    sites: list[Site] = []

    def one(name: str) -> Site:
        site = opened(name, tmp_path / name, cloud.url)
        cloud.keys.of[site.signer.key] = SiteKey(site.signer.key, name, site.public, 0)
        sites.append(site)
        return site

    yield one
    for site in sites:
        site.close()


def frame(site: str, signer: Signer, seq: int = 1, before: bytes = CHAIN_START) -> bytes:
    """Return a frame of one record that nobody journaled."""
    record = Record(Lane.DECISIONS, Kind.DECISION, seq, seq, 1, os.urandom(DECISION_BODY_BYTES)).to_bytes()
    origin = Origin(SiteId(site), GateId("g0"), EpochId("0" * 16))
    return encode(origin, record, before, signer, layout=OF_LANE[Lane.DECISIONS]).data


def test_a_site_s_records_arrive_whole_and_the_cloud_says_so(cloud: Cloud, enrolled: Callable[[str], Site]) -> None:
    site, other = enrolled("s1"), enrolled("s2")
    site.decide(3_000)
    site.until_sent()
    site.decide(5)
    other.decide(7)
    site.until_sent()
    other.until_sent()

    assert sorted(cloud.records(Lane.DECISIONS)) == sorted(site.own(Lane.DECISIONS) + other.own(Lane.DECISIONS))
    assert sorted(cloud.records(Lane.EVENTS)) == sorted(site.own(Lane.EVENTS) + other.own(Lane.EVENTS))
    status, view = cloud.get("/v1/sites/s1")
    (epoch,) = view["epochs"]
    assert status == 200
    assert epoch["lanes"]["L1"] == {
        "through": 3_005, "last": 3_005, "records": 3_005, "claimed": 3_000, "behind": 0, "pending": [], "gaps": [],
    }  # fmt: skip
    assert [row["site"] for row in cloud.get("/v1/sites")[1]["data"]] == ["s1", "s2"]
    lane = cloud.get(f"/v1/sites/s1/gates/g0/epochs/{epoch['epoch']}/lanes/1")[1]
    assert lane["ranges"][0]["after"] == site.journal.head(Lane.DECISIONS).chain.hex()
    assert b'tidegate_site_behind{lane="L1",site="s1"} 0.0' in cloud.get("/metrics")[1]


def test_what_nobody_enrolled_or_what_was_revoked_is_refused_and_the_good_goes_on(
    cloud: Cloud, enrolled: Callable[[str], Site]
) -> None:
    site = enrolled("s1")
    stranger = signer_of(new_key(os.urandom), "key")
    known = cloud.keys.of[site.signer.key]
    stolen = signer_of(new_key(os.urandom), "key")
    cloud.keys.of[stolen.key] = SiteKey(stolen.key, "s1", known.public, 0, revoked_us=1, why="stolen")

    _, told = cloud.post(
        "/v1/frames",
        packed([frame("s1", stranger), frame("s1", stolen), frame("s2", site.signer), frame("s1", site.signer)]),
    )

    assert [(r["status"], r["reason"]) for r in told["results"]] == [
        ("refused", "unknown_key"),
        ("refused", "revoked_key"),
        ("refused", "other_site"),
        ("committed", ""),
    ]
    assert "stolen" in told["results"][1]["message"]
    seen = cloud.get("/v1/quarantine")[1]
    assert seen["refused"] == dict.fromkeys(("unknown_key", "revoked_key", "other_site"), 1)
    assert (seen["data"], seen["counts"], seen["forks"]) == ([], {}, [])


def test_another_history_is_kept_aside_and_can_be_looked_at(cloud: Cloud, enrolled: Callable[[str], Site]) -> None:
    site = enrolled("s1")
    twin = frame("s1", site.signer)
    assert cloud.post("/v1/frames", packed([frame("s1", site.signer)]))[1]["results"][0]["status"] == "committed"

    result = cloud.post("/v1/frames", packed([twin]))[1]["results"][0]

    assert (result["status"], result["reason"]) == ("quarantined", "forked")
    (case,) = cloud.get("/v1/quarantine?site=s1")[1]["data"]
    assert (case["reason"], case["first"], case["key"]) == ("forked", 1, site.signer.key)
    assert cloud.get(f"/v1/quarantine/{case['case_id']}/frame")[1] == twin
    assert cloud.get("/v1/sites/s1")[1]["forked"]
    (fork,) = cloud.get("/v1/quarantine?site=s1")[1]["forks"]
    assert (fork["site"], fork["epoch"], fork["reason"]) == ("s1", "0" * 16, "forked")
    assert cloud.get("/v1/quarantine?site=s2")[1]["forks"] == []


@pytest.mark.parametrize(
    ("path", "body", "media_type", "status", "code"),
    [
        ("/v1/frames", b"", "application/json", 415, "UNSUPPORTED_MEDIA_TYPE"),
        ("/v1/frames", bytes(5 << 20), MEDIA_TYPE, 413, "BODY_TOO_LARGE"),
        ("/v1/heads", b"nonsense", "application/vnd.tidegate.head", 422, "FRAME_REFUSED"),
        ("/v1/nothing", b"", MEDIA_TYPE, 404, "ERROR"),
    ],
)
def test_what_is_no_request_is_a_problem(
    cloud: Cloud, path: str, body: bytes, media_type: str, status: int, code: str
) -> None:
    told = cloud.post(path, body, media_type)

    assert (told[0], told[1]["code"]) == (status, code)


def test_a_head_of_a_key_that_nobody_enrolled_is_refused_with_what_to_do(cloud: Cloud) -> None:
    stranger = signer_of(new_key(os.urandom), "key")
    said: dict[str, Any] = {
        "site": "s1",
        "gate": "g0",
        "epoch": "0" * 16,
        "key": stranger.key,
        "heads": {},
        "durable_pos": 0,
    }
    head = SignedHead.seal(Head(**said, time_us=0, versions={}), stranger.sign)

    status, told = cloud.post("/v1/heads", head.data, "application/vnd.tidegate.head")

    assert (status, told["code"]) == (403, "UNKNOWN_KEY")
    assert "enrol s1" in told["detail"]
    assert cloud.get("/v1/quarantine")[1]["refused"] == {"unknown_key": 1}


def test_a_torn_request_is_answered_frame_by_frame(cloud: Cloud, enrolled: Callable[[str], Site]) -> None:
    site = enrolled("s1")
    body = packed([frame("s1", site.signer)]) + b"\xff\xff\xff"

    told = cloud.post("/v1/frames", body)[1]

    assert [r["status"] for r in told["results"]] == ["committed", "refused"]
    assert told["results"][1]["reason"] == "malformed"


def test_a_journal_is_proven_against_what_the_cloud_holds(
    cloud: Cloud, enrolled: Callable[[str], Site], tmp_path: Path
) -> None:
    site = enrolled("s1")
    key = tmp_path / "operator.key"
    key.write_text(cloud.key)
    key.chmod(0o600)
    command = ["journal", "verify", str(tmp_path / "s1" / "journal"), "--against", cloud.url, "--key-file", str(key)]
    site.decide(5)
    site.journal.commit()

    nothing = CliRunner().invoke(app, command)
    site.until_sent()
    whole = CliRunner().invoke(app, command)
    site.decide(1)
    behind = CliRunner().invoke(app, command)

    assert (nothing.exit_code, whole.exit_code, behind.exit_code) == (1, 0, 1)
    assert whole.output.splitlines()[-1] == "ok: the cloud holds exactly what was journaled"
    assert "  6 to 6 not there yet" in behind.output


@pytest.mark.parametrize("path", ["/v1/sites", "/v1/sites/s1", "/v1/quarantine", "/metrics"])
def test_who_has_no_key_sees_nothing(cloud: Cloud, path: str) -> None:
    assert cloud.get(path, "tgk_" + "0" * 64)[0] == 401
    assert cloud.send("GET", path, b"", {})[0] == 401


def test_what_is_not_there_is_told_with_what_to_do(cloud: Cloud) -> None:
    status, told = cloud.get("/v1/sites/s9")

    assert status == 404
    assert "GET /v1/sites lists" in told["detail"]
    assert cloud.get("/v1/quarantine/7/frame")[0] == 404
    assert cloud.get("/readyz")[1] == {"ready": True, "why": None}
