"""What the doctor makes of what it was shown: values in, a verdict out, each with its value and what to do about it."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final, NamedTuple

import numpy as np

from actors.journal.space import Rung, Space, rung
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
    Process,
    Room,
    Run,
    Time,
)
from tidegate.clock import rfc3339
from tidegate.decision import Mode
from tidegate.features.state import CARD, TERMINAL
from tidegate.limits import (
    ANSWERS_BYTES,
    CLOCK_STEP_BACK_US_TOLERATED,
    FLUSH_P50_US_BUDGET,
    FLUSH_P50_US_MAX,
    FLUSH_P99_US_BUDGET,
    FLUSH_P99_US_MAX,
    JOURNAL_RESERVE_BYTES,
    MIB,
    SECOND_US,
    SITE_BASE_BYTES,
)
from tidegate.settings import SiteSettings

_LOOPBACK: Final = ("127.", "::1", "localhost")
_BIT_EXACT: Final = frozenset({"numpy", "numba", "llvmlite", "pyarrow", "ray"})
"""Packages whose other version may give other bits, or another cluster: what was tested is what must run."""
_NAMED: Final = 5
"""How many of a kind are named before the rest is counted."""


class Level(StrEnum):
    """How bad it is: a site with a `fail` breaks a promise, or doesn't start."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(NamedTuple):
    """One verdict. `todo` is empty where nothing has to be done."""

    name: str
    level: Level
    value: str
    todo: str = ""


