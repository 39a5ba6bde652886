"""What whoever runs a site asks of its gate, behind whatever door: is it ready, why not, which process, stop."""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Final

from tidegate.errors import SettingsError, TemporaryError, TidegateError

RESTARTS: Final = "the gate restarts"
STATUS_S: Final = 10.0
CALL_S: Final = 120.0
_POLL_S: Final = 0.2
_WATCH_S: Final = 1.0
_UNREADY_S: Final = 300.0
_RESTARTING_S: Final = 60.0

Told = Callable[[str], None]


class GateClient(ABC):
    """Talks to one gate, also through its restarts: they are a reason not to be ready, not an error."""

    @abstractmethod
    def why_not_ready(self) -> str | None:
        """Return why the gate can't decide, or None; `stopped` is what no restart mends."""

    @abstractmethod
    def pid(self) -> int:
        """Return the process that is the gate."""

    @abstractmethod
    def stop(self) -> None:
        """Close the door and make everything durable; the gate doesn't come back."""

    @abstractmethod
    def order(self, name: str, *given: object) -> dict[str, Any]:
        """Have the gate carry out an order of `actors.gate.actor.GateHost`, and return what it answers.

        Raises:
            TemporaryError: it doesn't, and says why; or it doesn't answer now.
        """

    def wait_ready(self, told: Told) -> None:
        """Return once the gate decides; `told` hears each new reason why it doesn't yet.

        Raises:
            SettingsError: it never will before somebody mends what the message names.
            TemporaryError: it takes too long.
        """
        last, started, restarting_since = "", time.monotonic(), None
        while (why := self.why_not_ready()) is not None:
            now = time.monotonic()
            if why.startswith(RESTARTS):
                restarting_since = restarting_since or now
            _check(why, now - started, now - (restarting_since or now))
            if why != last:
                told(why)
            last = why
            _pause(_POLL_S)

    def check(self, told: Told) -> None:
        """Return at once from a gate that decides; wait for one that restarts, and tell so."""
        if self.why_not_ready() is not None:
            self.wait_ready(told)
            told("the gate decides again")

    def wait(self, told: Told) -> None:
        """Watch the gate without end.

        Raises:
            SettingsError: it stopped, and no restart mends that.
        """
        while True:
            self.check(told)
            _pause(_WATCH_S)


class GateOrders:
    """What a keeper asks of a gate."""

    def __init__(self, gate: Callable[[], GateClient]) -> None:
        """Take what finds the gate: it may be a new one after each failure."""
        self._gate = gate

    def version(self) -> int:
        """Return where its overlay is."""
        return int(self._gate().order("overlay")["version"])

    def take(self, asked: int, found: tuple[int, int, bytes]) -> int:
        """Have it count a batch of the versions from the first number on and before the second."""
        return int(self._gate().order("take_deltas", asked, *found)["version"])

    def nothing_came(self, asked: int, quiet: tuple[int]) -> int:
        """Tell it that there is nothing of a version or above, and up to when that holds."""
        return int(self._gate().order("nothing_came", asked, *quiet)["version"])

    def began_again(self, asked: int) -> int:
        """Have it forget other sites, whose log has never had a version."""
        return int(self._gate().order("began_again", asked)["version"])


def untaken(error: Exception) -> TemporaryError:
    """Return that a gate didn't carry out an order, in its own words where it said why."""
    cause = getattr(error, "cause", None)
    said = cause.message if isinstance(cause, TidegateError) else str(error).strip().splitlines()[-1:]
    return TemporaryError(f"the gate takes no orders now: {said if isinstance(said, str) else ' '.join(said)}")


def _check(why: str, unready_s: float, restarting_s: float) -> None:
    if why.startswith("stopped"):
        raise SettingsError(f"the gate can't decide: {why.removeprefix('stopped: ')}")
    if unready_s > _UNREADY_S or restarting_s > _RESTARTING_S:
        raise TemporaryError(f"the gate isn't ready after {unready_s:.0f} s: {why}")


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)
