"""The Ray shell of a gate: one process that owns the socket, the event loop, the journal and the model.

The door's application is handed in as an import path, so that the room knows no door.
"""

import asyncio
import contextlib
import gc
import importlib
import os
import secrets
import signal
import socket
import statistics
import sys
import time
from collections.abc import Callable, Collection, Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar

import uvicorn

from actors.gate.activation import Activator
from actors.gate.committer import INLINE_FLUSH_US_MAX, Committer
from actors.gate.gate import Gate
from actors.gate.intake import Intake, overlay_answer
from actors.gate.kernels import warm
from actors.gate.orders import Orders
from actors.gate.replay import Replay, told
from actors.gate.service import Service
from actors.gate.start import open_gate
from actors.gate.tideline import RestoredError, Tideline
from actors.gate.upkeep import Upkeep
from actors.journal.disk import PosixDisk
from actors.journal.recovery import Reason, Recovery
from actors.scorer.disk import PosixFolder
from actors.scorer.model import Scorer
from actors.scorer.shelf import Shelf
from actors.uplink.disk import PosixFile
from actors.uplink.standing import STANDING_FILE, seen
from tidegate.clock import Clock, EventClock, SystemClock
from tidegate.errors import BundleError, NotFoundError, NotReadyError, SettingsError, TemporaryError
from tidegate.ids import RecordId
from tidegate.limits import DOOR_CLOSE_S_MAX, DOOR_TAKEN_S_MAX, GATE_RESTART_DELAY_S
from tidegate.settings import SiteSettings

T = TypeVar("T")

_PROBE_FLUSHES: Final = 64
_PROBE_BYTES: Final = 640
_MARK_HEX: Final = 32
_BACKLOG: Final = 2_048
_BIND_PAUSE_S: Final = 0.1


