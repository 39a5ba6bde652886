"""How full the journal is, as a ladder: each rung has its stated behaviour, and none drops what must be kept."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeVar

from actors.journal.layout import RESERVE
from actors.journal.ports import Disk
from tidegate.errors import DiskFullError

_T = TypeVar("_T")


class Rung(IntEnum):
    """A step of the ladder; its number is the percentage at which it begins."""

    NORMAL = 0
    COMPRESS = 60
    """Sealed segments are compressed."""
    DROP_TRACES = 80
    """Traces are dropped, each range told by a record."""
    LOWER_FLOORS = 90
    """Smaller amounts only are accepted offline."""
    STOP_OFFLINE = 95
    """Nothing is accepted offline."""
    REFUSE = 98
    """Nothing is journaled, so nothing is decided: SYS_DISK_FULL."""


@dataclass(frozen=True, slots=True)
class Space:
    """What the journal uses, what the disk has left, and whether the reserve is there."""

    used_bytes: int
    free_bytes: int
    reserved: bool


def measure(disk: Disk) -> Space:
    """Return how full the disk is now."""
    sizes = disk.sizes()
    return Space(sum(sizes.values()), disk.free_bytes(), RESERVE in sizes)


def rung(space: Space, bytes_max: int) -> Rung:
    """Return the rung of a journal that may use `bytes_max`. Without its reserve it refuses: the disk was full."""
    if not space.reserved:
        return Rung.REFUSE
    room = min(bytes_max, space.used_bytes + space.free_bytes)
    return max(step for step in Rung if space.used_bytes * 100 >= step * room)


def with_reserve(disk: Disk, action: Callable[[], _T]) -> _T:
    """Return what `action` does, giving up the reserve for it where the disk is full.

    Raises:
        DiskFullError: even so, or there was no reserve.
    """
    try:
        return action()
    except DiskFullError:
        if RESERVE not in disk.sizes():
            raise
    disk.remove(RESERVE)
    return action()
