"""What processes cost by the kernel's own account: CPU time of all their threads, memory; for the benches."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_TICKS_S: Final = os.sysconf("SC_CLK_TCK")
_USER, _SYSTEM = 11, 12  # of /proc/PID/stat, counted from the field behind the name


def cpu_s(pids: Iterable[int]) -> float:
    """Return the CPU seconds that processes have used, user and system, threads that have ended included."""
    return sum(_ticks(pid) for pid in pids) / _TICKS_S


def _ticks(pid: int) -> int:
    # The name, in brackets, may itself hold blanks and brackets.
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[_USER]) + int(fields[_SYSTEM])


def memory_mib(pid: int) -> tuple[float, float]:
    """Return a process's resident memory, shared libraries included: now, and the most there ever was."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    kib = {name: value for name, _, value in (line.partition(":") for line in lines)}
    return int(kib["VmRSS"].split()[0]) / 1024, int(kib["VmHWM"].split()[0]) / 1024


def named(pids: Iterable[int], *prefixes: str) -> tuple[int, ...]:
    """Return those of the processes whose command line starts with one of `prefixes`."""
    return tuple(pid for pid in pids if Path(f"/proc/{pid}/cmdline").read_text().startswith(prefixes))
