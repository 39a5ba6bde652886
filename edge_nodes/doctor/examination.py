"""One examination: every probe is asked once, what one can't find out is a finding, too, and the rest goes on."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, TypeVar

from edge_nodes.doctor import findings
from edge_nodes.doctor.findings import Finding, Level
from edge_nodes.doctor.ports import Dashboard, JournalSeen, MachineProbes, SiteProbes
from tidegate.errors import SettingsError, TidegateError
from tidegate.settings import SiteSettings

_SEEN = TypeVar("_SEEN")
_WIDTH: Final = 22


def machine_findings(machine: MachineProbes) -> Iterator[Finding]:
    """Yield what the machine alone shows, whatever the configuration is."""
    yield from _judged("python", machine.build, findings.of_build)
    yield from _judged("packages", machine.packages, findings.of_packages)
    yield from _judged("runs", machine.runs, findings.of_runs)
    yield from _judged("temporary folders", machine.leftovers, findings.of_leftovers)
    yield from _judged("clock synchronisation", machine.time, findings.of_synchronisation)


def site_findings(machine: MachineProbes, site: SiteProbes, settings: SiteSettings) -> Iterator[Finding]:
    """Yield what a site shows. What rests on a probe that failed is left out: the failure is told once."""
    yield findings.of_config(settings)
    yield from _judged("door", site.door, findings.of_door)
    yield from _of_cluster(machine, site, settings)
    yield from _judged("disk flush", site.flushes_us, findings.of_flushes)
    yield from _judged("disk room", site.room, lambda room: findings.of_room(room, settings.journal.bytes_max))
    yield from _of_journal(machine, site, settings)
    now_us = machine.time().now_us
    yield from _judged("bundle", site.bundle, lambda seen: findings.of_bundle(seen, now_us, settings.profile))
    yield from _judged("lists", site.lists, findings.of_lists)
    yield from _judged("keys", site.keys, lambda seen: findings.of_keys(seen, settings.profile))


def _judged(name: str, probe: Callable[[], _SEEN], judge: Callable[[_SEEN], Finding]) -> Iterator[Finding]:
    try:
        seen = probe()
    except (OSError, TidegateError) as error:
        yield _unseen(name, error)
    else:
        yield judge(seen)


def _unseen(name: str, error: OSError | TidegateError) -> Finding:
    if isinstance(error, TidegateError):
        return Finding(name, Level.FAIL, error.message, "do what the message says")
    return Finding(name, Level.FAIL, f"can't be looked at: {error}", "run this as the user that runs the site")


def _of_cluster(machine: MachineProbes, site: SiteProbes, settings: SiteSettings) -> Iterator[Finding]:
    packages = machine.packages()
    running = False

    def judge(dashboard: Dashboard | None) -> Finding:
        nonlocal running
        running = dashboard is not None
        return findings.of_ray(packages, dashboard)

    yield from _judged("ray", site.dashboard, judge)
    yield from _judged("memory", machine.memory, lambda seen: findings.of_memory(seen, settings, running=running))


def _of_journal(machine: MachineProbes, site: SiteProbes, settings: SiteSettings) -> Iterator[Finding]:
    try:
        journal = site.journal()
    except (OSError, TidegateError) as error:
        yield _unseen("journal", error)
        journal = JournalSeen()
    else:
        yield findings.of_journal(journal)
    every = settings.window.checkpoint_every_records
    behind = partial(findings.of_checkpoints, journal=journal, every=every)
    yield from _judged("checkpoints", site.checkpoints, behind)
    yield from _judged("machine mark", site.mark, partial(findings.of_mark, journal=journal))
    clock = partial(findings.of_clock, journal=journal, source=settings.clock.source)
    yield from _judged("clock", machine.time, clock)


def of_refused(error: SettingsError) -> Finding:
    """Return the finding of a configuration that can't be read: nothing of the site can be looked at."""
    return Finding("config", Level.FAIL, error.message, "mend the file, then ask again")


def healthy(found: list[Finding]) -> bool:
    """Whether nothing fails."""
    return all(one.level is not Level.FAIL for one in found)


def lines(found: list[Finding]) -> Iterator[str]:
    """Yield the findings for people, each with what to do where something is to be done."""
    for one in found:
        yield f"{one.level:<5}{one.name:<{_WIDTH}} {one.value}"
        if one.todo and one.level is not Level.OK:
            yield f"{'':<{_WIDTH + 6}}-> {one.todo}"
    counts = ", ".join(f"{sum(one.level is level for one in found)} {level}" for level in Level)
    yield counts


def as_json(found: list[Finding]) -> str:
    """Return the findings for programs: one object."""
    return json.dumps({"healthy": healthy(found), "findings": [one._asdict() for one in found]})
