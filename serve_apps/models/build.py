"""Models as an application of Ray Serve: one replica, which alone signs the catalogue.

One and no surge: two would sign two things under one version. `app` is what a Serve configuration names as its import
path, with the fields of `ModelsSettings` as arguments.
"""

import logging
import threading
from pathlib import Path
from typing import Any, Final

from ray import serve
from ray.serve import Application

from serve_apps.models.app import Room, build
from serve_apps.models.folder import FolderArtifacts, FolderKeys, FolderPublished
from serve_apps.models.publisher import Publisher
from serve_apps.models.service import Service
from serve_apps.models.sqlite import SqliteBook
from serve_apps.plumbing.replica import alone, keyring_of, need_working
from tidegate.clock import SystemClock
from tidegate.cloudsettings import ModelsSettings
from tidegate.errors import TidegateError
from tidegate.limits import MODELS_TICK_S, SERVED_STOP_S_MAX

FOLDER: Final = "models"
_LOG: Final = logging.getLogger(__name__)


@serve.ingress()
class Models:
    """The one replica."""

    def __init__(self, settings: ModelsSettings) -> None:
        folder, self._over, self._trouble = Path(settings.data_dir) / FOLDER, threading.Event(), ""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        artifacts, published = FolderArtifacts(folder / "artifacts"), FolderPublished(folder / "catalogue")
        signing = FolderKeys(Path(settings.signing_keys) if settings.signing_keys else folder / "keys")
        publisher = Publisher(published, signing, root_threshold=settings.root_threshold)
        self._book = SqliteBook(folder / "registry.sqlite")
        self._service = Service(book=self._book, artifacts=artifacts, publisher=publisher, clock=SystemClock())
        self._service.start()
        keyring = keyring_of(settings.keys)
        self._application = build(Room(self._service, artifacts, published, lambda: self._trouble), keyring)
        self._thread = threading.Thread(target=self._run, name="models")
        self._thread.start()

    def __serve_build_asgi_app__(self) -> Any:  # noqa: ANN401 - Serve's own name, an ASGI application
        """Return what answers."""
        return self._application

    def check_health(self) -> None:
        """Be started again where the signing thread is gone, by a bug. What it waits for itself is no reason.

        Raises:
            TemporaryError: it is.
        """
        need_working("the thread that keeps the catalogue up", self._thread)

    def __del__(self) -> None:
        """Let go of the registry; Serve calls it before the replica goes."""
        if hasattr(self, "_thread"):
            self._over.set()
            self._thread.join(SERVED_STOP_S_MAX)
            self._book.close()

    def _run(self) -> None:
        while not self._over.wait(MODELS_TICK_S):
            try:
                self._service.tick()
                self._trouble = ""
            except (TidegateError, OSError) as error:  # a full disk, a key that others may read: somebody sees to it
                self._trouble = f"the catalogue can't be kept up: {error}"
                _LOG.error(self._trouble)


def app(arguments: dict[str, Any]) -> Application:
    """Return the application.

    Raises:
        SettingsError: an argument is unknown, missing or out of bounds; each is named.
    """
    return alone(Models, ModelsSettings, arguments, name="models")
