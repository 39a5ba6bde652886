"""`tidegate up`: a cloud and two sites on this machine, made-up payments to each, and a line a second."""

import http.client
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from edge_nodes.house import CloudPlace, House, house
from edge_nodes.line import Lines, Told
from edge_nodes.loading import DEMO, Configs, load
from edge_nodes.node import Site
from edge_nodes.wan import RUN
from tidegate.errors import SettingsError, TemporaryError
from tidegate.settings import SiteSettings

_SECOND: Final = DEMO.with_name("site-2.toml")
_LINE_S: Final = 1.0
_ASK_S: Final = 5.0
_SEED: Final = 7
"""Of the first site's stream; each other site's payments are others."""
PASSED_ON: Final = {"allow_extra_args": True, "ignore_unknown_options": True}


def up(  # noqa: PLR0913 - options of a command
    context: typer.Context,
    config: Configs = None,
    beside: Annotated[
        list[Path] | None, typer.Option(help="TOML laid over --config: another site; several are several sites")
    ] = None,
    *,
    cloud: Annotated[bool, typer.Option(help="start a cloud, too")] = True,
    cloud_dir: Annotated[Path, typer.Option(help="the cloud's folder")] = Path("var/cloud"),
    cloud_port: Annotated[int, typer.Option(min=1, max=65535, help="where it listens, on 127.0.0.1")] = 8500,
    run_dir: Annotated[Path, typer.Option(help="folder where `tidegate wan` finds this run")] = RUN,
    rate: Annotated[int, typer.Option(min=1, max=5000, help="payments a second to send to each site")] = 100,
    seconds: Annotated[float, typer.Option(min=0, help="how long; 0 is until Ctrl-C")] = 0,
) -> None:
    """Start a cloud and two sites, train a first model if there is none, and watch them decide live streams.

    With --config it is that one site, and those that --beside names. What stands after -- goes to the training, such as
    `tidegate up -- --days 45 --cards 500`.
    """
    place = CloudPlace(cloud_dir, cloud_port, run_dir) if cloud else None
    with house(sites_of(config, beside), place, typer.echo, *context.args) as running:
        typer.echo(f"live page: {page(running.sites)}")
        if running.cloud is not None:
            typer.echo(f"cut a site off, and let it back: tidegate wan cut {running.sites[-1].name}")
        with _streams(running.sites, rate, seconds) as streams:
            typer.echo("the stream of payments starts")
            try:
                _watch(running, streams)
            except KeyboardInterrupt:
                typer.echo("")


def sites_of(config: list[Path] | None, beside: list[Path] | None) -> list[SiteSettings]:
    """Return the settings of the sites to start.

    Raises:
        SettingsError: one is no demo, or can't be read.
    """
    first = config or [DEMO]
    others = beside or ([] if config else [_SECOND])
    sites = [load(first), *(load([*first, other]) for other in others)]
    if any(one.profile != "demo" for one in sites):
        raise SettingsError('profile: "up" sends made-up payments, which only a demo may decide; use tidegate run')
    return sites


def page(sites: Sequence[Site]) -> str:
    """Return the address of the live page: what stands behind # never leaves the browser."""
    first, *others = sites
    return f"{first.url}/#key={first.key}" + "".join(f"&beside={one.url}&beside-key={one.key}" for one in others)


@contextmanager
def _streams(sites: Sequence[Site], rate: int, seconds: float) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """Send generated payments to each site."""
    streams = [
        subprocess.Popen(  # noqa: S603 - our own module
            _stream(site, rate, seconds, _SEED + at),
            env=site.environment,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        for at, site in enumerate(sites)
    ]
    try:
        yield streams
    finally:
        for each in streams:
            each.terminate()
        for each in streams:
            each.wait()


def _stream(site: Site, rate: int, seconds: float, seed: int) -> list[str]:
    command = [sys.executable, "-m", "training.stream", "--url", site.url, "--key-file", str(site.key_file)]
    # As many terminals a card as the first model learnt from: busier ones would look taken over.
    command += ["--rate", str(rate), "--seed", str(seed), "--cards", "10000", "--terminals", "3000"]
    return [*command, "--seconds", str(seconds)] if seconds else command


def _watch(running: House, streams: Sequence["subprocess.Popen[bytes]"]) -> None:
    """Print a line a second until a stream ends."""
    lines, cloud_told = Lines([site.name for site in running.sites]), False
    while all(each.poll() is None for each in streams):
        started = time.monotonic()
        told = {site.name: _told(site) for site in running.sites}
        for line in lines.of(started, {name: one for name, one in told.items() if one}) if all(told.values()) else ():
            typer.echo(line)
        if running.cloud is not None and running.cloud.ended() and not cloud_told:
            typer.echo("the cloud ended: the sites go on deciding, and keep what they can't send")
            cloud_told = True
        _wait(streams[0], started + _LINE_S - time.monotonic())
    code = next(each.returncode for each in streams if each.returncode is not None)
    if code != 0:
        raise TemporaryError(f"a stream of payments ended with {code}; its reason stands above")


def _wait(stream: "subprocess.Popen[bytes]", seconds: float) -> None:
    try:
        stream.wait(timeout=max(0.0, seconds))
    except subprocess.TimeoutExpired:
        return


def _told(site: Site) -> Told | None:
    """Return what a site says of itself; None once it has told why it didn't, and decides again."""
    try:
        return Told(_ask(site, "/v1/live"), _ask(site, "/v1/site")["tide"])
    except (OSError, http.client.HTTPException):
        site.gate.check(typer.echo)
        return None


def _ask(site: Site, path: str) -> Mapping[str, Any]:
    request = urllib.request.Request(site.url + path, headers={"Authorization": f"Bearer {site.key}"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=_ASK_S) as answer:  # noqa: S310 - the site's own door
        told: Mapping[str, Any] = json.load(answer)
        return told
