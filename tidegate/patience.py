"""How long to wait before the next attempt: longer after each failure, and by chance, so that sites don't come as one.

Full jitter: Brooker, "Exponential backoff and jitter", AWS Architecture Blog, 2015.
"""

from tidegate.ids import Entropy
from tidegate.limits import SECOND_US, TIDE_RETRY_US_MAX, TIDE_RETRY_US_MIN

_DOUBLINGS_MAX = 30


class Patience:
    """Counts failures in a row; `until_us` is when to try again."""

    def __init__(self, entropy: Entropy) -> None:
        self._entropy = entropy
        self.failures = 0
        self.until_us = 0

    def left_us(self, now_us: int) -> int:
        """Return how long to wait still; what is longer than any wait is due to a clock that was set back."""
        left_us = max(self.until_us - now_us, 0)
        return left_us if left_us <= 2 * TIDE_RETRY_US_MAX else 0

    def failed(self, now_us: int, asked_s: float = 0.0) -> None:
        """Take note of a failure, after which the cloud may have asked to wait for some seconds."""
        bound = min(TIDE_RETRY_US_MAX, TIDE_RETRY_US_MIN << min(self.failures, _DOUBLINGS_MAX))
        self.failures += 1
        self._wait(now_us, TIDE_RETRY_US_MIN // 2 + self._chance(bound), asked_s)

    def went_well(self, now_us: int, asked_s: float = 0.0) -> None:
        """Take note of an answer, in which the cloud may have asked to slow down."""
        self.failures = 0
        self._wait(now_us, 0, asked_s)

    def in_vain(self, now_us: int) -> None:
        """Take note of an answer that left all to be sent again: that alone is no reason to send it at once."""
        self.until_us = max(self.until_us, now_us + TIDE_RETRY_US_MIN // 2 + self._chance(TIDE_RETRY_US_MIN))

    def _wait(self, now_us: int, own_us: int, asked_s: float) -> None:
        asked_us = int(min(asked_s, TIDE_RETRY_US_MAX / SECOND_US) * SECOND_US)  # infinity, too, is a number to ask for
        self.until_us = now_us + max(own_us, asked_us + self._chance(asked_us // 2))

    def _chance(self, bound: int) -> int:
        """Return a number from 0 through `bound`."""
        return int.from_bytes(self._entropy(8), "big") % (bound + 1)
