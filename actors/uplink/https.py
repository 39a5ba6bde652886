"""The way to the cloud by HTTPS: one connection, kept; any reverse proxy may stand between.

Outbound only, so that a site needs no address of its own. The server's certificate is always verified where the
address says https: against the authority of the configuration, or the system's.
"""

import http.client
import io
import socket
import ssl
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit

from actors.uplink.ports import NoWayError, Reply
from tidegate.errors import SettingsError
from tidegate.limits import TIDE_ANSWER_BYTES_MAX, TIDE_TIMEOUT_S
from tidegate.settings import Uplink

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_FAILURES: Final = (OSError, http.client.HTTPException)
_PORTS: Final = {"https": 443, "http": 80}


class _Answering(io.RawIOBase):
    """What comes over a socket until a time that doesn't move, however often a little of it comes."""

    def __init__(self, line: socket.socket) -> None:
        self._line, self._raw = line, line.makefile("rb", buffering=0)
        self._timeout_s = line.gettimeout() or TIDE_TIMEOUT_S
        self._until_s = time.monotonic() + self._timeout_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int | None:
        left_s = self._until_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError(f"no whole answer came within {self._timeout_s:g} s")
        self._line.settimeout(left_s)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """An answer that has come whole in time, or hasn't."""

    def __init__(
        self, sock: socket.socket, debuglevel: int = 0, method: str | None = None, url: str | None = None
    ) -> None:
        super().__init__(sock, debuglevel, method, url)
        self.fp.close()
        self.fp = io.BufferedReader(_Answering(sock))


class HttpsCarrier:
    """A kept connection to one address; a context. After any failure the next request opens another."""

    def __init__(self, url: str, *, authority: str | None = None, client: tuple[str, str] | None = None) -> None:
        """Take `url`, the path of a PEM file with the authorities to trust, and of certificate and key to show.

        Raises:
            SettingsError: `url` is no address, or a file can't be read.
        """
        scheme, self._host, self._port, self._prefix = _address(url)
        self._context = _context(authority, client) if scheme == "https" else None
        self._connection: http.client.HTTPConnection | None = None

    @classmethod
    def of(cls, way: Uplink) -> Self:
        """Return the way that a site's settings tell.

        Raises:
            SettingsError: its address is none, or a file can't be read.
        """
        client = (way.client_certificate, way.client_key) if way.client_certificate else None
        return cls(way.url, authority=way.authority or None, client=client)

    def post(self, path: str, body: bytes, media_type: str) -> Reply:
        """Send a body and wait for the answer."""
        return self.ask("POST", path, body, {"content-type": media_type})

    def ask(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float | None = None
    ) -> Reply:
        """Send a request and wait for the answer.

        Blocks, for a bounded time: `TIDE_TIMEOUT_S` at most each for an address of the host's to connect and for TLS,
        `timeout_s`, which is the same where it isn't said, for the request and for the whole answer.

        Raises:
            NoWayError: no whole answer came.
        """
        try:
            connection = self._connection = self._connection or self._connect()
            if connection.sock is None:
                connection.connect()
            connection.sock.settimeout(timeout_s or TIDE_TIMEOUT_S)
            connection.request(method, self._prefix + path, body, {**headers, "content-length": str(len(body))})
            response = connection.getresponse()
            data = response.read(TIDE_ANSWER_BYTES_MAX + 1)
        except _FAILURES as error:
            self.close()
            raise NoWayError(f"{self._host}:{self._port}: {_told(error)}") from error
        if len(data) > TIDE_ANSWER_BYTES_MAX:
            self.close()
            raise NoWayError(f"{self._host}:{self._port}: the answer is longer than {TIDE_ANSWER_BYTES_MAX} bytes")
        if response.will_close:
            self.close()
        return Reply(response.status, _seconds(response.headers.get("retry-after")), data, _lower(response.headers))

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self) -> http.client.HTTPConnection:
        made = (
            http.client.HTTPConnection(self._host, self._port, timeout=TIDE_TIMEOUT_S)
            if self._context is None
            else http.client.HTTPSConnection(self._host, self._port, timeout=TIDE_TIMEOUT_S, context=self._context)
        )
        made.response_class = _Response
        return made


def _address(url: str) -> tuple[str, str, int, str]:
    """Return scheme, host, port and path.

    Raises:
        SettingsError: it is none.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError as error:
        raise SettingsError(f"uplink.url: {url!r} is no address: {error}") from error
    if port is None or parts.scheme not in _PORTS or not parts.hostname:
        raise SettingsError(f"uplink.url: {url!r} is no address; one looks like https://cloud.example:8500")
    return parts.scheme, parts.hostname, port, parts.path.rstrip("/")


def _context(authority: str | None, client: tuple[str, str] | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=authority)
        if client is not None:
            context.load_cert_chain(*client)
    except OSError as error:
        raise SettingsError(f"uplink: a certificate can't be read: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _lower(headers: http.client.HTTPMessage) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _told(error: Exception) -> str:
    return str(error) or type(error).__name__


def _seconds(value: str | None) -> float:
    """Return what Retry-After says in seconds; a date, which no cloud of ours sends, counts as none."""
    return float(value) if value is not None and value.isascii() and value.isdigit() else 0.0