def _named(items: Sequence[str]) -> str:
    more = len(items) - _NAMED
    return ", ".join(items[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _process(process: Process | None) -> str:
    return f"{process.name} (process {process.pid})" if process else "a process that this user can't see"


def _size(count: int) -> str:
    return f"{count / MIB:,.0f} MiB"


def of_config(settings: SiteSettings) -> Finding:
    """Judge what was read of the configuration; what it can't be is refused before."""
    value = f"site {settings.site}, gate {settings.gate}, {settings.profile}, fingerprint {settings.fingerprint}"
    if not settings.door.host.startswith(_LOOPBACK):
        todo = "put TLS in front and set door.host to 127.0.0.1, or keep the network between it and callers closed"
        return Finding("config", Level.WARN, f"{value}; keys pass in clear to {settings.door.host}", todo)
    return Finding("config", Level.OK, value)


def of_build(build: Build) -> Finding:
    """Judge the Python: one built without its optimisations takes 1.45 times as long for a decision."""
    todo = "run the site by a Python built with --enable-optimizations, such as a distribution's or uv's"
    if build.debug or build.optimised is False:
        kind = "a debug build" if build.debug else "built without --enable-optimizations"
        return Finding("python", Level.WARN, f"{build.version}, {kind}: about 1.45 times the CPU a decision", todo)
    told = "optimised" if build.optimised else "a distribution's build, which doesn't say how"
    return Finding("python", Level.OK, f"{build.version}, {told}")


def of_packages(packages: Sequence[Package]) -> Finding:
    """Judge whether what is installed is what was locked, and so what was tested."""
    if not packages:
        return Finding("packages", Level.WARN, "no lock beside this install", "install from a checkout: make setup")
    wrong = [one for one in packages if one.installed != one.locked]
    if not wrong:
        return Finding("packages", Level.OK, f"all {len(packages)} as locked")
    told = [f"{one.name} {one.installed or 'missing'}, locked {one.locked}" for one in wrong]
    grave = any(one.installed is None or one.name in _BIT_EXACT for one in wrong)
    return Finding("packages", Level.FAIL if grave else Level.WARN, _named(told), "install what is locked: make setup")


def of_runs(runs: Sequence[Run]) -> Finding:
    """Judge the runs: one whose reaper is gone is what a crash left, and it may hold the journal and the door."""
    stale = [run for run in runs if not run.guarded]
    guarded = len(runs) - len(stale)
    if not stale:
        return Finding("runs", Level.OK, f"{guarded} running, none left by a crash")
    told = [f"{_process(process)} of {run.mark}" for run in stale for process in run.processes]
    todo = "end exactly these: " + "; ".join(f"python -m edge_nodes.reaper {run.mark} </dev/null" for run in stale)
    return Finding("runs", Level.FAIL, f"left by a crash: {_named(told)}", todo)


def of_leftovers(folders: Sequence[str]) -> Finding:
    """Judge the temporary folders that nobody uses."""
    if not folders:
        return Finding("temporary folders", Level.OK, "none left")
    return Finding("temporary folders", Level.WARN, f"left by a crash: {_named(folders)}", "remove them")


def of_ray(packages: Sequence[Package], dashboard: Dashboard | None) -> Finding:
    """Judge Ray: there, and answering where the site runs."""
    version = next((one.installed for one in packages if one.name == "ray"), None)
    told = f"{version or 'of a version that no lock names'}"
    if dashboard is None:
        return Finding("ray", Level.OK, f"{told}; the site's cluster starts with it")
    where = f"dashboard {dashboard.address}, held by {_process(dashboard.holder)}"
    if dashboard.answers:
        return Finding("ray", Level.OK, f"{told}; {where}")
    todo = "trainings and restarts of the gate need it: stop the site and start it again"
    return Finding("ray", Level.FAIL, f"{told}; {where}, doesn't answer", todo)


def of_door(door: Door) -> Finding:
    """Judge the door's port: free, or held by this site's own gate, which decides."""
    if not door.refused:
        return Finding("door", Level.OK, f"{door.address} is free")
    if not door.ours:
        holder = f"held by {_process(door.holder)}" if door.holder else door.refused
        return Finding("door", Level.FAIL, f"{door.address}: {holder}", "stop who holds it, or set door.host and .port")
    value = f"{door.address} is held by this site's {_process(door.holder)}"
    if door.unready:
        return Finding("door", Level.FAIL, f"{value}, which doesn't decide: {door.unready}", "do what the reason says")
    return Finding("door", Level.OK, f"{value}, which decides")


def of_flushes(took_us: Sequence[float]) -> Finding:
    """Judge the disk: an answer waits for one flush."""
    p50, p99 = (float(each) for each in np.percentile(took_us, (50, 99)))
    value = (
        f"p50 {p50 / 1000:.3f} ms, p99 {p99 / 1000:.3f} ms of {len(took_us)} flushes; "
        f"budget {FLUSH_P50_US_BUDGET / 1000:g} and {FLUSH_P99_US_BUDGET / 1000:g} ms"
    )
    if p50 > FLUSH_P50_US_MAX or p99 > FLUSH_P99_US_MAX:
        return Finding("disk flush", Level.FAIL, value, "put data_dir on a local SSD: callers give up on this one")
    if p50 > FLUSH_P50_US_BUDGET or p99 > FLUSH_P99_US_BUDGET:
        todo = "answers are durable but later than promised: a disk of its own, or one with a protected write cache"
        return Finding("disk flush", Level.WARN, value, todo)
    return Finding("disk flush", Level.OK, value)


def of_room(room: Room, bytes_max: int) -> Finding:
    """Judge the disk's room by the journal's own ladder."""
    value = f"journal {_size(room.used_bytes)} of {_size(bytes_max)}, {_size(room.free_bytes)} free"
    space = Space(room.used_bytes, room.free_bytes, room.reserved is not False)
    at = rung(space, bytes_max)
    todo = (
        "free space, or lower journal.bytes_max to what the disk has"
        if space.reserved
        else "free space: its reserve is used"
    )
    if at >= Rung.LOWER_FLOORS or room.used_bytes + room.free_bytes < 2 * JOURNAL_RESERVE_BYTES:
        return Finding("disk room", Level.FAIL, f"{value}: {at.name.lower()}", todo)
    if at >= Rung.DROP_TRACES or room.used_bytes + room.free_bytes < bytes_max:
        return Finding("disk room", Level.WARN, f"{value}: the disk is full before the journal is", todo)
    return Finding("disk room", Level.OK, value)


def need_bytes(settings: SiteSettings) -> int:
    """Return what a site takes at most: Ray and code, ids, a window and the copy made for its checkpoint.

    A card has a row for what it did here, and one for what it did elsewhere.
    """
    window = settings.window.cards_max * 2 * CARD.itemsize + settings.window.terminals_max * TERMINAL.itemsize
    return SITE_BASE_BYTES + ANSWERS_BYTES + 2 * window


def of_memory(memory: Memory, settings: SiteSettings, *, running: bool) -> Finding:
    """Judge the memory; a site that runs has most of its own already."""
    need = need_bytes(settings)
    value = f"{_size(memory.available_bytes)} free of {_size(memory.total_bytes)}; the site takes {_size(need)}"
    todo = "add memory, stop what else runs, or lower window.cards_max"
    if memory.total_bytes < need or (not running and memory.available_bytes < need):
        return Finding("memory", Level.FAIL, value, todo)
    if memory.available_bytes < need // 4:
        return Finding("memory", Level.WARN, value, todo)
    return Finding("memory", Level.OK, value)


def of_clock(time: Time, journal: JournalSeen, source: str) -> Finding:
    """Judge the clock against the highest time in the journal, below which no gate goes."""
    value = f"{rfc3339(time.now_us)}, source {source}"
    if not journal.last_time_us:
        return Finding("clock", Level.OK, f"{value}; no journal to compare it with")
    offset_us = time.now_us - journal.last_time_us
    value += f", {offset_us / SECOND_US:+,.1f} s from the journal's highest time"
    if source == "events":
        return Finding("clock", Level.OK, f"{value}, which follows a stream")
    if offset_us < -CLOCK_STEP_BACK_US_TOLERATED:
        todo = "set the clock right; if the journal's time is the wrong one, offline approvals stop until it has passed"
        return Finding("clock", Level.FAIL, f"{value}: it was set back", todo)
    return Finding("clock", Level.OK, value)


def of_synchronisation(time: Time) -> Finding:
    """Judge whether somebody keeps the clock right."""
    if time.synchronised:
        return Finding("clock synchronisation", Level.OK, "kept by a time service")
    told = "the kernel doesn't say" if time.synchronised is None else "no time service keeps it"
    todo = "run chrony or systemd-timesyncd; where the host keeps the time for this machine, nothing has to be done"
    return Finding("clock synchronisation", Level.WARN, told, todo)


def of_journal(journal: JournalSeen) -> Finding:
    """Judge the newest epoch, which the next start goes on in."""
    if journal.refused:
        return Finding("journal", Level.FAIL, journal.refused, "set data_dir, site and gate to those of this journal")
    if not journal.epoch:
        return Finding("journal", Level.OK, "none yet: the first start begins one")
    value = f"epoch {journal.epoch}, position {journal.last_pos}"
    if journal.lost:
        todo = "keep a copy of the folder; the next start keeps what can be read, and takes nothing offline"
        return Finding("journal", Level.FAIL, f"{value}; LOST {_named(journal.lost)}", todo)
    if journal.torn:
        todo = "nothing of it was acknowledged: the next start cuts it and records that"
        return Finding("journal", Level.WARN, f"{value}; {journal.torn}", todo)
    if journal.began == "damaged":
        todo = "find out what damaged the disk; the records that are left of the epoch before stay as they are"
        return Finding("journal", Level.WARN, f"{value}; it began because of damage, so nothing is taken offline", todo)
    return Finding("journal", Level.OK, value)


def of_checkpoints(seen: CheckpointsSeen, journal: JournalSeen, every: int) -> Finding:
    """Judge what a start would have to replay."""
    behind = journal.last_pos - seen.newest_pos
    value = f"newest at position {seen.newest_pos}, {behind} records to replay" if journal.epoch else "none yet"
    if seen.damaged:
        todo = "check the disk; a start uses the one before, or the journal, and takes longer"
        return Finding("checkpoints", Level.WARN, f"{value}; damaged: {_named(seen.damaged)}", todo)
    if behind > 2 * every:
        todo = "stop the site in order (SIGTERM), which makes one; else the next start takes longer"
        return Finding("checkpoints", Level.WARN, value, todo)
    return Finding("checkpoints", Level.OK, value)


def of_bundle(seen: BundleSeen, now_us: int, profile: str) -> Finding:
    """Judge the bundle that would decide."""
    todo = "tidegate train, then tidegate bundle activate"
    if seen.refused:
        return Finding("bundle", Level.FAIL, seen.refused, f"activate another: tidegate bundle list; or {todo}")
    if not seen.bundle:
        level = Level.FAIL if profile == "production" else Level.WARN
        return Finding("bundle", level, "none is active", f"{todo}; without it the first start trains one itself")
    age_us = max(0, now_us - seen.trained_at_us)
    mode = seen.ages.mode(age_us)
    value = f"{seen.bundle}, {mode.name.lower()}, {seen.golden_rows} golden rows come out bit-equal"
    if mode >= Mode.STALE:
        return Finding("bundle", Level.WARN, value, todo)
    if seen.rules:
        todo = "ask again when the machine is quiet; else give the site a policy of its own: tidegate policy activate"
        return Finding("bundle", Level.WARN, seen.rules, todo)
    return Finding("bundle", Level.OK, value)


def of_keys(seen: KeysSeen, profile: str) -> Finding:
    """Judge who may call, and who may read the files."""
    if seen.open_to:
        todo = "chmod 600 them, and make new keys if strangers were on this machine"
        return Finding("keys", Level.FAIL, f"others may read {_named(seen.open_to)}", todo)
    if not seen.count and profile == "production":
        return Finding("keys", Level.FAIL, f"{seen.path}: none", "make one: tidegate key add till-1 --scope decide")
    return Finding("keys", Level.OK, f"{seen.count} in {seen.path}" if seen.count else "none: the demo makes its own")


def of_mark(seen: MarkSeen, journal: JournalSeen) -> Finding:
    """Judge whether the journal is this machine's: a start on another begins a new epoch."""
    if not journal.machine_mark or seen.mark == journal.machine_mark:
        return Finding("machine mark", Level.OK, seen.path if seen.mark else "none yet: the first start makes one")
    told = "is another's than the journal's" if seen.mark else "is missing, though there is a journal"
    todo = "restore the file if this is the same machine; else the next start begins a new epoch, without a lease"
    return Finding("machine mark", Level.WARN, f"{seen.path}: {told}", todo)


def of_lists(entries: int) -> Finding:
    """Judge the lists; broken ones are refused before."""
    return Finding("lists", Level.OK, f"{entries} entries")
