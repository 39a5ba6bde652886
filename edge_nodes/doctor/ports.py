"""What the doctor asks a machine and a site, as values; answered by `linux.LinuxProbes` and the twin in `memory`.

A probe changes nothing that stays. What it can't find out it raises, as OSError or TidegateError.
"""

from dataclasses import dataclass, field
from typing import Protocol

from tidegate.policy.terms import Ladder, Rungs


@dataclass(frozen=True, slots=True)
class Build:
    """The Python that runs: its version, and whether its build says that it was optimised; None where it's silent."""

    version: str
    optimised: bool | None
    debug: bool = False


@dataclass(frozen=True, slots=True)
class Package:
    """A locked package; `installed` is None where there is none."""

    name: str
    locked: str
    installed: str | None


@dataclass(frozen=True, slots=True)
class Process:
    """A process that listens on a port, or belongs to a run."""

    pid: int
    name: str


@dataclass(frozen=True, slots=True)
class Run:
    """All processes of one start of a site. `guarded`: the reaper that ends them with their starter is there."""

    mark: str
    guarded: bool
    processes: tuple[Process, ...]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """Ray's dashboard of the running site, and whether it answers."""

    address: str
    holder: Process
    answers: bool


@dataclass(frozen=True, slots=True)
class Door:
    """Where the site listens. `refused`: why nobody else could now; empty where the port is free.

    `ours`: whether its holder is this site's gate, or a proxy of its run. `unready`: what the gate's `/readyz` says,
    empty where it decides.
    """

    address: str
    refused: str
    holder: Process | None
    ours: bool
    unready: str


@dataclass(frozen=True, slots=True)
class Time:
    """The machine's clock; `synchronised` is None where the kernel doesn't say."""

    now_us: int
    synchronised: bool | None


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes that this machine, or the control group around it, has, and those still to be had."""

    total_bytes: int
    available_bytes: int


@dataclass(frozen=True, slots=True)
class Room:
    """What the journal takes of the disk and what is left; `reserved` is None where there is no journal yet."""

    used_bytes: int
    free_bytes: int
    reserved: bool | None


@dataclass(frozen=True, slots=True)
class JournalSeen:
    """The newest epoch of a journal; without an epoch all else is empty.

    `refused`: why this program can't read it. `lost` and `torn` are sentences; `torn` is empty while a gate writes.
    `began` and `machine_mark` are what the epoch's first record says.
    """

    epoch: str = ""
    refused: str = ""
    lost: tuple[str, ...] = ()
    torn: str = ""
    began: str = ""
    machine_mark: str = ""
    last_pos: int = 0
    last_time_us: int = 0


@dataclass(frozen=True, slots=True)
class CheckpointsSeen:
    """Checkpoints of the newest epoch: the position of the newest that is whole (0: none), and those that aren't."""

    newest_pos: int = 0
    damaged: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BundleSeen:
    """The active bundle; empty where none was ever activated. `refused`: why it can't decide.

    `ages`: from which age on its policy takes it for stale. `rules`: why its rules wouldn't be activated today.
    """

    bundle: str = ""
    refused: str = ""
    trained_at_us: int = 0
    golden_rows: int = 0
    ages: Rungs = field(default_factory=lambda: Ladder().bundle)
    rules: str = ""


@dataclass(frozen=True, slots=True)
class KeysSeen:
    """The key file. `open_to`: the files that others than their owner may read, each with its mode."""

    path: str
    count: int
    open_to: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MarkSeen:
    """The file that names this machine; `mark` is empty where there is none."""

    path: str
    mark: str


class MachineProbes(Protocol):
    """What is asked of the machine alone, also where the configuration can't be read."""

    def build(self) -> Build:
        """Return which Python runs."""

    def packages(self) -> tuple[Package, ...]:
        """Return the locked packages that this machine should have; empty where there is no lock."""

    def runs(self) -> tuple[Run, ...]:
        """Return the runs that have processes."""

    def leftovers(self) -> tuple[str, ...]:
        """Return temporary folders of sites that no process uses."""

    def time(self) -> Time:
        """Return the clock."""

    def memory(self) -> Memory:
        """Return the memory."""


class SiteProbes(Protocol):
    """What is asked of one site: its folders, its door, its cluster."""

    def door(self) -> Door:
        """Return who has the door's port."""

    def dashboard(self) -> Dashboard | None:
        """Return the dashboard of the site's cluster; None where the site doesn't run."""

    def flushes_us(self) -> tuple[float, ...]:
        """Return how long small durable writes take where the data lies, in microseconds."""

    def room(self) -> Room:
        """Return how full the disk is."""

    def journal(self) -> JournalSeen:
        """Return what the journal holds."""

    def checkpoints(self) -> CheckpointsSeen:
        """Return what the checkpoints hold."""

    def bundle(self) -> BundleSeen:
        """Return the bundle that would decide, its golden rows scored."""

    def keys(self) -> KeysSeen:
        """Return who may call."""

    def mark(self) -> MarkSeen:
        """Return the machine's mark."""

    def lists(self) -> int:
        """Return how many entries the lists have."""
