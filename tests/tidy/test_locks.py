"""The locks: versions and hashes, no addresses; an edge install pulls no cloud or training driver."""

import re
from pathlib import Path

import pytest

LOCKS = sorted((Path(__file__).resolve().parents[2] / "locks").glob("*.txt"))
NOT_AT_THE_EDGE = ("xgboost", "scikit-learn", "pandas", "confluent", "redis", "psycopg", "elasticsearch", "deltalake")


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_locked_package_has_one_version_and_hashes(lock: Path) -> None:
    entries = re.split(r"\n(?=\S)", lock.read_text().strip())

    assert [entry for entry in entries if "==" not in entry or "--hash=sha256:" not in entry] == []


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_no_lock_names_a_download_address(lock: Path) -> None:
    assert re.findall(r"https?://|--(?:extra-)?index|--find-links", lock.read_text()) == []


def test_who_calls_a_site_installs_no_server() -> None:
    client = next(path for path in LOCKS if path.name == "client.txt").read_text()

    assert "httpx==" in client
    assert re.findall(r"^(?:ray|fastapi|uvicorn|aiohttp)==", client, re.MULTILINE) == []


def test_an_edge_install_pulls_no_cloud_or_training_driver() -> None:
    edge = next(path for path in LOCKS if path.name == "edge.txt").read_text()

    assert [name for name in NOT_AT_THE_EDGE if re.search(rf"^{name}", edge, re.MULTILINE)] == []
