"""The twin of the probes: a healthy machine and a healthy site in memory, of which a test breaks what it likes."""

from dataclasses import dataclass, field
from typing import Final

from edge_nodes.doctor.ports import (
    Build,
    BundleSeen,
    CheckpointsSeen,
    Dashboard,
    Door,
    JournalSeen,
    KeysSeen,
    MarkSeen,
    Memory,
    Package,
    Room,
    Run,
    Time,
)
from tidegate.limits import HOUR_US, JOURNAL_BYTES_MAX, MIB, SECOND_US

NOW_US: Final = 1_795_500_000_000_000
PACKAGES: Final = (Package("numpy", "2.4.0", "2.4.0"), Package("ray", "2.60.0", "2.60.0"))
JOURNAL: Final = JournalSeen(
    epoch="0123456789abcdef",
    began="first_start",
    machine_mark="a" * 32,
    last_pos=1_000,
    last_time_us=NOW_US - 10 * SECOND_US,
)


@dataclass
class MemoryMachine:
    """What a healthy machine shows."""

    build_: Build = field(default=Build("3.11.9", optimised=True))
    packages_: tuple[Package, ...] = field(default=PACKAGES)
    runs_: tuple[Run, ...] = ()
    leftovers_: tuple[str, ...] = ()
    time_: Time = field(default=Time(NOW_US, synchronised=True))
    memory_: Memory = field(default=Memory(16_384 * MIB, 8_192 * MIB))

    def build(self) -> Build:
        """Return what was set."""
        return self.build_

    def packages(self) -> tuple[Package, ...]:
        """Return what was set."""
        return self.packages_

    def runs(self) -> tuple[Run, ...]:
        """Return what was set."""
        return self.runs_

    def leftovers(self) -> tuple[str, ...]:
        """Return what was set."""
        return self.leftovers_

    def time(self) -> Time:
        """Return what was set."""
        return self.time_

    def memory(self) -> Memory:
        """Return what was set."""
        return self.memory_


@dataclass
class MemorySite:
    """What a healthy site shows that doesn't run; `broken` names probes that raise the error they are given."""

    door_: Door = field(default=Door("127.0.0.1:8410", "", None, ours=False, unready=""))
    dashboard_: Dashboard | None = None
    flushes_: tuple[float, ...] = (90.0,) * 250 + (400.0,) * 6
    room_: Room = field(default=Room(64 * MIB, 2 * JOURNAL_BYTES_MAX, reserved=True))
    journal_: JournalSeen = field(default=JOURNAL)
    checkpoints_: CheckpointsSeen = field(default=CheckpointsSeen(newest_pos=900))
    bundle_: BundleSeen = field(default=BundleSeen("b-0123456789ab", "", NOW_US - HOUR_US, 256))
    keys_: KeysSeen = field(default=KeysSeen("keys.json", 1, ()))
    mark_: MarkSeen = field(default=MarkSeen("mark", "a" * 32))
    lists_: int = 3
    broken: dict[str, Exception] = field(default_factory=dict)

    def door(self) -> Door:
        """Return what was set."""
        self._may("door")
        return self.door_

    def dashboard(self) -> Dashboard | None:
        """Return what was set."""
        self._may("dashboard")
        return self.dashboard_

    def flushes_us(self) -> tuple[float, ...]:
        """Return what was set."""
        self._may("flushes_us")
        return self.flushes_

    def room(self) -> Room:
        """Return what was set."""
        self._may("room")
        return self.room_

    def journal(self) -> JournalSeen:
        """Return what was set."""
        self._may("journal")
        return self.journal_

    def checkpoints(self) -> CheckpointsSeen:
        """Return what was set."""
        self._may("checkpoints")
        return self.checkpoints_

    def bundle(self) -> BundleSeen:
        """Return what was set."""
        self._may("bundle")
        return self.bundle_

    def keys(self) -> KeysSeen:
        """Return what was set."""
        self._may("keys")
        return self.keys_

    def mark(self) -> MarkSeen:
        """Return what was set."""
        self._may("mark")
        return self.mark_

    def lists(self) -> int:
        """Return what was set."""
        self._may("lists")
        return self.lists_

    def _may(self, probe: str) -> None:
        if probe in self.broken:
            raise self.broken[probe]
