"""The gate as a Ray Serve application: the same host and the same door's application, behind Serve's proxy.

One replica and no surge: a gate is a single writer, so a new one starts when the old one has ended.
"""

import contextlib
import logging
from typing import Any, Final

from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from actors.client import CALL_S, RESTARTS, STATUS_S, GateClient, untaken
from actors.gate.actor import GateHost
from tidegate.limits import INFLIGHT_REQUESTS_MAX, SERVED_HEALTH_S, SERVED_STOP_S_MAX
from tidegate.settings import SiteSettings

_LOGGING: Final = {"encoding": "JSON", "enable_access_log": False}


@serve.ingress()
class ServedGate(GateHost):
    """The one replica. Serve starts it again where its process has ended."""

    def __init__(self, settings_json: str, build: str, keys: bytes) -> None:
        super().__init__(settings_json, build, keys)
        self.begin()

    def __serve_build_asgi_app__(self) -> Any:  # noqa: ANN401 - Serve's own name, an ASGI application
        """Return what answers."""
        return self.application


class ServedClient(GateClient):
    """Of a gate behind Ray Serve."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle

    def why_not_ready(self) -> str | None:
        """Ask the replica."""
        try:
            status: str | None = self._handle.status.remote().result(timeout_s=STATUS_S)
        except (RayError, RayServeException, TimeoutError):
            return f"{RESTARTS}: its replica doesn't answer"
        return status

    def pid(self) -> int:
        """Ask the replica."""
        return int(self._handle.pid.remote().result(timeout_s=CALL_S))

    def order(self, name: str, *given: object) -> dict[str, Any]:
        """Ask the replica."""
        try:
            answer: dict[str, Any] = getattr(self._handle, name).remote(*given).result(timeout_s=CALL_S)
        except (RayError, RayServeException, TimeoutError) as error:
            raise untaken(error) from error
        return answer

    def stop(self) -> None:
        """Close the gate, then end Serve and its proxy."""
        with contextlib.suppress(RayError, RayServeException, TimeoutError):  # as for an actor
            self._handle.close.remote().result(timeout_s=CALL_S)
        serve.shutdown()


def found(name: str) -> GateClient:
    """Return the gate of an application that runs.

    Raises:
        TemporaryError: there is none now.
    """
    try:
        return ServedClient(serve.get_deployment_handle("gate", app_name=name))
    except (RayError, RayServeException) as error:
        raise untaken(error) from error


def start(name: str, settings: SiteSettings, build: str, keys: bytes, variables: dict[str, str]) -> GateClient:
    """Run the application, also where it ran before; return once its replica has begun to read the journal."""
    logging.getLogger("ray.serve").setLevel(logging.WARNING)  # what it says of itself beside is for its developers
    serve.start(
        proxy_location="HeadOnly",
        http_options={"host": settings.door.host, "port": settings.door.port},
        logging_config=_LOGGING,
    )
    deployment = serve.deployment(
        name="gate",
        num_replicas=1,
        max_surge_percent=0,
        max_ongoing_requests=INFLIGHT_REQUESTS_MAX,
        health_check_period_s=SERVED_HEALTH_S,
        graceful_shutdown_timeout_s=SERVED_STOP_S_MAX,
        ray_actor_options={"num_cpus": 0, "runtime_env": {"env_vars": variables}},
    )(ServedGate)
    bound = deployment.bind(settings.model_dump_json(), build, keys)
    return ServedClient(serve.run(bound, name=name, logging_config=_LOGGING))