def flush_us(folder: Path) -> float:
    """Return the median time of a small durable write in a folder, in microseconds."""
    probe = folder / f".probe-{os.getpid()}"
    handle = os.open(probe, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        os.posix_fallocate(handle, 0, _PROBE_FLUSHES * _PROBE_BYTES)
        return statistics.median(_one_flush_us(handle, at) for at in range(_PROBE_FLUSHES))
    finally:
        os.close(handle)
        probe.unlink()


def _one_flush_us(handle: int, at: int) -> float:
    started = time.perf_counter()
    os.pwrite(handle, bytes(_PROBE_BYTES), at * _PROBE_BYTES)
    os.fdatasync(handle)
    return (time.perf_counter() - started) * 1e6


def read_mark(path: Path) -> str | None:
    """Return the mark that names this machine; None where there is none.

    Raises:
        SettingsError: the file holds something else.
    """
    try:
        mark = path.read_text().strip()
    except FileNotFoundError:
        return None
    if len(mark) != _MARK_HEX:
        raise SettingsError(f"{path}: holds no machine mark; move the file away and start again")
    return mark


def machine_mark(path: Path) -> str:
    """Return the mark that names this machine; makes one where there is none.

    Raises:
        SettingsError: the file holds something else.
    """
    known = read_mark(path)
    if known is not None:
        return known
    path.parent.mkdir(parents=True, exist_ok=True)
    mark = secrets.token_hex(_MARK_HEX // 2)
    PosixDisk(path.parent).replace(path.name, f"{mark}\n".encode())  # whole or not at all: a torn one stops the site
    return mark


def active_scorer(shelf: Shelf) -> Scorer:
    """Return the scorer of the active bundle.

    Raises:
        BundleError: there is none, it is damaged, or its golden rows come out otherwise.
    """
    bundle = shelf.active()
    if bundle is None:
        raise BundleError("no bundle is active at this site; train one: `tidegate train`")
    return Scorer(shelf.load(bundle))


def _clock(settings: SiteSettings) -> Clock:
    wall = SystemClock()
    if settings.clock.source == "system":
        return wall
    return EventClock(wall.now_us() if settings.clock.begins == "now" else 0)


def _tell(recovery: Recovery) -> None:
    """Say in the log where an epoch began that nobody expected."""
    if recovery.new_epoch and recovery.reason is not Reason.FIRST_START:
        sys.stderr.write(f"tidegate: epoch {recovery.epoch} begins: {recovery.reason}; the one before stays as it is\n")


async def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; a port that the gate before this one still holds is waited for.

    Raises:
        SettingsError: it can't be listened on.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    deadline = time.monotonic() + DOOR_TAKEN_S_MAX
    while True:
        try:
            return socket.create_server((host, port), family=family, backlog=_BACKLOG)
        except OSError as error:
            if time.monotonic() > deadline:
                told = f"door: {host}:{port} can't be listened on ({error.strerror}); stop who does, or set door.port"
                raise SettingsError(told) from error
        await asyncio.sleep(_BIND_PAUSE_S)


class GateHost:
    """A process that holds a gate, behind whatever door: opens it, ends itself where its disk fails, closes it.

    `application` is the door's application; it says `not ready`, and why, until the journal is read.
    """

    def __init__(self, settings_json: str, build: str, keys: bytes) -> None:
        self._settings = SiteSettings.model_validate_json(settings_json)
        self._folder = Path(self._settings.data_dir)
        self._service = Service()
        self._gate: Gate | None = None
        self._committer: Committer | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        if self._settings.uplink.url:
            self._service.tide_from(self._tide)
        module, name = build.split(":")
        application = getattr(importlib.import_module(module), name)
        self.application = application(self._service, keys, tuple(self._settings.door.origins))
        self._upkeep: Upkeep | None = None
        self._intake: Intake | None = None
        self._tending: tuple[asyncio.Task[None], ...] = ()
        self._restarts = False

    def begin(self) -> None:
        """Begin to read the journal; a loop runs."""
        self._keep(self._open())

    def _keep(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        """Start anew after what may pass; stay, and say why, after what somebody has to mend."""
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, RestoredError):
            self._restart(error.message)
        elif isinstance(error, TemporaryError | OSError):
            self._disk_failed(str(error))
        elif error is not None:
            self._service.failed(str(error))

    async def _open(self) -> None:
        """Read journal, checkpoint and bundle off the loop, so that `/readyz` answers meanwhile."""
        gate, inline = await asyncio.to_thread(self._load)
        committer = Committer(
            journal=gate.journal, inline=inline, on_failure=self._disk_failed, on_flush=self._service.meter.flush
        )
        self._gate, self._committer = gate, committer
        gc.collect()
        gc.freeze()  # all that lives as long as the gate: a collection beside decisions needn't look at it
        checkpoints = PosixDisk(self._folder / "window")
        self._upkeep = Upkeep(gate=gate, committer=committer, disk=checkpoints, tideline=self._tideline)
        self._service.checks_with(self._replayed)
        self._intake = Intake(gate=gate, committer=committer, packs=self._orders.packs())
        activator = Activator(gate=gate, committer=committer, orders=self._orders)
        self._service.opened(gate, committer, load=self._shelf.load, activator=activator)
        self._tending = (self._keep(self._upkeep.run()), self._keep(self._service.reasons.run()))
        await asyncio.to_thread(self._prune, gate.state.bundles | {gate.basis.scorer.bundle.id})

    def _prune(self, named: Collection[str]) -> None:
        """Remove bundles that nobody needs; what can't be removed keeps no site from deciding."""
        try:
            self._shelf.prune(named)
        except (OSError, BundleError) as error:
            sys.stderr.write(f"tidegate: old bundles stay on the shelf ({error}); remove them by hand\n")

    def _load(self) -> tuple[Gate, bool]:
        settings = self._settings
        warm()
        scorer = active_scorer(self._shelf)
        gate, recovery = open_gate(
            settings=settings,
            machine_mark=machine_mark(Path(settings.machine_mark)),
            journal_disk=PosixDisk(self._folder / "journal"),
            checkpoint_disk=PosixDisk(self._folder / "window"),
            scorer=scorer,
            orders=self._orders,
            clock=_clock(settings),
            entropy=os.urandom,
            tideline=self._tideline,
        )
        _tell(recovery)
        modes: dict[str, Callable[[], bool]] = {
            "auto": lambda: flush_us(self._folder) < INLINE_FLUSH_US_MAX,
            "inline": lambda: True,
            "thread": lambda: False,
        }
        return gate, modes[settings.journal.flush]()

    @property
    def _tideline(self) -> Tideline | None:
        """What the uplink wrote down, where there is one."""
        if not self._settings.uplink.url:
            return None
        return Tideline(PosixDisk(self._folder / "uplink"), PosixDisk(self._folder / "journal"))

    @property
    def _orders(self) -> Orders:
        return Orders(PosixDisk(self._folder / "orders"))

    @property
    def _shelf(self) -> Shelf:
        return Shelf(folder=PosixFolder(self._folder / "bundles"))

    def _tide(self) -> dict[str, Any] | None:
        """Return what the uplink said of itself in its file: it is read when somebody asks, and takes no call."""
        return seen(PosixFile(self._folder / STANDING_FILE).load(), time.time_ns() // 1_000)

    def _replayed(self, decision: str) -> dict[str, Any]:
        """Decide again from the files, as `tidegate decision replay --stored` does, while the gate goes on."""
        wanted = RecordId.parse(decision)
        if wanted is None:
            raise NotFoundError(f"{decision}: is no decision's id")
        replay = Replay(
            wanted=wanted,
            journal=PosixDisk(self._folder / "journal"),
            checkpoints=PosixDisk(self._folder / "window"),
            orders=PosixDisk(self._folder / "orders"),
            load=lambda bundle: Scorer(self._shelf.load(bundle)),
        )
        return told(replay.stored())

    def _disk_failed(self, why: str) -> None:
        """The disk failed: start anew from what is durable."""
        self._restart(f"the journal failed ({why})")

    def _restart(self, why: str) -> None:
        """Stop answering and end, so that Ray starts the gate anew."""
        self._service.failed(why)
        self._restarts = True
        asyncio.get_running_loop().call_later(GATE_RESTART_DELAY_S, os.kill, os.getpid(), signal.SIGKILL)
        with contextlib.suppress(OSError):  # the log may lie on the very disk that failed
            sys.stderr.write(f"tidegate: {why}; the gate restarts from what is durable\n")
            sys.stderr.flush()

    async def overlay(self) -> dict[str, Any]:
        """Return what the site knows of others."""
        self._ready_intake()
        return overlay_answer(self._service.gate)

    async def take_deltas(self, asked: int, since: int, until: int, wire: bytes) -> dict[str, Any]:
        """Count a batch of what other sites did, and return what the site knows of them; see `Intake.take`."""
        return await self._ready_intake().take(asked, since=since, until=until, wire=wire)

    async def nothing_came(self, asked: int, as_of_us: int) -> dict[str, Any]:
        """Note that the cloud had nothing from a version on; see `Intake.nothing_came`."""
        return await self._ready_intake().nothing_came(asked, as_of_us)

    async def began_again(self, asked: int) -> dict[str, Any]:
        """Forget what other sites did; see `Intake.began_again`."""
        return await self._ready_intake().began_again(asked)

    def _ready_intake(self) -> Intake:
        if self._intake is None or self._service.why_not_ready is not None:
            raise NotReadyError(f"the site isn't ready: {self._service.why_not_ready}")
        return self._intake

    def status(self) -> str | None:
        """Return why the site isn't ready, or None; `stopped` is what no restart mends."""
        why = self._service.why_not_ready
        return f"the gate restarts: {why}" if self._restarts else why

    def pid(self) -> int:
        """Return the gate's process id."""
        return os.getpid()

    async def close(self) -> None:
        """Make everything durable and save a checkpoint; whatever is asked from now on is refused."""
        for task in self._tending:
            task.cancel()
        gate, self._gate = self._gate, None
        if gate is not None and self._committer is not None and self._upkeep is not None:
            self._service.failed("the site was told to stop")
            await self._upkeep.checkpoint()
            self._committer.close()
            gate.journal.close()


class GateActor(GateHost):
    """A gate with a door of its own: uvicorn in the gate's event loop.

    Nobody has to call it: where a loop runs already, as in Ray, the door opens by itself, also after a restart.
    """

    def __init__(self, settings_json: str, build: str, keys: bytes) -> None:
        super().__init__(settings_json, build, keys)
        self._server: uvicorn.Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self._door: asyncio.Task[int] | None = None
        with contextlib.suppress(RuntimeError):
            asyncio.get_running_loop()
            self._door = self._keep(self._start())

    async def start(self) -> int:
        """Return the port once the door is open; opens it where that hasn't begun."""
        self._door = self._door or self._keep(self._start())
        return await asyncio.shield(self._door)

    async def _start(self) -> int:
        """Open the door and begin to read the journal; return the port."""
        door = await listen(self._settings.door.host, self._settings.door.port)
        config = uvicorn.Config(
            self.application,
            http=self.application.protocol,
            ws="none",
            access_log=False,
            log_level="warning",
            lifespan="off",
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=DOOR_CLOSE_S_MAX,
        )
        self._server = uvicorn.Server(config)
        self._server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
        self._serving = self._keep(self._server.serve([door]))
        self.begin()
        return int(door.getsockname()[1])

    async def stop(self) -> None:
        """Close the door after what is under way, then the gate."""
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await self._serving
        await self.close()
