"""Sends payments and labels to a site's door over kept connections, and tries again with the same id where it may."""

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Self

import aiohttp

from tidegate.errors import PermanentError
from tidegate.limits import (
    STREAM_ATTEMPTS_MAX,
    STREAM_RETRY_DELAY_S_MAX,
    STREAM_RETRY_DELAY_S_MIN,
    STREAM_TIMEOUT_S,
)

_ADDRESS: Final = re.compile(r"https?://[^/?#@\s]+/*$", re.IGNORECASE)
_TRY_AGAIN: Final = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError)


class NobodyError(PermanentError):
    """No site answers at that address."""

    code = "NO_SITE"


class AddressError(PermanentError):
    """That is no address of a door."""

    code = "NO_ADDRESS"


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one request: its status (0: none came), its body, and how long the last attempt took."""

    status: int
    body: Mapping[str, Any]
    took_us: int

    @property
    def error(self) -> str | None:
        """Why there is no decision: the problem's code, or the status; None where there is one."""
        if self.status in {HTTPStatus.OK, HTTPStatus.CREATED}:
            return None
        return str(self.body.get("code") or (f"HTTP_{self.status}" if self.status else "NO_CONNECTION"))


class Door:
    """A client of one site's door; an async context.

    `connections` are kept open and bound what is in flight. The first retry waits `delay_s`, each one twice as long
    as the one before, up to a bound, or as long as the site asks for.

    Raises:
        AddressError: `url` is none of HTTP.
    """

    def __init__(
        self,
        *,
        url: str,
        key: str,
        connections: int,
        now_ns: Callable[[], int],
        delay_s: float = STREAM_RETRY_DELAY_S_MIN,
    ) -> None:
        if not _ADDRESS.match(url):
            raise AddressError(f"{url!r} is no address of a door; one looks like http://127.0.0.1:8410")
        self._url = url.rstrip("/")
        self._headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        self._connections = connections
        self._now_ns = now_ns
        self._delay_s = delay_s

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections),
            headers=self._headers,
            timeout=aiohttp.ClientTimeout(total=STREAM_TIMEOUT_S),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def decide(self, payment: Mapping[str, Any]) -> Answer:
        """Ask for a decision; a retry is the same body under the same transaction_id, so nothing is decided twice."""
        return await self._post("/v1/decisions", payment)

    async def tell(self, verdict: Mapping[str, Any]) -> Answer:
        """Hand in a label; its label_id makes a retry harmless."""
        return await self._post("/v1/labels", verdict)

    async def clock(self) -> tuple[str, str] | None:
        """Return where the site's time comes from, and its now, RFC 3339; None where this key may not read it.

        Raises:
            NobodyError: no site answers there.
        """
        try:
            async with self._session.get(f"{self._url}/v1/site") as response:
                told = _object(await response.read())
                return (str(told["clock_source"]), str(told["now"])) if "clock_source" in told else None
        except aiohttp.InvalidURL as error:
            raise AddressError(f"{self._url} is no address; one looks like http://127.0.0.1:8410") from error
        except _TRY_AGAIN as error:
            raise NobodyError(f"no site answers at {self._url}: start one, or name its address") from error

    async def _post(self, path: str, body: Mapping[str, Any]) -> Answer:
        data = json.dumps(body, separators=(",", ":")).encode()
        answer, delay_s = Answer(0, {}, 0), self._delay_s
        for attempt in range(STREAM_ATTEMPTS_MAX):
            if attempt:
                await asyncio.sleep(min(delay_s, STREAM_RETRY_DELAY_S_MAX))
            delay_s *= 2
            try:
                answer, told_s = await self._once(path, data)
            except _TRY_AGAIN:
                answer = Answer(0, {}, 0)
                continue
            if answer.status != HTTPStatus.SERVICE_UNAVAILABLE:
                return answer
            delay_s = max(delay_s, told_s)
        return answer

    async def _once(self, path: str, data: bytes) -> tuple[Answer, float]:
        """Return the answer and the seconds to wait that it asks for."""
        started_ns = self._now_ns()
        async with self._session.post(self._url + path, data=data) as response:
            text = await response.read()
            took_us = (self._now_ns() - started_ns) // 1000
            return Answer(response.status, _object(text), took_us), _seconds(response.headers.get("Retry-After"))


def _object(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _seconds(header: str | None) -> float:
    """Return Retry-After in seconds (RFC 9110 §10.2.3); a date, or none, asks for nothing."""
    return float(header) if header is not None and header.isdigit() else 0.0
