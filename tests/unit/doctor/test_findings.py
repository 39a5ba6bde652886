"""The doctor's verdicts: values in, a level and what to do out; the bounds are the budget's."""

import json
from typing import Any

import pytest

from edge_nodes.doctor import findings
from edge_nodes.doctor.examination import as_json, healthy, lines, machine_findings, of_refused, site_findings
from edge_nodes.doctor.findings import Finding, Level
from edge_nodes.doctor.memory import JOURNAL, NOW_US, MemoryMachine, MemorySite
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
from tidegate.errors import JournalError, SettingsError
from tidegate.limits import DAY_US, JOURNAL_BYTES_MAX, MIB, SECOND_US
from tidegate.settings import SiteSettings, site_settings

OTHER = Process(7, "nginx")
GATE = Process(8, "ray::GateActor")


def settings(**layer: Any) -> SiteSettings:
    return site_settings([{"data_dir": "a", "machine_mark": "b"}, layer], names="test")


def examined(machine: MemoryMachine, site: MemorySite, **layer: Any) -> dict[str, Finding]:
    found = [*machine_findings(machine), *site_findings(machine, site, settings(**layer))]
    assert len({one.name for one in found}) == len(found)
    return {one.name: one for one in found}


def test_a_healthy_site_has_nothing_to_do() -> None:
    found = list(examined(MemoryMachine(), MemorySite()).values())

    assert healthy(found)
    assert [one for one in found if one.level is not Level.OK] == []


BROKEN_MACHINES = {
    "python": (MemoryMachine(build_=Build("3.11.9", optimised=False)), Level.WARN),
    "packages": (MemoryMachine(packages_=(Package("numpy", "2.4.0", "2.3.1"),)), Level.FAIL),
    "runs": (MemoryMachine(runs_=(Run("0123abcd", guarded=False, processes=(GATE,)),)), Level.FAIL),
    "temporary folders": (MemoryMachine(leftovers_=("/tmp/tg-x",)), Level.WARN),
    "clock synchronisation": (MemoryMachine(time_=Time(NOW_US, synchronised=False)), Level.WARN),
    "memory": (MemoryMachine(memory_=Memory(1_024 * MIB, 900 * MIB)), Level.FAIL),
    "clock": (MemoryMachine(time_=Time(NOW_US - DAY_US, synchronised=True)), Level.FAIL),
}
BROKEN_SITES = {
    "door": (
        MemorySite(door_=Door("127.0.0.1:8410", "Address already in use", OTHER, ours=False, unready="")),
        Level.FAIL,
    ),
    "ray": (MemorySite(dashboard_=Dashboard("http://127.0.0.1:9", GATE, answers=False)), Level.FAIL),
    "disk flush": (MemorySite(flushes_=(30_000.0,) * 100), Level.FAIL),
    "disk room": (MemorySite(room_=Room(100 * MIB, 3 * MIB, reserved=True)), Level.FAIL),
    "journal": (MemorySite(journal_=JournalSeen(epoch="e", lost=("positions 3..3",))), Level.FAIL),
    "checkpoints": (MemorySite(checkpoints_=CheckpointsSeen(900, ("x.window",))), Level.WARN),
    "machine mark": (MemorySite(mark_=MarkSeen("mark", "b" * 32)), Level.WARN),
    "bundle": (MemorySite(bundle_=BundleSeen(refused="golden rows: margins differ")), Level.FAIL),
    "keys": (MemorySite(keys_=KeysSeen("keys.json", 1, ("keys.json (644)",))), Level.FAIL),
    "lists": (MemorySite(broken={"lists": SettingsError("lists.json: version")}), Level.FAIL),
}


@pytest.mark.parametrize("name", [*BROKEN_MACHINES, *BROKEN_SITES])
def test_one_broken_thing_is_one_finding_with_what_to_do_and_all_else_stays_well(name: str) -> None:
    machine, level = BROKEN_MACHINES.get(name, (MemoryMachine(), None))
    site, level = BROKEN_SITES.get(name, (MemorySite(), level))

    found = examined(machine, site)

    bad = {one.name: one.level for one in found.values() if one.level is not Level.OK}
    assert bad == {name: level}
    assert found[name].todo
    assert healthy(list(found.values())) == (level is not Level.FAIL)


@pytest.mark.parametrize(
    ("p50_us", "p99_us", "level"),
    [(150, 800, "ok"), (151, 800, "warn"), (150, 801, "warn"), (20_001, 20_001, "fail"), (150, 250_001, "fail")],
)
def test_a_flush_is_judged_by_what_a_decision_leaves_it(p50_us: float, p99_us: float, level: str) -> None:
    took = [p50_us] * 180 + [p99_us] * 20

    assert findings.of_flushes(took).level == level


