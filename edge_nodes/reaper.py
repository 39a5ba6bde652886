"""The reaper: outlives whoever started a run, and leaves no process of that run behind, whatever ended it.

`python -m edge_nodes.reaper MARK` waits until its standard input closes, which the kernel does for the dead, too;
then it ends every process that has the mark in its environment: as `TIDEGATE_RUN`, and once more in another variable,
since a process that writes itself a title, as Ray's do, may write it over one of them.
"""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import Final

VARIABLE: Final = "TIDEGATE_RUN"
_ROUNDS: Final = 200
_QUIET_ROUNDS: Final = 10
_PAUSE_S: Final = 0.05


def marked(mark: str) -> list[int]:
    """Return the processes of a run, this one aside. Processes of other users can't be read and aren't ours."""
    wanted = mark.encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            variables = (folder / "environ").read_bytes()
            state = (folder / "stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        if wanted in variables and state != "Z" and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


def reap(mark: str) -> int:
    """End all processes of a run; return how many are left, 0 in health.

    A process that is being replaced by another program (exec) shows no environment for a moment: one look that finds
    nobody proves nothing, many in a row do.
    """
    left: list[int] = []
    quiet = 0
    for _ in range(_ROUNDS):
        left = marked(mark)
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


def main() -> None:
    """Wait for the end of the run, then reap."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    started = time.monotonic()
    left = reap(sys.argv[1])
    sys.exit(f"{left} processes are left after {time.monotonic() - started:.1f} s" if left else 0)


if __name__ == "__main__":
    main()
