"""The house as a newcomer has it: in a folder of its own, set up, nothing started yet."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_nodes.node import free_port
from tests.e2e.newcomer import SMALL, House, Run

ROOT = Path(__file__).resolve().parents[2]
DOOR = "http://127.0.0.1:8410"
COPIED = ("tidegate", "actors", "edge_nodes", "serve_apps", "training", "configs", "locks")
PROGRAM = f"""#!/bin/sh
# What `make setup` installs as `tidegate`, but for a small first model, a stream that leaves the machine some air, and
# one site alone: test_up.py has two and a cloud.
case "$1" in
    up) set -- "$@" --config configs/edge/site.toml --no-cloud --rate 50 -- {" ".join(SMALL)} ;;
    run) set -- "$@" -- {" ".join(SMALL)} ;;
esac
exec {sys.executable} -m edge_nodes.cli "$@"
"""


def _installed(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def _rewrite(path: Path, changes: dict[str, str]) -> None:
    text = path.read_text()
    for old, new in changes.items():
        assert old in text, f"{path}: {old} isn't there any more"
        text = text.replace(old, new)
    path.write_text(text)


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    """The house in a folder of its own; what it installs is this environment, where production lives is beside it."""
    folder = tmp_path_factory.mktemp("house")
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name)
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy2(ROOT / name, folder / name)
    port = free_port()
    edge = folder / "configs" / "edge"
    _rewrite(edge / "site.toml", {"port = 8410": f"port = {port}"})
    _rewrite(edge / "production.toml", {"/var/lib/tidegate": f"{folder}/lib", "/etc/tidegate": f"{folder}/etc"})
    for path in (folder / "edge_nodes").rglob("*.py"):
        if DOOR in path.read_text():
            _rewrite(path, {DOOR: f"http://127.0.0.1:{port}"})  # where commands look for a site that nobody names
    _installed(folder / ".uv" / "bin" / "uv", "#!/bin/sh\nexit 1\n")
    _installed(folder / ".venv" / "bin" / "python", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    _installed(folder / ".venv" / "bin" / "tidegate", PROGRAM)
    (folder / ".venv" / "stamp").touch()
    return House(folder, port)


@pytest.fixture
def start(house: House) -> Iterator[Callable[[str], Run]]:
    """Starts lines of shell in the house; whatever a failed test leaves is ended."""
    runs: list[Run] = []

    def one(command: str) -> Run:
        runs.append(house.start(command))
        return runs[-1]

    yield one
    for run in runs:
        run.clear()
