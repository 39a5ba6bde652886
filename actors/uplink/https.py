"""The way to the cloud by HTTPS: one connection, kept; any reverse proxy may stand between.

Outbound only, so that a site needs no address of its own. The server's certificate is always verified where the
address says https: against the authority of the configuration, or the system's.
"""

import http.client
import ssl
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from actors.uplink.ports import NoWayError, Reply
from tidegate.errors import SettingsError
from tidegate.limits import TIDE_ANSWER_BYTES_MAX, TIDE_TIMEOUT_S

_FAILURES: Final = (OSError, http.client.HTTPException)
_PORTS: Final = {"https": 443, "http": 80}


class HttpsCarrier:
    """A kept connection to one address; a context. After any failure the next request opens another."""

    def __init__(self, url: str, *, authority: str | None = None, client: tuple[str, str] | None = None) -> None:
        """Take `url`, the path of a PEM file with the authorities to trust, and of certificate and key to show.

        Raises:
            SettingsError: `url` is no address, or a file can't be read.
        """
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise SettingsError(f"uplink.url: {url!r} is no address; one looks like https://cloud.example:8500")
        self._host, self._port = parts.hostname, parts.port or _PORTS[parts.scheme]
        self._prefix = parts.path.rstrip("/")
        self._context = _context(authority, client) if parts.scheme == "https" else None
        self._connection: http.client.HTTPConnection | None = None

    def post(self, path: str, body: bytes, media_type: str) -> Reply:
        """Send a body and wait for the answer."""
        return self.ask("POST", path, body, {"content-type": media_type})

    def ask(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Send a request and wait for the answer. Blocks, for a bounded time.

        Raises:
            NoWayError: no whole answer came.
        """
        try:
            connection = self._connection = self._connection or self._connect()
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
        return Reply(response.status, _seconds(response.headers.get("retry-after")), data)

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self) -> http.client.HTTPConnection:
        if self._context is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=TIDE_TIMEOUT_S)
        return http.client.HTTPSConnection(self._host, self._port, timeout=TIDE_TIMEOUT_S, context=self._context)


def _context(authority: str | None, client: tuple[str, str] | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=authority)
        if client is not None:
            context.load_cert_chain(*client)
    except OSError as error:
        raise SettingsError(f"uplink: a certificate can't be read: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _told(error: Exception) -> str:
    return str(error) or type(error).__name__


def _seconds(value: str | None) -> float:
    """Return what Retry-After says in seconds; a date, which no cloud of ours sends, counts as none."""
    return float(value) if value is not None and value.isascii() and value.isdigit() else 0.0
