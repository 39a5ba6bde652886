"""The machine as Linux shows it: processes, memory, clock, installed packages, folders for temporary files."""

import ctypes
import os
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import psutil
from packaging.requirements import Requirement

from edge_nodes import reaper
from edge_nodes.doctor.ports import Build, Memory, Package, Process, Run, Time
from edge_nodes.leftovers import FOLDER_PREFIX
from tidegate.limits import MINUTE_US, SECOND_US

LOCK: Final = Path(__file__).resolve().parents[2] / "locks" / "edge.txt"
_CONTROL_GROUP: Final = Path("/sys/fs/cgroup")
_REAPER: Final = reaper.__name__
_TIMEX_BYTES: Final = 512
"""More than `struct timex` takes anywhere; all zeros asks and changes nothing."""
_UNSYNCHRONISED: Final = 5
"""`TIME_ERROR` of adjtimex(2)."""


def processes() -> Iterator[tuple[Process, list[str], dict[str, str]]]:
    """Yield each process with its command line and environment; those of other users show less, or nothing."""
    for each in psutil.process_iter(["pid", "name", "cmdline", "environ", "status"]):
        told = each.info
        if told["status"] != psutil.STATUS_ZOMBIE and told["pid"] != os.getpid():
            words, variables = told["cmdline"] or [], told["environ"] or {}
            yield (
                Process(told["pid"], words[0].split()[0] if words and words[0].strip() else told["name"]),
                words,
                variables,
            )


def locked(text: str) -> Iterator[tuple[str, str]]:
    """Yield name and version of each package that a lock wants on this machine."""
    for line in text.splitlines():
        if line[:1].isalnum():
            wanted = Requirement(line.rstrip(" \\"))
            if wanted.marker is None or wanted.marker.evaluate():
                yield wanted.name, str(wanted.specifier).removeprefix("==")


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def optimised(configured: str, prefix: str) -> bool | None:
    """Tell from how Python was configured and where it lies whether its build was optimised; None: can't be told."""
    if "--enable-optimizations" in configured or "-fprofile-use" in configured:
        return True
    return None if prefix == "/usr" else False  # a distribution optimises by its own rules, which configure isn't told


def _limit(name: str) -> int | None:
    """Return a number of the control group around this process; None where there is none, or no bound."""
    try:
        text = (_CONTROL_GROUP / name).read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


class LinuxMachine:
    """This machine."""

    def __init__(self, lock: Path = LOCK, temporary: Path | None = None) -> None:
        self._lock = lock
        self._temporary = temporary or Path(tempfile.gettempdir())

    def build(self) -> Build:
        """Return the interpreter that runs this."""
        names = ("CONFIG_ARGS", "PY_CFLAGS", "PY_CORE_CFLAGS")
        configured = " ".join(str(sysconfig.get_config_var(name)) for name in names)
        text = ".".join(map(str, sys.version_info[:3]))
        return Build(text, optimised(configured, sys.base_prefix), bool(sysconfig.get_config_var("Py_DEBUG")))

    def packages(self) -> tuple[Package, ...]:
        """Return what the edge's lock wants."""
        if not self._lock.exists():
            return ()
        return tuple(Package(name, wanted, _installed(name)) for name, wanted in locked(self._lock.read_text()))

    def runs(self) -> tuple[Run, ...]:
        """Return the runs by the mark in their processes' environment."""
        found: dict[str, list[Process]] = {}
        guarded = set()
        for process, words, variables in processes():
            if _REAPER in words[:-1]:
                guarded.add(words[-1])
            elif reaper.VARIABLE in variables:
                found.setdefault(variables[reaper.VARIABLE], []).append(process)
        return tuple(Run(mark, mark in guarded, tuple(members)) for mark, members in sorted(found.items()))

    def leftovers(self) -> tuple[str, ...]:
        """Return folders older than a minute that no command line names: Ray's processes name theirs."""
        used = "\0".join("\0".join(words) for _, words, _ in processes())
        oldest_s = time.time() - MINUTE_US / SECOND_US
        folders = sorted(self._temporary.glob(f"{FOLDER_PREFIX}*"))
        return tuple(str(each) for each in folders if str(each) not in used and each.stat().st_mtime < oldest_s)

    def time(self) -> Time:
        """Return the wall clock, and what the kernel says of its keeper."""
        libc: Any = ctypes.CDLL(None, use_errno=True)
        state = libc.adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
        return Time(time.time_ns() // 1000, None if state < 0 else state != _UNSYNCHRONISED)

    def memory(self) -> Memory:
        """Return the machine's memory, or that of the control group where it has less."""
        machine = psutil.virtual_memory()
        bound, used = _limit("memory.max"), _limit("memory.current")
        if bound is None or used is None or bound >= machine.total:
            return Memory(machine.total, machine.available)
        return Memory(bound, min(bound - used, machine.available))
