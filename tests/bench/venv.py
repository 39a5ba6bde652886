"""Environments of the bench's own, for contenders whose pins don't go with ours: made once from a lock, by uv."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
UV: Final = ROOT / ".uv" / "bin" / "uv"


def missing() -> str:
    """Return what keeps environments from being made; empty where nothing does."""
    return "" if UV.exists() or shutil.which("uv") else "uv is missing; to get it: make setup"


def python_of(lock: str) -> Path:
    """Return the Python of an environment that holds exactly what a lock names; makes it where there is none.

    It lies in the user's cache under the lock's digest, so that another lock is another environment.

    Raises:
        subprocess.CalledProcessError: uv failed; its reason was printed.
    """
    path = ROOT / "locks" / f"{lock}.txt"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tidegate"
    folder = cache / f"{lock}-{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
    ready, python = folder / "ready", folder / "bin" / "python"
    if not ready.exists():
        uv = str(UV if UV.exists() else shutil.which("uv"))
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)], check=True)
        command = [uv, "pip", "sync", "--quiet", "--require-hashes", "--python", str(python), str(path)]
        subprocess.run(command, check=True)
        ready.touch()
    return python
