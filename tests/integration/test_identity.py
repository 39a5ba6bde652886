"""Sites and their keys for real: the commands, HTTPS under the cloud's own authority, a registry in a file, frames."""

import json
import os
import shutil
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import uvicorn
from typer.testing import CliRunner, Result

from actors.uplink.disk import WatchedKey, read_key
from actors.uplink.https import HttpsCarrier
from actors.uplink.key import signer_of
from edge_nodes.cli import app as cli
from edge_nodes.house import CloudPlace, introduced
from edge_nodes.loading import load
from serve_apps.ingest.app import build
from serve_apps.ingest.backend import Backend
from serve_apps.ingest.committer import TOPICS, Committer
from serve_apps.ingest.identity import identity_router
from serve_apps.ingest.registry import Registry
from serve_apps.ingest.sqlite import SqliteQuarantine, SqliteRegister
from serve_apps.plumbing.authority import Files, certificates
from serve_apps.plumbing.stream.sqlite import SqliteStream
from tests.e2e.newcomer import until
from tidegate.clock import SystemClock
from tidegate.errors import TidegateError
from tidegate.frames import MEDIA_TYPE, OF_LANE, Origin, Signer, encode, packed
from tidegate.ids import EpochId, GateId, SiteId
from tidegate.keys import Keyring, parse_keys
from tidegate.records import CHAIN_START, DECISION_BODY_BYTES, Kind, Lane, Record
from tidegate.tide import FRAMES_PATH, Answer

START_S: Final = 30
CLOCK: Final = SystemClock()


@dataclass
class Cloud:
    """Ingest behind HTTPS, with its registry in a file; an operator's key and the authority's certificate beside."""

    url: str
    files: Files
    key_file: Path

    def operator(self, *words: str) -> Result:
        """Run a command of an operator's."""
        where = ("--cloud", self.url, "--key-file", str(self.key_file), "--authority", str(self.files.authority))
        return run("cloud", "site", *words, *where)

    def send(self, signer: Signer, site: str = "s1", seq: int = 1) -> tuple[str, str]:
        """Send a frame of one record; return what became of it."""
        record = Record(Lane.DECISIONS, Kind.DECISION, seq, seq, 1, os.urandom(DECISION_BODY_BYTES)).to_bytes()
        origin = Origin(SiteId(site), GateId("g0"), EpochId(os.urandom(8).hex()))
        frame = encode(origin, record, CHAIN_START, signer, layout=OF_LANE[Lane.DECISIONS]).data
        carrier = HttpsCarrier(self.url, authority=str(self.files.authority))
        reply = carrier.post(FRAMES_PATH, packed([frame]), MEDIA_TYPE)
        carrier.close()
        (result,) = Answer.model_validate_json(reply.body).results
        return result.status.value, result.reason


def run(*words: str, stdin: str = "") -> Result:
    """Run a command of the house's."""
    return CliRunner().invoke(cli, words, input=stdin)


