"""The reference cache of the CDN for tests: nginx with `configs/nginx/cdn.conf`, its paths and ports exchanged alone.

It comes with the system's packages (`apt-get install nginx-light`); where it is missing, what needs it is skipped.
"""

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

PROGRAM: Final = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
ENABLE: Final = "apt-get install nginx-light"
CONF: Final = Path(__file__).resolve().parents[2] / "configs" / "nginx" / "cdn.conf"
_START_S: Final = 20.0
_STOP_S: Final = 10.0


@contextmanager
def edge_cache(folder: Path, port: int, cloud: str, key: str) -> Iterator[None]:
    """Run the cache on a port of 127.0.0.1 for as long as the block lasts.

    `cloud` is the address of the cloud's door; `folder` has authority.pem, edge.pem and edge-key.pem.
    """
    if PROGRAM is None:
        raise FileNotFoundError(f"no nginx; to get it: {ENABLE}")
    (folder / "cloud-key.conf").write_text(f'default "Bearer {key}";\n')
    conf = folder / "nginx.conf"
    conf.write_text(_here(folder, port, cloud))
    directives = "daemon off;" + (" user root;" if not os.geteuid() else "")  # others may not read a test's folder
    command = [PROGRAM, "-e", "stderr", "-p", str(folder), "-c", str(conf), "-g", directives]
    with (folder / "nginx.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        _ready(port, process, folder / "nginx.log")
        yield
    finally:
        process.terminate()
        process.wait(_STOP_S)


def _here(folder: Path, port: int, cloud: str) -> str:
    changes = {
        "/run/nginx.pid": f"{folder}/nginx.pid",
        "/etc/nginx/": f"{folder}/",
        "/var/cache/nginx/": f"{folder}/cache-",
        "/dev/stdout": f"{folder}/access.log",
        "worker_processes auto": "worker_processes 1",
        "server 127.0.0.1:8500;": f"server {cloud};",
        "listen 8443 ": f"listen 127.0.0.1:{port} ",
    }
    text = CONF.read_text()
    for ours, here in changes.items():
        assert ours in text, f"{CONF.name} has no {ours!r} any more"
        text = text.replace(ours, here)
    return text


def _ready(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if not probe.connect_ex(("127.0.0.1", port)):
                return
        threading.Event().wait(0.02)
    raise RuntimeError(f"nginx isn't ready: {log.read_text()}")
