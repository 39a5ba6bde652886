"""The disk's twin in memory, for tests and simulation: knows what is durable and what only seems to be.

Deterministic: whatever is left to chance at a power cut is drawn from the generator passed in.
"""

import errno
from copy import deepcopy
from dataclasses import dataclass, field
from random import Random
from typing import Final, Self

from tidegate.errors import DiskFullError, JournalError

SECTOR_BYTES: Final = 512
"""What a disk writes whole or not at all."""


class PowerCut(BaseException):
    """Raised at the step that `cut_at` names; afterwards only `crash` makes sense."""


@dataclass(slots=True)
class _Bytes:
    """Bytes of some length of which only those up to the last written one are held: room kept free costs nothing."""

    held: bytearray = field(default_factory=bytearray)
    size: int = 0

    def read(self, start: int, stop: int) -> bytes:
        stop = max(start, min(stop, self.size))
        found = bytes(self.held[start:stop])
        return found + bytes(stop - start - len(found))

    def write(self, data: bytes | bytearray, offset: int) -> None:
        if len(self.held) < offset:
            self.held.extend(bytes(offset - len(self.held)))
        self.held[offset : offset + len(data)] = data
        self.size = max(self.size, offset + len(data))

    def become(self, other: "_Bytes") -> None:
        self.held[:], self.size = other.held, other.size

    def truncate(self, size: int) -> None:
        del self.held[size:]
        self.size = min(self.size, size)


