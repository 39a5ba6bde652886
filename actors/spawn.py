"""Where actors come from: the only place with their names, resources and restarts, and the typed client of each."""

import os
from dataclasses import dataclass
from typing import Any, Final

import ray
from ray.actor import ActorHandle

from actors.gate.actor import GateActor
from tidegate.settings import SiteSettings

NAMESPACE: Final = "tidegate"
_CALL_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class GateClient:
    """Talks to one gate actor."""

    handle: "ActorHandle[Any]"

    def start(self) -> int:
        """Open the door; return its port."""
        return int(ray.get(self.handle.start.remote(), timeout=_CALL_S))

    def why_not_ready(self) -> str | None:
        """Return why the gate can't decide yet, or None."""
        status: str | None = ray.get(self.handle.status.remote(), timeout=_CALL_S)
        return status

    def pid(self) -> int:
        """Return the process that is the gate."""
        return int(ray.get(self.handle.pid.remote(), timeout=_CALL_S))

    def wait(self) -> None:
        """Block until the gate ends, which it does only where it is stopped."""
        ray.get(self.handle.ended.remote())

    def stop(self) -> None:
        """Close the door and make everything durable."""
        ray.get(self.handle.stop.remote(), timeout=_CALL_S)


def spawn_gate(settings: SiteSettings, *, build: str, keys: bytes) -> GateClient:
    """Start a site's gate: detached, not niced (Ray's default of 15 would starve it), one thread a library."""
    variables = {"RAY_worker_niceness": "0", "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(_paths())}
    options: dict[str, Any] = {
        "name": f"gate:{settings.site}:{settings.gate}",
        "namespace": NAMESPACE,
        "lifetime": "detached",
        "num_cpus": 0,
        "max_concurrency": 64,
        "runtime_env": {"env_vars": variables},
    }
    actor = ray.remote(GateActor).options(**options).remote(settings.model_dump_json(), build, keys)
    return GateClient(actor)


def _paths() -> list[str]:
    import tidegate  # noqa: PLC0415 - to say where the code is, not to use it

    return [os.path.dirname(os.path.dirname(os.path.abspath(tidegate.__file__)))]  # noqa: PTH100, PTH120
