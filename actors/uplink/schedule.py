"""Whose turn it is on the line: lanes by deficit round robin, so that what matters goes first and nothing starves.

Shreedhar and Varghese, "Efficient fair queueing using deficit round robin", 1995, with the surplus variant: a frame
may overdraw its queue's account, which pays it back by waiting.
"""

from collections.abc import Collection
from typing import Final, NamedTuple

from tidegate.limits import TIDE_QUANTUM_BYTES
from tidegate.records import Lane


class Queue(NamedTuple):
    """Records of one lane: those that are being made, or those that a cut left behind."""

    lane: Lane
    live: bool


WEIGHTS: Final = {Lane.MONEY: 8, Lane.DECISIONS: 4, Lane.EVENTS: 2, Lane.TRACES: 1}
LIVE_WEIGHT: Final = 3  # to 1 of the backlog: live records are few, so what they leave of their share goes to it
QUEUES: Final = tuple(Queue(lane, live) for lane in Lane for live in (True, False))


class Schedule:
    """The accounts of all queues, in bytes."""

    def __init__(self) -> None:
        self._accounts = dict.fromkeys(QUEUES, 0)
        self._turn = 0

    def pick(self, waiting: Collection[Queue]) -> Queue:
        """Return whose turn it is among the queues that have something to send.

        Raises:
            ValueError: none has.
        """
        if not waiting:
            raise ValueError("no queue has anything to send")
        for queue in QUEUES:
            if queue not in waiting:
                self._accounts[queue] = min(0, self._accounts[queue])  # who has nothing to send saves nothing up
        while True:
            queue = QUEUES[self._turn]
            if queue in waiting and self._accounts[queue] > 0:
                return queue
            self._turn = (self._turn + 1) % len(QUEUES)
            queue = QUEUES[self._turn]
            if queue in waiting:
                self._accounts[queue] += weight(queue) * TIDE_QUANTUM_BYTES

    def sent(self, queue: Queue, size: int) -> None:
        """Book `size` bytes that a queue has sent."""
        self._accounts[queue] -= size


def weight(queue: Queue) -> int:
    """Return a queue's share of the line, against the others' that have something to send."""
    return WEIGHTS[queue.lane] * (LIVE_WEIGHT if queue.live else 1)
