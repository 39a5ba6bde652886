"""The archive as an application of Ray Serve: one replica, whose one thread is the tables' one writer.

One and no surge: two writers would only refuse each other's commits. `app` is what a Serve configuration names as its
import path, with the fields of `ArchiveSettings` as arguments.
"""

import threading
from functools import partial
from pathlib import Path
from typing import Any, Final

from ray import serve
from ray.serve import Application

from serve_apps.archive.app import build
from serve_apps.archive.checked import kept_result
from serve_apps.archive.consumer import Consumer
from serve_apps.archive.delta import Upkeep, open_store
from serve_apps.archive.service import Service
from serve_apps.plumbing.replica import alone, keyring_of, need_working
from serve_apps.plumbing.stream.configured import open_stream
from tidegate.clock import Clock, SystemClock
from tidegate.cloudsettings import ArchiveSettings
from tidegate.limits import SERVED_STOP_S_MAX

FOLDER: Final = "archive"


class Opened:
    """The log and the tables, opened; belongs to the thread that opened them."""

    def __init__(self, settings: ArchiveSettings, clock: Clock) -> None:
        folder = Path(settings.data_dir)
        folder.mkdir(parents=True, exist_ok=True)
        self.store = open_store(folder / FOLDER, upkeep=Upkeep(settings.retention_days, settings.merge_files))
        self._stream = open_stream(settings.log, folder, clock)
        self.consumers, self._reader = self._stream.consumers(), self._stream.reader()
        self.consumer = Consumer(reader=self._reader, consumers=self.consumers, store=self.store, clock=clock)

    def close(self) -> None:
        """Let go of the log."""
        for each in (self._reader, self.consumers, self._stream):
            each.close()


@serve.ingress()
class Archive:
    """The one replica."""

    def __init__(self, settings: ArchiveSettings) -> None:
        self._clock, self._over = SystemClock(), threading.Event()
        opening = partial(Opened, settings, self._clock)
        self._service = Service(opening=opening, clock=self._clock, pause=self._over.wait)
        keyring = keyring_of(settings.keys)
        self._application = build(
            self._service, keyring, self._clock, partial(kept_result, Path(settings.data_dir) / FOLDER)
        )
        self._thread = threading.Thread(target=self._service.run, name="archive")
        self._thread.start()

    def __serve_build_asgi_app__(self) -> Any:  # noqa: ANN401 - Serve's own name, an ASGI application
        """Return what answers."""
        return self._application

    def check_health(self) -> None:
        """Be started again where the writing thread is gone, by a bug, or hangs. What it waits for itself is no reason.

        Raises:
            TemporaryError: it is, or does.
        """
        need_working("the archive's thread", self._thread, self._service.stalled(self._clock.now_us()))

    def __del__(self) -> None:
        """Write what was read, and let go of the log; Serve calls it before the replica goes."""
        if hasattr(self, "_thread"):
            self._over.set()
            self._thread.join(SERVED_STOP_S_MAX)


def app(arguments: dict[str, Any]) -> Application:
    """Return the application.

    Raises:
        SettingsError: an argument is unknown, missing or out of bounds; each is named.
    """
    return alone(Archive, ArchiveSettings, arguments, name="archive")