@dataclass(slots=True)
class _Content:
    """A file's bytes: `seen` is what reads give, `durable` what a power cut leaves of it."""

    seen: _Bytes = field(default_factory=_Bytes)
    durable: _Bytes = field(default_factory=_Bytes)
    dirty: set[int] = field(default_factory=set)

    def write(self, data: bytes | bytearray, offset: int) -> None:
        if data:
            self.seen.write(data, offset)
            self.dirty.update(range(offset // SECTOR_BYTES, (offset + len(data) - 1) // SECTOR_BYTES + 1))

    def sync(self) -> None:
        self.durable.size = max(self.durable.size, self.seen.size)
        for sector in self.dirty:
            self._keep(sector)
        self.dirty.clear()

    def crash(self, rng: Random) -> None:
        if self.durable.size < self.seen.size and rng.getrandbits(1):
            self.durable.size = self.seen.size
        chance = rng.choice((0.0, 0.5, 0.9, 1.0))
        for sector in sorted(self.dirty):
            if rng.random() < chance:
                self._keep(sector)
        self.dirty.clear()
        self.seen.become(self.durable)

    def _keep(self, sector: int) -> None:
        start = sector * SECTOR_BYTES
        kept = self.seen.read(start, min(start + SECTOR_BYTES, self.durable.size))
        if kept:
            self.durable.write(kept, start)


class MemoryFile:
    """One open handle on a file of the twin."""

    def __init__(self, disk: "MemoryDisk", content: _Content) -> None:
        self._disk = disk
        self._content = content

    def pread(self, size: int, offset: int) -> bytes:
        """Return up to `size` bytes at `offset`."""
        return self._content.seen.read(offset, offset + size)

    def pwrite(self, data: bytes | bytearray, offset: int) -> None:
        """Write `data`; not durable yet."""
        self._disk.take_room(offset + len(data) - self._content.seen.size)
        self._content.write(data, offset)
        self._disk.step()

    def sync(self) -> None:
        """Make what was written durable, unless the next sync was told to fail."""
        self._disk.step()
        if self._disk.sync_fails():
            self._content.dirty.clear()  # as a real system does: still seen, never written
            raise OSError(errno.EIO, "the simulated disk failed to sync")
        self._content.sync()
        self._disk.step()

    def size(self) -> int:
        """Return the length in bytes."""
        return self._content.seen.size

    def extend(self, size: int) -> None:
        """Make the file `size` bytes long, durably."""
        seen = self._content.seen
        self._disk.take_room(size - seen.size)
        seen.size = max(seen.size, size)
        self.sync()

    def close(self) -> None:
        """Nothing to let go of."""


class MemoryDisk:
    """A folder in memory, and the hand of fate: power cuts, garbled bytes, failing syncs, a full disk."""

    def __init__(self) -> None:
        self._seen: dict[str, _Content] = {}
        self._durable: dict[str, _Content] = {}
        self._locked = False
        self._capacity_bytes: int | None = None
        self._sync_fails = False
        self._cut_at: int | None = None
        self.steps = 0

    # What the journal calls.

    def lock(self) -> None:
        """Hold the folder until `unlock` or a crash."""
        if self._locked:
            raise JournalError("another process holds this journal; stop it first")
        self._locked = True

    def unlock(self) -> None:
        """Let go of the folder."""
        self._locked = False

    def create(self, name: str, size: int) -> MemoryFile:
        """Return a new file of `size` zero bytes."""
        if name in self._seen:
            raise FileExistsError(name)
        self.take_room(size)
        self.step()
        content = self._seen[name] = _Content()
        self.step()
        file = MemoryFile(self, content)
        file.extend(size)
        self._sync_names()
        return file

    def open(self, name: str) -> MemoryFile:
        """Return the existing file."""
        return MemoryFile(self, self._content(name))

    def read(self, name: str) -> bytes:
        """Return the whole content."""
        seen = self._content(name).seen
        return seen.read(0, seen.size)

    def replace(self, name: str, data: bytes) -> None:
        """Write beside, sync, rename, sync the folder."""
        self.take_room(len(data))
        beside = name + ".tmp"
        content = self._seen[beside] = _Content()
        self.step()
        file = MemoryFile(self, content)
        file.pwrite(data, 0)
        file.sync()
        self._seen[name] = self._seen.pop(beside)
        self.step()
        self._sync_names()

    def remove(self, name: str) -> None:
        """Remove the file."""
        self._content(name)
        self.step()
        del self._seen[name]
        self._sync_names()

    def sizes(self) -> dict[str, int]:
        """Return the length of every file."""
        return {name: content.seen.size for name, content in sorted(self._seen.items())}

    def free_bytes(self) -> int:
        """Return the room that is left; 1 TiB where no bound was set."""
        if self._capacity_bytes is None:
            return 1 << 40
        return max(0, self._capacity_bytes - sum(self.sizes().values()))

    # What the files and tests call.

    def crash(self, rng: Random) -> None:
        """Cut the power: of what was not synced any subset of sectors survives; an unsynced name may not."""
        self._locked, self._cut_at, self._sync_fails = False, None, False
        if rng.getrandbits(1):
            self._durable = dict(self._seen)
        self._seen = dict(self._durable)
        for content in self._seen.values():
            content.crash(rng)

    def kill(self) -> None:
        """Kill the process, not the machine: everything that was written stays, the lock doesn't."""
        self._locked, self._cut_at = False, None

    def cut_at(self, step: int) -> None:
        """Raise PowerCut at the `step`-th step from now."""
        self._cut_at = self.steps + step

    def garble(self, name: str, offset: int, data: bytes) -> None:
        """Overwrite bytes behind everybody's back, durably."""
        content = self._content(name)
        content.seen.write(data, offset)
        content.durable.write(data, offset)

    def truncate(self, name: str, size: int) -> None:
        """Shorten a file behind everybody's back, durably."""
        content = self._content(name)
        content.seen.truncate(size)
        content.durable.truncate(size)

    def fail_next_sync(self) -> None:
        """Let the next sync raise; what it should have written is then seen, but never becomes durable."""
        self._sync_fails = True

    def full(self, capacity_bytes: int | None) -> None:
        """Bound the sum of all lengths; None: no bound."""
        self._capacity_bytes = capacity_bytes

    def copy(self) -> Self:
        """Return an independent disk of the same content, not locked, as it would be found after `kill`."""
        twin = deepcopy(self)
        twin.kill()
        return twin

    def step(self) -> None:
        """Count one thing that happens on the disk; the power may be cut right there."""
        self.steps += 1
        if self._cut_at is not None and self.steps >= self._cut_at:
            raise PowerCut

    def sync_fails(self) -> bool:
        """Tell, once, whether this sync was told to fail."""
        fails, self._sync_fails = self._sync_fails, False
        return fails

    def take_room(self, more: int) -> None:
        """Raise DiskFullError where `more` bytes don't fit."""
        if more > 0 and more > self.free_bytes():
            raise DiskFullError("the simulated disk is full; free space on it")

    def _content(self, name: str) -> _Content:
        if name not in self._seen:
            raise FileNotFoundError(name)
        return self._seen[name]

    def _sync_names(self) -> None:
        self.step()
        self._durable = dict(self._seen)
        self.step()
