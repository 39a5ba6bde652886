"""The log that a cloud's settings name, with every topic that carries anything: each application opens it here."""

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from serve_apps.plumbing.stream.log import ARTIFACTS, DELTAS, topic_of
from serve_apps.plumbing.stream.ports import Stream
from serve_apps.plumbing.stream.sqlite import SqliteStream
from tidegate.clock import Clock
from tidegate.cloudsettings import LogSettings
from tidegate.errors import SettingsError
from tidegate.records import SCHEMAS

FILE: Final = "log.sqlite"
TOPICS: Final = (*(topic_of(lane) for lane in SCHEMAS), ARTIFACTS)
"""What carries what sites send: a topic for each lane that has a schema, and that of texts."""
_OTHERS: Final = 0o077


def open_stream(settings: LogSettings, folder: Path, clock: Clock, topics: Iterable[str] = TOPICS) -> Stream:
    """Open the log, whose topics are made where they aren't there.

    Raises:
        SettingsError: the file of what the client is told can't be used.
        TidegateError: as the adapters say.
    """
    stream: Stream
    if settings.kind == "kafka":
        from serve_apps.plumbing.stream.kafka.stream import KafkaStream  # noqa: PLC0415 - a driver that few install

        client = client_options(Path(settings.client)) if settings.client else None
        stream = KafkaStream(settings.brokers, clock, replicas=settings.replicas, client=client)
    else:
        stream = SqliteStream(folder / FILE, clock)
    for topic in topics:
        stream.create(topic, settings.partitions)
    stream.create(DELTAS, 1)
    return stream


def client_options(path: Path) -> dict[str, str | int | float | bool]:
    """Return what a file says to the brokers' client: a table of librdkafka's own names, dots and all.

    Raises:
        SettingsError: it can't be read, others may read it, or it is no such table.
    """
    try:
        mode, text = path.stat().st_mode, path.read_text()
    except OSError as error:
        raise SettingsError(f"log.client: {path}: can't be read ({error.strerror})") from error
    if mode & _OTHERS:
        raise SettingsError(f"log.client: {path}: others may read it; chmod 600 it, and change its password")
    try:
        return _flat(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"log.client: {path}: {error}") from None


def _flat(table: dict[str, Any], prefix: str = "") -> dict[str, str | int | float | bool]:
    """Return a table's leaves by their dotted names: `sasl.username` is a table within a table to TOML."""
    found: dict[str, str | int | float | bool] = {}
    for name, value in table.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{name}.")
        elif isinstance(value, (str, int, float, bool)):
            found[prefix + name] = value
        else:
            raise SettingsError(f"log.client: {prefix}{name}: a text, a number or true and false are expected")
    return found
