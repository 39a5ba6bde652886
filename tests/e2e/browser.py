"""A real browser in the test's hand, over the DevTools protocol: open, look at, press keys, take pictures."""

import asyncio
import base64
import contextlib
import json
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import aiohttp

BROWSER: Final = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS: Final = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--hide-scrollbars"),
)
START_S: Final = 60.0
WAIT_S: Final = 20.0
_KEYS: Final = {"Tab": 9, "Enter": 13, "Escape": 27}


class Tab:
    """One tab."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._count = 0
        self.said: list[str] = []
        """What the console was told, refusals of the page's policy among it."""

    async def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send one command and return its result."""
        self._count += 1
        await self._socket.send_json({"id": self._count, "method": method, "params": parameters})
        while True:
            told = await self._socket.receive_json(timeout=WAIT_S)
            if told.get("method") in {"Log.entryAdded", "Runtime.exceptionThrown"}:
                self.said.append(json.dumps(told["params"]))
            if told.get("id") == self._count:
                assert "error" not in told, told
                result: dict[str, Any] = told["result"]
                return result

    async def open(self, url: str) -> None:
        """Go to an address."""
        for domain in ("Page", "Runtime", "Log"):
            await self.send(f"{domain}.enable")
        await self.send("Page.navigate", url=url)

    async def value(self, expression: str) -> Any:
        """Return what an expression comes to in the page."""
        told = await self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        return told["result"].get("value")

    async def until(self, expression: str) -> Any:
        """Return an expression's value once it is true."""
        deadline = time.monotonic() + WAIT_S
        while not (value := await self.value(expression)):
            assert time.monotonic() < deadline, (
                f"never true: {expression}; {self.said} {await self.value('document.body.innerText')}"
            )
            await asyncio.sleep(0.05)
        return value

    async def press(self, key: str) -> None:
        """Press a key."""
        said = {"key": key, "code": key, "windowsVirtualKeyCode": _KEYS[key]}
        text = {"text": "\r"} if key == "Enter" else {}
        await self.send("Input.dispatchKeyEvent", type="keyDown", **said, **text)
        await self.send("Input.dispatchKeyEvent", type="keyUp", **said)

    async def look(self, *, width: int, height: int = 900, dark: bool = False) -> None:
        """Make the window a device's, in light or dark."""
        mobile = width < 600
        await self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.send("Emulation.setEmulatedMedia", features=[scheme])

    async def picture(self) -> bytes:
        """Return what the window shows as PNG."""
        told = await self.send("Page.captureScreenshot", format="png")
        return base64.b64decode(told["data"])


async def _address(process: asyncio.subprocess.Process, profile: Path) -> str:
    """Return where the browser's only tab is spoken to."""
    deadline = time.monotonic() + START_S
    async with aiohttp.ClientSession() as session:
        while True:
            assert process.returncode is None, "the browser ended"
            assert time.monotonic() < deadline, "the browser never listened"
            with contextlib.suppress(OSError, aiohttp.ClientError, IndexError):
                port = (profile / "DevToolsActivePort").read_text().split()[0]
                async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                    pages = [each for each in await answer.json() if each["type"] == "page"]
                    return str(pages[0]["webSocketDebuggerUrl"])
            await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def browser(profile: Path) -> AsyncIterator[Tab]:
    """Start a browser with an empty profile and one tab; it is gone at the end."""
    command = [str(BROWSER), *FLAGS, "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"]
    nothing = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*command, stdout=nothing, stderr=nothing)
    try:
        where = await _address(process, profile)
        async with aiohttp.ClientSession() as session, session.ws_connect(where, max_msg_size=0) as socket:
            yield Tab(socket)
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), START_S)
