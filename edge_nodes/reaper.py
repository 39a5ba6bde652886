"""The reaper: outlives whoever started a run, and leaves no process of that run behind, whatever ended it.

`python -m edge_nodes.reaper MARK` waits until its standard input closes, which the kernel does for the dead, too;
then it ends every process of the run: those that have the mark in their environment, and all that these have started.
A process that writes itself a title, as Ray's do, may write it over its environment, and one whose parent has died
belongs to nobody: so the reaper looks every few seconds while it waits, and knows again whom it has seen.
"""

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

VARIABLE: Final = "TIDEGATE_RUN"
_ROUNDS: Final = 200
_QUIET_ROUNDS: Final = 10
_PAUSE_S: Final = 0.05
_LOOK_EVERY_S: Final = 2.0


class _Process(NamedTuple):
    parent: int
    started: int
    """In ticks since the machine was started: with its number, what tells it from another that gets the number."""
    marked: bool


def _processes(mark: bytes) -> dict[int, _Process]:
    """Return all processes that haven't ended, this one aside. Those of other users can't be read and aren't ours."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            variables = (folder / "environ").read_bytes()
            state, parent, *rest = (folder / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if state != "Z" and int(folder.name) != os.getpid():
            found[int(folder.name)] = _Process(int(parent), int(rest[17]), mark in variables)
    return found


def members(mark: str, seen: Mapping[int, int]) -> dict[int, int]:
    """Return the processes of a run, and when each started: the marked, those seen before, and all their children."""
    there = _processes(mark.encode())
    found = {pid for pid, one in there.items() if one.marked or seen.get(pid) == one.started}
    while more := {pid for pid, one in there.items() if one.parent in found} - found:
        found |= more
    return {pid: there[pid].started for pid in found}


def reap(mark: str, seen: Mapping[int, int]) -> int:
    """End all processes of a run; return how many are left, 0 in health.

    A process that is being replaced by another program (exec) shows no environment for a moment: one look that finds
    nobody proves nothing, many in a row do.
    """
    left: dict[int, int] = {}
    quiet = 0
    for _ in range(_ROUNDS):
        left = members(mark, seen)
        seen = {**seen, **left}
        quiet = 0 if left else quiet + 1
        if quiet == _QUIET_ROUNDS:
            break
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _pause()
    return len(left)


def _pause() -> None:
    # The dead take a moment to leave /proc; select is a wait that signals don't cut short unnoticed.
    signal.sigtimedwait([], _PAUSE_S)


def _watched(mark: str) -> dict[int, int]:
    """Wait until standard input closes; return whom of the run was seen meanwhile and is there still."""
    seen: dict[int, int] = {}
    while not select.select([sys.stdin.buffer], [], [], _LOOK_EVERY_S)[0]:
        seen = members(mark, seen)
    return seen


def main() -> None:
    """Wait for the end of the run, then reap."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    seen = _watched(sys.argv[1])
    started = time.monotonic()
    left = reap(sys.argv[1], seen)
    sys.exit(f"{left} processes are left after {time.monotonic() - started:.1f} s" if left else 0)


if __name__ == "__main__":
    main()
