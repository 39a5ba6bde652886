"""A committer in a process of its own, for tests that kill it: counts up in one key, and says what was acknowledged.

Each commit appends the next number and notes it as the cursor, so that whatever happens the two must agree.
"""

import sys
from pathlib import Path
from typing import Final

from serve_apps.plumbing.stream.kafka.stream import KafkaStream
from serve_apps.plumbing.stream.ports import Message, Reader, Stream
from serve_apps.plumbing.stream.sqlite import SqliteStream
from tidegate.clock import SystemClock

COMMITTER: Final = "counting"
CURSOR: Final = "counted"
KEY: Final = b"shop-1/g0/01"
FILL: Final = bytes(20_000)
SEEN_S_MAX: Final = 10.0
ROOT: Final = Path(__file__).resolve().parents[2]


def opened(kind: str, where: str) -> Stream:
    """Return the log that the words of a command line name: a file, or brokers and a prefix."""
    if kind == "sqlite":
        return SqliteStream(Path(where), SystemClock())
    servers, _, prefix = where.partition("/")
    return KafkaStream(servers, SystemClock(), prefix=prefix, replicas=1)


def count_up(stream: Stream, topic: str, *, stop: int | None = None) -> None:
    """Commit one number after the other, from the one that the cursor names, and print each that was acknowledged."""
    writer = stream.writer(COMMITTER)
    number = int(writer.cursors().get(CURSOR, b"0"))
    while number != stop:
        number += 1
        text = str(number).encode()
        writer.commit([Message(topic, KEY, text + b" " + FILL)], {CURSOR: text})
        print(number, flush=True)
    writer.close()


def counted(reader: Reader, topic: str, *, up_to: int = 0) -> list[int]:
    """Return the numbers that can be read, in their order; waits for that which was acknowledged last."""
    numbers: list[int] = []
    offset = reader.begin(topic, 0)
    more = True
    while more:
        wait_s = 0.0 if up_to in {0, *numbers[-1:]} else SEEN_S_MAX
        found = reader.read(topic, 0, offset, messages_max=100, bytes_max=1 << 23, wait_s=wait_s)
        numbers += [int(stored.value.split(b" ")[0]) for stored in found]
        offset = found[-1].offset + 1 if found else offset
        more = bool(found)
    return numbers


if __name__ == "__main__":
    count_up(opened(sys.argv[1], sys.argv[2]), sys.argv[3])
