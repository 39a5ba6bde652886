"""What the shelf of bundles needs of a disk, for its adapters `disk.PosixFolder` and the twin `memory.MemoryFolder`.

Names are relative to the folder; `b-0123/manifest.json` is a file in a folder of its own.
"""

from collections.abc import Mapping
from typing import Protocol


class Folder(Protocol):
    """One folder of files and of folders of files. Each change is durable when its method returns."""

    def names(self) -> list[str]:
        """Return the files and folders directly in it, sorted."""

    def read(self, name: str) -> bytes:
        """Return a file's content.

        Raises:
            FileNotFoundError: there is none.
        """

    def files(self, name: str) -> dict[str, bytes]:
        """Return the content of each file in the folder `name`, by its name there.

        Raises:
            FileNotFoundError: there is no such folder.
        """

    def replace(self, name: str, data: bytes) -> None:
        """Make `data` the content of the file `name`, at once: after a crash it is the old or the new, whole.

        A crash may leave `.tmp-` + `name` behind.
        """

    def make(self, name: str, files: Mapping[str, bytes]) -> None:
        """Make the folder `name` of `files`, at once: after a crash it is there whole, or not at all.

        A crash may leave `.tmp-` + `name` behind.

        Raises:
            FileExistsError: the name is taken.
        """

    def remove(self, name: str) -> None:
        """Remove the folder `name` and its files; from the first moment on it is gone under that name.

        A crash may leave `.tmp-` + `name` behind.

        Raises:
            FileNotFoundError: there is none.
        """
