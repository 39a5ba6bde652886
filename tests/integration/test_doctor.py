"""`tidegate doctor` on this machine, with things that are really broken; it changes nothing."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.scorer.disk import PosixFolder
from actors.scorer.shelf import Shelf
from edge_nodes import reaper
from edge_nodes.doctor.linux import LinuxMachine, locked, optimised
from edge_nodes.node import free_port
from tidegate.keys import KeyFile, Scope, dump_keys, make_key

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 120

Site = tuple[Path, Callable[[], None]]


def put_keys(folder: Path) -> bytes:
    keys = dump_keys(KeyFile(keys=(make_key("all", frozenset(Scope), os.urandom)[1],)))
    (folder / "keys.json").write_bytes(keys)
    (folder / "keys.json").chmod(0o600)
    return keys


@pytest.fixture
def site(tmp_path: Path, bundle_files: dict[str, bytes]) -> dict[str, Any]:
    """The settings of a site with a bundle and a key, that has never run."""
    folder = tmp_path / "site"
    folder.mkdir()
    shelf = Shelf(folder=PosixFolder(folder / "bundles"))
    shelf.activate(shelf.put(bundle_files))
    put_keys(folder)
    return {"data_dir": str(folder), "machine_mark": str(tmp_path / "mark"), "port": free_port()}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def examined(site: dict[str, Any], *options: str) -> tuple[int, dict[str, dict[str, str]]]:
    """Run the doctor; return its exit status and its findings by name."""
    folder = Path(site["data_dir"])
    config = folder.parent / "site.toml"
    layer = f'data_dir = "{folder}"\nmachine_mark = "{site["machine_mark"]}"\n[door]\nport = {site["port"]}\n'
    config.write_text(site.get("text", layer))
    command = [sys.executable, "-m", "edge_nodes.cli", "doctor", "--json", "--config", str(config), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.stderr == ""
    told = json.loads(done.stdout)
    assert told["healthy"] == (done.returncode == 0)
    return done.returncode, {one["name"]: one for one in told["findings"]}


def test_a_site_that_has_never_run_is_well_and_looking_at_it_makes_nothing(site: dict[str, Any]) -> None:
    folder = Path(site["data_dir"])
    before = contents(folder)

    _, found = examined(site)

    names = ("config", "packages", "door", "ray", "memory", "disk room", "journal", "bundle", "lists", "keys", "clock")
    assert {name: found[name]["level"] for name in names} == dict.fromkeys(names, "ok")
    assert contents(folder) == before
    assert not Path(site["machine_mark"]).exists()


def test_a_taken_port_an_open_key_file_and_a_missing_bundle_fail_by_name(site: dict[str, Any]) -> None:
    folder = Path(site["data_dir"])
    shutil.rmtree(next((folder / "bundles").glob("b-*")))
    (folder / "keys.json").chmod(0o644)
    (folder / "orders").mkdir(exist_ok=True)
    (folder / "orders" / "lists.json").write_text('{"version": -1}')
    with socket.create_server(("127.0.0.1", site["port"])):
        status, found = examined(site)

    assert status == 1
    assert f"process {os.getpid()}" in found["door"]["value"]
    assert "not on the shelf" in found["bundle"]["value"]
    assert "keys.json (644)" in found["keys"]["value"]
    assert "lists.json" in found["lists"]["value"]
    bad = {name: found[name]["level"] for name in ("door", "bundle", "keys", "lists")}
    assert bad == dict.fromkeys(bad, "fail")
    assert all(found[name]["todo"] for name in bad)


def test_a_wrong_configuration_fails_by_field_and_the_machine_is_looked_at_all_the_same(site: dict[str, Any]) -> None:
    status, found = examined({**site, "text": 'data_dir = "x"\nmachine_mark = "y"\n[door]\nport = 70000\n'})

    assert status == 1
    assert "door.port" in found["config"]["value"]
    assert {"python", "packages", "runs"} <= set(found)
    assert "door" not in found


def test_a_gate_that_decides_holds_its_own_port_and_its_garbled_journal_fails(
    site: dict[str, Any], open_gate: Callable[[dict[str, Any], bytes], int], tmp_path: Path
) -> None:
    folder = Path(site["data_dir"])
    layer = {"data_dir": str(folder), "machine_mark": site["machine_mark"]}
    port = open_gate(layer, (folder / "keys.json").read_bytes())

    status, found = examined({**site, "port": port})

    assert found["door"]["level"] == "ok", found["door"]
    assert f"process {os.getpid()}), which decides" in found["door"]["value"]
    assert found["journal"]["level"] == "ok"
    assert found["machine mark"]["level"] == "ok"

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    segment = next(copy.glob("journal/*/*.seg"))
    with segment.open("r+b") as file:
        file.seek(300)
        file.write(b"rotten")
    status, found = examined({**site, "data_dir": str(copy)})
    assert status == 1
    assert "LOST" in found["journal"]["value"]


@pytest.fixture
def crashed() -> Iterator[str]:
    """A process of a run whose starter and reaper are gone."""
    mark = f"doctor-{os.getpid()}"
    process = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env={**os.environ, reaper.VARIABLE: mark}
    )
    yield mark
    process.communicate(b"\n")


def test_a_process_of_a_crashed_run_is_told_until_a_reaper_guards_it(crashed: str) -> None:
    def guarded() -> list[bool]:
        return [run.guarded for run in LinuxMachine().runs() if run.mark == crashed]

    assert guarded() == [False]
    command = [sys.executable, "-m", "edge_nodes.reaper", crashed]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as guard:
        assert guarded() == [True]
        guard.kill()


def test_a_folder_is_left_over_where_no_command_line_names_it(tmp_path: Path) -> None:
    old, used, fresh = (tmp_path / name for name in ("tg-old", "tg-used", "tg-fresh"))
    for folder in (old, used, fresh):
        folder.mkdir()
    for folder in (old, used):
        os.utime(folder, (1, 1))
    command = [sys.executable, "-c", "input()", f"--temp-dir={used}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        found = LinuxMachine(temporary=tmp_path).leftovers()
        process.communicate(b"\n")

    assert found == (str(old),)


def test_a_lock_is_read_by_name_version_and_whom_it_is_for(tmp_path: Path) -> None:
    text = "a==1.0 \\\n    --hash=sha256:00\nb==2 ; sys_platform == 'win32' \\\nnumpy==0.1\n"
    lock = tmp_path / "edge.txt"
    lock.write_text(text)

    assert list(locked(text)) == [("a", "1.0"), ("numpy", "0.1")]
    seen = {one.name: one.installed for one in LinuxMachine(lock=lock).packages()}
    assert seen["a"] is None
    assert seen["numpy"] not in (None, "0.1")
    assert LinuxMachine(lock=tmp_path / "none").packages() == ()


def test_a_build_is_optimised_where_it_says_so_and_a_distributions_is_silent() -> None:
    assert optimised("'--enable-optimizations' '--with-lto'", "/opt/python") is True
    assert optimised("'--enable-shared'", "/usr/local") is False
    assert optimised("'--enable-shared'", "/usr") is None


def test_this_machine_has_memory_and_a_clock() -> None:
    machine = LinuxMachine()

    assert 0 < machine.memory().available_bytes <= machine.memory().total_bytes
    assert machine.time().now_us > 1_700_000_000_000_000
