"""Opens logs of each kind for the contracts: what makes a log anew, or opens the same one as another process would."""

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from serve_apps.plumbing.stream.kafka.stream import KafkaStream
from serve_apps.plumbing.stream.memory import MemoryStream
from serve_apps.plumbing.stream.ports import Stream
from serve_apps.plumbing.stream.sqlite import SqliteStream
from tests.servers import kafka_broker
from tidegate.clock import ManualClock

NOW_US: Final = 1_795_500_000_123_456
Opening = Callable[[], Stream]


def _memory(_request: pytest.FixtureRequest) -> Opening:
    stream = MemoryStream(ManualClock(NOW_US))
    return lambda: stream


def _sqlite(request: pytest.FixtureRequest) -> Opening:
    folder: Path = request.getfixturevalue("tmp_path")
    return lambda: SqliteStream(folder / "log.sqlite", ManualClock(NOW_US))


def _kafka(request: pytest.FixtureRequest) -> Opening:
    broker: kafka_broker.Broker = request.getfixturevalue("broker")
    prefix: str = request.getfixturevalue("unused")
    return lambda: KafkaStream(broker.address, ManualClock(NOW_US), prefix=prefix, replicas=1)


KINDS: Final = {"memory": _memory, "sqlite": _sqlite, "kafka": _kafka}


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kafka_broker.Broker]:
    """One Kafka broker for all tests of this process; whoever kills it starts it again."""
    if why := kafka_broker.missing():
        pytest.skip(why)
    running = kafka_broker.Broker(tmp_path_factory.mktemp("kafka"))
    running.start()
    yield running
    running.stop()


@pytest.fixture(params=KINDS)
def opening(request: pytest.FixtureRequest) -> Opening:
    """Return, for each kind of log, what opens one and the same again and again."""
    return KINDS[request.param](request)


@pytest.fixture
def unused() -> str:
    """Names that no other test uses: a broker is shared by all of them."""
    return f"t{secrets.token_hex(4)}"