@pytest.mark.parametrize(
    ("room", "level"),
    [
        (Room(0, 2 * JOURNAL_BYTES_MAX, None), "ok"),
        (Room(JOURNAL_BYTES_MAX * 79 // 100, JOURNAL_BYTES_MAX, reserved=True), "ok"),
        (Room(JOURNAL_BYTES_MAX * 81 // 100, JOURNAL_BYTES_MAX, reserved=True), "warn"),
        (Room(JOURNAL_BYTES_MAX * 91 // 100, JOURNAL_BYTES_MAX, reserved=True), "fail"),
        (Room(100 * MIB, 1_024 * MIB, reserved=True), "warn"),
        (Room(0, 10 * MIB, None), "fail"),
        (Room(100 * MIB, 2 * JOURNAL_BYTES_MAX, reserved=False), "fail"),
    ],
)
def test_room_is_judged_by_the_ladder_of_the_journal(room: Room, level: str) -> None:
    assert findings.of_room(room, JOURNAL_BYTES_MAX).level == level


def test_the_doors_port_may_be_held_by_this_sites_gate_alone_and_only_if_that_decides() -> None:
    def told(door: Door) -> tuple[str, str]:
        found = findings.of_door(door)
        return found.level, found.value

    held = "127.0.0.1:8410"
    assert told(Door(held, "in use", GATE, ours=True, unready=""))[0] == "ok"
    level, value = told(Door(held, "in use", GATE, ours=True, unready="the journal failed"))
    assert (level, "the journal failed" in value) == ("fail", True)
    assert told(Door(held, "in use", OTHER, ours=False, unready="")) == ("fail", f"{held}: held by nginx (process 7)")
    assert told(Door(held, "Permission denied", None, ours=False, unready="")) == ("fail", f"{held}: Permission denied")


def test_a_clock_is_judged_by_the_highest_time_in_the_journal_unless_it_follows_events() -> None:
    behind = Time(JOURNAL.last_time_us - 6 * SECOND_US, synchronised=True)
    just = Time(JOURNAL.last_time_us - 5 * SECOND_US, synchronised=True)

    assert findings.of_clock(behind, JOURNAL, "system").level == "fail"
    assert findings.of_clock(just, JOURNAL, "system").level == "ok"
    assert findings.of_clock(behind, JOURNAL, "events").level == "ok"
    assert findings.of_clock(behind, JournalSeen(), "system").level == "ok"


def test_a_site_without_a_bundle_fails_in_production_and_a_demo_trains_one() -> None:
    none = BundleSeen()

    assert findings.of_bundle(none, NOW_US, "production").level == "fail"
    assert findings.of_bundle(none, NOW_US, "demo").level == "warn"
    old = BundleSeen("b-0123456789ab", "", NOW_US - 50 * DAY_US, 256)
    assert findings.of_bundle(old, NOW_US, "production").level == "warn"
    slow = BundleSeen("b-0123456789ab", "", NOW_US, 256, rules="rules take 99 µs")
    assert findings.of_bundle(slow, NOW_US, "production")[1:3] == ("warn", "rules take 99 µs")


def test_a_tear_is_no_loss_and_an_epoch_that_began_with_damage_is_told() -> None:
    assert findings.of_journal(JournalSeen(epoch="e", torn="torn tail: x")).level == "warn"
    assert findings.of_journal(JournalSeen(epoch="e", began="damaged")).level == "warn"
    assert findings.of_journal(JournalSeen(epoch="e", refused="another site's")).level == "fail"
    assert findings.of_journal(JournalSeen()).level == "ok"


def test_a_missing_package_and_another_numpy_fail_and_another_of_the_rest_warns() -> None:
    def level(*packages: Package) -> str:
        return findings.of_packages(packages).level

    assert level(Package("rich", "15", None)) == "fail"
    assert level(Package("numba", "0.68.0", "0.69.0")) == "fail"
    assert level(Package("rich", "15.0", "15.1")) == "warn"
    assert level() == "warn"


def test_a_left_run_is_ended_by_the_reaper_and_by_its_mark() -> None:
    many = tuple(Process(number, "ray::IDLE") for number in range(9))

    found = findings.of_runs([Run("good", guarded=True, processes=(GATE,)), Run("bad", guarded=False, processes=many)])

    assert found.todo == "end exactly these: python -m edge_nodes.reaper bad </dev/null"
    assert "and 4 more" in found.value


def test_a_door_beyond_the_loopback_warns_that_keys_pass_in_clear() -> None:
    assert findings.of_config(settings(door={"host": "0.0.0.0"})).level == "warn"


def test_memory_that_runs_out_beside_a_running_site_warns() -> None:
    little = Memory(16_384 * MIB, 200 * MIB)

    assert findings.of_memory(little, settings(), running=False).level == "fail"
    assert findings.of_memory(little, settings(), running=True).level == "warn"


def test_what_cannot_be_looked_at_fails_once_and_the_rest_goes_on() -> None:
    broken: dict[str, Exception] = {
        "journal": JournalError("the disk failed; check it"),
        "keys": PermissionError("keys.json"),
    }

    found = examined(MemoryMachine(), MemorySite(broken=broken))

    assert {one.name for one in found.values() if one.level is Level.FAIL} == {"journal", "keys"}
    assert found["journal"].value == "the disk failed; check it"
    assert found["keys"].todo == "run this as the user that runs the site"


def test_a_report_has_a_line_a_finding_and_what_to_do_below_it() -> None:
    found = [Finding("door", Level.OK, "free"), of_refused(SettingsError("site.toml: door.port: too large"))]

    assert list(lines(found)) == [
        "ok   door                   free",
        "fail config                 site.toml: door.port: too large",
        "                            -> mend the file, then ask again",
        "1 ok, 0 warn, 1 fail",
    ]
    told = json.loads(as_json(found))
    assert told["healthy"] is False
    assert told["findings"][0] == {"name": "door", "level": "ok", "value": "free", "todo": ""}
