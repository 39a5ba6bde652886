"""The live page in a real browser: what an operator sees with the right key, a wrong one, none, and no site.

Needs Chromium: `apt-get install chromium`.
"""

import asyncio
import http.client
import json
import os
import re
import subprocess
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from actors.uplink.disk import PosixFile
from actors.uplink.standing import STANDING_FILE, LaneStanding, Standing, dump
from edge_nodes.node import free_port
from tests.e2e.browser import BROWSER, FLAGS, Tab, browser
from tests.integration.spawned import shelved
from tidegate.keys import KeyFile, Scope, dump_keys, make_key
from tidegate.records import Lane

PAGE_S = 90
LONG_CARD = "tok-0123456789abcdef"

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no browser; to run it: apt-get install chromium")


@dataclass(frozen=True)
class Site:
    """A door with some decisions behind it, a key to it, one that may only decide, and the first decision's id."""

    url: str
    port: int
    key: str
    till_key: str
    decision: str

    def headers(self, path: str) -> http.client.HTTPMessage:
        """Return the headers of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request("GET", path, headers={"authorization": f"Bearer {self.key}"})
        response = connection.getresponse()
        response.read()
        connection.close()
        return response.headers


def _decide(port: int, key: str, number: int) -> str:
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
    response = connection.getresponse()
    told = json.load(response)
    connection.close()
    assert response.status == 200, told
    return str(told["decision_id"])


Opens = Callable[[dict[str, Any], bytes], int]


def _layer(folder: Path, port: int, *beside: int) -> dict[str, Any]:
    """Return a site's settings: whose pages may read its door, and be read by its page, is said by their ports."""
    doors = {"port": port, "origins": [f"http://127.0.0.1:{each}" for each in beside]}
    return {"site": folder.name, "data_dir": str(folder), "machine_mark": str(folder.parent / "mark"), "door": doors}


@pytest.fixture(scope="module")
def ports() -> tuple[int, int]:
    """Where two doors will be, which have to know of each other."""
    return free_port(), free_port()


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, bundle_files: dict[str, bytes], open_gate: Opens, ports: tuple[int, int]
) -> Site:
    folder = shelved(tmp_path_factory.mktemp("live") / "harbour", bundle_files)
    key, stored = make_key("all", frozenset(Scope), os.urandom)
    till_key, till = make_key("till", frozenset({Scope.DECIDE}), os.urandom)
    port = open_gate(_layer(folder, *ports), dump_keys(KeyFile(keys=(stored, till))))
    made = [_decide(port, key, number) for number in range(12)]
    return Site(f"http://127.0.0.1:{port}/", port, key, till_key, made[0])


@dataclass(frozen=True)
class Quay:
    """Another site, which has a cloud."""

    folder: Path
    named: str
    """As the address of a page names it and its key."""

    def stand(self, **said: Any) -> None:
        """Say what its uplink says."""
        now_us = time.time_ns() // 1_000
        lanes = {Lane.DECISIONS: LaneStanding(journaled=8_000, committed=6_766, live=34, backlog=1_200)}
        standing = Standing(heard_us=now_us - 9_000_000, behind={Lane.DECISIONS: 1_234}, lanes=lanes, **said)
        PosixFile(self.folder / STANDING_FILE).save(dump(standing, now_us))


@pytest.fixture(scope="module")
def quay(
    tmp_path_factory: pytest.TempPathFactory, bundle_files: dict[str, bytes], open_gate: Opens, ports: tuple[int, int]
) -> Quay:
    folder = shelved(tmp_path_factory.mktemp("beside") / "quay", bundle_files)
    key, stored = make_key("page", frozenset({Scope.READ}), os.urandom)
    uplink = {"uplink": {"url": "https://127.0.0.1:9", "key": "none"}}
    port = open_gate(_layer(folder, *reversed(ports)) | uplink, dump_keys(KeyFile(keys=(stored,))))
    return Quay(folder, f"&beside=http://127.0.0.1:{port}&beside-key={key}")