def said(result: Result) -> str:
    """Return what a command that went well printed."""
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def refused(result: Result) -> str:
    """Return why a command didn't go well."""
    assert isinstance(result.exception, TidegateError), result.output
    return result.exception.message


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    folder = tmp_path / "cloud"
    files = certificates(folder / "tls", [], CLOCK)
    register, quarantine = SqliteRegister(folder / "registry.sqlite"), SqliteQuarantine(folder / "quarantine.sqlite")
    stream = SqliteStream(folder / "log.sqlite", CLOCK)
    for lane in (Lane.DECISIONS, Lane.EVENTS):
        stream.create(TOPICS[lane], 4)
    (folder / "anna.key").write_text(said(run("cloud", "key", "add", "anna", "--scope", "sites", "--dir", str(folder))))
    registry = Registry(register, CLOCK, os.urandom)
    backend = Backend(keys=registry, quarantine=quarantine, committers=[Committer(stream, "c0", CLOCK)], clock=CLOCK)
    keyring = Keyring(parse_keys("keys.json", (folder / "keys.json").read_bytes()))
    config = uvicorn.Config(
        build(backend, keyring, identity_router(registry, keyring, backend.meter)),
        host="127.0.0.1",
        port=0,
        log_level="info",
        ssl_certfile=files.server,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    assert until(lambda: server.started, START_S)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield Cloud(f"https://127.0.0.1:{port}", files, folder / "anna.key")
    server.should_exit = True
    thread.join()
    backend.close()
    for held in (stream, register, quarantine):
        held.close()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    made = tmp_path / "site.toml"
    made.write_text(f'site = "s1"\ndata_dir = "{tmp_path}/data"\nmachine_mark = "{tmp_path}/mark"\n')
    return made


def enrol(cloud: Cloud, config: Path, token: str) -> Result:
    where = ("--cloud", cloud.url, "--authority", str(cloud.files.authority), "--config", str(config))
    return run("site", "enrol", "--token", token, *where)


def key_of(config: Path) -> Path:
    return Path(load([config]).uplink.key)


def signer(config: Path) -> Signer:
    return signer_of(read_key(key_of(config)), "site.key")


def test_a_site_is_made_enrolled_rotated_and_revoked_by_the_commands_that_the_documents_name(
    cloud: Cloud, config: Path
) -> None:
    token = said(cloud.operator("add", "s1")).strip()
    assert "a token waits until" in said(cloud.operator("show", "s1"))
    told = said(enrol(cloud, config, token))
    first = signer(config)
    assert f"s1 is enrolled: key {first.key}" in told
    assert load([config]).uplink.url == cloud.url
    assert stat.S_IMODE(key_of(config).stat().st_mode) == 0o600
    assert f"key {first.key}  enrolled 20" in said(run("site", "show", "--config", str(config)))
    assert cloud.send(first) == ("committed", "")

    watched = WatchedKey(key_of(config))
    watched.fresh()
    said(run("site", "rotate", "--config", str(config)))
    second = signer(config)
    assert second.key != first.key
    assert watched.fresh() is not None
    assert cloud.send(first) == cloud.send(second) == ("committed", "")
    listed = said(cloud.operator("show", "s1"))
    assert f"{second.key}  active" in listed
    assert f"{first.key}  retiring" in listed

    assert "revoked" in said(cloud.operator("revoke", "s1", "--key", first.key, "--why", "the old till was stolen"))
    assert cloud.send(first) == ("refused", "revoked_key")
    assert cloud.send(second) == ("committed", "")

    said(cloud.operator("revoke", "s1", "--why", "the shop is closed"))
    assert cloud.send(second) == ("refused", "revoked_key")
    assert "was revoked: the shop is closed; enrol anew" in refused(run("site", "rotate", "--config", str(config)))
    assert "revoked" in said(cloud.operator("list"))

    said(enrol(cloud, config, said(cloud.operator("token", "s1")).strip()))
    assert cloud.send(signer(config)) == ("committed", "")


def test_a_token_is_good_once_and_a_key_for_its_site(cloud: Cloud, config: Path, tmp_path: Path) -> None:
    token = said(cloud.operator("add", "s1")).strip()
    said(enrol(cloud, config, token))
    assert "it was used; ask for a new one" in refused(enrol(cloud, config, token))
    assert cloud.send(signer(config)) == ("committed", "")

    other = tmp_path / "other.toml"
    other.write_text(f'site = "s2"\ndata_dir = "{tmp_path}/other"\nmachine_mark = "{tmp_path}/mark"\n')
    fresh = said(cloud.operator("token", "s1")).strip()
    assert "made last for a site of that name" in refused(enrol(cloud, other, fresh))
    assert cloud.send(signer(config), "s2") == ("refused", "other_site")


def test_a_token_can_be_read_from_the_standard_input(cloud: Cloud, config: Path) -> None:
    token = said(cloud.operator("add", "s1"))
    words = ("site", "enrol", "--token", "-", "--cloud", cloud.url, "--config", str(config))

    told = run(*words, "--authority", str(cloud.files.authority), stdin=token)
    assert "s1 is enrolled" in said(told)


def test_what_goes_wrong_is_told_with_what_to_do_and_leaves_the_site_as_it_was(
    cloud: Cloud, config: Path, tmp_path: Path
) -> None:
    token = said(cloud.operator("add", "s1")).strip()
    plain = run("site", "enrol", "--token", token, "--cloud", cloud.url, "--config", str(config))
    assert "certificate verify failed" in refused(plain)
    assert "--cloud: name the cloud" in refused(run("site", "enrol", "--token", token, "--config", str(config)))
    assert "enrol it first: tidegate site enrol" in refused(run("site", "rotate", "--config", str(config)))
    assert "tidegate site enrol" in refused(run("site", "show", "--config", str(config)))
    assert load([config]).uplink.url == ""

    assert "there is one named s1" in refused(cloud.operator("add", "s1"))
    assert "there is none of that name" in refused(cloud.operator("token", "s9"))
    assert "is no site's name" in refused(cloud.operator("show", "../s1"))
    assert "card number" in refused(cloud.operator("revoke", "s1", "--why", "4111 1111 1111 1111"))
    (tmp_path / "cloud" / "anna.key").write_text("tgk_" + "0" * 64)
    assert "nobody here knows that API key" in refused(cloud.operator("list"))


def test_a_site_is_introduced_to_the_cloud_beside_it_once_and_again_only_where_its_key_is_gone(
    cloud: Cloud, config: Path, tmp_path: Path
) -> None:
    (tmp_path / "cloud" / "operator.key").write_text(cloud.key_file.read_text())
    place = CloudPlace(tmp_path / "cloud", int(cloud.url.rpartition(":")[2]), tmp_path / "run")
    heard: list[str] = []

    def introduce() -> bool:
        return introduced(load([config]), place, heard.append)

    assert introduce()
    first = signer(config)
    assert heard == [f"s1: enrolled, key {first.key}"]
    assert cloud.send(first) == ("committed", "")
    assert introduce()
    assert signer(config).key == first.key

    shutil.rmtree(tmp_path / "data")
    assert introduce()
    assert heard[1:] == [f"s1: enrolled, key {signer(config).key}"]
    assert cloud.send(first) == ("refused", "revoked_key")

    said(cloud.operator("revoke", "s1", "--key", signer(config).key, "--why", "the till was stolen"))
    assert introduce()  # nothing is undone that an operator has done: the uplink is told why by what the cloud answers
    assert cloud.send(signer(config)) == ("refused", "revoked_key")
    said(cloud.operator("revoke", "s1", "--why", "the shop is closed"))
    assert not introduce()
    assert "s1: was revoked (the shop is closed), and sends nothing" in heard[-1]


def test_no_secret_is_logged(cloud: Cloud, config: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    token = said(cloud.operator("add", "s1")).strip()
    said(enrol(cloud, config, token))
    refused(enrol(cloud, config, token))

    assert '"POST /v1/sites/s1/enrolment HTTP/1.1" 403' in caplog.text
    for secret in (token, cloud.key_file.read_text().strip(), key_of(config).read_text().splitlines()[1]):
        assert secret not in caplog.text


def test_the_document_of_the_application_has_ingest_and_identity(cloud: Cloud) -> None:
    carrier = HttpsCarrier(cloud.url, authority=str(cloud.files.authority))
    document: Any = json.loads(carrier.ask("GET", "/openapi.json", b"", {}).body)
    carrier.close()

    assert {FRAMES_PATH, "/v1/sites", "/v1/sites/{site}/enrolment", "/v1/registry"} <= set(document["paths"])
