"""A newcomer's folder and what is started in it: the house as a clean clone has it, and runs that leave nothing."""

import os
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edge_nodes.reaper import members

MARK = "TIDEGATE_TEST_RUN"
STAGE_S = 300
GONE_S = 60
SMALL = ("--days", "45", "--cards", "500", "--trees", "20")


def until(done: Callable[[], bool], seconds: float) -> bool:
    """Wait for something; return whether it came."""
    deadline = time.monotonic() + seconds
    while not (met := done()) and time.monotonic() < deadline:
        threading.Event().wait(0.1)
    return met


class Run:
    """A running command, with what it printed so far; its processes carry a mark of its own."""

    def __init__(self, command: list[str], folder: Path, environment: dict[str, str]) -> None:
        self._mark = secrets.token_hex(8)
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment | {MARK: self._mark},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._seen: dict[int, int] = {}
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        self.lines.extend(self._process.stdout)

    def processes(self) -> list[int]:
        """Return the processes of this run that haven't ended."""
        self._seen = members(self._mark, self._seen)
        return list(self._seen)

    def reached(self, stage: str) -> bool:
        """Wait until a line says the stage, or the run ended."""
        return until(lambda: self.said(stage) or self._process.poll() is not None, STAGE_S) and self.said(stage)

    def said(self, text: str) -> bool:
        """Tell whether a line holds the text."""
        return any(text in line for line in self.lines)

    def end(self, number: signal.Signals) -> int:
        """Send a signal to the command itself; return the exit code once nothing of this run is left."""
        self._process.send_signal(number)
        return self.ended()

    def interrupt(self) -> int:
        """Press Ctrl-C, as a terminal does: everything in the foreground gets it."""
        os.killpg(self._process.pid, signal.SIGINT)
        return self.ended()

    def ended(self) -> int:
        """Return the exit code; nothing may be left."""
        code = self._process.wait(STAGE_S)
        gone = until(lambda: not self.processes(), GONE_S)
        self._close()
        assert gone, [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in self.processes()]
        assert not self.said("Traceback"), "".join(self.lines)
        return code

    def clear(self) -> None:
        """End whatever a failed test left."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(GONE_S)
        self._close()

    def _close(self) -> None:
        self._reader.join(GONE_S)
        assert self._process.stdout is not None
        self._process.stdout.close()


@dataclass(frozen=True)
class House:
    """A folder as a newcomer has it after `make setup`, with a door on a port that is free here."""

    folder: Path
    port: int

    @property
    def environment(self) -> dict[str, str]:
        """What a shell in the folder has: `.venv/bin` is in its path."""
        path = f"{self.folder / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "PYTHONPATH": str(self.folder)}

    def start(self, command: str) -> Run:
        """Start a line of shell."""
        return Run(["bash", "-c", f"exec {command}"], self.folder, self.environment)

    def shell(self, command: str) -> "subprocess.CompletedProcess[str]":
        """Run a line of shell to its end."""
        return subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=STAGE_S,
            check=False,
        )
