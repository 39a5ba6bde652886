"""Features as an application of Ray Serve: one replica, whose one thread makes the deltas and folds them.

One and no surge: a second one would fence the first. `app` is what a Serve configuration names as its import path, with
the fields of `FeaturesSettings` as arguments.
"""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from ray import serve
from ray.serve import Application

from serve_apps.features.app import Room, build
from serve_apps.features.batches import Batches
from serve_apps.features.batches import Opened as OpenedReader
from serve_apps.features.extractor import NAME, Extractor
from serve_apps.features.folder import Folder
from serve_apps.features.memory import MemoryStore
from serve_apps.features.ports import Store
from serve_apps.features.service import Service
from serve_apps.features.tail import Batch, Tail
from serve_apps.plumbing.replica import alone, keyring_of, need_working
from serve_apps.plumbing.stream.configured import open_stream
from tidegate.clock import Clock, SystemClock
from tidegate.cloudsettings import FeaturesSettings
from tidegate.errors import SettingsError
from tidegate.limits import SERVED_STOP_S_MAX


class Opened:
    """The log, opened; belongs to the thread that opened it."""

    def __init__(self, settings: FeaturesSettings, store: Store, clock: Clock) -> None:
        self._stream = open_stream(settings.log, Path(settings.data_dir), clock)
        self.consumers = self._stream.consumers()
        self._reader, self._writer = self._stream.reader(), self._stream.writer(NAME)
        self.extractor = Extractor(reader=self._reader, consumers=self.consumers, writer=self._writer, clock=clock)
        self.folder = Folder(reader=self._reader, consumers=self.consumers, store=store, clock=clock)

    def close(self) -> None:
        """Let go of the log."""
        self._writer.close()
        self._reader.close()
        self.consumers.close()
        self._stream.close()


def opened_reader(settings: FeaturesSettings, clock: Clock) -> OpenedReader:
    """Return a reader of the log, for the thread that asks for it."""
    stream = open_stream(settings.log, Path(settings.data_dir), clock)
    reader = stream.reader()

    def close() -> None:
        reader.close()
        stream.close()

    return OpenedReader(reader, close)


def opened_store(settings: FeaturesSettings) -> Store:
    """Return the store that the settings name.

    Raises:
        SettingsError: its address or the file of its password is wrong.
    """
    if not settings.redis:
        return MemoryStore()
    from serve_apps.features.redis import RedisStore  # noqa: PLC0415 - a driver that few install

    try:
        password = Path(settings.redis_password).read_text().strip() if settings.redis_password else None
    except OSError as error:
        raise SettingsError(f"features.redis_password: can't be read ({error.strerror})") from error
    return RedisStore(settings.redis, password)


@serve.ingress()
class Features:
    """The one replica."""

    def __init__(self, settings: FeaturesSettings) -> None:
        clock, self._over = SystemClock(), threading.Event()
        self._clock = clock
        Path(settings.data_dir).mkdir(parents=True, exist_ok=True)
        self._store = opened_store(settings)
        self._batches, self._reading = Batches(partial(opened_reader, settings, clock)), ThreadPoolExecutor(1)
        tail = Tail(self._read)
        opening = partial(Opened, settings, self._store, clock)
        self._service = Service(opening=opening, clock=clock, pause=self._over.wait, ring=tail.ring)
        keyring = keyring_of(settings.keys)
        self._application = build(Room(self._service, tail, self._store, clock), keyring)
        self._thread = threading.Thread(target=self._service.run, name="features")
        self._thread.start()

    def __serve_build_asgi_app__(self) -> Any:  # noqa: ANN401 - Serve's own name, an ASGI application
        """Return what answers."""
        return self._application

    def check_health(self) -> None:
        """Be started again where the working thread is gone, by a bug, or hangs. What it waits for is no reason.

        Raises:
            TemporaryError: it is, or does.
        """
        need_working("the features' thread", self._thread, self._service.stalled(self._clock.now_us()))

    def __del__(self) -> None:
        """Let go of log and store; Serve calls it before the replica goes."""
        if hasattr(self, "_thread"):
            self._over.set()
            self._thread.join(SERVED_STOP_S_MAX)
            self._reading.submit(self._batches.close)
            self._reading.shutdown()
            self._store.close()

    async def _read(self, version: int) -> Batch | None:
        return await asyncio.get_running_loop().run_in_executor(self._reading, self._batches.first, version)


def app(arguments: dict[str, Any]) -> Application:
    """Return the application.

    Raises:
        SettingsError: an argument is unknown, missing or out of bounds; each is named.
    """
    return alone(Features, FeaturesSettings, arguments, name="features")
