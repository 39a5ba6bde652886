"""Asks the cloud something, for the commands that do; what it refuses is told in its own words."""

from collections.abc import Mapping
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError

from actors.uplink.https import HttpsCarrier
from actors.uplink.ports import Reply
from tidegate.errors import PermanentError, SettingsError, TemporaryError

M = TypeVar("M", bound=BaseModel)
_WELL: Final = range(HTTPStatus.OK, HTTPStatus.MULTIPLE_CHOICES)
_LATER: Final = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}


class CloudError(PermanentError):
    """The cloud refused: `code` is the one it gave."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class _Problem(BaseModel):
    model_config = ConfigDict(extra="ignore")

    code: str
    detail: str


class Cloud:
    """The cloud at an address, asked with an API key or without."""

    def __init__(
        self, url: str, *, authority: str = "", client: tuple[str, str] | None = None, key: str | None = None
    ) -> None:
        """Take also the PEM file of who may vouch for it, and those of certificate and key to show.

        Raises:
            SettingsError: the address is none, or what is sent would pass in clear; a file can't be read.
        """
        self._url = url
        self._carrier = HttpsCarrier(url, authority=authority or None, client=client)
        _need_privacy(url)
        self._headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})

    def post(self, path: str, body: BaseModel | None, answer: type[M]) -> M:
        """Send something and return the answer.

        Raises:
            CloudError: it was refused.
            TemporaryError: there is no way to the cloud now, or it asks to come back.
        """
        return self._ask("POST", path, body.model_dump_json().encode() if body else b"", answer)

    def put(self, path: str, data: bytes, media_type: str, answer: type[M]) -> M:
        """Put bytes at a path and return the answer; raises as `post`."""
        return self._ask("PUT", path, data, answer, {"content-type": media_type})

    def get(self, path: str, answer: type[M]) -> M:
        """Return what is at a path; raises as `post`."""
        return self._ask("GET", path, b"", answer)

    def _ask(self, method: str, path: str, body: bytes, answer: type[M], headers: Mapping[str, str] | None = None) -> M:
        try:
            reply = self._carrier.ask(method, path, body, {**self._headers, **(headers or {})})
        finally:
            self._carrier.close()
        if reply.status not in _WELL:
            raise self._refused(reply)
        try:
            return answer.model_validate_json(reply.body)
        except ValidationError as error:
            raise CloudError("UNREADABLE", f"{self._url}: the answer isn't Tidegate's: check --cloud") from error

    def _refused(self, reply: Reply) -> CloudError | TemporaryError:
        try:
            told = _Problem.model_validate_json(reply.body)
        except ValidationError:
            told = _Problem(code="UNREADABLE", detail=f"HTTP {reply.status}, in no words of Tidegate's: check --cloud")
        message = f"{self._url}: {told.detail}"
        if reply.status in _LATER:
            return TemporaryError(message)
        return CloudError(told.code, message)


def _need_privacy(url: str) -> None:
    """Refuse to send keys and tokens in clear, but to this machine."""
    parts = urlsplit(url)
    if parts.scheme == "http" and not _is_here(parts.hostname or ""):
        raise SettingsError(f"--cloud {url}: a token or a key would pass in clear; say https://")


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_api_key(path: Path) -> str:
    """Return the API key that a file holds.

    Raises:
        SettingsError: it can't be read, or holds none.
    """
    try:
        key = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"--key-file: {path} can't be read; name a file that holds an API key") from error
    if not key or not key.isascii() or not key.isprintable():
        raise SettingsError(f"--key-file: {path} holds no API key")
    return key
