"""The log of deltas by HTTPS, as `docs/features.md` has it: one batch an answer, waited for."""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final, Protocol

from actors.keeper.ports import BeganAgainError, Found, NoDeltasError, Quiet
from tidegate.errors import TemporaryError
from tidegate.limits import DELTAS_WAIT_S, TIDE_TIMEOUT_S

DELTAS_PATH: Final = "/v1/features/deltas"
_TOLD: Final = 200
"""As much of a refusal as is told on: its first bytes say enough."""


class Reply(Protocol):
    """What came back; headers by their names in small letters."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def retry_after_s(self) -> float:
        """How long the cloud asks to wait; 0: it doesn't say."""

    @property
    def body(self) -> bytes:
        """What was sent."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers."""


class Way(Protocol):
    """A way to the cloud; see `actors.uplink.https.HttpsCarrier`, which raises a TemporaryError where there is none."""

    def ask(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float | None = None
    ) -> Reply:
        """Send a request and wait for the answer; blocks, for a bounded time."""


class HttpsSource:
    """The log as the cloud's door shows it to who has a key."""

    def __init__(self, way: Way, key: Callable[[], str]) -> None:
        """Take the way, and what returns the API key: it is looked at each time, so that another one counts."""
        self._way, self._key = way, key

    def after(self, version: int) -> Found | Quiet:
        """Return the first batch of a version or above, or of the first that is kept; see the port."""
        reply = self._ask(version)
        if reply.status == HTTPStatus.GONE:
            version = _number(reply, "tidegate-next")
            reply = self._ask(version)
        if reply.status == HTTPStatus.NO_CONTENT:
            return Quiet(_number(reply, "tidegate-as-of"))
        if reply.status == HTTPStatus.CONFLICT:
            raise BeganAgainError(f"the cloud's log of deltas began again: {_told(reply)}", reply.retry_after_s)
        if reply.status != HTTPStatus.OK:
            raise NoDeltasError(f"the cloud gives no deltas: {_told(reply)}", reply.retry_after_s)
        until = _number(reply, "tidegate-next")
        if until <= version:
            raise NoDeltasError(f"the cloud went back: after version {version} comes {until}")
        return Found(version, until, reply.body)

    def _ask(self, version: int) -> Reply:
        path, headers = f"{DELTAS_PATH}?from={version}&live=1", {"authorization": f"Bearer {self._key()}"}
        try:
            return self._way.ask("GET", path, b"", headers, timeout_s=DELTAS_WAIT_S + TIDE_TIMEOUT_S)
        except TemporaryError as error:
            raise NoDeltasError(error.message) from error


def _number(reply: Reply, name: str) -> int:
    text = reply.headers.get(name, "")
    if not (text.isascii() and text.isdigit()):
        raise NoDeltasError(f"no answer of a cloud of ours: {name} is missing ({_told(reply)})")
    return int(text)


def _told(reply: Reply) -> str:
    return f"HTTP {reply.status} {reply.body[:_TOLD].decode(errors='replace')}".strip()
