"""A whole house on one machine: a cloud, and sites that send to it, each by a way of its own that can be cut.

The cloud is the operator's own command in a process of its own, with a Ray cluster of its own. The sites share a second
cluster, each in its namespace; they reach the cloud by HTTPS alone, through their relays, as they would from elsewhere.
"""

import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_nodes import reaper
from edge_nodes.cloud import HOST, sites_key
from edge_nodes.node import (
    Prepared,
    Say,
    Site,
    check_job,
    deciding,
    door_of,
    give_models,
    prepared,
    reaped,
    refused,
    resolved,
    site_cluster,
    uplinked,
)
from edge_nodes.sitekey import enrolled, key_of
from edge_nodes.upstream import Cloud, CloudError, read_api_key
from edge_nodes.wan import relayed
from tidegate.enrolment import SITES_PATH, NewSite, RegisteredAnswer, TokenAnswer
from tidegate.errors import NotFoundError, SettingsError, TemporaryError
from tidegate.settings import SiteSettings

_STARTED_S: Final = 300.0
"""Three attempts of Ray's and Serve's applications, with room."""
_STOPPED_S: Final = 90.0
_READY: Final = "ingest: "
_TOLD: Final = "cloud: "
_PATH: Final = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class CloudPlace:
    """Where a cloud of this machine is."""

    folder: Path
    port: int
    run_dir: Path
    """Of the run: where `tidegate wan` finds it."""

    @property
    def url(self) -> str:
        """Its address."""
        return f"https://{HOST}:{self.port}"

    @property
    def authority(self) -> Path:
        """The file of who vouches for it."""
        return self.folder / "tls" / "authority.pem"


