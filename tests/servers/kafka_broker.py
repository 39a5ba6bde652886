"""A real Kafka for tests: one broker that is its own controller (KRaft), on free ports, its log in a folder.

Java and Maven come with the system's packages (`apt-get install maven`); Maven fetches the broker once, into the user's
cache. Where they are missing, what needs a broker is skipped.
"""

import hashlib
import os
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from edge_nodes.node import free_port

ENABLE: Final = "apt-get install maven"
POM: Final = Path(__file__).parent / "kafka" / "pom.xml"
_COPY: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_JAVA: Final = (
    "-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)  # fmt: skip
_CLUSTER: Final = "dGlkZWdhdGUtdGVzdHMtMA"  # 16 bytes in base 64, as a cluster is named
_START_S: Final = 60.0
_STOP_S: Final = 20.0

# One of everything that production has three of; sessions as short as they may be, so that a killed one is back soon.
_PROPERTIES: Final = """
process.roles=broker,controller
node.id=1
listeners=CLIENTS://127.0.0.1:{clients},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=CLIENTS://127.0.0.1:{clients}
listener.security.protocol.map=CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=CLIENTS
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
log.dirs={folder}/log
auto.create.topics.enable=false
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
broker.heartbeat.interval.ms=200
broker.session.timeout.ms=1000
log.cleaner.dedupe.buffer.size=4194304
num.network.threads=2
num.io.threads=2
"""


def missing() -> str:
    """Return what keeps a broker from being started; empty where nothing does."""
    return "" if shutil.which("mvn") and shutil.which("java") else f"there is no Kafka; to run this: {ENABLE}"


def jars() -> Path:
    """Return the folder with the broker's code, which Maven fills where it is not there yet.

    It lies in the user's cache under the digest of what was asked for, and is made whole or not at all.

    Raises:
        subprocess.CalledProcessError: Maven failed; its reason was printed.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tidegate"
    folder = cache / f"kafka-{hashlib.sha256(POM.read_bytes()).hexdigest()[:12]}"
    if not folder.exists():
        beside = folder.with_name(f"{folder.name}.{os.getpid()}")
        copy = [_COPY, "-DincludeScope=runtime", f"-DoutputDirectory={beside}"]
        subprocess.run(["mvn", "--batch-mode", "--quiet", "--file", str(POM), *copy], check=True)
        try:
            beside.rename(folder)
        except OSError:  # another process was quicker
            shutil.rmtree(beside)
    return folder


def _free_ports(count: int) -> list[int]:
    found: set[int] = set()
    while len(found) < count:
        found.add(free_port())
    return list(found)


class Broker:
    """One broker, which may be killed and started again with what it had on its disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._java = ["java", *_JAVA, "-cp", f"{jars()}/*"]
        clients, controller = _free_ports(2)
        self.address = f"127.0.0.1:{clients}"
        self._properties = folder / "server.properties"
        self._properties.write_text(_PROPERTIES.format(clients=clients, controller=controller, folder=folder))
        self._process: subprocess.Popen[bytes] | None = None
        words = ["format", "--standalone", "--cluster-id", _CLUSTER, "--config", str(self._properties)]
        subprocess.run(
            [*self._java, "kafka.tools.StorageTool", *words], check=True, capture_output=True, timeout=_START_S
        )

    @property
    def pid(self) -> int:
        """The process that runs now."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Return once the broker answers clients.

        Raises:
            RuntimeError: it doesn't in good time; the message has what it said last.
        """
        told = self._folder / "broker.log"
        with told.open("ab") as output:
            self._process = subprocess.Popen(
                [*self._java, "kafka.Kafka", str(self._properties)],
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_S
        while not self._answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                self.stop()
                raise RuntimeError(f"Kafka isn't ready: {told.read_text()[-2_000:]}")
            threading.Event().wait(0.05)

    def kill(self) -> None:
        """End the process at once, as a crash does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(_STOP_S)

    def stop(self) -> None:
        """End the process as an operator does."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(_STOP_S)

    def _answers(self) -> bool:
        host, _, port = self.address.partition(":")
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
            asked = AdminClient({"bootstrap.servers": self.address, "log_level": 2})
            return bool(asked.list_topics(timeout=1).brokers)
        except (OSError, KafkaException):
            return False
