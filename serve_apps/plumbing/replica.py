"""The one replica that each of the cloud's applications is: how Ray Serve runs it, whom it lets in, when it is well."""

import threading
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel
from ray import serve
from ray.serve import Application

from tidegate.cloudsettings import checked
from tidegate.errors import TemporaryError
from tidegate.keys import Keyring, parse_keys
from tidegate.limits import INFLIGHT_REQUESTS_MAX, SERVED_HEALTH_S, SERVED_STOP_S_MAX

S = TypeVar("S", bound=BaseModel)


def alone(replica: type, settings: type[S], arguments: dict[str, Any], *, name: str) -> Application:
    """Return an application of one replica and no surge, bound to its settings.

    Raises:
        SettingsError: an argument is unknown, missing or out of bounds; each is named.
    """
    deployment = serve.deployment(
        name=name,
        num_replicas=1,
        max_surge_percent=0,
        max_ongoing_requests=INFLIGHT_REQUESTS_MAX,
        health_check_period_s=SERVED_HEALTH_S,
        graceful_shutdown_timeout_s=SERVED_STOP_S_MAX,
        ray_actor_options={"num_cpus": 0},
    )(replica)
    return deployment.bind(checked(settings, arguments, name=name))


def keyring_of(file: str) -> Keyring:
    """Return who is let in, as a file of keys says now."""
    return Keyring(parse_keys(file, Path(file).read_bytes()))


def need_working(what: str, thread: threading.Thread, stalled: str = "") -> None:
    """Have Serve start a replica again whose thread is gone, by a bug, or hangs.

    Raises:
        TemporaryError: it is, or does: `stalled` says how.
    """
    why = stalled if thread.is_alive() else f"{what} has ended"
    if why:
        raise TemporaryError(f"{why}: see the log of this replica")