class CloudProcess:
    """`tidegate cloud run`, and what it says."""

    def __init__(self, place: CloudPlace, say: Say, environment: dict[str, str]) -> None:
        where = ("--data-dir", str(place.folder), "--port", str(place.port))
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "edge_nodes.cli", "cloud", "run", *where],
            env={**environment, "PYTHONPATH": str(_PATH)},
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._say, self._told = say, False
        self._ready, self._over = False, threading.Event()
        self._reader = threading.Thread(target=self._read, name="cloud", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            if line.startswith(_READY):
                self._ready = True
                self._over.set()
            if line.startswith(_TOLD):
                self._say(line.rstrip())
        self._over.set()

    def wait_started(self) -> None:
        """Return once it takes frames.

        Raises:
            TemporaryError: it ended, or takes too long.
        """
        in_time = self._over.wait(_STARTED_S)
        if not in_time:
            raise TemporaryError(f"the cloud isn't ready after {_STARTED_S:.0f} s")
        if not self._ready:
            raise TemporaryError("the cloud ended before it was ready; its reason stands above")

    def ended(self) -> bool:
        """Tell whether it is gone."""
        return self._process.poll() is not None

    def terminate(self) -> None:
        """Tell it to stop, once, since twice would cut its stop short; and don't wait."""
        if not self._told:
            self._process.terminate()
        self._told = True

    def close(self) -> None:
        """Stop it."""
        self.terminate()
        try:
            self._process.wait(_STOPPED_S)
        except subprocess.TimeoutExpired:
            self._process.kill()  # its reaper ends what it leaves
            self._process.wait()
        self._reader.join(_STOPPED_S)
        if self._process.stdout is not None:
            self._process.stdout.close()


@dataclass(frozen=True, slots=True)
class House:
    """A house that runs."""

    sites: tuple[Site, ...]
    cloud: CloudProcess | None


@contextmanager
def house(sites: Sequence[SiteSettings], place: CloudPlace | None, say: Say, *job: str) -> Iterator[House]:
    """Run sites and, where there is a place for it, a cloud, for as long as the block lasts.

    Raises:
        SettingsError: something is wrong that is better known before anything starts.
        TemporaryError: Ray, the training, a gate or the cloud didn't start.
    """
    sites = [resolved(one) for one in sites]
    place = _placed(place)
    _need_apart(sites, place)
    if job:
        check_job(sites[0], *job)
    mark = secrets.token_hex(8)
    apart = {**os.environ, reaper.VARIABLE: mark}  # before the sites' cluster leaves its own there
    with ExitStack() as stack:
        stack.enter_context(reaped(mark))
        sites = _ways(stack, _acquainted(sites), place)
        ready = [prepared(one) for one in sites]
        running = stack.enter_context(site_cluster(mark, sites[0], say))
        cloud = _begun(stack, place, say, apart)  # behind Ray's start: two at a time fail on a small machine
        give_models(sites, running, say, *job)
        decide = stack.enter_context(deciding(ready, running, say))
        _send(stack, ready, place, cloud, say)
        yield House(decide, cloud)


def _placed(place: CloudPlace | None) -> CloudPlace | None:
    """Return the place with full paths, once it is known that its port is free."""
    if place is None:
        return None
    why = refused(HOST, place.port)
    if why:
        told = f"--cloud-port: {HOST}:{place.port} can't be listened on ({why})"
        raise SettingsError(f"{told}; stop who does, or name another")
    return CloudPlace(place.folder.resolve(), place.port, place.run_dir)


def _need_apart(sites: Sequence[SiteSettings], place: CloudPlace | None) -> None:
    """Refuse sites that would get into each other's way, or belong to another cloud.

    Raises:
        SettingsError: which.
    """
    own = {
        "site": [one.site for one in sites],
        "data_dir": [one.data_dir for one in sites],
        "door.port": [str(one.door.port) for one in sites],
    }
    for name, said in own.items():
        if len(set(said)) < len(said):
            raise SettingsError(f"{name}: two sites have the same; say another in the file that --beside names")
    if len(sites) > 1 and any(one.door.via == "serve" for one in sites):
        raise SettingsError('door.via: behind "serve" a cluster has one site; leave --beside out')
    for one in sites:
        if place is not None and one.uplink.url and one.uplink.url != place.url:
            raise SettingsError(f"uplink.url: {one.site} sends to {one.uplink.url}; start it with --no-cloud")


def _acquainted(sites: Sequence[SiteSettings]) -> list[SiteSettings]:
    """Let the live page of each door read the others."""
    doors = {one.site: door_of(one) for one in sites}
    return [
        one.model_copy(
            update={
                "door": one.door.model_copy(
                    update={"origins": (*one.door.origins, *(url for name, url in doors.items() if name != one.site))}
                )
            }
        )
        for one in sites
    ]


def _ways(stack: ExitStack, sites: Sequence[SiteSettings], place: CloudPlace | None) -> list[SiteSettings]:
    """Give each site a way to the cloud of its own; the settings say where it begins."""
    if place is None:
        return list(sites)
    ports = stack.enter_context(relayed([one.site for one in sites], HOST, place.port, place.run_dir))
    known = sites_key(place.folder)
    return [_on_its_way(one, place, ports[one.site], known) for one in sites]


def _on_its_way(settings: SiteSettings, place: CloudPlace, port: int, known: Path) -> SiteSettings:
    way = {"url": f"https://{HOST}:{port}", "key": str(key_of(settings)[0]), "authority": str(place.authority)}
    way |= {"features_key": settings.uplink.features_key or str(known)}
    return settings.model_copy(update={"uplink": settings.uplink.model_copy(update=way)})


def _begun(stack: ExitStack, place: CloudPlace | None, say: Say, environment: dict[str, str]) -> CloudProcess | None:
    if place is None:
        return None
    cloud = CloudProcess(place, say, environment)
    stack.callback(cloud.close)
    return cloud


def _send(
    stack: ExitStack, sites: Sequence[Prepared], place: CloudPlace | None, cloud: CloudProcess | None, say: Say
) -> None:
    """Have the cloud know each site, and start the uplinks."""
    if cloud is None or place is None:
        for one in sites:
            stack.enter_context(uplinked(one.settings))
        return
    stack.callback(cloud.terminate)  # it stops while the gates do
    cloud.wait_started()
    for one in sites:
        if introduced(one.settings, place, say):
            stack.enter_context(uplinked(one.settings))


def introduced(settings: SiteSettings, place: CloudPlace, say: Say) -> bool:
    """Enrol a site as an operator and a site do; return whether the cloud knows it then, which a revoked site isn't.

    Raises:
        CloudError: the cloud refuses.
        TemporaryError: it doesn't answer.
    """
    registry = Cloud(place.url, authority=str(place.authority), key=read_api_key(place.folder / "operator.key"))
    known, (_, key) = _registered(registry, settings.site), key_of(settings)
    if known is not None and known.revoked_at is not None:
        say(f"{settings.site}: was revoked ({known.why}), and sends nothing; to let it in: tidegate cloud site token")
        return False
    if known is None or key not in {one.key for one in known.keys}:
        body = NewSite(site=settings.site) if known is None else None
        path = SITES_PATH if known is None else f"{SITES_PATH}/{settings.site}/tokens"
        token = registry.post(path, body, TokenAnswer).token
        told, _ = enrolled(settings, token, place.url, place.authority)
        say(f"{settings.site}: enrolled, key {told.key}")
    return True


def _registered(registry: Cloud, site: str) -> RegisteredAnswer | None:
    try:
        return registry.get(f"{SITES_PATH}/{site}/keys", RegisteredAnswer)
    except CloudError as error:
        if error.code == NotFoundError.code:
            return None
        raise
