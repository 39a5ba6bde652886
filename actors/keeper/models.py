"""Catalogue and artifacts of models by HTTPS, as `docs/models.md` has it, and what the cloud is told of them."""

from collections.abc import Callable, Mapping
from http import HTTPStatus

from actors.keeper.https import Reply, Way
from actors.keeper.ports import NoCatalogueError
from tidegate.errors import TemporaryError
from tidegate.rollout import MODELS_PATH, Report

_TOLD = 200
"""As much of a refusal as is told on."""


class HttpsCatalogue:
    """The registry's door, or a cache's before it."""

    def __init__(self, way: Way, key: Callable[[], str]) -> None:
        """Take the way, and what returns the API key of the scope `catalogue`."""
        self._way, self._key = way, key

    def read(self, name: str) -> bytes | None:
        """Return a file of the catalogue; see the port."""
        reply = self._ask("GET", f"catalogue/{name}")
        if reply.status == HTTPStatus.NOT_FOUND:
            return None
        if reply.status != HTTPStatus.OK:
            raise _refused(name, reply)
        return reply.body

    def part(self, sha256: str, first: int, behind: int) -> bytes:
        """Return a part of an artifact; see the port."""
        reply = self._ask("GET", f"artifacts/{sha256}", headers={"range": f"bytes={first}-{behind - 1}"})
        data = reply.body[first:behind] if reply.status == HTTPStatus.OK else reply.body
        if reply.status not in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT} or not 0 < len(data) <= behind - first:
            raise _refused(f"artifact {sha256[:12]} from byte {first}", reply)
        return data

    def report(self, site: str, said: Report) -> None:
        """Tell what became of a bundle.

        Raises:
            NoCatalogueError: it wasn't heard; tell it again.
        """
        headers = {"content-type": "application/json"}
        reply = self._ask("PUT", f"reports/{site}", said.model_dump_json().encode(), headers)
        if reply.status != HTTPStatus.OK:
            raise _refused("the report", reply)

    def _ask(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Reply:
        known = {"authorization": f"Bearer {self._key()}", **(headers or {})}
        try:
            return self._way.ask(method, f"{MODELS_PATH}/{path}", body, known)
        except TemporaryError as error:
            raise NoCatalogueError(error.message) from error


def _refused(what: str, reply: Reply) -> NoCatalogueError:
    told = "" if reply.status == HTTPStatus.PARTIAL_CONTENT else reply.body[:_TOLD].decode(errors="replace")
    return NoCatalogueError(f"{what}: HTTP {reply.status}, {len(reply.body)} bytes {told}".strip())
