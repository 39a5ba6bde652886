"""A site as its folders, its door and its cluster's dashboard show it; whether it runs or not."""

import contextlib
import http.client
import os
import stat
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import psutil

from actors.gate.actor import read_mark
from actors.gate.orders import Orders
from actors.journal.disk import LOCK, PosixDisk, PosixFile
from actors.journal.layout import epoch_names
from actors.journal.space import measure
from actors.scorer.disk import PosixFolder
from actors.scorer.shelf import Shelf
from edge_nodes import reaper
from edge_nodes.doctor.linux import processes
from edge_nodes.doctor.ports import (
    BundleSeen,
    CheckpointsSeen,
    Dashboard,
    Door,
    JournalSeen,
    KeysSeen,
    MarkSeen,
    Process,
    Room,
)
from edge_nodes.doctor.rooms import bundle_seen, checkpoints_seen, flushes_us, journal_seen
from edge_nodes.keyfile import demo_path, path_of, stored
from edge_nodes.node import refused
from tidegate.limits import DASHBOARD_S_MAX
from tidegate.settings import SiteSettings

_DASHBOARD: Final = "dashboard.py"
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def _answer(host: str, port: int, path: str) -> tuple[int, str]:
    """Return status and body of a request; 0 and why where there is no answer."""
    connection = http.client.HTTPConnection(host, port, timeout=DASHBOARD_S_MAX)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        return 0, str(error) or type(error).__name__
    finally:
        connection.close()


def listener(port: int) -> Process | None:
    """Return who listens on a port; None where nobody does, or this user can't see who."""
    for each in psutil.net_connections(kind="tcp"):
        if each.status == psutil.CONN_LISTEN and each.laddr and each.laddr.port == port and each.pid is not None:
            with contextlib.suppress(psutil.Error):  # it ended meanwhile
                return Process(each.pid, psutil.Process(each.pid).name())
    return None


def holder_of(file: Path) -> Process | None:
    """Return the process that has a file open."""
    wanted = str(file.resolve())
    for each in psutil.process_iter(["pid", "name", "open_files"]):
        if wanted in {one.path for one in each.info["open_files"] or ()}:
            return Process(each.info["pid"], each.info["name"])
    return None


def _mark(process: Process) -> str:
    """Return the mark of the run that a process belongs to; empty where it shows none."""
    try:
        return psutil.Process(process.pid).environ().get(reaper.VARIABLE, "")
    except psutil.Error:
        return ""


class FolderSite:
    """The site of some settings, on this machine."""

    def __init__(self, settings: SiteSettings, *, ticks_ns: Callable[[], int] = time.perf_counter_ns) -> None:
        self._settings = settings
        self._folder = Path(settings.data_dir)
        self._ticks_ns = ticks_ns

    def _gate(self) -> Process | None:
        return holder_of(self._folder / "journal" / LOCK)

    def _disk(self, name: str) -> PosixDisk | None:
        """Return a room's disk; None where it isn't there, since opening it would make it."""
        folder = self._folder / name
        return PosixDisk(folder) if folder.is_dir() else None

    def door(self) -> Door:
        """Try to bind the port for a moment; where that is refused, find out by whom."""
        host, port = self._settings.door.host, self._settings.door.port
        gate, why = self._gate(), refused(host, port)
        holder, unready = (listener(port) if why else None), ""
        ours = gate is not None and holder is not None and (holder == gate or _mark(holder) == _mark(gate) != "")
        if ours:
            status, told = _answer(host, port, "/readyz")
            unready = "" if status == http.client.OK else told
        return Door(f"{host}:{port}", why, holder, ours, unready)

    def dashboard(self) -> Dashboard | None:
        """Find the dashboard among the processes of the gate's run."""
        gate = self._gate()
        mark = _mark(gate) if gate else ""
        for process, words, variables in processes() if mark else ():
            ports = [word.partition("=")[2] for word in words if word.startswith("--port=")]
            if variables.get(reaper.VARIABLE) == mark and ports and any(_DASHBOARD in word for word in words):
                status, _ = _answer("127.0.0.1", int(ports[0]), "/api/version")
                return Dashboard(f"http://127.0.0.1:{ports[0]}", process, status > 0)
        return None

    def flushes_us(self) -> tuple[float, ...]:
        """Measure on a file without a name, which is gone with this process, whatever ends it."""
        folder = next(each for each in (self._folder, *self._folder.resolve().parents) if each.is_dir())
        with tempfile.TemporaryFile(dir=folder) as file:
            return flushes_us(PosixFile(folder, file.fileno()), self._ticks_ns)

    def room(self) -> Room:
        """Measure the journal's disk, or the one that it will lie on."""
        disk = self._disk("journal")
        if disk is not None:
            space = measure(disk)
            begun = bool(epoch_names(disk.sizes()))
            return Room(space.used_bytes, space.free_bytes, space.reserved if begun else None)
        folder = next(each for each in (self._folder, *self._folder.resolve().parents) if each.is_dir())
        stats = os.statvfs(folder)
        return Room(0, stats.f_bavail * stats.f_frsize, None)

    def journal(self) -> JournalSeen:
        """Walk the newest epoch."""
        disk, held = self._disk("journal"), self._gate() is not None
        return journal_seen(disk, self._settings.site, self._settings.gate, held=held) if disk else JournalSeen()

    def checkpoints(self) -> CheckpointsSeen:
        """Prove the checkpoints of the newest epoch."""
        disk, journal = self._disk("window"), self._disk("journal")
        names = epoch_names(journal.sizes()) if journal else []
        return checkpoints_seen(disk, names[-1].epoch) if disk and names else CheckpointsSeen()

    def bundle(self) -> BundleSeen:
        """Score the golden rows of the active bundle."""
        folder = self._folder / "bundles"
        return bundle_seen(Shelf(folder=PosixFolder(folder)), time.perf_counter) if folder.is_dir() else BundleSeen()

    def keys(self) -> KeysSeen:
        """Read the key file, and whom the files are open to."""
        paths = [path for path in (path_of(self._settings), demo_path(self._settings)) if path.exists()]
        modes = [(path, stat.S_IMODE(path.stat().st_mode)) for path in paths]
        shown = tuple(f"{path} ({mode:o})" for path, mode in modes if mode & _OTHERS)
        return KeysSeen(str(path_of(self._settings)), len(stored(self._settings).keys), shown)

    def mark(self) -> MarkSeen:
        """Read the machine's mark."""
        path = Path(self._settings.machine_mark)
        return MarkSeen(str(path), read_mark(path) or "")

    def lists(self) -> int:
        """Read the lists as a start does."""
        folder = self._folder / "orders"
        if not folder.is_dir():
            return 0
        orders = Orders(PosixDisk(folder))
        return orders.load(orders.lists()).activation.entries
