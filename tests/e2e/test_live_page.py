"""The live page in a real browser: what an operator sees with the right key, a wrong one, none, and no site.

Needs Chromium: `apt-get install chromium`.
"""

import http.client
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from actors.scorer.disk import PosixFolder
from actors.scorer.shelf import Shelf
from edge_nodes.http.keys import KeyFile, Scope, dump_keys, make_key

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PAGE_S = 90
LONG_CARD = "tok-0123456789abcdef"

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no browser; to run it: apt-get install chromium")


@dataclass(frozen=True)
class Site:
    """A door with some decisions behind it, a key to it, and one that may only decide."""

    url: str
    port: int
    key: str
    till_key: str

    def headers(self, path: str) -> http.client.HTTPMessage:
        """Return the headers of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request("GET", path, headers={"authorization": f"Bearer {self.key}"})
        response = connection.getresponse()
        response.read()
        connection.close()
        return response.headers


def _decide(port: int, key: str, number: int) -> None:
    body = {
        "transaction_id": f"live-{number}",
        "occurred_at": datetime.now(UTC).isoformat(),
        "amount": {"minor": 1_999, "currency": "EUR"},
        "card": LONG_CARD,
        "terminal": "t-1",
        "merchant": "m-1",
        "channel": "card_present",
    }
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    connection.request("POST", "/v1/decisions", json.dumps(body), headers)
    assert connection.getresponse().status == 200
    connection.close()


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory,
    bundle_files: dict[str, bytes],
    open_gate: Callable[[dict[str, Any], bytes], int],
) -> Site:
    folder = tmp_path_factory.mktemp("live") / "harbour"
    folder.mkdir()
    shelf = Shelf(folder=PosixFolder(folder / "bundles"))
    shelf.activate(shelf.put(bundle_files))
    layer = {"site": "harbour", "data_dir": str(folder), "machine_mark": str(folder.parent / "mark")}
    key, stored = make_key("all", frozenset(Scope), os.urandom)
    till_key, till = make_key("till", frozenset({Scope.DECIDE}), os.urandom)
    port = open_gate(layer, dump_keys(KeyFile(keys=(stored, till))))
    for number in range(12):
        _decide(port, key, number)
    return Site(f"http://127.0.0.1:{port}/", port, key, till_key)


def _page(url: str, profile: Path) -> str:
    """Return what the page has become after some seconds of its own time."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    flags += ["--disable-background-networking", "--disable-component-update", f"--user-data-dir={profile}"]
    done = subprocess.run(
        [str(BROWSER), *flags, "--virtual-time-budget=4000", "--dump-dom", url],
        capture_output=True,
        text=True,
        timeout=PAGE_S,
        check=True,
    )
    assert "Refused to" not in done.stderr, done.stderr
    return done.stdout


def _state(page: str) -> tuple[str, str]:
    found = re.search(r'<p id="state"[^>]*data-state="(\w+)"[^>]*>([^<]*)<', page)
    assert found is not None, page
    return found[1], found[2]


def test_the_right_key_shows_site_model_shares_and_latest_decisions_and_stays_out_of_the_page(
    site: Site, tmp_path: Path
) -> None:
    page = _page(f"{site.url}#key={site.key}", tmp_path)

    assert _state(page) == ("deciding", "deciding")
    assert "<title>harbour | Tidegate</title>" in page
    assert page.count('<time datetime="20') == 12
    assert "€19.99" in page
    assert "tok-01…cdef" in page
    assert re.search(r'id="bundle">b-[0-9a-f]{12}<', page)
    assert "<polyline" in page
    assert site.key not in page


def test_a_wrong_key_no_key_and_one_that_may_not_read_are_told_apart(site: Site, tmp_path: Path) -> None:
    told = {
        name: _state(_page(f"{site.url}{fragment}", tmp_path / name))
        for name, fragment in {"wrong": "#key=tgk_wrong", "none": "", "till": f"#key={site.till_key}"}.items()
    }

    assert told == {
        "wrong": ("problem", "wrong key: this site doesn't know it"),
        "none": ("problem", "no key: enter one"),
        "till": ("problem", "this key may not read: use another"),
    }


@pytest.mark.parametrize("path", ["/", "/live.js", "/v1/live", "/v1/site", "/nowhere"])
def test_nothing_is_cached_framed_or_loaded_from_elsewhere(site: Site, path: str) -> None:
    headers = site.headers(path)

    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    for rule in ("default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"):
        assert rule in headers["content-security-policy"]
