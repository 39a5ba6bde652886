"""Where actors come from: the only place with their names, resources and restarts, and the typed client of each."""

import contextlib
import os
from pathlib import Path
from typing import Any

import ray
from ray.actor import ActorHandle, ActorMethod
from ray.exceptions import ActorDiedError, ActorUnavailableError, GetTimeoutError, RayError

from actors.client import CALL_S, RESTARTS, STATUS_S, GateClient, GateOrders, untaken
from actors.gate.actor import GateActor
from actors.journal.disk import PosixDisk
from actors.journal.tail import Tail
from actors.keeper.actor import KeeperActor
from actors.uplink.actor import UplinkActor
from actors.uplink.https import HttpsCarrier
from tidegate.errors import SettingsError, TemporaryError
from tidegate.limits import GATE_RESTARTS_MAX, UPLINK_RESTARTS_MAX
from tidegate.settings import SiteSettings


class ActorClient(GateClient):
    """Of a gate that is an actor with a door of its own."""

    def __init__(self, handle: "ActorHandle[Any]") -> None:
        self._handle = handle

    def why_not_ready(self) -> str | None:
        """Ask the actor."""
        try:
            status: str | None = ray.get(self._handle.status.remote(), timeout=STATUS_S)
        except ActorUnavailableError:
            return f"{RESTARTS}: its process ended"
        except GetTimeoutError:
            return f"the gate hasn't answered for {STATUS_S:.0f} s"
        except ActorDiedError as error:
            return f"stopped: the gate's process can't be started: {str(error).strip().splitlines()[-1]}"
        return status

    def pid(self) -> int:
        """Ask the actor."""
        return int(ray.get(self._handle.pid.remote(), timeout=CALL_S))

    def order(self, name: str, *given: object) -> dict[str, Any]:
        """Ask the actor."""
        try:
            answer: dict[str, Any] = ray.get(getattr(self._handle, name).remote(*given), timeout=CALL_S)
        except RayError as error:
            raise untaken(error) from error
        return answer

    def stop(self) -> None:
        """Stop the actor."""
        # What was answered is durable: where a gate can't stop in order, its next start reads more of the journal.
        with contextlib.suppress(RayError):
            ray.get(self._handle.stop.remote(), timeout=CALL_S)
        ray.kill(self._handle, no_restart=True)


def spawn_gate(settings: SiteSettings, *, build: str, keys: bytes) -> GateClient:
    """Start a site's gate, not niced (Ray's default of 15 would starve it), one thread a library.

    Killed, it comes back by itself and opens its door on the same port, which must be said for that reason.
    """
    if settings.door.port == 0:
        raise SettingsError("door.port: name one; 0 would be another one after each restart")
    variables = {"RAY_worker_niceness": "0", **_variables()}
    spawn = _served if settings.door.via == "serve" else _actor
    return spawn(settings, build, keys, variables)


def _actor(settings: SiteSettings, build: str, keys: bytes, variables: dict[str, str]) -> GateClient:
    """Start it as a detached actor with its own door."""
    options = _detached("gate", settings, variables, restarts=GATE_RESTARTS_MAX, calls=64)
    return ActorClient(ray.remote(GateActor).options(**options).remote(settings.model_dump_json(), build, keys))


def _served(settings: SiteSettings, build: str, keys: bytes, variables: dict[str, str]) -> GateClient:
    """Start it as an application of Ray Serve."""
    try:
        from actors import served  # noqa: PLC0415 - imports Ray Serve, seconds that no other door has to wait for
    except ImportError as error:
        raise SettingsError('door.via: "serve" needs Ray Serve, the dependency group "serve"') from error
    return served.start(_application(settings), settings, build, keys, variables)


def _application(settings: SiteSettings) -> str:
    return f"gate-{settings.site}-{settings.gate}"


def found_gate(settings: SiteSettings) -> GateClient:
    """Return the gate of a site that runs in this cluster.

    Raises:
        TemporaryError: there is none now.
    """
    if settings.door.via == "serve":
        from actors import served  # noqa: PLC0415 - as where it is started

        return served.found(_application(settings))
    try:
        return ActorClient(ray.get_actor(_name("gate", settings), namespace=settings.site))
    except ValueError as error:  # how Ray says that nobody has the name
        raise TemporaryError("the gate doesn't run") from error