def _page(url: str, profile: Path) -> str:
    """Return what the page has become after some seconds of its own time."""
    done = subprocess.run(
        [str(BROWSER), *FLAGS, f"--user-data-dir={profile}", "--virtual-time-budget=4000", "--dump-dom", url],
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


@pytest.mark.parametrize("path", ["/", "/live.js", "/decision.js", "/tide.js", "/v1/live", "/v1/site", "/nowhere"])
def test_nothing_is_cached_framed_or_loaded_from_elsewhere(site: Site, path: str) -> None:
    headers = site.headers(path)

    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    for rule in ("default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"):
        assert rule in headers["content-security-policy"]


def _shown(part: str) -> str:
    return f"document.querySelector('#decision [data-part={part}]').innerText"


OPENED = "document.getElementById('decision').dataset.state === 'open'"
FOCUS = "document.activeElement.closest('tr')?.dataset.id ?? document.activeElement.id"


def _in_browser(site: Site, profile: Path, behind: str, work: Callable[[Tab], Awaitable[None]], **look: Any) -> None:
    """Open the page with the right key, do the work, and find that the page's policy refused nothing."""

    async def opened() -> None:
        async with browser(profile) as tab:
            await tab.look(**{"width": 1280} | look)
            await tab.open(f"{site.url}#key={site.key}{behind}")
            await tab.until("document.querySelectorAll('#recent tr').length >= 12")
            await work(tab)
            assert tab.said == []

    asyncio.run(opened())


def test_a_decision_is_opened_by_its_address_and_tells_why_what_it_rests_on_and_that_it_comes_out_again(
    site: Site, tmp_path: Path
) -> None:
    async def work(tab: Tab) -> None:
        await tab.until(OPENED)
        assert await tab.value("location.hash") == f"#decision={site.decision}"
        assert "live-0" in await tab.value(_shown("title"))
        features = await tab.value(_shown("features"))
        assert "in log odds" in features
        assert "It adds up." in features
        assert await tab.value("document.querySelectorAll('.features li').length") == 8
        await tab.value("document.querySelector('.features + button').click()")
        assert await tab.value("document.querySelectorAll('.features li svg rect').length") == 38
        assert "€19.99" in await tab.value(_shown("inputs"))
        assert LONG_CARD in await tab.value(_shown("inputs"))
        rests = await tab.value(_shown("rests"))
        assert re.search(r"b-[0-9a-f]{12}\s+fresh", rests)
        assert re.search(r"p-[0-9a-f]{12}", rests)
        assert site.decision in rests
        await tab.value("document.querySelector('[data-part=replay]').click()")
        await tab.until("document.querySelector('[data-part=replayed]').dataset.state")
        assert await tab.value(_shown("replayed")) == "Equal to the bit."

    _in_browser(site, tmp_path, f"&decision={site.decision}", work)


def test_the_keyboard_opens_a_decision_closes_it_and_stays_where_it_was_over_the_next_seconds(
    site: Site, tmp_path: Path
) -> None:
    async def work(tab: Tab) -> None:
        for _ in range(4):
            await tab.press("Tab")
            if await tab.value("document.activeElement.tagName") == "A":
                break
        at = await tab.value(FOCUS)
        assert str(at).startswith("harbour.g0.")
        await tab.press("Enter")
        await tab.until(OPENED)
        assert await tab.value("document.getElementById('decision').contains(document.activeElement)")
        await tab.press("Escape")
        await tab.until("!document.getElementById('decision').open && location.hash === ''")
        assert await tab.value(FOCUS) == at
        await tab.until(
            "document.querySelectorAll('#spark polyline').length && document.getElementById('rate').innerText"
        )
        _decide(site.port, site.key, 99)
        await tab.until("document.querySelectorAll('#recent tr').length === 13")
        assert await tab.value(FOCUS) == at

    _in_browser(site, tmp_path, "", work)


def test_a_decision_that_is_not_here_is_told_in_the_view_that_was_to_show_it(site: Site, tmp_path: Path) -> None:
    async def work(tab: Tab) -> None:
        await tab.until("document.getElementById('decision').dataset.state === 'problem'")
        assert "ask the site that is named in it" in await tab.value(_shown("gist"))
        tab.said.clear()  # the browser itself notes the 404

    _in_browser(site, tmp_path, "&decision=elsewhere.g0.0123456789abcdef.L1.1", work)


def _card(number: int) -> str:
    return f"document.querySelectorAll('#sites article')[{number}].innerText"


def test_both_sites_are_shown_with_what_the_cloud_has_of_each_lane_and_since_when_a_site_is_cut_off(
    site: Site, quay: Quay, tmp_path: Path
) -> None:
    async def work(tab: Tab) -> None:
        await tab.until(f"{_card(1)}.includes('cut off')")
        assert "no cloud" in await tab.value(_card(0))
        shown = await tab.value(_card(1))
        for words in ("quay", "1,234 behind, the oldest for 1", "last answer ", "no route"):
            assert words in shown
        assert re.search(r"L1 decisions\s+8,000\s+6,766\s+34\s+1,200", shown)
        quay.stand(connected=True)
        await tab.until(f"{_card(1)}.includes('connected')")
        assert await tab.value("document.querySelectorAll('#sites article').length") == 2
        assert await tab.value("document.documentElement.scrollWidth <= 320")
        assert "tgk_" not in await tab.value("document.documentElement.outerHTML + location.href")

    quay.stand(oldest_us=time.time_ns() // 1_000 - 11_000_000, trouble="127.0.0.1:9: no route")
    _in_browser(site, tmp_path, quay.named, work, width=320)


def test_a_door_that_was_not_asked_to_be_shown_here_is_said_not_to_be_reached(site: Site, tmp_path: Path) -> None:
    async def work(tab: Tab) -> None:
        await tab.until(f"{_card(1)}.includes('not reached')")
        tab.said.clear()  # the page's own policy refuses it, and the browser says so each second

    _in_browser(site, tmp_path, "&beside=http://127.0.0.1:9&beside-key=tgk_none", work)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_lies_beside_the_window_and_words_stand_out_in_both_themes(
    site: Site, tmp_path: Path, width: int, *, dark: bool
) -> None:
    async def work(tab: Tab) -> None:
        await tab.until(OPENED)
        for element in ("document.documentElement", "document.getElementById('decision')"):
            assert await tab.value(f"{element}.scrollWidth <= {width}"), element
        colours = [
            await tab.value(f"getComputedStyle(document.getElementById('decision')).{name}")
            for name in ("color", "backgroundColor")
        ]
        light, deep = sorted((_luminance(colour) for colour in colours), reverse=True)
        assert (light + 0.05) / (deep + 0.05) >= 7
        assert (_luminance(colours[1]) < 0.1) is dark
        assert (await tab.picture()).startswith(b"\x89PNG")

    _in_browser(site, tmp_path, f"&decision={site.decision}", work, width=width, dark=dark)


def _luminance(colour: str) -> float:
    """Return the relative luminance of `rgb(r, g, b)` (WCAG 2.2)."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
