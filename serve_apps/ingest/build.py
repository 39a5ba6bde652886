"""Ingest as an application of Ray Serve: one replica that owns the committers, started again where its process ends.

One and no surge: a committer's writer fences the one before, so that two at a time would only take turns at that.
`app` is what a Serve configuration names as its import path, with the fields of `IngestSettings` as arguments.
"""

import os
from pathlib import Path
from typing import Any

from ray import serve
from ray.serve import Application

from serve_apps.ingest.app import build
from serve_apps.ingest.backend import Backend
from serve_apps.ingest.committer import Committer
from serve_apps.ingest.desk import Desk, labels_router
from serve_apps.ingest.identity import identity_router
from serve_apps.ingest.labels import Labels
from serve_apps.ingest.registry import Registry
from serve_apps.ingest.shards import names_of
from serve_apps.ingest.sqlite import SqliteBook, SqliteQuarantine, SqliteRegister
from serve_apps.plumbing.replica import alone, keyring_of
from serve_apps.plumbing.stream.configured import open_stream
from tidegate.clock import SystemClock
from tidegate.cloudsettings import IngestSettings


@serve.ingress()
class Ingest:
    """The one replica."""

    def __init__(self, settings: IngestSettings) -> None:
        clock, folder = SystemClock(), Path(settings.data_dir)
        folder.mkdir(parents=True, exist_ok=True)
        self._stream = open_stream(settings.log, folder, clock)
        self._register = SqliteRegister(folder / "registry.sqlite")
        self._quarantine = SqliteQuarantine(folder / "quarantine.sqlite")
        self._book = SqliteBook(folder / "labels.sqlite")
        self._desk = Desk(Labels(self._stream, self._book, clock), clock)
        registry = Registry(self._register, clock, os.urandom)
        committers = [Committer(self._stream, name, clock) for name in names_of(self._stream, settings.committers)]
        self._backend = Backend(keys=registry, quarantine=self._quarantine, committers=committers, clock=clock)
        keyring = keyring_of(settings.keys)
        beside = identity_router(registry, keyring, self._backend.meter), labels_router(self._desk, keyring)
        self._application = build(self._backend, keyring, *beside)

    def __serve_build_asgi_app__(self) -> Any:  # noqa: ANN401 - Serve's own name, an ASGI application
        """Return what answers."""
        return self._application

    def check_health(self) -> None:
        """Be started again once another committer has taken over.

        Raises:
            FencedError: it has.
        """
        if self._backend.fenced is not None:
            raise self._backend.fenced

    def __del__(self) -> None:
        """Let go of everything once what is under way has ended; Serve calls it before the replica goes."""
        if hasattr(self, "_backend"):
            self._backend.close()
            self._desk.close()
            for each in (self._book, self._quarantine, self._register, self._stream):
                each.close()


def app(arguments: dict[str, Any]) -> Application:
    """Return the application.

    Raises:
        SettingsError: an argument is unknown, missing or out of bounds; each is named.
    """
    return alone(Ingest, IngestSettings, arguments, name="ingest")