class _Beside:
    """Talks to an actor beside a site's gate, also through its restarts."""

    def __init__(self, handle: "ActorHandle[Any]") -> None:
        self._handle = handle

    def pid(self) -> int:
        """Return its process."""
        return int(ray.get(self._handle.pid.remote(), timeout=CALL_S))

    def _told(self, method: "ActorMethod[Any]") -> dict[str, Any] | None:
        """Return what it says of itself; None: it doesn't answer now."""
        try:
            told: dict[str, Any] = ray.get(method.remote(), timeout=STATUS_S)
        except RayError:
            return None
        return told


class UplinkClient(_Beside):
    """Talks to a site's uplink, also through its restarts."""

    def standing(self) -> dict[str, Any] | None:
        """Return how it does; None: it doesn't answer now."""
        return self._told(self._handle.standing)

    def stop(self) -> None:
        """Stop it; what it didn't send is sent by the next one."""
        with contextlib.suppress(RayError):
            ray.get(self._handle.stop.remote(), timeout=CALL_S)
        ray.kill(self._handle, no_restart=True)


def spawn_uplink(settings: SiteSettings) -> UplinkClient:
    """Start a site's uplink, niced: it takes what the gate leaves of the machine."""
    options = _detached("uplink", settings, _variables(), restarts=UPLINK_RESTARTS_MAX, calls=4)
    return UplinkClient(ray.remote(UplinkActor).options(**options).remote(settings.model_dump_json(), _tail))


class KeeperClient(_Beside):
    """Talks to a site's keeper, also through its restarts."""

    def following(self) -> dict[str, Any] | None:
        """Return how it does; None: it doesn't answer now."""
        return self._told(self._handle.following)

    def stop(self) -> None:
        """Stop it; it has nothing that isn't asked for again."""
        ray.kill(self._handle, no_restart=True)


def spawn_keeper(settings: SiteSettings) -> KeeperClient:
    """Start a site's keeper, niced as the uplink."""
    options = _detached("keeper", settings, _variables(), restarts=UPLINK_RESTARTS_MAX, calls=4)
    made = ray.remote(KeeperActor).options(**options).remote(settings.model_dump_json(), _way, _orders)
    return KeeperClient(made)


def _way(settings: SiteSettings) -> HttpsCarrier:
    return HttpsCarrier.of(settings.uplink)


def _orders(settings: SiteSettings) -> GateOrders:
    return GateOrders(lambda: found_gate(settings))


def stop_former(settings: SiteSettings) -> None:
    """Stop in order what a run of this site left in the cluster, having been killed itself."""
    for what, client in (("keeper", KeeperClient), ("uplink", UplinkClient), ("gate", ActorClient)):
        with contextlib.suppress(ValueError):  # how Ray says that nobody has the name
            client(ray.get_actor(_name(what, settings), namespace=settings.site)).stop()


def _name(what: str, settings: SiteSettings) -> str:
    return f"{what}:{settings.site}:{settings.gate}"


def _detached(
    what: str, settings: SiteSettings, variables: dict[str, str], *, restarts: int, calls: int
) -> dict[str, Any]:
    """Return the options of an actor that outlives whoever started it, and answers so many calls at a time.

    It is found in its site's namespace alone, so that several sites in one cluster are as apart as with one each.
    """
    return {
        "name": _name(what, settings),
        "namespace": settings.site,
        "lifetime": "detached",
        "max_restarts": restarts,
        "num_cpus": 0,
        "max_concurrency": calls,
        "runtime_env": {"env_vars": variables},
    }


def _variables() -> dict[str, str]:
    return {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(_paths())}


def _tail(folder: Path) -> Tail:
    return Tail(PosixDisk(folder))


def _paths() -> list[str]:
    import tidegate  # noqa: PLC0415 - to say where the code is, not to use it

    return [os.path.dirname(os.path.dirname(os.path.abspath(tidegate.__file__)))]  # noqa: PTH100, PTH120
