"""The twin of the shelf's folder: the same promises in memory, and crashes where a test wants them."""

from collections.abc import Mapping
from typing import Final

from tidegate.errors import TemporaryError

BESIDE: Final = ".tmp-"


class CrashError(TemporaryError):
    """The power went; what was durable is there after `restart`."""

    code = "CRASHED"


class MemoryFolder:
    """A folder in memory; each change is made of the steps that it has on a disk, and may crash before any."""

    def __init__(self) -> None:
        self._files: dict[str, bytes] = {}
        self._steps_left: int | None = None

    def crash_after(self, steps: int) -> None:
        """Crash when `steps` more steps are done; every later change fails, too, until `restart`."""
        self._steps_left = steps

    def restart(self) -> None:
        """Come up again after a crash."""
        self._steps_left = None

    def names(self) -> list[str]:
        """Return the files and folders directly in it, sorted."""
        return sorted({name.partition("/")[0] for name in self._files})

    def read(self, name: str) -> bytes:
        """Return a file's content."""
        if name not in self._files:
            raise FileNotFoundError(name)
        return self._files[name]

    def files(self, name: str) -> dict[str, bytes]:
        """Return the content of each file in a folder."""
        inside = {path.removeprefix(f"{name}/"): data for path, data in self._files.items() if _in(path, name)}
        if not inside:
            raise FileNotFoundError(name)
        return inside

    def replace(self, name: str, data: bytes) -> None:
        """Make `data` the content of a file, at once."""
        self._write(f"{BESIDE}{name}", data)
        self._step()
        self._files[name] = self._files.pop(f"{BESIDE}{name}")

    def make(self, name: str, files: Mapping[str, bytes]) -> None:
        """Make a folder of files, at once."""
        if name in self.names():
            raise FileExistsError(name)
        self._drop(f"{BESIDE}{name}")
        for each, data in files.items():
            self._write(f"{BESIDE}{name}/{each}", data)
        self._rename(f"{BESIDE}{name}", name)

    def remove(self, name: str) -> None:
        """Remove a folder: first its name, then its files."""
        if name not in self.names():
            raise FileNotFoundError(name)
        self._drop(f"{BESIDE}{name}")
        self._rename(name, f"{BESIDE}{name}")
        self._drop(f"{BESIDE}{name}")

    def _step(self) -> None:
        if self._steps_left == 0:
            raise CrashError("the power went")
        if self._steps_left is not None:
            self._steps_left -= 1

    def _write(self, name: str, data: bytes) -> None:
        self._files[name] = data[: len(data) // 2]
        self._step()
        self._files[name] = data

    def _rename(self, old: str, new: str) -> None:
        self._step()
        for path in [path for path in self._files if _in(path, old)]:
            self._files[new + path.removeprefix(old)] = self._files.pop(path)

    def _drop(self, folder: str) -> None:
        for path in [path for path in self._files if _in(path, folder)]:
            self._step()
            del self._files[path]


def _in(path: str, folder: str) -> bool:
    return path.startswith(f"{folder}/")
