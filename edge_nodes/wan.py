"""`tidegate wan`: cuts and restores a site's way to the cloud, of the sites that `tidegate up` runs on this machine.

`up` carries each site's traffic by a relay of its own, and takes orders on a Unix socket in its run's folder that only
its user can reach: one line of JSON there, one back.
"""

import asyncio
import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer

from edge_nodes.relay import Relay
from tidegate.errors import InvalidError, NotFoundError, SettingsError, TemporaryError, TidegateError
from tidegate.limits import WAN_ORDER_BYTES_MAX, WAN_ORDER_S_MAX

T = TypeVar("T")
Say = Callable[[str], None]

RUN: Final = Path("var/run")
_SOCKET: Final = "wan.sock"
_PRIVATE: Final = 0o077

app = typer.Typer(no_args_is_help=True, help="The way to the cloud of each site that `up` runs: cut it, restore it.")
Site = Annotated[str, typer.Argument(help="the site's name")]
RunDir = Annotated[Path, typer.Option("--run-dir", help="folder of the run, as `up` was told")]


class Wan:
    """The relays of a run's sites, by name; for the event loop that they run in."""

    def __init__(self, relays: dict[str, Relay]) -> None:
        self._relays = relays

    def obey(self, order: object) -> dict[str, Any]:
        """Do what an order says, and return how the sites' ways are then.

        Raises:
            InvalidError: it says nothing that can be done.
            NotFoundError: no such site runs here.
        """
        match order:
            case {"do": "status"}:
                pass
            case {"do": "cut", "site": str(site)}:
                self._relay(site).cut()
            case {"do": "restore", "site": str(site)}:
                self._relay(site).restore()
            case _:
                raise InvalidError('do: one of "cut", "restore" with a "site", or "status"')
        return {"sites": {name: asdict(relay.standing()) for name, relay in self._relays.items()}}

    def _relay(self, site: str) -> Relay:
        if site not in self._relays:
            raise NotFoundError(f"{site}: no such site runs here; there are {', '.join(self._relays)}")
        return self._relays[site]

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one order of a connection."""
        try:
            async with asyncio.timeout(WAN_ORDER_S_MAX):
                told = self.obey(json.loads(await reader.readline()))
        except TidegateError as error:
            told = {"error": error.message}
        except (ValueError, TimeoutError, OSError):
            told = {"error": f"an order is one line of JSON, of at most {WAN_ORDER_BYTES_MAX} bytes"}
        with contextlib.suppress(OSError):
            writer.write(json.dumps(told).encode() + b"\n")
            await writer.drain()
        writer.close()


class _Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="wan", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something in it to its end."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        """Stop it."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@contextlib.contextmanager
def relayed(sites: Sequence[str], host: str, port: int, folder: Path) -> Iterator[dict[str, int]]:
    """Carry each site's traffic to an address, and take orders in a folder; yields the port of each site's relay.

    Raises:
        SettingsError: another run takes orders in that folder, or others may reach it.
    """
    relays = {site: Relay(host, port) for site in sites}
    with _listening(folder) as orders, contextlib.closing(_Loop()) as loop:
        ports = {site: loop.run(relay.open()) for site, relay in relays.items()}
        answer = Wan(relays).answer
        server = loop.run(asyncio.start_unix_server(answer, sock=orders, limit=WAN_ORDER_BYTES_MAX))
        try:
            yield ports
        finally:
            loop.run(_closed(server, relays.values()))


async def _closed(server: asyncio.AbstractServer, relays: Any) -> None:  # noqa: ANN401 - a view of a dict
    server.close()
    for relay in relays:
        await relay.close()


@contextlib.contextmanager
def _listening(folder: Path) -> Iterator[socket.socket]:
    """Listen on a folder's socket, which is gone at the end; what a run left that was killed is replaced."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder.stat().st_mode & _PRIVATE:
        raise SettingsError(f"--run-dir: others may reach {folder}; chmod 700 it, or name another")
    path = folder / _SOCKET
    with contextlib.suppress(NotFoundError):
        order(folder, {"do": "status"})
        raise SettingsError(f"--run-dir: another `tidegate up` runs in {folder}; stop it, or name another folder")
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as made, _short(folder) as name:
        made.bind(name)
        made.listen()
        try:
            yield made
        finally:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _short(folder: Path) -> Iterator[str]:
    """Yield a path of the folder's socket that fits: such paths have 107 bytes at most."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{handle}/{_SOCKET}"
    finally:
        os.close(handle)


def order(folder: Path, said: dict[str, str]) -> dict[str, Any]:
    """Give a run an order; return how the ways of its sites are then.

    Raises:
        NotFoundError: nothing runs there, or no such site.
        TemporaryError: it doesn't answer.
    """
    try:
        told = json.loads(_exchanged(folder, json.dumps(said).encode() + b"\n"))
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError) as error:
        where = f"no `tidegate up` with a cloud runs in {folder}"
        raise NotFoundError(f"{where}; start it, or name its folder by --run-dir") from error
    except (OSError, ValueError) as error:
        raise TemporaryError(f"the run in {folder} doesn't answer ({error}); try again") from error
    if "error" in told:
        raise NotFoundError(told["error"])
    sites: dict[str, Any] = told["sites"]
    return sites


def _exchanged(folder: Path, line: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as made, _short(folder) as name:
        made.settimeout(WAN_ORDER_S_MAX)
        made.connect(name)
        made.sendall(line)
        with made.makefile("rb") as answer:
            return answer.readline()


def _tell(sites: dict[str, Any]) -> None:
    for name, told in sites.items():
        way = "cut" if told["cut"] else f"open, {told['connections']} connections"
        typer.echo(f"{name:16} {way:22} {told['sent_bytes']:,} bytes up, {told['heard_bytes']:,} down")


@app.command()
def cut(site: Site, run_dir: RunDir = RUN) -> None:
    """Cut a site off from the cloud: what is under way ends, and nothing passes until it is restored."""
    _tell({site: order(run_dir, {"do": "cut", "site": site})[site]})


@app.command()
def restore(site: Site, run_dir: RunDir = RUN) -> None:
    """Let a site's traffic pass again; the site finds out by itself, within a minute."""
    _tell({site: order(run_dir, {"do": "restore", "site": site})[site]})


@app.command()
def status(run_dir: RunDir = RUN) -> None:
    """Show which way is open, and how much went over each."""
    _tell(order(run_dir, {"do": "status"}))
