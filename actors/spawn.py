"""Where actors come from: the only place with their names, resources and restarts, and the typed client of each."""

import contextlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import ray
from ray.actor import ActorHandle
from ray.exceptions import ActorDiedError, ActorUnavailableError, GetTimeoutError, RayError

from actors.gate.actor import GateActor
from tidegate.errors import SettingsError, TemporaryError
from tidegate.limits import GATE_RESTARTS_MAX
from tidegate.settings import SiteSettings

NAMESPACE: Final = "tidegate"
_CALL_S: Final = 120.0
_STATUS_S: Final = 10.0
_POLL_S: Final = 0.2
_WATCH_S: Final = 1.0
_UNREADY_S: Final = 300.0
_RESTARTS: Final = "the gate restarts"
_RESTARTING_S: Final = 60.0

Told = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class GateClient:
    """Talks to one gate actor, also through its restarts: they are a reason not to be ready, not an error."""

    handle: "ActorHandle[Any]"

    def why_not_ready(self) -> str | None:
        """Return why the gate can't decide, or None; `stopped` is what no restart mends."""
        try:
            status: str | None = ray.get(self.handle.status.remote(), timeout=_STATUS_S)
        except ActorUnavailableError:
            return f"{_RESTARTS}: its process ended"
        except GetTimeoutError:
            return f"the gate hasn't answered for {_STATUS_S:.0f} s"
        except ActorDiedError as error:
            return f"stopped: the gate's process can't be started: {str(error).strip().splitlines()[-1]}"
        return status

    def wait_ready(self, told: Told) -> None:
        """Return once the gate decides; `told` hears each new reason why it doesn't yet.

        Raises:
            SettingsError: it never will before somebody mends what the message names.
            TemporaryError: it takes too long.
        """
        last, started, restarting_since = "", time.monotonic(), None
        while (why := self.why_not_ready()) is not None:
            now = time.monotonic()
            if why.startswith(_RESTARTS):
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

    def pid(self) -> int:
        """Return the process that is the gate."""
        return int(ray.get(self.handle.pid.remote(), timeout=_CALL_S))

    def stop(self) -> None:
        """Close the door and make everything durable; the gate doesn't come back."""
        # What was answered is durable: where a gate can't stop in order, its next start reads more of the journal.
        with contextlib.suppress(RayError):
            ray.get(self.handle.stop.remote(), timeout=_CALL_S)
        ray.kill(self.handle, no_restart=True)


def _check(why: str, unready_s: float, restarting_s: float) -> None:
    if why.startswith("stopped"):
        raise SettingsError(f"the gate can't decide: {why.removeprefix('stopped: ')}")
    if unready_s > _UNREADY_S or restarting_s > _RESTARTING_S:
        raise TemporaryError(f"the gate isn't ready after {unready_s:.0f} s: {why}")


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)


def spawn_gate(settings: SiteSettings, *, build: str, keys: bytes) -> GateClient:
    """Start a site's gate: detached, not niced (Ray's default of 15 would starve it), one thread a library.

    Killed, it comes back by itself and opens its door on the same port, which must be said for that reason.
    """
    if settings.door.port == 0:
        raise SettingsError("door.port: name one; 0 would be another one after each restart")
    variables = {"RAY_worker_niceness": "0", "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(_paths())}
    options: dict[str, Any] = {
        "name": f"gate:{settings.site}:{settings.gate}",
        "namespace": NAMESPACE,
        "lifetime": "detached",
        "max_restarts": GATE_RESTARTS_MAX,
        "num_cpus": 0,
        "max_concurrency": 64,
        "runtime_env": {"env_vars": variables},
    }
    actor = ray.remote(GateActor).options(**options).remote(settings.model_dump_json(), build, keys)
    return GateClient(actor)


def _paths() -> list[str]:
    import tidegate  # noqa: PLC0415 - to say where the code is, not to use it

    return [os.path.dirname(os.path.dirname(os.path.abspath(tidegate.__file__)))]  # noqa: PTH100, PTH120
