"""How often to ask, and how long to wait between: pure, so that the client that waits and the one that awaits share it.

A retry is the same bytes again, under the id that was made before the first attempt: a site decides it once, however
many attempts reach it. So everything that leaves it open whether an answer exists may be tried again.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from itertools import count
from typing import Final, NamedTuple

from edge_nodes.client.answers import GaveUpError
from tidegate.limits import (
    CLIENT_ATTEMPT_S,
    CLIENT_ATTEMPTS_MAX,
    CLIENT_PATIENCE_S,
    CLIENT_RETRY_DELAY_S_MAX,
    CLIENT_RETRY_DELAY_S_MIN,
)

_AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_ATTEMPT_S_MIN: Final = 0.001


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to go on in all, how long one attempt may take, how many there may be, and the waits between."""

    total_s: float = CLIENT_PATIENCE_S
    attempt_s: float = CLIENT_ATTEMPT_S
    attempts_max: int = CLIENT_ATTEMPTS_MAX
    first_delay_s: float = CLIENT_RETRY_DELAY_S_MIN
    delay_s_max: float = CLIENT_RETRY_DELAY_S_MAX

    def delay_s(self, attempt: int, asked_s: float, chance: float) -> float:
        """Return the wait after an attempt, counted from 0: a random part of a bound that doubles ("full jitter").

        Never shorter than what the site asked for. `chance` is from 0 to 1. Source: Brooker, "Exponential Backoff And
        Jitter", AWS Architecture Blog, 2015.
        """
        return max(asked_s, chance * min(self.delay_s_max, self.first_delay_s * 2.0**attempt))


class Send(NamedTuple):
    """Make an attempt, and tell what came of it."""

    within_s: float


class Wait(NamedTuple):
    """Do nothing for so long."""

    seconds: float


class Reply(NamedTuple):
    """An answer: its status, what it says, and how long the site asks to wait before another attempt."""

    status: int
    body: bytes
    retry_after_s: float = 0.0


class Lost(NamedTuple):
    """No answer, and why; whether the request arrived is not known."""

    why: str


Result = Reply | Lost | None
Course = Generator[Send | Wait, Result, Reply]


def attempts(patience: Patience, *, ticks: Callable[[], float], chance: Callable[[], float]) -> Course:
    """Yield what to do next, and return the answer that ends it.

    Raises:
        GaveUpError: there was none within the patience.
    """
    began = ticks()
    for number in count():
        left_s = patience.total_s - (ticks() - began)
        result = yield Send(max(_ATTEMPT_S_MIN, min(patience.attempt_s, left_s)))
        if isinstance(result, Reply) and result.status not in _AGAIN:
            return result
        asked_s = result.retry_after_s if isinstance(result, Reply) else 0.0
        delay_s = patience.delay_s(number, asked_s, chance())
        if number + 1 >= patience.attempts_max or ticks() - began + delay_s >= patience.total_s:
            break
        yield Wait(delay_s)
    last = f"status {result.status}" if isinstance(result, Reply) else str(result.why if result else "nothing")
    told = f"no answer after {number + 1} attempts ({last}); whether it was decided isn't known: ask again, unchanged"
    raise GaveUpError(told, last=last, attempts=number + 1)
