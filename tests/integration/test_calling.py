"""The examples of docs/calling.md, run as they stand there: curl, Python, JavaScript."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.doors import Door
from tests.integration.network import Network, cut_after_it_was_answered, unavailable

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "calling.md").read_text()
SCRIPT = ROOT / "docs" / "examples" / "decide.mjs"
OUTCOMES = {"approve", "challenge", "review", "decline"}
its_own = pytest.mark.parametrize("door", ["actor"], indirect=True, scope="module")
needs_node = pytest.mark.skipif(
    shutil.which("node") is None, reason="there is no Node.js: apt-get install nodejs runs this"
)


def block(language: str) -> str:
    """Return the first block of a language."""
    found = re.search(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def ran(
    command: list[str], door: Door, port: int | None = None, key: str | None = None
) -> "subprocess.CompletedProcess[str]":
    own = {"TIDEGATE_URL": f"http://127.0.0.1:{port or door.port}", "TIDEGATE_KEY": key or door.key}
    environment = {**os.environ, **own, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@its_own
@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl: apt-get install curl runs this")
def test_the_example_of_curl_gets_a_decision(door: Door) -> None:
    script = block("sh").replace("127.0.0.1:8410", f"127.0.0.1:{door.port}")
    told = ran(["bash", "-c", script], door)
    assert json.loads(told.stdout)["outcome"] in OUTCOMES, told


@its_own
def test_the_example_of_python_gets_a_decision(door: Door) -> None:
    told = ran([sys.executable, "-c", block("python")], door)
    assert told.stdout.split()[0] in OUTCOMES, told


@its_own
def test_the_example_of_python_tells_a_refusal(door: Door) -> None:
    assert ran([sys.executable, "-c", block("python")], door, key="tgk_wrong").stdout.split()[0] == "UNAUTHENTICATED"


@pytest.fixture
def bad_network(door: Door) -> Iterator[Network]:
    network = Network(door.port, unavailable, cut_after_it_was_answered)
    yield network
    network.close()


@its_own
@needs_node
def test_the_example_of_javascript_gets_one_decision_over_a_bad_network(door: Door, bad_network: Network) -> None:
    told = ran(["node", str(SCRIPT)], door, bad_network.port)

    assert told.returncode == 0, told
    answer = json.loads(told.stdout)
    assert answer["outcome"] in OUTCOMES
    assert bad_network.connections == 3
    made = door.ask("GET", "/v1/decisions?card=card-1&limit=200").body["data"]
    assert [one["transaction_id"] for one in made].count(answer["transaction_id"]) == 1


@its_own
@needs_node
def test_the_example_of_javascript_throws_what_the_site_refuses(door: Door) -> None:
    told = ran(["node", str(SCRIPT)], door, key="tgk_wrong")
    assert told.returncode != 0
    assert "UNAUTHENTICATED" in told.stderr
